//! Databases of tests are apart, know transactions and change streams, and are dropped.

use embedded_mongo::test_database;
use mongodb::bson::{Document, doc};

#[tokio::test]
async fn databases_of_two_tests_are_apart_and_dropped_with_their_handles() {
    let (one, other) = (test_database().await, test_database().await);
    one.database()
        .collection("posts")
        .insert_one(doc! { "title": "one" })
        .await
        .expect("an insert");
    let count = other
        .database()
        .collection::<Document>("posts")
        .count_documents(doc! {})
        .await
        .expect("a count");
    assert_eq!(count, 0);

    let name = one.name().to_owned();
    drop(one);
    let names = other
        .client()
        .list_database_names()
        .await
        .expect("the names");
    assert!(!names.contains(&name), "{name} is still there");
}

#[tokio::test]
async fn transactions_and_change_streams_work() {
    let test = test_database().await;
    let posts = test.database().collection::<Document>("posts");
    test.database()
        .create_collection("posts")
        .await
        .expect("a collection");
    let mut stream = posts.watch().await.expect("a change stream");
    let mut session = test.client().start_session().await.expect("a session");
    session.start_transaction().await.expect("a transaction");
    posts
        .insert_one(doc! { "_id": 1 })
        .session(&mut session)
        .await
        .expect("an insert");
    session.commit_transaction().await.expect("a commit");
    let event = loop {
        if let Some(event) = stream.next_if_any().await.expect("an event") {
            break event;
        }
    };
    assert_eq!(event.document_key, Some(doc! { "_id": 1 }));
}
