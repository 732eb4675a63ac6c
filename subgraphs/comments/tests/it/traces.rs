//! Traces: the request and its commands, and the way from a mutation to its deliveries.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, doc};
use serde_json::{Value, json};
use subgraph::testing::Socket;
use traces::testing::{Received, Receiver};

use crate::service::{CREATE, Comments};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const ADDED: &str = "subscription ($post: ID!) { commentAdded(postId: $post) { text } }";
const CHANGES: &str =
    "subscription ($post: ID!, $after: String) { commentChanges(postId: $post, after: $after) {
    ... on CommentAdded { comment { text } } ... on CommentEdited { comment { text } }
} }";

async fn start(receiver: &Receiver) -> Comments {
    let [endpoint, delay] = receiver.flags();
    // Tests begin no traces but those that they name.
    let flags = [
        &*endpoint,
        &*delay,
        "--otel-traces-sampler=parentbased_always_off",
    ];
    Comments::start_with(&flags).await
}

async fn ask(comments: &Comments, query: &str, variables: Value, parent: &str) -> Value {
    let body = json!({ "query": query, "variables": variables }).to_string();
    let request = comments.http().post(comments.url("/graphql"));
    let request = request.header("content-type", "application/json");
    let answer = request
        .header("traceparent", parent)
        .body(body)
        .send()
        .await;
    let mut answer: Value = answer.expect("an answer").json().await.expect("JSON");
    assert!(answer.get("errors").is_none(), "{answer}");
    answer["data"].take()
}

fn delivered(spans: &[Received]) -> usize {
    let is_delivery = |it: &&Received| it.span.name.starts_with("deliver");
    spans.iter().filter(is_delivery).count()
}

#[tokio::test]
async fn one_trace_goes_from_the_mutation_to_every_delivery() {
    let receiver = Receiver::start(&[]).await;
    let comments = start(&receiver).await;
    let post = comments.post().await;
    let since = json!({ "post": post, "after": comments.cursor(&post).await });
    let mut first = comments.subscribe(CHANGES, since.clone()).await;
    let mut second = comments.subscribe(CHANGES, since).await;
    let unrecorded = json!({ "post": post, "text": "unrecorded" });
    ask(&comments, CREATE, unrecorded, UNSAMPLED).await;
    for socket in [&mut first, &mut second] {
        socket.next().await;
    }
    let written = json!({ "post": post, "text": "secret-text" });
    let created = ask(&comments, CREATE, written, SAMPLED).await;
    let id = created["createComment"]["comment"]["id"].clone();
    for socket in [&mut first, &mut second] {
        let event = socket.next().await.to_string();
        assert!(
            event.contains("secret-text") && !event.contains(TRACE),
            "{event}"
        );
    }

    let request = receiver.named("POST /graphql").await;
    assert_eq!(
        (request.trace_id().as_str(), request.parent().as_str()),
        (TRACE, "00f067aa0ba902b7")
    );
    assert_eq!(
        request.of_resource("service.name").as_deref(),
        Some("comments")
    );
    let execute = receiver.named("execute").await;
    assert_eq!(execute.parent(), request.id());
    assert_eq!(
        execute.attribute("graphql.operation.type").as_deref(),
        Some("mutation")
    );
    let insert = receiver.named("insert comments").await;
    assert_eq!(insert.parent(), execute.id());
    for (name, value) in [
        ("db.system.name", "mongodb"),
        ("db.operation.name", "insert"),
        ("db.collection.name", "comments"),
    ] {
        assert_eq!(insert.attribute(name).as_deref(), Some(value));
    }
    let both = |_: &Received| delivered(&receiver.spans()) == 2;
    receiver.span("two deliveries", both).await;
    let spans = receiver.spans();
    for delivery in spans
        .iter()
        .filter(|it| it.span.name == "deliver commentChanges")
    {
        assert_eq!(
            (delivery.trace_id(), delivery.parent()),
            (TRACE.to_owned(), execute.id())
        );
        assert_eq!(delivery.span.links[0].span_id, execute.span.span_id);
        assert_eq!(
            delivery.attribute("rejoinder.comment.id"),
            id.as_str().map(str::to_owned)
        );
    }
    assert_eq!(
        delivered(&spans),
        2,
        "only what was written in a recorded trace"
    );
    assert!(!format!("{spans:?}").contains("secret-text"));

    // An edit that is not recorded has no part in the trace of the mutation before it; one that is, has its own.
    let edit = "mutation ($id: ID!, $text: String!) {
        updateComment(input: { id: $id, text: $text }) { comment { text } }
    }";
    ask(
        &comments,
        edit,
        json!({ "id": id, "text": "unrecorded" }),
        UNSAMPLED,
    )
    .await;
    for socket in [&mut first, &mut second] {
        socket.next().await;
    }
    let other = SAMPLED.replace(TRACE, "11111111111111111111111111111111");
    ask(
        &comments,
        edit,
        json!({ "id": id, "text": "recorded" }),
        &other,
    )
    .await;
    for socket in [&mut first, &mut second] {
        socket.next().await;
    }
    let is_other = |it: &Received| {
        it.trace_id().starts_with("1111") && it.span.name == "deliver commentChanges"
    };
    receiver.span("the delivery of the edit", is_other).await;
    let all = |_: &Received| delivered(&receiver.spans()) == 4;
    receiver.span("four deliveries in all", all).await;
}

/// Writes comments until the subscriber sees one, and reads on to the last of them.
async fn until_it_stands(comments: &Comments, post: &str, socket: &mut Socket) {
    let mut written = 0;
    let mut seen = loop {
        written += 1;
        comments.comment(post, &format!("probe {written}")).await;
        let next = socket.next_payload("1");
        if let Ok(next) = tokio::time::timeout(Duration::from_millis(50), next).await {
            break next;
        }
    };
    while seen["data"]["commentAdded"]["text"] != format!("probe {written}") {
        seen = socket.next_payload("1").await;
    }
}

#[tokio::test]
async fn what_other_programs_write_in_the_field_does_no_harm() {
    let receiver = Receiver::start(&[]).await;
    let comments = start(&receiver).await;
    let post = comments.post().await;
    let mut socket = comments.subscribe(ADDED, json!({ "post": post })).await;
    until_it_stands(&comments, &post, &mut socket).await;
    let odd: [Bson; 6] = [
        1.into(),
        doc! { "$gt": 1 }.into(),
        "00-<script>".into(),
        UNSAMPLED.into(),
        "x".repeat(100_000).into(),
        Bson::Null,
    ];
    for trace in odd {
        let comment = doc! {
            "_id": ObjectId::new(), "postId": ObjectId::parse_str(&post).expect("an id"), "text": "odd",
            "author": "A", "createdAt": bson::DateTime::now(), "updatedAt": bson::DateTime::now(), "edited": false,
            "rejoinderTrace": trace,
        };
        comments
            .collection("comments")
            .insert_one(comment)
            .await
            .expect("inserted");
        let event = socket.next().await;
        assert_eq!(
            event["payload"]["data"]["commentAdded"]["text"], "odd",
            "{event}"
        );
    }
    let texts = comments.texts(&post).await;
    assert_eq!(texts.iter().filter(|text| *text == "odd").count(), 6);
    // A valid one is a link, whoever wrote it. It comes after the others.
    let comment = doc! {
        "_id": ObjectId::new(), "postId": ObjectId::parse_str(&post).expect("an id"), "text": "linked",
        "author": "A", "createdAt": bson::DateTime::now(), "updatedAt": bson::DateTime::now(), "edited": false,
        "rejoinderTrace": SAMPLED,
    };
    comments
        .collection("comments")
        .insert_one(comment)
        .await
        .expect("inserted");
    let delivery = receiver
        .span("a delivery", |it| it.trace_id() == TRACE)
        .await;
    assert_eq!(delivery.span.name, "deliver commentAdded");
    assert_eq!(delivered(&receiver.spans()), 1);
}

#[tokio::test]
async fn without_traces_nothing_is_written_beside_the_comment() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    ask(
        &comments,
        CREATE,
        json!({ "post": post, "text": "plain" }),
        SAMPLED,
    )
    .await;
    let stored = comments.collection("comments").find_one(doc! {}).await;
    let stored = stored.expect("found").expect("a comment");
    assert!(!stored.contains_key("rejoinderTrace"), "{stored}");
}
