//! Moderation through the gateway: the posts follow, readers see each move once, and the queue is the moderators'.

use bson::oid::ObjectId;
use bson::{Document, doc};
use e2e::{ClientEvent, Graphql, Service, Subscription, arm, eventually};
use embedded_mongo::{Options, ReplicaSet};
use futures_util::TryStreamExt;
use mongodb::Database;
use serde_json::{Value, json};

use crate::owners::Signed;

const CHANGES: &str = "subscription($post: ID!) { commentChanges(postId: $post) {
    __typename
    ... on CommentAdded { comment { text status } }
    ... on CommentDeleted { commentId }
} }";
const QUEUE_CHANGES: &str = "subscription($after: String) { moderationChanges(after: $after) {
    __typename
    ... on ModerationEntered { cursor entry { commentId comment { text post { title } } } }
    ... on ModerationLeft { cursor commentId }
} }";
const QUEUE: &str = "{ moderationChangesCursor moderationQueue { edges { node {
    commentId reportReasons comment { text post { title } }
} } } }";

async fn act(by: &Graphql, name: &str, id: &str) -> String {
    let act = format!(
        "mutation($id: ID!) {{ {name}(input: {{ id: $id, reason: \"rude\" }}) {{
            comment {{ status }} operationTime
        }} }}"
    );
    let mut done = by.data(&act, json!({ "id": id })).await;
    done[name]["operationTime"]
        .take()
        .as_str()
        .expect("a time")
        .to_owned()
}

/// What a post shows of its comments once it shows a change.
async fn shown(by: &Graphql, post: &str, since: &str) -> Value {
    let query = "query($id: ID!, $since: String) { post(id: $id, operationTime: $since) {
        commentCount latestComments { text status }
    } }";
    let variables = json!({ "id": post, "since": since });
    by.data(query, variables).await["post"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_and_readers_follow_what_moderators_decide() {
    let signed = Signed::start().await;
    let (ann, bob) = (
        signed.person("ann", "Ann", ""),
        signed.person("bob", "Bob", ""),
    );
    let (eve, guest) = (signed.person("eve", "Eve", "moderate"), signed.guest());
    let post = ann.create_post("Ann's").await;
    let mut live = Subscription::comments_of(&guest, CHANGES, &post).await;
    let first = ann.create_comment(&post, "First").await;
    live.next_data().await;

    let hidden = act(&eve, "hideComment", &first).await;
    let read = shown(&guest, &post, &hidden).await;
    let count_without = read["commentCount"].as_i64().expect("a number");
    assert_ne!(read["latestComments"][0]["text"], "First");
    let deleted = json!({ "__typename": "CommentDeleted", "commentId": first });
    assert_eq!(live.next_data().await["commentChanges"], deleted);

    let restored = act(&eve, "restoreComment", &first).await;
    let read = shown(&guest, &post, &restored).await;
    assert_eq!(read["commentCount"], count_without + 1);
    let latest = json!({ "text": "First", "status": "VISIBLE" });
    assert_eq!(read["latestComments"][0], latest);
    let added = json!({ "__typename": "CommentAdded", "comment": latest });
    assert_eq!(live.next_data().await["commentChanges"], added);
    bob.create_comment(&post, "Last").await;
    let last = live.next_data().await;
    assert_eq!(
        last["commentChanges"]["comment"]["text"], "Last",
        "and no more"
    );
}

/// Writes a comment. Returns its id, its status, and the time from which a post shows it.
async fn written(by: &Graphql, post: &str, words: &str) -> (String, Value, String) {
    let create = "mutation($input: CreateCommentInput!) { createComment(input: $input) {
        comment { id status } operationTime
    } }";
    let input = json!({ "input": { "postId": post, "text": words } });
    let mut done = by.data(create, input).await["createComment"].take();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let (id, time) = (text(&done["comment"]["id"]), text(&done["operationTime"]));
    (id, done["comment"]["status"].take(), time)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_comment_changes_its_post_when_it_is_restored() {
    let signed = Signed::start_holding("always").await;
    let (ann, eve, guest) = (
        signed.person("ann", "Ann", ""),
        signed.person("eve", "Eve", "moderate"),
        signed.guest(),
    );
    let post = ann.create_post("Ann's").await;
    // Comments of moderators are never held.
    let visible = |text: &str| json!({ "text": text, "status": "VISIBLE" });
    let (_, status, time) = written(&eve, &post, "Before").await;
    assert_eq!(status, "VISIBLE");
    let before = json!({ "commentCount": 1, "latestComments": [visible("Before")] });
    assert_eq!(shown(&guest, &post, &time).await, before);

    let (held, status, time) = written(&ann, &post, "Held").await;
    assert_eq!(status, "HELD");
    // Neither for readers, nor for its author or a moderator.
    for viewer in [&guest, &ann, &eve] {
        assert_eq!(shown(viewer, &post, &time).await, before);
    }
    // The post has followed all until this one: the held one is not merely late.
    let (_, _, time) = written(&eve, &post, "After").await;
    let after = json!({
        "commentCount": 2, "latestComments": [visible("After"), visible("Before")],
    });
    assert_eq!(shown(&guest, &post, &time).await, after);

    let time = act(&eve, "restoreComment", &held).await;
    let restored = json!({
        "commentCount": 3,
        "latestComments": [visible("After"), visible("Held"), visible("Before")],
    });
    for viewer in [&guest, &ann, &eve] {
        assert_eq!(shown(viewer, &post, &time).await, restored);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_live_and_for_moderators_alone() {
    let signed = Signed::start().await;
    let (ann, eve, guest) = (
        signed.person("ann", "Ann", ""),
        signed.person("eve", "Eve", "moderate"),
        signed.guest(),
    );
    let post = ann.create_post("Ann's").await;
    let comment = ann.create_comment(&post, "Text").await;
    let start = eve.data(QUEUE, json!({})).await["moderationChangesCursor"].take();
    let after = json!({ "after": start });
    let mut live = Subscription::start(&eve, QUEUE_CHANGES, after.clone()).await;
    let report = "mutation($id: ID!) {
        reportComment(input: { id: $id, reason: \"rude\" }) { comment { id } }
    }";
    ann.data(report, json!({ "id": comment })).await;
    let mut entered = live.next_data().await["moderationChanges"].take();
    entered["cursor"].take();
    let entry = json!({
        "commentId": comment, "comment": { "text": "Text", "post": { "title": "Ann's" } },
    });
    let expected = json!({ "__typename": "ModerationEntered", "cursor": null, "entry": entry });
    assert_eq!(entered, expected);

    // While hers runs, nobody else's joins it.
    for (client, code) in [(&ann, "FORBIDDEN"), (&guest, "UNAUTHENTICATED")] {
        let nothing_tagged = "subscription($after: String) {
            moderationChanges(after: $after) { __typename }
        }";
        for query in [QUEUE_CHANGES, nothing_tagged] {
            let mut refused = Subscription::start(client, query, after.clone()).await;
            let refused = match refused.next().await {
                ClientEvent::Error(errors) => errors,
                ClientEvent::Next(result) => result["errors"].clone(),
                other => panic!("not an error: {other:?}"),
            };
            assert_eq!(refused[0]["extensions"]["code"], code, "{refused}");
        }
        assert_eq!(client.ask(QUEUE, json!({})).await.codes()[0], code);
    }
    act(&eve, "restoreComment", &comment).await;
    let left = live.next_data().await["moderationChanges"].take();
    assert_eq!(left["__typename"], "ModerationLeft");
    eventually("the queue is empty", || async {
        let read = eve.data(QUEUE, json!({})).await;
        let edges = read["moderationQueue"]["edges"].as_array().map(Vec::len);
        (edges == Some(0)).then_some(()).ok_or(read.to_string())
    })
    .await;
}

const DELETE_POST: &str = "mutation($id: ID!) {
    deletePost(input: { id: $id, reason: \"spam\" }) { id }
}";

/// What moderators did, in the order of the words: the acts, whose texts they concerned, and why.
async fn acts(database: &Database) -> Vec<(String, String, String)> {
    let lines = database.collection::<Document>("moderationActs");
    let found = lines.find(doc! {}).await;
    let found: Vec<Document> = found.expect("found").try_collect().await.expect("read");
    let text = |line: &Document, field| line.get_str(field).unwrap_or_default().to_owned();
    let lines = found.iter();
    let lines = lines.map(|line| {
        (
            text(line, "act"),
            text(line, "authorId"),
            text(line, "reason"),
        )
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn acts_on_posts_and_comments_leave_one_line_each() {
    let signed = Signed::start().await;
    let database = signed.system.database().await;
    let (ann, eve) = (
        signed.person("ann", "Ann", ""),
        signed.person("eve", "Eve", "moderate"),
    );
    let post = ann.create_post("Ann's").await;
    let comment = ann.create_comment(&post, "Text").await;
    let edits = "mutation($post: ID!, $comment: ID!) {
        updatePost(input: { id: $post, title: \"Tidy\", reason: \"rude\" }) { post { title } }
        updateComment(input: { id: $comment, text: \"Tidy\" }) { comment { text } }
    }";
    let ids = json!({ "post": post, "comment": comment });
    ann.data(edits, ids.clone()).await;
    // The texts are what she would make of them: these edits change nothing.
    eve.data(edits, ids.clone()).await;
    assert!(acts(&database).await.is_empty());
    let others = edits.replace("Tidy", "Tidier");
    for _ in 0..2 {
        eve.data(&others, ids.clone()).await;
    }
    let delete =
        "mutation($id: ID!) { deleteComment(input: { id: $id, reason: \"spam\" }) { id } }";
    eve.data(delete, json!({ "id": comment })).await;
    // The service deletes the other comment, which is no act of hers.
    let other = ann.create_comment(&post, "Other").await;
    eve.data(DELETE_POST, json!({ "id": post })).await;
    eventually("the post's comments are gone", || async {
        let comments = database.collection::<Document>("comments");
        let other = doc! { "_id": ObjectId::parse_str(&other).expect("an id") };
        let left = comments.count_documents(other).await.expect("counted");
        (left == 0).then_some(()).ok_or(left.to_string())
    })
    .await;
    let line = |act: &str, reason: &str| (act.to_owned(), "ann".to_owned(), reason.to_owned());
    let expected = [
        line("DELETE", "spam"),
        line("DELETE_POST", "spam"),
        line("EDIT", ""),
        line("EDIT_POST", "rude"),
    ];
    assert_eq!(acts(&database).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_killed_inside_an_act_leaves_neither_the_change_nor_a_line() {
    let set = ReplicaSet::start(Options::default()).await;
    let set = set.expect("a server");
    // What a killed service has begun is over after this time; a minute by default.
    let soon = doc! { "setParameter": 1, "transactionLifetimeLimitSeconds": 2 };
    set.admin_command(0, soon).await.expect("set");
    let mut signed = Signed::start_on(set.uri_for("killed"), ("DEVELOPMENT", "false")).await;
    let database = signed.system.database().await;
    let (ann, eve) = (
        signed.person("ann", "Ann", ""),
        signed.person("eve", "Eve", "moderate"),
    );
    let post = ann.create_post("Ann's").await;
    let id = json!({ "id": post });
    let stall = doc! {
        "blockConnection": true, "blockTimeMS": 5_000,
        "namespace": format!("{}.moderationActs", database.name()),
    };
    // Before the request: it might be done by the time a fail point is there.
    let stalled = arm(&set, "posts requests", &["insert"], stall, 1).await;
    let kill = async {
        stalled.has_struck().await;
        signed.system.kill(Service::Posts).await;
    };
    let (refused, ()) = tokio::join!(eve.ask(DELETE_POST, id.clone()), kill);
    assert!(!refused.codes().is_empty(), "{}", refused.body);
    let posts = database.collection::<Document>("posts");
    let of_it = doc! { "_id": ObjectId::parse_str(&post).expect("an id") };
    let left = posts.count_documents(of_it.clone()).await;
    assert_eq!(left.expect("counted"), 1);
    assert!(acts(&database).await.is_empty());

    signed.run_again(Service::Posts).await;
    eventually("the post is deleted", || async {
        let deleted = eve.ask(DELETE_POST, id.clone()).await;
        let is_deleted = deleted.body["errors"].is_null();
        is_deleted.then_some(()).ok_or(deleted.body.to_string())
    })
    .await;
    let left = posts.count_documents(of_it).await;
    assert_eq!(left.expect("counted"), 0);
    assert_eq!(acts(&database).await.len(), 1);
}
