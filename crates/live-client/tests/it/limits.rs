//! Memory, sizes, pauses, and what is closed.

use std::time::Duration;

use rejoinder_client::{Item, Transport};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::reader::{QUERY, TRANSPORTS, client, next, reconnecting, words};
use crate::server::{FakeServer, event, frame};

#[tokio::test]
async fn a_message_that_is_too_large_is_tried_again_and_then_ends_it() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|_, served| {
            served.next(frame("c0"));
            served.next(json!({ "data": { "ticks": "x".repeat(5_000) } }));
        })
        .await;
        let client = client(&server.url()).transport(transport);
        let mut read = client
            .clone()
            .message_bytes_max(4_000)
            .subscribe(QUERY)
            .start();
        let words = words(&mut read, "").await;
        assert_eq!(words.iter().filter(|it| *it == "again").count(), 2);
        assert_eq!(
            words.last().expect("one"),
            "failed CLIENT_MESSAGE_TOO_LARGE"
        );
        let mut read = client.message_bytes_max(6_000).subscribe(QUERY).start();
        let mut items = Vec::new();
        while !matches!(items.last(), Some(Item::Event(_))) {
            items.push(next(&mut read).await.expect("no end").expect("no failure"));
        }
    }
}

/// The application takes nothing: the server's writes stop, long before all is written.
#[tokio::test]
async fn no_more_is_read_than_the_application_takes() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 4_096;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    let mut read = client(&url)
        .transport(Transport::ServerSentEvents)
        .queue(8, 100_000)
        .subscribe(QUERY)
        .start();
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let _ = stream.read(&mut [0; 4096]).await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let filler = "x".repeat(PIECE);
    let mut stalled_at = None;
    for number in 0..PIECES {
        let event = format!(
            "event: next\ndata: {{\"data\":{{\"ticks\":{{\"number\":{number},\"x\":\"{filler}\"}}}}}}\n\n"
        );
        let mut rest = event.as_bytes();
        // Where the client reads, this takes microseconds.
        while let Ok(sent) = timeout(Duration::from_millis(500), stream.write(rest)).await {
            rest = &rest[sent.expect("an open socket")..];
            if rest.is_empty() {
                break;
            }
        }
        if !rest.is_empty() {
            stalled_at = Some(number);
            let rest = rest.to_owned();
            tokio::spawn(async move {
                stream.write_all(&rest).await.expect("sent");
                let end = b"event: complete\n\n";
                stream.write_all(end).await.expect("sent");
            });
            break;
        }
    }
    let written = stalled_at.expect("the writes stop");
    assert!(written < PIECES / 4, "{written} of {PIECES}");
    // All of it comes in the end.
    let words = words(&mut read, "").await;
    let events: Vec<_> = words
        .iter()
        .filter_map(|it| it.parse::<usize>().ok())
        .collect();
    assert_eq!(events, Vec::from_iter(0..=written));
}

#[tokio::test]
async fn a_stream_that_is_dropped_closes_its_connection() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|_, served| served.next(frame("c0"))).await;
        let client = client(&server.url()).transport(transport);
        let mut read = client.subscribe(QUERY).start();
        assert_eq!(words(&mut read, "gap!").await, ["stands c0", "gap!"]);
        drop(read);
        let served = server.asked(1).await;
        timeout(Duration::from_secs(60), served.is_over())
            .await
            .expect("the server knows");
    }
}

/// Also where the queue is full, and the task waits for the application.
#[tokio::test]
async fn a_stream_that_nobody_reads_closes_its_connection_too() {
    let server = FakeServer::start(|_, served| {
        served.next(frame("c0"));
        for number in 1..100 {
            served.next(event(number));
        }
    })
    .await;
    let client = client(&server.url()).queue(1, 10);
    let mut read = client.subscribe(QUERY).start();
    assert_eq!(words(&mut read, "2").await.len(), 4);
    drop(read);
    let served = server.asked(1).await;
    timeout(Duration::from_secs(60), served.is_over())
        .await
        .expect("the server knows");
}

#[tokio::test]
async fn a_server_that_accepts_sends_an_event_and_refuses_is_not_stormed() {
    let server = FakeServer::start(|number, served| {
        served.next(frame("c0"));
        served.next(event(number as u64));
        served.fail("OVERLOADED", json!({}));
    })
    .await;
    let client = client(&server.url()).pauses(Duration::from_millis(2), Duration::from_millis(64));
    let mut read = client.subscribe(QUERY).start();
    for base in [2, 4, 8, 16, 32, 64, 64] {
        let (_, pause) = reconnecting(&mut read).await;
        let base = Duration::from_millis(base);
        let range = base.mul_f64(0.74)..=base.mul_f64(1.26);
        assert!(range.contains(&pause), "{pause:?} for {base:?}");
    }
}
