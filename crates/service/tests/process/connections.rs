//! Connections that send nothing, and more of them than there is room for.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use axum::routing::get;
use service::{Health, Lifecycle, Metrics};
use tokio::net::TcpListener;

use crate::process::{Process, fetch, wait_for_count};
use crate::{Config, LIMIT, play};

#[test]
fn a_connection_that_sends_no_request_is_closed() {
    play(waiting);
    let mut process = Process::start(
        a_connection_that_sends_no_request_is_closed,
        &[("FIRST_REQUEST_TIMEOUT", "1s")],
    );
    let address = process.address();
    let silent = [
        "",
        "P",
        "GET / HTTP/1.1\r\nhost: a",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
    ]
    .map(|begin| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream.write_all(begin.as_bytes()).expect("sent");
        stream
    });
    for mut stream in silent {
        // Closed, with or without words.
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let closed = read
            .as_ref()
            .map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true);
        assert!(closed, "{read:?}");
    }
}

#[test]
fn silent_connections_leave_room_for_those_that_work() {
    play(waiting);
    let mut process = Process::start(
        silent_connections_leave_room_for_those_that_work,
        &[
            ("CONNECTIONS_MAX", "4"),
            ("CONNECTIONS_PER_ADDRESS_MAX", "4"),
        ],
    );
    let address = process.address();
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(address).expect("a connection"))
        .collect();
    assert_eq!(fetch(address, "/answer"), "an answer");
    drop(silent);

    let mut working = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let request = b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request).expect("sent");
        // Before its request is read, the next one would close it.
        process.logged("waits");
        working.push(stream);
    }
    let mut refused = TcpStream::connect(address).expect("a connection");
    let mut answer = String::new();
    refused.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.contains(r#""code":"TOO_MANY_CONNECTIONS""#),
        "{answer}"
    );
    drop(working);
}

#[test]
fn a_connection_whose_answer_is_on_its_way_keeps_its_place() {
    play(waiting);
    let mut process = Process::start(
        a_connection_whose_answer_is_on_its_way_keeps_its_place,
        &[
            ("CONNECTIONS_MAX", "1"),
            ("CONNECTIONS_PER_ADDRESS_MAX", "1"),
        ],
    );
    let address = process.address();
    let mut slow = TcpStream::connect(address).expect("a connection");
    slow.set_read_timeout(Some(LIMIT)).expect("a limit");
    let request = b"GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    slow.write_all(request).expect("sent");
    // The service has handed on the whole answer once its first bytes come, and has much of it left.
    let mut begin = [0; 12];
    slow.read_exact(&mut begin).expect("the begin of an answer");
    assert_eq!(&begin, b"HTTP/1.1 200");
    let mut refused = TcpStream::connect(address).expect("a connection");
    refused.set_read_timeout(Some(LIMIT)).expect("a limit");
    let mut answer = String::new();
    refused.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).expect("the whole answer");
    assert!(rest.len() > LARGE_BYTES, "{}", rest.len());
}

#[test]
fn a_request_head_above_the_limit_is_refused_and_counted() {
    play(waiting);
    let mut process = Process::start(
        a_request_head_above_the_limit_is_refused_and_counted,
        &[("REQUEST_HEAD_BYTES_MAX", "8192"), ("DEVELOPMENT", "true")],
    );
    let address = process.address();
    let ask = |header_bytes: usize| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let filler = "x".repeat(header_bytes);
        let head = format!(
            "GET /answer HTTP/1.1\r\nhost: localhost\r\nx-filler: {filler}\r\nconnection: close\r\n\r\n"
        );
        // The service may close before it has read everything.
        let _ = stream.write_all(head.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("text")
    };
    assert!(ask(7_000).starts_with("HTTP/1.1 200"));
    let refused = ask(9_000);
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
    wait_for_count(address, "connections_large_heads_total", 1);
}

/// More than the sockets' buffers hold.
const LARGE_BYTES: usize = 32 * 1024 * 1024;

/// A service with an answer, a large one, and one that never comes.
async fn waiting(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let wait = || async {
        tracing::info!("waits");
        std::future::pending::<&'static str>().await
    };
    let (health, metrics) = (Health::default(), Metrics::new("doomed"));
    let pages = axum::Router::new();
    let operations =
        service::operations_routes(&config.service, &health, &metrics, pages, &lifecycle).await?;
    let router = axum::Router::new()
        .route("/answer", get(|| async { "an answer" }))
        .route("/large", get(|| async { vec![b'x'; LARGE_BYTES] }))
        .route("/wait", get(wait))
        .merge(operations);
    service::serve(listener, router, &lifecycle, &config.service, &metrics).await
}
