//! Which comments are held, who knows of them, and what a retried request finds.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use embedded_mongo::{Options, ReplicaSet};
use mongodb::Client;
use mongodb::options::{ReadConcern, WriteConcern};
use serde_json::{Value, json};
use subgraph::testing::Signed;

use crate::moderators::*;

/// MongoDB's code for a document that another transaction has written.
const WRITE_CONFLICT: i32 = 112;

#[tokio::test(flavor = "multi_thread")]
async fn first_comments_and_those_of_guests_are_held() {
    let comments = start(&["--hold-comments=first"]).await;
    let post = comments.post().await;
    let (ann, eve, guest) = (ann(&comments), eve(&comments), comments.guest(NAME));
    // Another program's list with her id in it is no comment of hers.
    let odd = doc! { "postId": ObjectId::new(), "authorId": ["ann"], "text": "odd" };
    comments
        .collection("comments")
        .insert_one(odd)
        .await
        .expect("inserted");
    let first = write(&ann, &post, "First").await;
    assert_eq!(first["status"], "HELD");
    assert_eq!(write(&ann, &post, "Second").await["status"], "HELD");
    assert_eq!(write(&guest, &post, "Guest").await["status"], "HELD");
    assert_eq!(write(&eve, &post, "Moderator").await["status"], "VISIBLE");
    eve.data(RESTORE, json!({ "id": first["id"] })).await;
    assert_eq!(write(&ann, &post, "Third").await["status"], "VISIBLE");
    assert_eq!(write(&bob(&comments), &post, "Bob").await["status"], "HELD");
    assert_eq!(write(&guest, &post, "Guest").await["status"], "HELD");
    assert_eq!(
        texts(&comments, &post).await,
        ["Third", "Moderator", "First"]
    );
    assert_eq!(queue(&eve, "OPEN").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_comment_is_its_authors_to_edit_and_to_delete() {
    let comments = start(&["--hold-comments=always", "--anonymous-writes=change"]).await;
    let post = comments.post().await;
    let (ann, bob, eve, guest) = (
        ann(&comments),
        bob(&comments),
        eve(&comments),
        comments.guest(NAME),
    );
    let id = written(&ann, &post, "Held").await;
    let of_guest = written(&guest, &post, "Guest's").await;
    let edit = |id: &Value| json!({ "input": { "id": id["id"], "text": "Edited" } });
    for (viewer, id) in [
        (&bob, &id),
        (&guest, &id),
        (&guest, &of_guest),
        (&bob, &of_guest),
    ] {
        assert_eq!(viewer.error_code(EDIT, edit(id)).await, "NOT_FOUND");
        assert_eq!(viewer.error_code(DELETE, id.clone()).await, "NOT_FOUND");
        assert_eq!(viewer.data(READ, id.clone()).await["comment"], Value::Null);
    }
    let edited = ann.data(EDIT, edit(&id)).await;
    let expected = json!({ "id": id["id"], "text": "Edited", "status": "HELD", "edited": true });
    assert_eq!(edited["updateComment"]["comment"], expected);
    let stale = json!({ "input": {
        "id": id["id"], "text": "Late", "ifUpdatedAt": "2001-01-01T00:00:00Z",
    } });
    assert_eq!(ann.error_code(EDIT, stale).await, "CONFLICT");
    assert_eq!(queue(&eve, "OPEN").await[1]["comment"]["text"], "Edited");
    eve.data(RESTORE, id.clone()).await;
    assert_eq!(texts(&comments, &post).await, ["Edited"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_done_is_said_of_a_comment_wherever_it_is() {
    let comments = start(&["--hold-comments=always", "--anonymous-writes=change"]).await;
    let post = comments.post().await;
    let (ann, eve, guest) = (ann(&comments), eve(&comments), comments.guest(NAME));
    let create = "mutation ($input: CreateCommentInput!) { createComment(input: $input) {
        comment { id status viewerCanEdit viewerCanDelete }
    } }";
    let input = json!({ "input": { "postId": post, "text": "Text", "idempotencyKey": "k" } });
    let says = async |by: &Signed<'_>| {
        let comment = by.data(create, input.clone()).await["createComment"]["comment"].take();
        let may = ["viewerCanEdit", "viewerCanDelete"].map(|field| comment[field] == true);
        (
            json!({ "id": comment["id"] }),
            comment["status"].clone(),
            may,
        )
    };
    let (id, status, may) = says(&ann).await;
    assert_eq!((status, may), (json!("HELD"), [true, true]));
    eve.data(HIDE, id.clone()).await;
    let (_, status, may) = says(&ann).await;
    assert_eq!((status, may), (json!("HIDDEN"), [false, true]));
    // As the queue says to moderators.
    let queue = "{ moderationQueue(list: HIDDEN) { edges { node {
        comment { viewerCanEdit viewerCanDelete }
    } } } }";
    let queue = eve.data(queue, json!({})).await;
    let hidden = &queue["moderationQueue"]["edges"][0]["node"]["comment"];
    assert_eq!(
        *hidden,
        json!({ "viewerCanEdit": false, "viewerCanDelete": true })
    );
    let edit = json!({ "input": { "id": id["id"], "text": "Other" } });
    assert_eq!(eve.error_code(EDIT, edit).await, "FORBIDDEN");
    // While a guest's is held it is nobody's.
    let (id, status, may) = says(&guest).await;
    assert_eq!((status, may), (json!("HELD"), [false, false]));
    eve.data(RESTORE, id).await;
    let (_, status, may) = says(&guest).await;
    assert_eq!((status, may), (json!("VISIBLE"), [true, true]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_finds_its_comment_wherever_it_is() {
    for hold in ["--hold-comments=never", "--hold-comments=always"] {
        let comments = start(&[hold]).await;
        let post = comments.post().await;
        let (ann, eve) = (ann(&comments), eve(&comments));
        let input = |text: &str| json!({ "input": { "postId": post, "text": text, "idempotencyKey": "k" } });
        let create = async |text: &str| ann.data(CREATE, input(text)).await["createComment"].take();
        let first = create("Once").await;
        let id = json!({ "id": first["comment"]["id"] });
        let mut statuses = vec![first["comment"]["status"].clone()];
        for act in [HIDE, RESTORE, HIDE] {
            eve.data(act, id.clone()).await;
            let again = create("Once").await;
            assert_eq!(again["comment"]["id"], id["id"]);
            statuses.push(again["comment"]["status"].clone());
            let conflict = ann.error_code(CREATE, input("Other")).await;
            assert_eq!(conflict, "CONFLICT");
            let (visible, kept) = places(&comments, &id["id"]).await;
            assert_eq!(visible + kept, 1);
        }
        assert_eq!(statuses[1..], ["HIDDEN", "VISIBLE", "HIDDEN"]);
        // Deleted: the key is free.
        ann.data(DELETE, id.clone()).await;
        assert_eq!(create("Once").await["comment"]["id"], id["id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_of_two_instances_while_a_moderator_hides_keep_one_comment() {
    let one = start(&[]).await;
    let post = one.post().await;
    let other = second(&one, &[]).await;
    let (anns, eve) = ([ann(&one), ann(&other)], eve(&one));
    for number in 0..15 {
        let key = format!("k{number}");
        let input = json!({ "input": { "postId": post, "text": key, "idempotencyKey": key } });
        let id = anns[0].data(CREATE, input.clone()).await["createComment"]["comment"]["id"].take();
        let tries = (0..6).map(|number| anns[number % 2].data(CREATE, input.clone()));
        let moves = async {
            for act in [HIDE, RESTORE, HIDE] {
                eve.data(act, json!({ "id": id })).await;
            }
        };
        let (answers, ()) = tokio::join!(futures_util::future::join_all(tries), moves);
        for answer in answers {
            assert_eq!(answer["createComment"]["comment"]["id"], id);
        }
        assert_eq!(places(&one, &id).await, (0, 1));
    }
    other.stop().await.expect("a clean end");
}

/// As a service leaves it that is killed between its two writes: the retry writes it, held if it would be.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_finishes_a_held_comment_that_was_begun() {
    let comments = start(&["--hold-comments=always"]).await;
    let post = comments.post().await;
    let id = ObjectId::new();
    let key = doc! { "owner": "ann", "key": "k" };
    let begun = doc! { "_id": key, "commentId": id, "at": bson::DateTime::now() };
    let keys = comments.collection("commentKeys");
    keys.insert_one(begun).await.expect("inserted");
    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k" } });
    let ann = ann(&comments);
    let tries = (0..4).map(|_| ann.data(CREATE, input.clone()));
    for answer in futures_util::future::join_all(tries).await {
        let comment = &answer["createComment"]["comment"];
        assert_eq!(comment["id"], id.to_hex());
        assert_eq!(comment["status"], "HELD");
    }
    assert_eq!(places(&comments, &json!(id.to_hex())).await, (0, 1));
}

/// What the transactions of keys and of moves rely on: a document that was inserted and deleted after a transaction's
/// snapshot is in the way of the transaction's insert.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_refuses_an_insert_over_what_came_and_went_since_the_snapshot() {
    let database = embedded_mongo::test_database().await;
    let stored = database.database().collection::<Document>("comments");
    stored
        .insert_one(doc! { "other": 1 })
        .await
        .expect("inserted");
    let id = doc! { "_id": ObjectId::new() };
    let mut session = database.client().start_session().await.expect("a session");
    session
        .start_transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority())
        .await
        .expect("started");
    let seen = stored.find_one(id.clone()).session(&mut session).await;
    assert_eq!(seen.expect("read"), None);
    stored.insert_one(&id).await.expect("inserted");
    stored.delete_one(id.clone()).await.expect("deleted");
    let refused = stored.insert_one(&id).session(&mut session).await;
    let refused = refused.expect_err("it was there");
    assert!(
        refused.contains_label(mongodb::error::TRANSIENT_TRANSACTION_ERROR),
        "{refused}"
    );
}

/// Another program holds the entry for a moment: the act is made when it is free.
#[tokio::test(flavor = "multi_thread")]
async fn an_act_waits_for_a_transaction_that_is_in_its_way() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let id = written(&ann(&comments), &post, "Text").await;
    let of_id =
        doc! { "_id": ObjectId::parse_str(id["id"].as_str().expect("an id")).expect("an id") };
    let stored = comments.collection("comments");
    let client = comments.database.client();
    let mut session = client.start_session().await.expect("a session");
    session.start_transaction().await.expect("started");
    let set = doc! { "$set": { "likes": 1 } };
    let update = stored.update_one(of_id.clone(), set);
    update.session(&mut session).await.expect("updated");
    let eve = eve(&comments);
    let hide = eve.data(HIDE, id.clone());
    let profile = comments.profile().await;
    let release = async {
        let refused = doc! { "appName": "comments requests", "errCode": WRITE_CONFLICT };
        while profile
            .count_documents(refused.clone())
            .await
            .expect("counted")
            == 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        session.commit_transaction().await.expect("committed");
    };
    let (hidden, ()) = tokio::join!(hide, release);
    assert_eq!(hidden["hideComment"]["comment"]["status"], "HIDDEN");
    assert_eq!(act_names(&comments).await, ["HIDE"]);
    let entries = comments.collection("moderatedComments");
    let kept = entries
        .find_one(doc! { "comment.likes": 1 })
        .await
        .expect("found");
    assert!(kept.is_some(), "the other program's write is not lost");
}

/// The request that wrote the key stands still before its insert, until a retry has written the comment and a
/// moderator has hidden it: what it inserts then must not stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_request_that_was_overtaken_takes_its_copy_back() {
    let set = ReplicaSet::start(Options::default()).await;
    let set = set.expect("a server");
    let uri = set.uri_for("overtaken");
    let (one, other) = (second_at(&uri, &[]).await, second_at(&uri, &[]).await);
    let client = Client::with_uri_str(&uri).await.expect("a client");
    let database = client.database("overtaken");
    let post = ObjectId::new();
    let posts = database.collection::<Document>("posts");
    posts
        .insert_one(doc! { "_id": post })
        .await
        .expect("a post");
    // The stall counts for the insert's time limit, where there is one.
    let no_limits = doc! { "configureFailPoint": "maxTimeNeverTimeOut", "mode": "alwaysOn" };
    set.admin_command(0, no_limits).await.expect("a fail point");
    let stall = doc! {
        "namespace": "overtaken.comments", "blockConnection": true, "blockTimeMS": 5_000,
    };
    let stalled = set.fail_commands("comments requests", &["findAndModify"], stall, 1);
    stalled.await.expect("a fail point");
    let input = json!({ "input": {
        "postId": post.to_hex(), "text": "Once", "idempotencyKey": "k",
    } });
    let (first, again, eve) = (ann(&one), ann(&other), eve(&other));
    let overtake = async {
        let keys = database.collection::<Document>("commentKeys");
        while keys.count_documents(doc! {}).await.expect("counted") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let written = again.data(CREATE, input.clone()).await;
        let id = written["createComment"]["comment"]["id"].clone();
        eve.data(HIDE, json!({ "id": id })).await;
        let places = places_in(&database, &id).await;
        assert_eq!(places, (0, 1), "the first one still waits");
        id
    };
    let (first, id) = tokio::join!(first.data(CREATE, input.clone()), overtake);
    let first = &first["createComment"]["comment"];
    assert_eq!((&first["id"], &first["status"]), (&id, &json!("HIDDEN")));
    assert_eq!(places_in(&database, &id).await, (0, 1));
    one.stop().await.expect("a clean end");
    other.stop().await.expect("a clean end");
}
