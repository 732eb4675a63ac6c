//! People and what they do, for the tests of moderation.

use bson::oid::ObjectId;
use bson::{Document, doc};
use clap::Parser;
use embedded_mongo::TestDatabase;
use futures_util::TryStreamExt;
use mongodb::Database;
use serde_json::{Value, json};
use subgraph::testing::{SECRET, Signed, TestService};

use crate::service::Comments;

pub const NAME: &str = "comments";
pub const CREATE: &str = "mutation ($input: CreateCommentInput!) { createComment(input: $input) {
    comment { id text status authorId }
} }";
pub const EDIT: &str = "mutation ($input: UpdateCommentInput!) { updateComment(input: $input) {
    comment { id text status edited }
} }";
pub const DELETE: &str = "mutation ($id: ID!, $reason: String) {
    deleteComment(input: { id: $id, reason: $reason }) { id }
}";
pub const READ: &str = "query ($id: ID!) { comment(id: $id) { id status } }";
pub const HIDE: &str = "mutation ($id: ID!, $reason: String = \"spam\") {
    hideComment(input: { id: $id, reason: $reason }) { comment { id text status } operationTime }
}";
pub const RESTORE: &str = "mutation ($id: ID!, $reason: String) {
    restoreComment(input: { id: $id, reason: $reason }) { comment { id text status } operationTime }
}";
pub const REPORT: &str = "mutation ($id: ID!, $reason: String = \"rude\") {
    reportComment(input: { id: $id, reason: $reason }) { comment { id status } }
}";
pub const BLOCK: &str = "mutation ($id: ID!, $reason: String = \"spam\") {
    blockAuthor(input: { authorId: $id, reason: $reason }) { block { authorId since reason } }
}";
pub const UNBLOCK: &str =
    "mutation ($id: ID!) { unblockAuthor(input: { authorId: $id }) { authorId } }";
pub const QUEUE: &str = "query ($first: Int, $after: String, $list: ModerationList) {
    moderationQueue(first: $first, after: $after, list: $list) {
        edges { node {
            commentId status list reason moderator reportCount reportReasons authorIsBlocked
            comment { id text status post { id } }
        } }
        pageInfo { hasNextPage hasPreviousPage endCursor }
    }
}";

/// A subgraph that knows who asks, and where guests may write.
pub async fn start(flags: &[&str]) -> Comments {
    start_on(embedded_mongo::test_database().await, flags).await
}

pub async fn start_on(database: TestDatabase, flags: &[&str]) -> Comments {
    let secret = format!("--subgraph-secret={SECRET}");
    Comments::start_on_with(database, &with_identity(&secret, flags)).await
}

/// The settings with which a subgraph knows who asks.
fn with_identity<'a>(secret: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![secret];
    if !flags
        .iter()
        .any(|flag| flag.starts_with("--anonymous-writes"))
    {
        all.push("--anonymous-writes=create");
    }
    all.extend(flags);
    all
}

/// A second instance on the same database.
pub async fn second(of: &Comments, flags: &[&str]) -> TestService {
    second_at(of.database.uri(), flags).await
}

/// An instance that has its database from this URI.
pub async fn second_at(uri: &str, flags: &[&str]) -> TestService {
    let secret = format!("--subgraph-secret={SECRET}");
    let mut all = vec!["comments", "--development", "--mongo-uri", uri];
    all.extend(with_identity(&secret, flags));
    let config = comments::Config::parse_from(all);
    TestService::start(|listener, lifecycle| comments::run(config, listener, lifecycle)).await
}

pub fn ann(comments: &TestService) -> Signed<'_> {
    named(comments, "ann")
}

pub fn bob(comments: &TestService) -> Signed<'_> {
    named(comments, "bob")
}

/// A moderator.
pub fn eve(comments: &TestService) -> Signed<'_> {
    comments.person(
        NAME,
        &json!({ "sub": "eve", "name": "Eve", "scope": "moderate" }),
    )
}

pub fn named<'c>(comments: &'c TestService, id: &str) -> Signed<'c> {
    comments.person(NAME, &json!({ "sub": id, "name": id }))
}

/// Writes a comment and returns it.
pub async fn write(by: &Signed<'_>, post: &str, text: &str) -> Value {
    let input = json!({ "input": { "postId": post, "text": text } });
    by.data(CREATE, input).await["createComment"]["comment"].take()
}

/// Writes a comment and returns its id.
pub async fn written(by: &Signed<'_>, post: &str, text: &str) -> Value {
    json!({ "id": write(by, post, text).await["id"] })
}

/// The texts of a post's comments as a guest sees them, newest first.
pub async fn texts(comments: &Comments, post: &str) -> Vec<String> {
    let query = "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
        comments(first: 100) { edges { node { text } } }
    } } }";
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    let read = comments.guest(NAME).data(query, of).await;
    crate::service::texts(&read["_entities"][0]["comments"])
}

/// The entries of a moderators' list.
pub async fn queue(by: &Signed<'_>, list: &str) -> Vec<Value> {
    let read = by.data(QUEUE, json!({ "list": list })).await;
    let edges = read["moderationQueue"]["edges"].as_array().expect("edges");
    edges.iter().map(|edge| edge["node"].clone()).collect()
}

/// What moderators did, in order, without the times.
pub async fn acts(comments: &Comments) -> Vec<Document> {
    let acts = comments.collection("moderationActs");
    let found = acts.find(doc! {}).sort(doc! { "_id": 1 }).await;
    let mut acts: Vec<Document> = found.expect("found").try_collect().await.expect("read");
    for act in &mut acts {
        assert!(act.remove("_id").is_some());
        let at = act.remove("at").expect("a time");
        assert!(at.as_datetime().is_some(), "{at}");
    }
    acts
}

/// The names of these acts.
pub async fn act_names(comments: &Comments) -> Vec<String> {
    let acts = acts(comments).await;
    let names = acts.iter().map(|act| act.get_str("act").expect("a name"));
    names.map(str::to_owned).collect()
}

/// How many documents two collections have with this id: those of visible comments, and of those in moderation that
/// are whole.
pub async fn places(comments: &Comments, id: &Value) -> (u64, u64) {
    places_in(&comments.database.database(), id).await
}

/// The same in any database.
pub async fn places_in(database: &Database, id: &Value) -> (u64, u64) {
    let id = ObjectId::parse_str(id.as_str().expect("an id")).expect("an id");
    let visible = database.collection::<Document>("comments");
    let visible = visible.count_documents(doc! { "_id": id });
    let kept = database.collection::<Document>("moderatedComments");
    let kept = kept.count_documents(doc! { "_id": id, "comment": { "$exists": true } });
    (
        visible.await.expect("counted"),
        kept.await.expect("counted"),
    )
}
