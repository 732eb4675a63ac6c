//! A URI that prefers secondaries, one of which is behind: whatever decides is read at the primary.

use bson::oid::ObjectId;
use bson::{Document, doc};
use embedded_mongo::{Options, ReplicaSet};
use mongodb::Client;
use serde_json::{Value, json};

use subgraph::testing::Signed;

use crate::moderators::*;
use crate::newest_comments::document;
use crate::service::texts;

/// Marks a secondary, so that a URI can prefer it, and returns its place in the set.
async fn mark_a_secondary(set: &ReplicaSet) -> usize {
    let primary = set.primary().await.expect("a primary");
    let get = doc! { "replSetGetConfig": 1 };
    let answer = set.admin_command(primary, get).await;
    let mut answer = answer.expect("the configuration");
    let config = answer.get_document_mut("config").expect("a document");
    let version = config.get_i32("version").expect("a number");
    config.insert("version", version + 1);
    let members = config.get_array_mut("members").expect("members");
    let secondary = (primary + 1) % members.len();
    let marked = members[secondary].as_document_mut().expect("a member");
    marked.insert("tags", doc! { "slow": "yes" });
    let set_config = doc! { "replSetReconfig": config.clone() };
    set.admin_command(primary, set_config)
        .await
        .expect("marked");
    secondary
}

/// Lets a secondary fall behind, or catch up.
async fn apply(set: &ReplicaSet, secondary: usize, does: bool) {
    let mode = if does { "off" } else { "alwaysOn" };
    let stop = doc! { "configureFailPoint": "rsSyncApplyStop", "mode": mode };
    set.admin_command(secondary, stop)
        .await
        .expect("a fail point");
}

async fn list(by: &Signed<'_>, post: &str) -> Value {
    let query = "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
        comments(first: 3) { edges { node { text } } }
    } } }";
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    by.data(query, of).await["_entities"][0]["comments"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_decides_is_read_at_the_primary() {
    let set = ReplicaSet::start(Options::default().nodes(3)).await;
    let set = set.expect("three nodes");
    let secondary = mark_a_secondary(&set).await;
    let uri = set.uri_for("behind");
    let slow = format!("{uri}&readPreference=secondaryPreferred&readPreferenceTags=slow:yes");
    let comments = second_at(&slow, &["--hold-comments=first"]).await;
    comments.ready().await;
    apply(&set, secondary, false).await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let client = Client::with_uri_str(&uri).await.expect("a client");
    // Not `secondaryPreferred`: it may not know the secondary yet.
    let stale = slow.replace("secondaryPreferred", "secondary");
    let stale = Client::with_uri_str(stale).await.expect("a client");
    let posts = client.database("behind").collection::<Document>("posts");
    let id = ObjectId::new();
    posts.insert_one(doc! { "_id": id }).await.expect("a post");
    let post = id.to_hex();

    // A list has what is written elsewhere, though the stream, which is read at the secondary, has not.
    let comments_of = client.database("behind").collection::<Document>("comments");
    for text in ["A", "B", "C"] {
        let inserted = comments_of.insert_one(document(&post, text)).await;
        inserted.expect("inserted");
        assert_eq!(texts(&list(&ann, &post).await)[0], text);
    }
    comments_of.delete_many(doc! {}).await.expect("deleted");

    // The post is there for createComment.
    let first = write(&ann, &post, "First").await;
    let posts = stale.database("behind").collection::<Document>("posts");
    let seen = posts.count_documents(doc! {}).await.expect("counted");
    assert_eq!(seen, 0, "the secondary does not know the post yet");
    assert_eq!(first["status"], "HELD");
    eve.data(RESTORE, json!({ "id": first["id"] })).await;
    // It is known that she has a visible comment.
    let input = json!({ "input": { "postId": post, "text": "Second", "idempotencyKey": "k" } });
    let create = async || ann.data(CREATE, input.clone()).await["createComment"]["comment"].take();
    let second = create().await;
    assert_eq!(second["status"], "VISIBLE");
    // What came again is found where it is by now.
    eve.data(HIDE, json!({ "id": second["id"] })).await;
    let again = create().await;
    assert_eq!(
        (&again["id"], &again["status"]),
        (&second["id"], &json!("HIDDEN"))
    );
    assert_eq!(queue(&eve, "HIDDEN").await.len(), 1);
    let read = ann.data(READ, json!({ "id": first["id"] })).await;
    assert_ne!(read["comment"], Value::Null);
    apply(&set, secondary, true).await;
    comments.stop().await.expect("a clean end");
}
