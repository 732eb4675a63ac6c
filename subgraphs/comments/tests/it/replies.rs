//! Replies: who may be replied to, what becomes of them, and the lists and counts of them.

use std::pin::pin;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use embedded_mongo::{Options, ReplicaSet};
use futures_util::future::join_all;
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::moderators::{self, HIDE, RESTORE, ann, bob, eve};
use crate::service::{Comments, texts};

const REPLY: &str = "mutation ($input: CreateCommentInput!) { createComment(input: $input) {
    comment { id parentId parent { id } }
} }";
const READ: &str = "query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String) {
    comment(id: $id) {
        id text parentId parent { text } replyCount
        replies(first: $first, after: $after, last: $last, before: $before) {
            edges { cursor node { text } }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
    }
}";
const DELETE: &str = "mutation ($id: ID!) { deleteComment(input: { id: $id }) { id } }";
const ODD: &str = "65f0c0ffee65f0c0ffee65f0";

async fn reply(comments: &Comments, post: &str, parent: &str, text: &str) -> String {
    let input = json!({ "postId": post, "parentId": parent, "text": text });
    let written = comments.data(REPLY, json!({ "input": input })).await;
    let id = written["createComment"]["comment"]["id"].as_str();
    id.expect("an id").to_owned()
}

async fn read(comments: &Comments, id: &str, mut arguments: Value) -> Value {
    arguments["id"] = json!(id);
    comments.data(READ, arguments).await["comment"].take()
}

/// What a comment says about its parent and its replies.
fn sketch(comment: &Value) -> Value {
    json!({
        "parentId": comment["parentId"],
        "parent": comment["parent"]["text"],
        "replyCount": comment["replyCount"],
        "replies": texts(&comment["replies"]),
    })
}

fn id(text: &str) -> ObjectId {
    ObjectId::parse_str(text).expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_one_more_comment_that_knows_its_parent() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let parent = comments.comment(&post, "Parent").await;
    comments.comment(&post, "Another").await;
    for text in ["One", "Two", "Three"] {
        reply(&comments, &post, &parent, text).await;
    }
    let all = ["Three", "Two", "One", "Another", "Parent"];
    assert_eq!(comments.texts(&post).await, all);

    let whole = read(&comments, &parent, json!({})).await;
    assert_eq!(whole["replyCount"], 3);
    assert_eq!(whole["parentId"], Value::Null);
    assert_eq!(texts(&whole["replies"]), ["One", "Two", "Three"]);
    let first = read(&comments, &parent, json!({ "first": 2 })).await["replies"].take();
    assert_eq!(texts(&first), ["One", "Two"]);
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    assert_eq!(first["pageInfo"]["hasPreviousPage"], false);
    let after = json!({ "first": 2, "after": first["pageInfo"]["endCursor"] });
    let rest = read(&comments, &parent, after).await["replies"].take();
    assert_eq!(texts(&rest), ["Three"]);
    assert_eq!(rest["pageInfo"]["hasNextPage"], false);
    assert_eq!(rest["pageInfo"]["hasPreviousPage"], true);
    let last = read(&comments, &parent, json!({ "last": 1 })).await["replies"].take();
    assert_eq!(texts(&last), ["Three"]);
    // A cursor of another list is none of this one.
    let list = "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
        comments(first: 1) { pageInfo { endCursor } }
    } } }";
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    let list = comments.data(list, of).await;
    let cursor = &list["_entities"][0]["comments"]["pageInfo"]["endCursor"];
    let foreign = json!({ "id": parent, "after": cursor });
    assert_eq!(comments.error_code(READ, foreign).await, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_visible_comment_of_the_post_that_is_no_reply_can_be_replied_to() {
    let comments = moderators::start(&[]).await;
    let (post, other) = (comments.post().await, comments.post().await);
    let (ann, eve) = (ann(&comments), eve(&comments));
    let write = async |post: &str, parent: Value| {
        let input = json!({ "postId": post, "parentId": parent, "text": "Text" });
        let answer = ann.graphql(REPLY, json!({ "input": input })).await;
        match answer["errors"][0]["extensions"]["code"].as_str() {
            Some(code) => (code.to_owned(), answer["errors"][0]["message"].clone()),
            None => (
                "OK".to_owned(),
                answer["data"]["createComment"]["comment"]["id"].clone(),
            ),
        }
    };
    let (_, parent) = write(&post, Value::Null).await;
    let (ok, child) = write(&post, parent.clone()).await;
    assert_eq!(ok, "OK");
    assert_eq!(write(&post, json!(ODD)).await.0, "NOT_FOUND");
    assert_eq!(write(&post, json!("odd")).await.0, "BAD_USER_INPUT");
    assert_eq!(write(&other, parent.clone()).await.0, "NOT_FOUND");
    let (code, message) = write(&post, child.clone()).await;
    assert_eq!(code, "BAD_USER_INPUT");
    let names = parent.as_str().expect("an id");
    let message = message.as_str().expect("a text");
    assert!(message.contains(&format!("reply to {names}")), "{message}");

    eve.data(HIDE, json!({ "id": parent })).await;
    assert_eq!(write(&post, parent.clone()).await.0, "NOT_FOUND");
    eve.data(RESTORE, json!({ "id": parent })).await;
    assert_eq!(write(&post, parent.clone()).await.0, "OK");
    ann.data(DELETE, json!({ "id": parent })).await;
    assert_eq!(write(&post, parent).await.0, "NOT_FOUND");
    // Nothing that is gone is advised.
    let (_, message) = write(&post, child).await;
    let message = message.as_str().expect("a text");
    assert!(message.contains("leave out parentId"), "{message}");
    let stored = comments.collection("comments");
    let counted = stored.count_documents(doc! {});
    assert_eq!(counted.await.expect("counted"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_stay_when_their_parent_goes() {
    let comments = moderators::start(&["--anonymous-writes=change"]).await;
    let post = comments.post().await;
    let (ann, bob, eve) = (ann(&comments), bob(&comments), eve(&comments));
    let guest = comments.guest(moderators::NAME);
    let parent = moderators::written(&ann, &post, "Parent").await;
    let input = json!({ "postId": post, "parentId": parent["id"], "text": "Reply" });
    let reply = bob.data(REPLY, json!({ "input": input })).await["createComment"]["comment"].take();
    let read = async |id: &Value| sketch(&guest.data(READ, json!({ "id": id })).await["comment"]);
    let there = json!({
        "parentId": parent["id"], "parent": "Parent", "replyCount": 0, "replies": [],
    });
    let alone = json!({ "parentId": parent["id"], "parent": null, "replyCount": 0, "replies": [] });
    assert_eq!(read(&reply["id"]).await, there);

    eve.data(HIDE, parent.clone()).await;
    assert_eq!(read(&reply["id"]).await, alone);
    assert_eq!(moderators::texts(&comments, &post).await, ["Reply"]);
    eve.data(RESTORE, parent.clone()).await;
    assert_eq!(read(&reply["id"]).await, there);

    // Where it goes and comes back itself, and when it is edited, it stays a reply.
    eve.data(HIDE, json!({ "id": reply["id"] })).await;
    assert_eq!(read(&parent["id"]).await["replyCount"], 0);
    eve.data(RESTORE, json!({ "id": reply["id"] })).await;
    let edit = json!({ "input": { "id": reply["id"], "text": "Edited" } });
    bob.data(moderators::EDIT, edit).await;
    assert_eq!(read(&reply["id"]).await, there);
    let of_parent = read(&parent["id"]).await;
    assert_eq!(of_parent["replies"], json!(["Edited"]));
    assert_eq!(of_parent["replyCount"], 1);

    ann.data(DELETE, parent).await;
    assert_eq!(read(&reply["id"]).await, alone);
    assert_eq!(moderators::texts(&comments, &post).await, ["Edited"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_reply_counts_when_it_is_shown() {
    let comments = moderators::start(&["--hold-comments=always"]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let parent = moderators::written(&eve, &post, "Parent").await;
    let input = json!({ "postId": post, "parentId": parent["id"], "text": "Reply" });
    let held = ann.data(REPLY, json!({ "input": input })).await["createComment"]["comment"].take();
    assert_eq!(held["parentId"], parent["id"]);
    let read = async || sketch(&ann.data(READ, parent.clone()).await["comment"]);
    assert_eq!(read().await["replyCount"], 0);
    eve.data(RESTORE, json!({ "id": held["id"] })).await;
    assert_eq!(read().await["replyCount"], 1);
    assert_eq!(read().await["replies"], json!(["Reply"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_covers_the_parent_and_finds_the_reply_of_a_parent_that_is_gone() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let parent = comments.comment(&post, "Parent").await;
    let other = comments.comment(&post, "Other").await;
    let input = |parent: Option<&str>| {
        json!({ "input": {
            "postId": post, "parentId": parent, "text": "Reply", "idempotencyKey": "k",
        } })
    };
    let first = comments.data(REPLY, input(Some(&parent))).await;
    assert_eq!(comments.data(REPLY, input(Some(&parent))).await, first);
    for another in [Some(other.as_str()), None, Some(ODD)] {
        let code = comments.error_code(REPLY, input(another)).await;
        assert_eq!(code, "CONFLICT", "{another:?}");
    }
    comments.data(DELETE, json!({ "id": parent })).await;
    let again = comments.data(REPLY, input(Some(&parent))).await;
    let (first, again) = (&first["createComment"], &again["createComment"]);
    assert_eq!(again["comment"]["id"], first["comment"]["id"]);
    assert_eq!(comments.texts(&post).await, ["Reply", "Other"]);
}

/// What other programs may write as a parent. Every view judges alike.
#[tokio::test(flavor = "multi_thread")]
async fn odd_parents_are_served_all_the_same() {
    let comments = Comments::start().await;
    let (post, other) = (comments.post().await, comments.post().await);
    let parent = comments.comment(&post, "Parent").await;
    let child = reply(&comments, &post, &parent, "Child").await;
    let elsewhere = comments.comment(&other, "Elsewhere").await;
    let own = ObjectId::new();
    let odd: Vec<(&str, Bson, Value, Value)> = vec![
        ("number", 5.into(), Value::Null, Value::Null),
        ("text", parent.as_str().into(), Value::Null, Value::Null),
        ("list", vec![id(&parent)].into(), Value::Null, Value::Null),
        ("null", Bson::Null, Value::Null, Value::Null),
        ("missing", id(ODD).into(), json!(ODD), Value::Null),
        (
            "foreign",
            id(&elsewhere).into(),
            json!(elsewhere),
            Value::Null,
        ),
        ("nested", id(&child).into(), json!(child), json!("Child")),
        ("own", own.into(), json!(own.to_hex()), json!("own")),
    ];
    for (text, parent, ..) in &odd {
        let id = if *text == "own" { own } else { ObjectId::new() };
        let document = doc! {
            "_id": id, "postId": id_of(&post, text), "text": *text, "parentId": parent,
            "createdAt": bson::DateTime::now(),
        };
        let stored = comments.collection("comments");
        stored.insert_one(document).await.expect("inserted");
    }
    // Replies that cannot be read are in no list, and in no count.
    let unreadable = doc! {
        "postId": id(&post), "parentId": id(&parent), "text": 5, "createdAt": bson::DateTime::now(),
    };
    let stored = comments.collection("comments");
    stored.insert_one(unreadable).await.expect("inserted");

    let list = "query ($of: [_Any!]!, $order: CommentOrder) { _entities(representations: $of) {
        ... on Post { comments(first: 100, orderBy: $order) { edges { node {
            text parentId parent { text } replyCount replies { edges { node { text } } }
        } } } }
    } }";
    for order in ["OLDEST_FIRST", "MOST_REPLIED"] {
        let of = json!({ "of": [{ "__typename": "Post", "id": post }], "order": order });
        let read = comments.data(list, of).await;
        let edges = &read["_entities"][0]["comments"]["edges"];
        let edges = edges.as_array().expect("edges");
        assert_eq!(edges.len(), odd.len() + 2, "{order}: {edges:#?}");
        for edge in edges {
            let node = &edge["node"];
            let replies = match node["text"].as_str().expect("a text") {
                "Parent" => vec!["Child"],
                "Child" => vec!["nested"],
                "own" => vec!["own"],
                _ => vec![],
            };
            assert_eq!(texts(&node["replies"]), replies, "{node}");
            assert_eq!(node["replyCount"], replies.len(), "{node}");
            let known = odd.iter().find(|(text, ..)| node["text"] == *text);
            if let Some((_, _, parent_id, parent)) = known {
                assert_eq!(&node["parentId"], parent_id, "{node}");
                assert_eq!(&node["parent"]["text"], parent, "{node}");
            }
        }
    }
    // A comment of another post has no replies here.
    let foreign = read(&comments, &elsewhere, json!({})).await;
    assert_eq!(
        (&foreign["replyCount"], texts(&foreign["replies"]).len()),
        (&json!(0), 0)
    );
}

/// Both forms of a reference to the post.
fn id_of(post: &str, text: &str) -> Bson {
    match text {
        "nested" => post.into(),
        _ => id(post).into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pages_counts_and_replies_are_one_query_each_by_an_index() {
    let comments = Comments::start().await;
    comments.replies_are_indexed().await;
    let post = comments.post().await;
    let mut parents = Vec::new();
    for n in 0..10 {
        parents.push(comments.comment(&post, &format!("P{n}")).await);
    }
    for (n, parent) in parents.iter().enumerate() {
        for k in 0..n % 3 {
            reply(&comments, &post, parent, &format!("R{n}-{k}")).await;
        }
    }
    let query = "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
        comments(last: 10) { edges { node { text replyCount replies(first: 1) { edges { node { text } } } } } }
    } } }";
    let profile = comments.profile().await;
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    let read = comments.data(query, of).await;
    let edges = read["_entities"][0]["comments"]["edges"].as_array();
    for edge in edges.expect("edges") {
        let node = &edge["node"];
        let number: usize = node["text"].as_str().expect("a text")[1..]
            .parse()
            .expect("a number");
        assert_eq!(node["replyCount"], number % 3, "{node}");
        assert_eq!(texts(&node["replies"]).len(), (number % 3).min(1), "{node}");
    }
    let asked = |stage: Document| {
        let mut asked = doc! { "appName": "comments requests", "command.aggregate": "comments" };
        asked.extend(stage);
        asked
    };
    let counts = asked(doc! { "command.pipeline.1.$group": { "$exists": true } });
    let lists = asked(
        doc! { "command.pipeline.0.$match.parentId": { "$exists": true },
        "command.pipeline.1.$sort": { "$exists": true } },
    );
    for filter in [counts, lists] {
        // A slow machine may make more than one batch of a page.
        let counted = profile.count_documents(filter.clone()).await;
        let counted = counted.expect("a count");
        assert!((1..=4).contains(&counted), "{counted} {filter}");
        let query = profile.find_one(filter).await.expect("a profile");
        let query = query.expect("a query");
        let plan = query.get_str("planSummary").expect("a plan");
        let by_parent = "IXSCAN { postId: 1, parentId: 1, createdAt: 1, _id: 1 }";
        assert!(plan.contains(by_parent), "{plan}");
        // All replies; the comments themselves are not looked at.
        let examined = query.get_i32("docsExamined").expect("a number");
        assert!(examined <= 9, "{query}");
    }
}

const MOST_REPLIED: &str = "query ($of: [_Any!]!, $first: Int, $after: String, $last: Int, $before: String) {
    _entities(representations: $of) { ... on Post {
        comments(orderBy: MOST_REPLIED, first: $first, after: $after, last: $last, before: $before) {
            edges { cursor node { text } }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
    } }
}";

async fn most_replied(comments: &Comments, post: &str, mut arguments: Value) -> Value {
    arguments["of"] = json!([{ "__typename": "Post", "id": post }]);
    let read = comments.data(MOST_REPLIED, arguments).await;
    read["_entities"][0]["comments"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_replied_come_first_in_pages_both_ways() {
    let comments = Comments::start().await;
    let (post, other) = (comments.post().await, comments.post().await);
    let mut ids = Vec::new();
    for text in ["A", "B", "C", "D"] {
        ids.push(comments.comment(&post, text).await);
        comments.comment(&other, "elsewhere").await;
    }
    for parent in [&ids[1], &ids[1], &ids[0], &ids[2]] {
        reply(&comments, &post, parent, "r").await;
    }
    // Undated comments come after all dates of their rank.
    let undated = doc! { "postId": id(&post), "text": "U", "createdAt": Bson::Null };
    let stored = comments.collection("comments");
    stored.insert_one(undated).await.expect("inserted");
    let whole = most_replied(&comments, &post, json!({ "first": 100 })).await;
    let order = texts(&whole);
    assert_eq!(order[..3], ["B", "C", "A"]);
    assert_eq!(order.len(), 9);
    assert!(order[3..].contains(&"U".to_owned()) && order[3..].contains(&"D".to_owned()));
    // The service gives it a date soon, and with it its place.
    let dated = async {
        while stored
            .count_documents(doc! { "createdAt": Bson::Null })
            .await
            .expect("counted")
            > 0
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, dated).await.expect("dated");
    let whole = most_replied(&comments, &post, json!({ "first": 100 })).await;
    let order = texts(&whole);
    assert!(
        whole["pageInfo"]["hasNextPage"] == false && whole["pageInfo"]["hasPreviousPage"] == false
    );

    for size in 1..=4 {
        let (mut forwards, mut backwards) = (Vec::new(), Vec::new());
        let mut arguments = json!({ "first": size });
        loop {
            let page = most_replied(&comments, &post, arguments).await;
            forwards.extend(texts(&page));
            let info = &page["pageInfo"];
            assert_eq!(info["hasPreviousPage"], forwards.len() > size, "{page}");
            if info["hasNextPage"] == false {
                break;
            }
            arguments = json!({ "first": size, "after": info["endCursor"] });
        }
        let mut arguments = json!({ "last": size });
        loop {
            let page = most_replied(&comments, &post, arguments).await;
            backwards.splice(0..0, texts(&page));
            let info = &page["pageInfo"];
            assert_eq!(info["hasNextPage"], backwards.len() > size, "{page}");
            if info["hasPreviousPage"] == false {
                break;
            }
            arguments = json!({ "last": size, "before": info["startCursor"] });
        }
        assert_eq!((&forwards, &backwards), (&order, &order), "{size}");
    }
    let edges = whole["edges"].as_array().expect("edges");
    let between = json!({ "after": edges[1]["cursor"], "before": edges[4]["cursor"] });
    let page = most_replied(&comments, &post, between).await;
    assert_eq!(texts(&page), order[2..4]);
    assert_json_snapshot!(page["pageInfo"]["hasNextPage"], @"true");
    let plain = json!({ "of": [{ "__typename": "Post", "id": post }], "after": "AAAA" });
    assert_eq!(
        comments.error_code(MOST_REPLIED, plain).await,
        "BAD_USER_INPUT"
    );
    assert!(texts(&most_replied(&comments, ODD, json!({})).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_reply_names_its_parent() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let parent = comments.comment(&post, "Parent").await;
    let after = comments.cursor(&post).await;
    reply(&comments, &post, &parent, "Reply").await;
    let changes = "subscription ($post: ID!, $after: String) {
        commentChanges(postId: $post, after: $after) {
            ... on CommentAdded { comment { text parentId parent { text replyCount } } }
        }
    }";
    let variables = json!({ "post": post, "after": after });
    let mut socket = comments.subscribe(changes, variables).await;
    // The cursor may be from before the parent, too.
    let mut change = socket.next_payload("1").await;
    if change["data"]["commentChanges"]["comment"]["text"] == "Parent" {
        change = socket.next_payload("1").await;
    }
    let comment = &change["data"]["commentChanges"]["comment"];
    let parent = json!({ "text": "Parent", "replyCount": 1 });
    let expected = json!({ "text": "Reply", "parentId": comment["parentId"], "parent": parent });
    assert_eq!(comment, &expected);
    assert!(comment["parentId"].is_string());
}

/// The server ends such a query; a client learns what to ask instead.
#[tokio::test(flavor = "multi_thread")]
async fn replies_that_cannot_be_counted_in_time_are_an_error_and_no_wrong_page() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let parent = comments.comment(&post, "Parent").await;
    reply(&comments, &post, &parent, "Reply").await;
    let admin = comments.database.client().database("admin");
    let count = "query ($id: ID!) { comment(id: $id) { text replyCount } }";
    let of = json!([{ "__typename": "Post", "id": post }]);
    for (query, variables) in [
        (count, json!({ "id": parent })),
        (MOST_REPLIED, json!({ "of": of })),
    ] {
        let namespace = format!("{}.comments", comments.database.name());
        let out_of_time = doc! {
            "configureFailPoint": "failCommand", "mode": { "times": 1 },
            "data": { "failCommands": ["aggregate"], "namespace": namespace, "errorCode": 50 },
        };
        admin.run_command(out_of_time).await.expect("a fail point");
        let answer = comments.graphql(query, variables.clone()).await;
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "OVERLOADED", "{answer}");
        assert_eq!(extensions["reason"], "TOO_MANY_REPLIES", "{answer}");
        comments.data(query, variables).await;
    }
}

/// One request may ask for many lists; each reads all comments of its post.
#[tokio::test(flavor = "multi_thread")]
async fn lists_by_replies_leave_connections_to_others() {
    let set = ReplicaSet::start(Options::default()).await;
    let set = set.expect("a server");
    // Two more than there are turns.
    let flags = ["--database-connections-max=6"];
    let comments = moderators::second_at(&set.uri_for("turns"), &flags).await;
    comments.ready().await;
    let slow =
        doc! { "namespace": "turns.comments", "blockConnection": true, "blockTimeMS": 6_000 };
    let slow = set.fail_commands("comments requests", &["aggregate"], slow, 100);
    slow.await.expect("a fail point");
    let guest = comments.guest(moderators::NAME);
    let mut lists = pin!(join_all((0..12).map(|_| {
        let of = json!([{ "__typename": "Post", "id": ODD }]);
        guest.graphql(MOST_REPLIED, json!({ "of": of }))
    })));
    let query = "query ($id: ID!) { comment(id: $id) { text } }";
    tokio::select! {
        lists = &mut lists => panic!("they have the connections: {lists:?}"),
        one = guest.data(query, json!({ "id": ODD })) => drop(one),
    }
    let mut out_of_time = 0;
    for answer in lists.await {
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "OVERLOADED", "{answer}");
        out_of_time += i32::from(extensions["reason"] == "TOO_MANY_REPLIES");
    }
    assert_eq!(out_of_time, 4, "the others had no turn");
}

/// The parent goes between a request and its retry, and the request is still inserting the reply.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_finds_a_reply_that_is_just_being_inserted() {
    let set = ReplicaSet::start(Options::default()).await;
    let set = set.expect("a server");
    let uri = set.uri_for("racing");
    let comments = moderators::second_at(&uri, &[]).await;
    comments.ready().await;
    let client = mongodb::Client::with_uri_str(&uri).await;
    let client = client.expect("a client");
    let collection = |name| client.database("racing").collection::<Document>(name);
    let post = ObjectId::new();
    let posts = collection("posts");
    posts
        .insert_one(doc! { "_id": post })
        .await
        .expect("a post");
    let post = post.to_hex();
    let ann = ann(&comments);
    let parent = moderators::written(&ann, &post, "Parent").await;
    let stall = doc! {
        "blockConnection": true, "blockTimeMS": 500, "namespace": "racing.comments",
    };
    let stalled = set.fail_commands("comments requests", &["findAndModify"], stall, 1);
    stalled.await.expect("a fail point");
    let input = json!({ "input": {
        "postId": post, "parentId": parent["id"], "text": "Reply", "idempotencyKey": "k",
    } });
    let retry = async {
        let keys = collection("commentKeys");
        while keys.find_one(doc! {}).await.expect("found").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let of_parent = doc! { "_id": id(parent["id"].as_str().expect("an id")) };
        let gone = collection("comments").delete_one(of_parent).await;
        assert_eq!(gone.expect("deleted").deleted_count, 1);
        ann.data(REPLY, input.clone()).await
    };
    let (first, again) = tokio::join!(ann.data(REPLY, input.clone()), retry);
    let id = |written: &Value| written["createComment"]["comment"]["id"].clone();
    assert_eq!(id(&first), id(&again));
    comments.stop().await.expect("a clean end");
}
