//! Reads a subscription to lines that a test can compare.

use std::time::Duration;

use futures_util::StreamExt;
use rejoinder_client::{Client, Failure, Item, Subscription, Transport};
use serde_json::Value;
use tokio::time::timeout;

/// Generous, because only a failing test uses it up.
const TIME_LIMIT: Duration = Duration::from_secs(60);

pub const QUERY: &str = "subscription { ticks { number } }";
pub const TRANSPORTS: [Transport; 3] = [
    Transport::WebSocket,
    Transport::ServerSentEvents,
    Transport::Multipart,
];

/// Tries follow each other fast, and nothing is guessed.
pub fn client(url: &str) -> Client {
    Client::new(url)
        .expect("a URL")
        .pauses(Duration::from_millis(1), Duration::from_millis(8))
        .stands_after(Duration::from_secs(60))
}

pub async fn next(subscription: &mut Subscription) -> Option<Result<Item, Failure>> {
    let next = timeout(TIME_LIMIT, subscription.next()).await;
    next.expect("an item in time")
}

/// An item as a word: `7` is the event with the number 7.
pub fn word(item: &Item) -> String {
    match item {
        Item::Event(event) => {
            let data: Value = event.data().expect("JSON");
            data["ticks"]["number"].to_string()
        }
        Item::Stands { is_guess: true, .. } => "stands?".to_owned(),
        Item::Stands { from, .. } => format!("stands {}", from.as_deref().unwrap_or("-")),
        Item::Gap(gap) if gap.is_first => "gap!".to_owned(),
        Item::Gap(_) => "gap".to_owned(),
        Item::Reconnecting { .. } => "again".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The words up to and with `last`, or with the end: `end`, or `failed CODE`.
pub async fn words(subscription: &mut Subscription, last: &str) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        words.push(match next(subscription).await {
            Some(Ok(item)) => word(&item),
            Some(Err(failure)) => format!("failed {}", failure.code()),
            None => "end".to_owned(),
        });
        let word = words.last().expect("one");
        if word == last || word == "end" || word.starts_with("failed") {
            return words;
        }
    }
}

/// Waits for the next failed try.
pub async fn reconnecting(subscription: &mut Subscription) -> (Failure, Duration) {
    loop {
        match next(subscription).await {
            Some(Ok(Item::Reconnecting { failure, pause })) => return (failure, pause),
            Some(Ok(_)) => {}
            end => panic!("the end: {end:?}"),
        }
    }
}
