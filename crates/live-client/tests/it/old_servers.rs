//! Servers that do not know the contract.

use std::time::Duration;

use rejoinder_client::Transport;
use serde_json::{Value, json};

use crate::reader::{QUERY, TRANSPORTS, client, words};
use crate::server::{FakeServer, frame};

const QUERY_AFTER: &str =
    "subscription ($after: String) { ticks(after: $after) { number cursor } }";
const SOON: Duration = Duration::from_millis(20);

fn old(number: Value, cursor: &str) -> Value {
    json!({ "data": { "ticks": { "number": number, "cursor": cursor } } })
}

#[tokio::test]
async fn the_cursor_of_the_event_goes_into_the_variable() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|_, served| {
            let after = served.request["variables"]["after"].as_str();
            let after: u64 = after.map_or(0, |it| it[1..].parse().expect("a number"));
            let next = format!("c{}", after + 1);
            // The last one again, and two that have one cursor.
            served.next(old(json!(after), &format!("c{after}")));
            served.next(old(json!(after + 1), &next));
            served.next(old(json!(after as f64 + 1.5), &next));
            if after < 3 {
                served.cut();
            }
        })
        .await;
        let client = client(&server.url()).transport(transport);
        let request = client.subscribe(QUERY_AFTER);
        let mut read = request
            .variables(json!({ "after": "c0", "of": "mine" }))
            .start();
        let words = words(&mut read, "4.5").await;
        let events: Vec<_> = words
            .iter()
            .filter(|it| it.parse::<f64>().is_ok())
            .collect();
        let expected = ["1", "1.5", "2", "2.5", "3", "3.5", "4", "4.5"];
        assert_eq!(events, expected, "{transport:?}");
        assert!(!words.iter().any(|it| it.starts_with("gap")), "{words:?}");
        let variables = &server.asked(4).await.request["variables"];
        assert_eq!(*variables, json!({ "of": "mine", "after": "c3" }));
    }
}

#[tokio::test]
async fn it_is_guessed_to_stand_and_the_data_read_each_time() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(move |number, served| {
            // Over HTTP, the head of the answer says that it is open.
            if transport != Transport::WebSocket {
                served.raw("");
            }
            if number == 2 {
                served.next(json!({ "data": { "ticks": { "number": 2 } } }));
            }
        })
        .await;
        let client = client(&server.url())
            .transport(transport)
            .stands_after(SOON);
        let mut read = client.subscribe(QUERY).start();
        assert_eq!(words(&mut read, "gap!").await, ["stands?", "gap!"]);
        server.asked(1).await.cut();
        let words = words(&mut read, "2").await;
        assert_eq!(words[0], "again");
        assert!(words.contains(&"gap".to_owned()), "{words:?}");
    }
}

#[tokio::test]
async fn a_first_frame_that_is_late_has_the_data_read_again() {
    let server = FakeServer::start(|_, _| {}).await;
    let client = client(&server.url()).stands_after(SOON);
    let mut read = client.subscribe(QUERY).start();
    assert_eq!(words(&mut read, "gap!").await, ["stands?", "gap!"]);
    server.asked(1).await.next(frame("c3"));
    assert_eq!(words(&mut read, "gap").await, ["stands c3", "gap"]);
}

#[tokio::test]
async fn a_field_that_is_called_cursor_is_no_position_without_the_variable() {
    let server = FakeServer::start(|number, served| {
        for tick in [1, 2] {
            let mut event = old(json!(tick), "of-the-page");
            event["extensions"]["cursor"] = "mine".into();
            served.next(event);
        }
        match number {
            1 => served.cut(),
            _ => served.complete(),
        }
    })
    .await;
    let mut read = client(&server.url()).subscribe(QUERY).start();
    let expected = [
        "stands -", "gap!", "1", "2", "again", "stands -", "gap", "1", "2", "end",
    ];
    assert_eq!(words(&mut read, "").await, expected);
    assert_eq!(server.afters(), [None, None]);
}
