//! Reactions: one for each person and comment; the counts always agree with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use futures_util::future::join_all;
use serde_json::{Value, json};
use subgraph::testing::Signed;

use crate::moderators::{
    BLOCK, DELETE, EDIT, HIDE, NAME, RESTORE, ann, bob, eve, named, start, write, written,
};
use crate::service::Comments;

const REACT: &str = "mutation ($id: ID!, $reaction: Reaction) {
    setReaction(input: { commentId: $id, reaction: $reaction }) {
        comment { reactions { reaction count } viewerReaction }
    }
}";
const READ: &str = "query ($id: ID!) {
    comment(id: $id) { reactions { reaction count } viewerReaction updatedAt edited }
}";

/// The counts, such as `LIKE 2, SAD 1`, and the viewer's own.
fn sketch(comment: &Value) -> String {
    let counts = comment["reactions"].as_array().expect("counts");
    let counts = counts.iter().map(|it| {
        let reaction = it["reaction"].as_str().expect("a reaction");
        format!("{reaction} {}", it["count"])
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    let own = comment["viewerReaction"].as_str().unwrap_or("-");
    format!("{counts}; {own}")
}

async fn react(by: &Signed<'_>, id: &Value, reaction: Value) -> String {
    let variables = json!({ "id": id["id"], "reaction": reaction });
    sketch(&by.data(REACT, variables).await["setReaction"]["comment"])
}

async fn seen(by: &Signed<'_>, id: &Value) -> String {
    sketch(&by.data(READ, id.clone()).await["comment"])
}

fn oid(id: &Value) -> ObjectId {
    ObjectId::parse_str(id["id"].as_str().expect("an id")).expect("an id")
}

async fn stored(comments: &Comments, id: &Value) -> u64 {
    let reactions = comments.collection("commentReactions");
    let of_comment = doc! { "commentId": oid(id) };
    reactions
        .count_documents(of_comment)
        .await
        .expect("counted")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_person_has_one_reaction_to_a_comment() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (ann, bob) = (ann(&comments), bob(&comments));
    let id = written(&ann, &post, "Text").await;
    let other = written(&ann, &post, "Other").await;
    let before = ann.data(READ, id.clone()).await["comment"].take();

    assert_eq!(react(&ann, &id, json!("LIKE")).await, "LIKE 1; LIKE");
    assert_eq!(react(&ann, &id, json!("LIKE")).await, "LIKE 1; LIKE");
    assert_eq!(react(&bob, &id, json!("LIKE")).await, "LIKE 2; LIKE");
    assert_eq!(react(&bob, &id, json!("SAD")).await, "LIKE 1, SAD 1; SAD");
    assert_eq!(seen(&ann, &id).await, "LIKE 1, SAD 1; LIKE");
    assert_eq!(seen(&comments.guest(NAME), &id).await, "LIKE 1, SAD 1; -");
    assert_eq!(seen(&ann, &other).await, "; -");
    assert_eq!(stored(&comments, &id).await, 2);
    let after = ann.data(READ, id.clone()).await["comment"].take();
    assert_eq!(after["updatedAt"], before["updatedAt"]);
    assert_eq!(after["edited"], false);
    // An edit that has seen the comment before the reactions is none of another text.
    let edit = json!({ "input": {
        "id": id["id"], "text": "Edited", "ifUpdatedAt": before["updatedAt"],
    } });
    ann.data(EDIT, edit).await;
    assert_eq!(seen(&bob, &id).await, "LIKE 1, SAD 1; SAD");

    assert_eq!(react(&ann, &id, Value::Null).await, "SAD 1; -");
    assert_eq!(react(&ann, &id, Value::Null).await, "SAD 1; -");
    assert_eq!(react(&bob, &id, Value::Null).await, "; -");
    assert_eq!(stored(&comments, &id).await, 0);
    let raw = comments.collection("comments");
    let raw = raw.find_one(doc! { "_id": oid(&id) }).await.expect("found");
    assert!(!raw.expect("a comment").contains_key("reactions"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_react_and_to_what() {
    let comments = start(&["--hold-comments=always"]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let id = written(&eve, &post, "Text").await;
    let held = write(&ann, &post, "Held").await;
    assert_eq!(held["status"], "HELD");
    let hidden = written(&eve, &post, "Hidden").await;
    eve.data(HIDE, hidden.clone()).await;
    let like = |id: &Value| json!({ "id": id, "reaction": "LIKE" });
    let guest = comments.guest(NAME);
    let missing = json!("65f0c0ffee65f0c0ffee65f0");
    for (by, id, code) in [
        (&guest, &id["id"], "UNAUTHENTICATED"),
        (&ann, &held["id"], "NOT_FOUND"),
        (&eve, &hidden["id"], "NOT_FOUND"),
        (&ann, &missing, "NOT_FOUND"),
        (&ann, &json!("odd"), "BAD_USER_INPUT"),
    ] {
        assert_eq!(by.error_code(REACT, like(id)).await, code, "{id}");
    }
    eve.data(BLOCK, json!({ "id": "ann" })).await;
    assert_eq!(ann.error_code(REACT, like(&id["id"])).await, "FORBIDDEN");
    let all = comments.collection("commentReactions");
    assert_eq!(all.count_documents(doc! {}).await.expect("counted"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_are_live_and_no_edits() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (ann, bob) = (ann(&comments), bob(&comments));
    let guest = comments.guest(NAME);
    let cursor = "query ($of: [_Any!]!) { _entities(representations: $of) {
        ... on Post { commentChangesCursor }
    } }";
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    let read = guest.data(cursor, of).await;
    let after = &read["_entities"][0]["commentChangesCursor"];
    let id = written(&ann, &post, "Text").await;
    react(&bob, &id, json!("LAUGH")).await;
    react(&bob, &id, json!("LAUGH")).await;
    ann.data(
        EDIT,
        json!({ "input": { "id": id["id"], "text": "Edited" } }),
    )
    .await;
    react(&bob, &id, Value::Null).await;
    ann.data(DELETE, id.clone()).await;

    let changes = "subscription ($post: ID!, $after: String) {
        commentChanges(postId: $post, after: $after, reactions: true) {
            __typename
            ... on CommentReactionsChanged { cursor comment { text edited reactions { reaction count } } }
        }
    }";
    let older = "subscription ($post: ID!, $after: String) {
        commentChanges(postId: $post, after: $after) {
            __typename
            ... on CommentAdded { comment { text } }
            ... on CommentEdited { comment { text } }
            ... on CommentDeleted { commentId }
        }
    }";
    let variables = json!({ "post": post, "after": after });
    let mut socket = guest.websocket().await;
    guest
        .subscribe(&mut socket, "1", changes, variables.clone())
        .await;
    let mut seen = Vec::new();
    let mut resume = Value::Null;
    for _ in 0..5 {
        let mut change = socket.next_payload("1").await["data"]["commentChanges"].take();
        if resume.is_null() {
            resume = change["cursor"].clone();
        }
        change.as_object_mut().expect("an object").remove("cursor");
        seen.push(change);
    }
    let laugh = json!([{ "reaction": "LAUGH", "count": 1 }]);
    let changed = |text: &str, edited: bool, reactions: Value| {
        let comment = json!({ "text": text, "edited": edited, "reactions": reactions });
        json!({ "__typename": "CommentReactionsChanged", "comment": comment })
    };
    let named = |name: &str| json!({ "__typename": name });
    let expected = [
        named("CommentAdded"),
        changed("Text", false, laugh),
        named("CommentEdited"),
        changed("Edited", true, json!([])),
        named("CommentDeleted"),
    ];
    assert_eq!(seen, expected);

    // A client that knows nothing of reactions gets no event of them.
    let expected_of_older = json!({
        "__typename": "CommentEdited", "comment": { "text": "Edited" },
    });
    let mut socket = guest.websocket().await;
    guest.subscribe(&mut socket, "1", older, variables).await;
    socket.next_payload("1").await;
    let change = socket.next_payload("1").await;
    assert_eq!(change["data"]["commentChanges"], expected_of_older);
    // The change's cursor is one like all others.
    let variables = json!({ "post": post, "after": resume });
    let mut socket = guest.websocket().await;
    guest.subscribe(&mut socket, "1", changes, variables).await;
    let change = socket.next_payload("1").await;
    assert_eq!(change["data"]["commentChanges"], expected[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_move_and_go_with_their_comment() {
    let comments = start(&["--anonymous-writes=change"]).await;
    let post = comments.post().await;
    let (ann, bob, eve) = (ann(&comments), bob(&comments), eve(&comments));
    let keyed = json!({ "input": { "postId": post, "text": "Text", "idempotencyKey": "k" } });
    let create = async || {
        let created = ann.data(crate::moderators::CREATE, keyed.clone()).await;
        json!({ "id": created["createComment"]["comment"]["id"] })
    };
    let id = create().await;
    react(&bob, &id, json!("LIKE")).await;
    eve.data(HIDE, id.clone()).await;
    assert_eq!(stored(&comments, &id).await, 1);
    eve.data(RESTORE, id.clone()).await;
    assert_eq!(seen(&bob, &id).await, "LIKE 1; LIKE");

    // By its author, by a moderator, and while it is hidden. A comment of the same id has none of them.
    let hide_first = async |id: &Value| {
        eve.data(HIDE, id.clone()).await;
    };
    for (by, hides) in [(&ann, false), (&eve, false), (&ann, true)] {
        let id = create().await;
        react(&bob, &id, json!("LIKE")).await;
        react(&eve, &id, json!("SAD")).await;
        if hides {
            hide_first(&id).await;
        }
        by.data(DELETE, id.clone()).await;
        assert_eq!(stored(&comments, &id).await, 0);
        let again = create().await;
        assert_eq!(again, id);
        assert_eq!(seen(&bob, &again).await, "; -");
    }

    let doomed = create().await;
    react(&bob, &doomed, json!("LOVE")).await;
    let of_post = doc! { "_id": ObjectId::parse_str(&post).expect("an id") };
    let mut mark = of_post.clone();
    mark.insert("markedAt", bson::DateTime::now());
    let marks = comments.collection("deletedPosts");
    marks.insert_one(mark).await.expect("marked");
    let posts = comments.collection("posts");
    posts.delete_one(of_post).await.expect("deleted");
    let gone = async {
        while stored(&comments, &doomed).await > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, gone).await.expect("they go");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_people_react_while_a_comment_is_edited_hidden_and_restored() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let id = written(&ann, &post, "Text").await;
    let is_over = Arc::new(AtomicBool::new(false));
    let people: Vec<String> = (0..50).map(|n| format!("person {n}")).collect();
    let reacting = people.iter().enumerate().map(|(n, person)| {
        let (person, id) = (named(&comments, person), &id);
        async move {
            for turn in 0..4 {
                let reaction = match (n + turn) % 4 {
                    0 => json!("LIKE"),
                    1 => json!("SAD"),
                    2 => json!("LOVE"),
                    _ => Value::Null,
                };
                let variables = json!({ "id": id["id"], "reaction": reaction });
                let answer = person.graphql(REACT, variables).await;
                let code = &answer["errors"][0]["extensions"]["code"];
                // Nobody reacts to what is hidden at the moment.
                assert!(
                    code.is_null() || code == "NOT_FOUND" || code == "OVERLOADED",
                    "{answer}"
                );
            }
        }
    });
    let others = async {
        let mut turn = 0;
        while !is_over.load(Ordering::Relaxed) {
            turn += 1;
            let edit = json!({ "input": { "id": id["id"], "text": format!("Edit {turn}") } });
            for (by, query, variables) in [
                (&ann, EDIT, edit),
                (&eve, HIDE, id.clone()),
                (&eve, RESTORE, id.clone()),
            ] {
                let answer = by.graphql(query, variables).await;
                let code = &answer["errors"][0]["extensions"]["code"];
                assert!(code.is_null() || code == "OVERLOADED", "{answer}");
            }
        }
        turn
    };
    let people = async {
        join_all(reacting).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (turns, ()) = tokio::join!(others, people);
    assert!(turns > 0);
    eve.data(RESTORE, id.clone()).await;

    let read = ann.data(READ, id.clone()).await["comment"].take();
    let mut counted = 0;
    for count in read["reactions"].as_array().expect("counts") {
        let of_reaction = doc! {
            "commentId": oid(&id), "reaction": count["reaction"].as_str().expect("a name"),
        };
        let reactions = comments.collection("commentReactions");
        let documents = reactions
            .count_documents(of_reaction)
            .await
            .expect("counted");
        assert_eq!(count["count"], documents, "{read}");
        counted += documents;
    }
    assert_eq!(stored(&comments, &id).await, counted);
    assert!(counted > 0, "{read}");
}

/// What other programs may have written where reactions are.
#[tokio::test(flavor = "multi_thread")]
async fn odd_counts_are_repaired_by_the_next_reaction() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (ann, bob) = (ann(&comments), bob(&comments));
    let id = written(&ann, &post, "Text").await;
    let raw = comments.collection("comments");
    let of_id = doc! { "_id": oid(&id) };
    let odd: [(Bson, &str, &str); 3] = [
        (Bson::Null, "; -", "LIKE 1; LIKE"),
        (doc! { "LIKE": "x", "WOW": 7 }.into(), "; -", "LIKE 1; LIKE"),
        (doc! { "LIKE": 2.0 }.into(), "LIKE 2; -", "LIKE 3; LIKE"),
    ];
    for (counts, before, after) in odd {
        let set = doc! { "$set": { "reactions": counts.clone() } };
        raw.update_one(of_id.clone(), set).await.expect("set");
        assert_eq!(seen(&bob, &id).await, before, "{counts}");
        assert_eq!(react(&bob, &id, json!("LIKE")).await, after, "{counts}");
        react(&bob, &id, Value::Null).await;
    }
    // Too small a number does not fall below none; what is not ours stays.
    react(&bob, &id, json!("LIKE")).await;
    let set = doc! { "$set": { "reactions": { "LIKE": 0, "WOW": 7 } } };
    raw.update_one(of_id.clone(), set).await.expect("set");
    assert_eq!(react(&bob, &id, Value::Null).await, "; -");
    let kept: Option<Document> = raw.find_one(of_id).await.expect("found");
    let kept = kept.expect("a comment");
    assert_eq!(
        kept.get_document("reactions").expect("kept"),
        &doc! { "WOW": 7 }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_keeps_in_the_field_is_not_lost() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (ann, bob) = (ann(&comments), bob(&comments));
    let id = written(&ann, &post, "Text").await;
    let raw = comments.collection("comments");
    let of_id = doc! { "_id": oid(&id) };
    for theirs in [Bson::from(5), vec!["like"].into()] {
        let set = doc! { "$set": { "reactions": theirs.clone() } };
        raw.update_one(of_id.clone(), set).await.expect("set");
        let like = json!({ "id": id["id"], "reaction": "LIKE" });
        assert_eq!(bob.error_code(REACT, like).await, "CONFLICT", "{theirs}");
        let kept = raw.find_one(of_id.clone()).await.expect("found");
        assert_eq!(kept.expect("a comment").get("reactions"), Some(&theirs));
    }
    assert_eq!(stored(&comments, &id).await, 0);
    // Its author may delete it all the same.
    ann.data(DELETE, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_viewers_reactions_of_a_page_are_one_query() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let ann = ann(&comments);
    for n in 0..5 {
        let id = written(&ann, &post, &format!("C{n}")).await;
        if n % 2 == 0 {
            react(&ann, &id, json!("LOVE")).await;
        }
    }
    let profile = comments.profile().await;
    let list = "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
        comments { edges { node { viewerReaction } } }
    } } }";
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    let read = ann.data(list, of).await;
    let edges = read["_entities"][0]["comments"]["edges"].as_array();
    let edges = edges.expect("edges").iter();
    let own: Vec<_> = edges
        .map(|edge| edge["node"]["viewerReaction"].clone())
        .collect();
    assert_eq!(json!(own), json!(["LOVE", null, "LOVE", null, "LOVE"]));
    let asked = doc! { "appName": "comments requests", "command.find": "commentReactions" };
    let asked = profile.count_documents(asked).await.expect("counted");
    // A slow machine may make more than one batch of a page of five.
    assert!((1..=3).contains(&asked), "{asked}");
}
