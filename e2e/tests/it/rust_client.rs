//! `rejoinder-client` over each of its transports, while the gateway and comments are killed: nothing lost, nothing
//! doubled, nothing out of order.

use std::sync::Arc;
use std::time::Duration;

use e2e::{Graphql, Service, System};
use futures_util::TryStreamExt;
use rejoinder_client::{Client, FileStore, Item, Request, Subscription, Transport};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::PROGRAM;
use crate::writer::{at_least_written, texts, write_comments};

const COMMENTS: usize = 200;
const TRANSPORTS: [Transport; 3] = [
    Transport::WebSocket,
    Transport::ServerSentEvents,
    Transport::Multipart,
];
/// Generous, because only a failing test uses it up.
const TIME_LIMIT: Duration = Duration::from_secs(60);
const CHANGES: &str = "subscription ($postId: ID!) {
    commentChanges(postId: $postId) { ... on CommentAdded { comment { text } } }
}";

#[tokio::test(flavor = "multi_thread")]
async fn each_transport_goes_through_kills_of_the_gateway_and_of_comments() {
    let mut system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql().clone(), system.database().await);
    let post = graphql.create_post("Killed").await;
    let mut readers = Vec::new();
    for transport in TRANSPORTS {
        let mut subscription = request(&graphql, &post, transport).start();
        stands(&mut subscription).await;
        readers.push((transport, tokio::spawn(read(subscription, COMMENTS))));
    }
    let writer = write_comments(&graphql, &post, COMMENTS);

    for (written, service) in [
        (COMMENTS / 5, Service::Comments),
        (COMMENTS * 2 / 5, Service::Gateway),
        (COMMENTS * 3 / 5, Service::Comments),
        (COMMENTS * 4 / 5, Service::Gateway),
    ] {
        at_least_written(&database, written).await;
        system.kill(service).await;
        system.run(service).await;
    }

    writer.await.expect("all comments are written");
    for (transport, reader) in readers {
        let received = reader.await.expect("no panic");
        assert_eq!(received, texts(COMMENTS), "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_keeps_its_cursor_in_a_file_goes_on_after_a_restart() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Followed").await;
    let folder = tempfile::tempdir().expect("a folder");
    let open = || {
        let store = FileStore::open(folder.path().join("cursors")).expect("a store");
        request(graphql, &post, Transport::WebSocket).store(Arc::new(store))
    };
    let mut subscription = open().start();
    stands(&mut subscription).await;
    graphql.create_comment(&post, "comment 0").await;
    assert_eq!(next_event(&mut subscription).await, "comment 0");
    subscription.close().await;

    for text in ["comment 1", "comment 2"] {
        graphql.create_comment(&post, text).await;
    }
    let received = read(open().start(), 2).await;
    assert_eq!(received, ["comment 1", "comment 2"]);
}

fn request(graphql: &Graphql, post: &str, transport: Transport) -> Request {
    let client = Client::new(graphql.url()).expect("a URL");
    client
        .transport(transport)
        .pauses(Duration::from_millis(20), Duration::from_millis(200))
        // Only what the server says.
        .stands_after(TIME_LIMIT)
        .subscribe(CHANGES)
        .variables(json!({ "postId": post }))
}

/// Waits until the data has to be read for the first time: from now on, each comment arrives.
async fn stands(subscription: &mut Subscription) {
    while !matches!(next(subscription).await, Item::Gap(gap) if gap.is_first) {}
}

/// The texts of so many comments; `gap` where some may be missing.
async fn read(mut subscription: Subscription, count: usize) -> Vec<String> {
    let mut received = Vec::new();
    while received.len() < count {
        received.push(next_event(&mut subscription).await);
    }
    received
}

async fn next_event(subscription: &mut Subscription) -> String {
    loop {
        match next(subscription).await {
            Item::Event(event) => {
                let data: Value = event.data().expect("JSON");
                let text = &data["commentChanges"]["comment"]["text"];
                return text.as_str().expect("a text").to_owned();
            }
            Item::Gap(_) => return "gap".to_owned(),
            _ => {}
        }
    }
}

async fn next(subscription: &mut Subscription) -> Item {
    let next = timeout(TIME_LIMIT, subscription.try_next()).await;
    let next = next.expect("an item in time").expect("no failure");
    next.expect("no end")
}
