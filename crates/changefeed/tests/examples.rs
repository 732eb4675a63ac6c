//! The examples, on a real MongoDB.

#[path = "../examples/live_feed.rs"]
#[expect(dead_code, reason = "its `main` and what prints for it")]
mod live_feed;
#[path = "../examples/tally.rs"]
#[expect(dead_code, reason = "its `main`")]
mod tally;

use bson::{Document, doc};
use embedded_mongo::test_database;
use futures_util::StreamExt;
use mongodb::Client;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tally_counts_each_vote_once_however_often_it_starts() {
    let test = test_database().await;
    for round in 1..=2 {
        let stream = Client::with_uri_str(test.uri()).await.expect("a client");
        let tallies = tally::tally(&test.database(), stream)
            .await
            .expect("tallies");
        let expected = [("dinner", round), ("lunch", 2 * round)];
        assert_eq!(
            tallies,
            expected.map(|(poll, votes)| (poll.to_owned(), votes))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_live_feed_resumes_after_a_cursor() {
    let test = test_database().await;
    let stream = Client::with_uri_str(test.uri()).await.expect("a client");
    let hub = live_feed::hub(&test.database(), stream)
        .await
        .expect("a hub");
    let messages = test.database().collection::<Document>("messages");
    let mut lobby = hub.subscribe("lobby", None).await.expect("subscribed");
    for (room, text) in [("lobby", "one"), ("attic", "elsewhere"), ("lobby", "two")] {
        let message = doc! { "room": room, "text": text };
        messages.insert_one(message).await.expect("stored");
    }
    let (cursor, first) = lobby.next().await.expect("open").expect("a change");
    assert_eq!(live_feed::line(&first), "new: one");
    let resumed = hub.subscribe("lobby", Some(cursor.as_str())).await;
    let second = resumed.expect("our own cursor").next().await;
    let (_, second) = second.expect("open").expect("a change");
    assert_eq!(live_feed::line(&second), "new: two");
}
