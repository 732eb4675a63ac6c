//! Backups and their restores, as `docs/operating.md` tells: what was in the backup is served, comments go on, and no
//! cursor of what the restore took back goes on as if nothing had happened.

use std::path::Path;

use bson::{Document, doc};
use e2e::{ClientEvent, Graphql, Subscription, System, assert_projected, comments_of};
use embedded_mongo::{Options, ReplicaSet};
use futures_util::TryStreamExt;
use mongodb::{Client, Database};
use serde_json::{Value, json};

use crate::PROGRAM;

const REPLICA_SET: &str = "restored";
const CHANGES: &str = "subscription($post: ID!, $after: String) {
    commentChanges(postId: $post, after: $after) { ... on CommentAdded { cursor comment { text } } }
}";

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_files_serves_what_was_in_it() {
    let folders = tempfile::tempdir().expect("a folder");
    let (lived, copied) = (folders.path().join("lived"), folders.path().join("copied"));
    let server = open(&lived).await;
    let system = System::start_on(PROGRAM, server.uri_for("board")).await;
    let post = system.graphql().create_post("Kept").await;
    let before = written(system.graphql(), &post, "before").await;
    assert_projected(system.graphql(), &post).await;

    command(&server, doc! { "fsync": 1, "lock": true }).await;
    copy(&lived, &copied);
    command(&server, doc! { "fsyncUnlock": 1 }).await;
    let after = written(system.graphql(), &post, "after").await;
    drop(system);
    server.stop();

    let server = open(&copied).await;
    let database = database(&server).await;
    let keys = database.collection::<Document>("changefeed_keys");
    let restored = doc! { "$set": { "of": "restored" } };
    let marked = keys.update_one(doc! { "_id": "cursors" }, restored).await;
    assert_eq!(marked.expect("marked").modified_count, 1);
    let system = System::start_on(PROGRAM, server.uri_for("board")).await;
    let graphql = system.graphql();
    assert_eq!(texts(graphql, &post).await, ["before"]);
    assert_eq!(assert_projected(graphql, &post).await, 1);
    for cursor in [&before, &after] {
        assert_eq!(refusal(graphql, &post, cursor).await, "RESYNC_REQUIRED");
    }
    written(graphql, &post, "restored").await;
    assert_eq!(assert_projected(graphql, &post).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_in_a_new_replica_set_serve_what_was_in_them() {
    let old = ReplicaSet::start(Options::default())
        .await
        .expect("a server");
    let system = System::start_on(PROGRAM, old.uri_for("board")).await;
    let post = system.graphql().create_post("Kept").await;
    let before = written(system.graphql(), &post, "before").await;
    assert_projected(system.graphql(), &post).await;
    drop(system);

    let new = ReplicaSet::start(Options::default())
        .await
        .expect("a server");
    // All documents, as mongodump and mongorestore take them over.
    let (from, to) = (database(&old).await, database(&new).await);
    for name in from.list_collection_names().await.expect("names") {
        let all = from.collection::<Document>(&name).find(doc! {}).await;
        let all: Vec<Document> = all.expect("a list").try_collect().await.expect("documents");
        if !all.is_empty() {
            let inserted = to.collection::<Document>(&name).insert_many(all).await;
            inserted.expect("inserted");
        }
    }
    let system = System::start_on(PROGRAM, new.uri_for("board")).await;
    let graphql = system.graphql();
    assert_eq!(texts(graphql, &post).await, ["before"]);
    assert_eq!(refusal(graphql, &post, &before).await, "RESYNC_REQUIRED");
    written(graphql, &post, "restored").await;
    assert_eq!(assert_projected(graphql, &post).await, 2);
}

async fn open(folder: &Path) -> ReplicaSet {
    let opened = ReplicaSet::open(REPLICA_SET, folder).await;
    opened.expect("a server")
}

async fn command(server: &ReplicaSet, command: Document) {
    server.admin_command(0, command).await.expect("done");
}

async fn database(server: &ReplicaSet) -> Database {
    let client = Client::with_uri_str(server.uri()).await.expect("a client");
    client.database("board")
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a list") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

/// Writes a comment, and returns the cursor of its event.
async fn written(graphql: &Graphql, post: &str, words: &str) -> String {
    let list = "query($post: ID!) { post(id: $post) { commentChangesCursor } }";
    let list = graphql.data(list, json!({ "post": post })).await;
    graphql.create_comment(post, words).await;
    let variables = json!({ "post": post, "after": list["post"]["commentChangesCursor"] });
    let mut changes = Subscription::start(graphql, CHANGES, variables).await;
    loop {
        let event = changes.next_data().await["commentChanges"].take();
        // One that the list shows may come once more.
        if event["comment"]["text"] == words {
            return event["cursor"].as_str().expect("a cursor").to_owned();
        }
    }
}

/// The code with which a cursor is refused.
async fn refusal(graphql: &Graphql, post: &str, cursor: &str) -> String {
    let variables = json!({ "post": post, "after": cursor });
    let mut changes = Subscription::start(graphql, CHANGES, variables).await;
    let errors = match changes.next().await {
        ClientEvent::Next(result) => result["errors"].clone(),
        ClientEvent::Error(errors) => errors,
        other => panic!("not refused: {other:?}"),
    };
    let code = errors[0]["extensions"]["code"].as_str();
    code.unwrap_or_else(|| panic!("no code: {errors}"))
        .to_owned()
}

async fn texts(graphql: &Graphql, post: &str) -> Vec<String> {
    let comments = comments_of(graphql, post).await.expect("a list");
    let text = |comment: &Value| comment["text"].as_str().unwrap_or_default().to_owned();
    comments.iter().map(text).collect()
}
