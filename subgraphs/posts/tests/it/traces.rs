//! Traces of the projection: the batches that apply comments to their posts.

use bson::oid::ObjectId;
use bson::{Bson, doc};
use serde_json::json;
use traces::testing::{Received, Receiver};

use crate::service::Posts;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-11111111111111111111111111111111-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_in_the_trace_of_the_mutation_and_linked_to_all() {
    let receiver = Receiver::start(&[]).await;
    let [endpoint, delay] = receiver.flags();
    let flags = [
        &*endpoint,
        &*delay,
        "--otel-traces-sampler=parentbased_always_off",
    ];
    let posts = Posts::start_on_with(embedded_mongo::test_database().await, &flags).await;
    let id = posts.create("T").await;
    let odd = [
        1.into(),
        "x".repeat(100_000).into(),
        "00-1-2-01".into(),
        Bson::Null,
    ];
    let traces = [SAMPLED.into(), OTHER.into()].into_iter().chain(odd);
    let comments = traces.map(|trace: Bson| {
        doc! {
            "_id": ObjectId::new(), "postId": ObjectId::parse_str(&id).expect("an id"), "text": "secret-text",
            "author": "A", "createdAt": bson::DateTime::now(), "rejoinderTrace": trace,
        }
    });
    // In one transaction of the database's, so that they are likely to be one batch; several are as good.
    let inserted = posts.collection("comments").insert_many(comments).await;
    inserted.expect("inserted");
    let count = "query ($id: ID!) { post(id: $id) { commentCount } }";
    posts
        .until(count, json!({ "id": id }), |data| {
            data["post"]["commentCount"] == 6
        })
        .await;

    let batch = receiver
        .span("the batch", |it| it.trace_id() == TRACE)
        .await;
    assert_eq!(batch.span.name, "apply comments");
    assert_eq!(batch.parent(), "00f067aa0ba902b7");
    assert!(batch.attribute("messaging.batch.message_count").is_some());
    assert!(batch.span.start_time_unix_nano <= batch.span.end_time_unix_nano);
    let is_linked =
        |id: u8| move |it: &Received| it.span.links.iter().any(|link| link.trace_id == [id; 16]);
    receiver
        .span("the one with the other trace", is_linked(0x11))
        .await;
    let spans = receiver.spans();
    let links = spans.iter().filter(|it| it.span.name == "apply comments");
    assert_eq!(links.map(|it| it.span.links.len()).sum::<usize>(), 2);
    assert!(!format!("{spans:?}").contains("secret-text"));
}
