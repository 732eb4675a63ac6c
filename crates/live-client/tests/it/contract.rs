//! What servers say by the contract, each line of its table of errors, over all transports.

use std::time::Duration;

use rejoinder_client::{Guarantee, Resync, Transport};
use serde_json::{Value, json};

use crate::reader::{QUERY, TRANSPORTS, client, next, reconnecting, words};
use crate::server::{FakeServer, best_effort, event, failed, frame, log};

#[tokio::test]
async fn cuts_lose_and_double_nothing() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(log(30, 7)).await;
        let mut read = client(&server.url())
            .transport(transport)
            .subscribe(QUERY)
            .start();
        let words = words(&mut read, "30").await;
        let events: Vec<_> = words
            .iter()
            .filter_map(|it| it.parse::<u64>().ok())
            .collect();
        assert_eq!(events, Vec::from_iter(1..=30), "{transport:?}");
        let gaps = words.iter().filter(|it| it.starts_with("gap")).count();
        assert_eq!((gaps, words[1].as_str()), (1, "gap!"), "{words:?}");
        assert_eq!(words.iter().filter(|it| *it == "again").count(), 4);
        let delivery = &server.asked(1).await.request["extensions"]["delivery"];
        assert_eq!(
            *delivery,
            json!({ "version": 1, "guarantee": "AT_LEAST_ONCE" })
        );
    }
}

#[tokio::test]
async fn a_given_cursor_is_begun_after_and_nothing_has_to_be_read() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(log(5, 9)).await;
        let client = client(&server.url()).transport(transport);
        let mut read = client.subscribe(QUERY).after("c4").start();
        assert_eq!(words(&mut read, "5").await, ["stands c4", "5"]);
    }
}

#[tokio::test]
async fn what_comes_again_is_told_once_and_other_frames_are_passed_over() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|_, served| {
            served.next(frame("c0"));
            served.next(frame("c0"));
            let status = json!({ "version": 1, "upstream": "INTERRUPTED" });
            served.next(json!({ "data": null, "extensions": { "delivery": status } }));
            for number in [1, 1, 2, 1, 3] {
                served.next(event(number));
            }
            served.next(frame("c0"));
            served.complete();
        })
        .await;
        let client = client(&server.url()).transport(transport);
        let mut read = client.subscribe(QUERY).start();
        let expected = ["stands c0", "gap!", "1", "2", "3", "end"];
        assert_eq!(words(&mut read, "").await, expected, "{transport:?}");
        assert!(next(&mut read).await.is_none(), "it stays ended");
    }
}

#[tokio::test]
async fn too_slow_token_ended_rate_limited_and_others_go_on_after_the_cursor_of_the_error() {
    const CODES: [&str; 4] = [
        "SUBSCRIPTION_LAGGED",
        "TOKEN_EXPIRED",
        "RATE_LIMITED",
        "SOME_OTHER",
    ];
    for transport in TRANSPORTS {
        let server = FakeServer::start(|number, served| {
            served.next(frame("c0"));
            match CODES.get(number - 1) {
                Some(code) => served.fail(code, json!({ "cursor": format!("e{number}") })),
                None => served.next(event(1)),
            }
        })
        .await;
        let client = client(&server.url()).transport(transport);
        let mut read = client.subscribe(QUERY).start();
        let words = words(&mut read, "1").await;
        assert_eq!(words.iter().filter(|it| it.starts_with("gap")).count(), 1);
        let sent = server.afters();
        let sent: Vec<_> = sent.iter().map(Option::as_deref).collect();
        let expected = [None, Some("e1"), Some("e2"), Some("e3"), Some("e4")];
        assert_eq!(sent, expected, "{transport:?}");
    }
}

#[tokio::test]
async fn an_error_without_a_cursor_is_after_the_last_one_and_without_any_there_is_a_gap() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|number, served| {
            let mut first = frame("");
            first["extensions"]["cursor"] = Value::Null;
            served.next(first);
            match number {
                1 => served.fail("SUBSCRIPTION_LAGGED", json!({})),
                2 => {
                    served.next(event(1));
                    served.fail("SUBSCRIPTION_LAGGED", json!({}));
                }
                _ => served.next(event(2)),
            }
        })
        .await;
        let client = client(&server.url()).transport(transport);
        let mut read = client.subscribe(QUERY).start();
        let expected = [
            "stands -",
            "gap!",
            "again",
            "stands -",
            "gap",
            "1",
            "again",
            "stands c1",
            "2",
        ];
        assert_eq!(words(&mut read, "2").await, expected, "{transport:?}");
    }
}

#[tokio::test]
async fn an_error_that_ends_is_no_event_wherever_its_cursor_is() {
    let server = FakeServer::start(|number, served| {
        served.next(frame("c0"));
        served.next(event(number as u64));
        if number == 1 {
            served.next(failed("SUBSCRIPTION_LAGGED", Some("c1")));
            served.complete();
        }
    })
    .await;
    let client = client(&server.url()).transport(Transport::ServerSentEvents);
    let mut read = client.subscribe(QUERY).start();
    let expected = ["stands c0", "gap!", "1", "again", "stands c1", "2"];
    assert_eq!(words(&mut read, "2").await, expected);
}

#[tokio::test]
async fn where_the_history_is_gone_the_cursor_is_forgotten_and_the_data_read_again() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|_, served| match served.after() {
            Some(_) => served.fail("RESYNC_REQUIRED", json!({ "cursor": "c3" })),
            None => {
                served.next(frame("c7"));
                served.next(event(8));
            }
        })
        .await;
        let client = client(&server.url()).transport(transport);
        let mut read = client.subscribe(QUERY).after("old").start();
        let expected = ["again", "stands c7", "gap!", "8"];
        assert_eq!(words(&mut read, "8").await, expected, "{transport:?}");
        let mut read = client
            .subscribe(QUERY)
            .after("old")
            .resync(Resync::End)
            .start();
        assert_eq!(words(&mut read, "").await, ["failed RESYNC_REQUIRED"]);
    }
}

#[tokio::test]
async fn a_cursor_of_something_else_is_forgotten_once() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|_, served| served.fail("BAD_USER_INPUT", json!({}))).await;
        let client = client(&server.url()).transport(transport);
        let mut read = client.subscribe(QUERY).after("foreign").start();
        assert_eq!(
            words(&mut read, "").await,
            ["again", "failed BAD_USER_INPUT"]
        );
        assert_eq!(server.afters(), [Some("foreign".to_owned()), None]);
        // Without a cursor, it is a defect at once.
        let mut read = client.subscribe(QUERY).start();
        assert_eq!(words(&mut read, "").await, ["failed BAD_USER_INPUT"]);
    }
}

#[tokio::test]
async fn missing_events_are_a_gap_and_it_goes_on() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|_, served| {
            served.next(frame("c0"));
            served.next(event(1));
            served.next(failed("SUBSCRIPTION_INTERRUPTED", None));
            served.next(event(5));
        })
        .await;
        let client = client(&server.url()).transport(transport);
        let mut read = client.subscribe(QUERY).start();
        let expected = ["stands c0", "gap!", "1", "gap", "5"];
        assert_eq!(words(&mut read, "5").await, expected, "{transport:?}");
        assert_eq!(server.afters().len(), 1);
    }
}

#[tokio::test]
async fn with_best_effort_there_is_a_gap_each_time_that_it_stands() {
    let server = FakeServer::start(|number, served| {
        served.next(best_effort());
        // A server that began elsewhere may use a cursor again.
        served.next(event(1));
        match number {
            3 => served.complete(),
            _ => served.cut(),
        }
    })
    .await;
    let request = client(&server.url()).subscribe(QUERY).after("c1");
    let mut read = request.guarantee(Guarantee::BestEffort).start();
    let words = words(&mut read, "").await;
    let told: Vec<_> = words.iter().filter(|it| *it != "again").collect();
    let expected = [
        "stands -", "gap!", "1", "stands -", "gap", "1", "stands -", "gap", "1", "end",
    ];
    assert_eq!(told, expected);
    let delivery = &server.asked(1).await.request["extensions"]["delivery"];
    assert_eq!(delivery["guarantee"], "BEST_EFFORT");
}

#[tokio::test]
async fn an_event_that_fails_is_asked_for_again_and_then_given_up_with_a_gap() {
    let server = FakeServer::start(|_, served| {
        match served.after() {
            None => {
                served.next(frame("c0"));
                served.next(event(1));
            }
            Some(_) => served.next(frame("c1")),
        }
        served.next(failed("SUBREQUEST_TIMEOUT", Some("c2")));
        if served.after().is_some() {
            served.next(event(3));
        }
    })
    .await;
    let mut read = client(&server.url()).subscribe(QUERY).start();
    let expected = [
        "stands c0",
        "gap!",
        "1",
        "again",
        "stands c1",
        "again",
        "stands c1",
        "gap",
        "3",
    ];
    assert_eq!(words(&mut read, "3").await, expected);
}

#[tokio::test]
async fn errors_that_no_try_cures_end_it() {
    for transport in TRANSPORTS {
        for code in ["FORBIDDEN", "MAX_DEPTH_EXCEEDED", "UNAUTHENTICATED"] {
            let server = FakeServer::start(move |_, served| served.fail(code, json!({}))).await;
            let client = client(&server.url()).transport(transport);
            let mut read = client.subscribe(QUERY).start();
            assert_eq!(words(&mut read, "").await, [format!("failed {code}")]);
            let request = client.subscribe(QUERY).is_final(|it| it.code() == "MINE");
            let mut read = request.start();
            assert_eq!(words(&mut read, "again").await, ["again"]);
        }
    }
}

#[tokio::test]
async fn what_a_server_asks_to_wait_is_waited_for() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|number, served| match number {
            1 => served.fail("RATE_LIMITED", json!({ "retryAfter": 0.2 })),
            _ => served.next(event(1)),
        })
        .await;
        let began = std::time::Instant::now();
        let mut read = client(&server.url())
            .transport(transport)
            .subscribe(QUERY)
            .start();
        let (_, pause) = reconnecting(&mut read).await;
        assert!(pause >= Duration::from_millis(200), "{pause:?}");
        server.asked(2).await;
        assert!(began.elapsed() >= pause);
    }
}

#[tokio::test]
async fn a_close_with_1013_is_waited_for_and_others_are_not() {
    let server =
        FakeServer::start(|number, served| served.close([1013, 1012, 4403][(number - 1).min(2)]))
            .await;
    let client = client(&server.url()).try_later_after(Duration::from_millis(100));
    let mut read = client.subscribe(QUERY).start();
    let (failure, pause) = reconnecting(&mut read).await;
    assert_eq!(failure.close_code(), Some(1013));
    assert!(pause >= Duration::from_millis(100), "{pause:?}");
    for code in [1012, 4403] {
        let (failure, pause) = reconnecting(&mut read).await;
        assert_eq!(failure.close_code(), Some(code));
        assert!(pause < Duration::from_millis(20), "{pause:?}");
    }
}
