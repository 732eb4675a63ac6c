//! Servers that break the protocols, refuse, or fall silent.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use rejoinder_client::{Client, InvalidClient, Transport};
use serde_json::json;

use crate::reader::{QUERY, TRANSPORTS, client, reconnecting, words};
use crate::server::{FakeServer, event, frame};

#[tokio::test]
async fn what_cannot_be_understood_is_tried_again_and_it_goes_on() {
    const EVENTS: [&str; 4] = [
        "event: next\ndata: {\n\n",
        "event: next\ndata: [1]\n\n",
        "event: next\ndata: null\n\n",
        "event: next\ndata: {\"errors\":[\"x\",null,7,{\"message\":5,\"extensions\":\"no\"}]}\n\n",
    ];
    const TEXTS: [&str; 4] = [
        "{",
        "[]",
        r#"{"id":"1","type":"next","payload":[1]}"#,
        r#"{"id":"1","type":"error","payload":"x"}"#,
    ];
    const PARTS: [&str; 4] = [
        "\r\n\r\n{\r\n--graphql",
        "\r\n\r\n[1]\r\n--graphql",
        "\r\n\r\n{\"payload\":[1]}\r\n--graphql",
        "\r\n\r\n{\"payload\":null,\"errors\":[1]}\r\n--graphql",
    ];
    for (transport, texts) in TRANSPORTS.into_iter().zip([TEXTS, EVENTS, PARTS]) {
        let server = FakeServer::start(move |number, served| match texts.get(number - 1) {
            Some(text) => served.raw(*text),
            None => served.next(event(1)),
        })
        .await;
        let mut read = client(&server.url())
            .transport(transport)
            .subscribe(QUERY)
            .start();
        let words = words(&mut read, "1").await;
        let again = words.iter().filter(|it| *it == "again").count();
        assert_eq!(again, 4, "{transport:?} {words:?}");
    }
}

#[tokio::test]
async fn a_message_of_which_half_comes_is_lost_with_its_connection_and_comes_again() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(move |number, served| {
            served.next(frame("c0"));
            served.next(event(1));
            match (number, transport) {
                (1, Transport::WebSocket) => served.close(1001),
                (1, Transport::ServerSentEvents) => served.raw("event: next\ndata: {\"da"),
                (1, Transport::Multipart) => served.raw("\r\n\r\n{\"payload\":{\"da"),
                _ => served.next(event(2)),
            }
            if number == 1 {
                served.cut();
            }
        })
        .await;
        let client = client(&server.url()).transport(transport);
        let mut read = client.subscribe(QUERY).start();
        let expected = ["stands c0", "gap!", "1", "again", "stands c1", "2"];
        assert_eq!(words(&mut read, "2").await, expected, "{transport:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_read_with_its_time_and_its_errors() {
    for transport in [Transport::ServerSentEvents, Transport::Multipart] {
        const ANSWERS: [&str; 5] = [
            "429 Too Many\r\nretry-after: 0\r\n\r\n{\"errors\":[{\"message\":\"slow\",\"extensions\":{\"code\":\"RATE_LIMITED\"}}]}",
            "503 No\r\nretry-after: 1\r\ncontent-length: 15\r\n\r\n<html>no</html>",
            "200 OK\r\ncontent-type: application/json\r\n\r\n{\"data\":{}}",
            "500 No\r\n\r\n",
            "403 No\r\n\r\n{\"errors\":[{\"message\":\"no\",\"extensions\":{\"code\":\"FORBIDDEN\"}}]}",
        ];
        let server = FakeServer::start(|number, served| {
            served.raw(format!("HTTP/1.1 {}", ANSWERS[number - 1]));
            served.cut();
        })
        .await;
        let mut read = client(&server.url())
            .transport(transport)
            .subscribe(QUERY)
            .start();
        let (failure, _) = reconnecting(&mut read).await;
        assert_eq!(
            (failure.code(), failure.status()),
            ("RATE_LIMITED", Some(429))
        );
        let (failure, pause) = reconnecting(&mut read).await;
        assert_eq!(failure.status(), Some(503));
        assert!(pause >= Duration::from_secs(1), "{pause:?}");
        for status in [200, 500] {
            let (failure, _) = reconnecting(&mut read).await;
            assert_eq!(failure.status(), Some(status));
        }
        assert_eq!(words(&mut read, "").await, ["failed FORBIDDEN"]);
    }
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_read_as_well() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let url = format!("ws://{}/", listener.local_addr().expect("its address"));
    let refuse = async move {
        let body = "{\"errors\":[{\"message\":\"no\",\"extensions\":{\"code\":\"FORBIDDEN\"}}]}";
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.read(&mut [0; 4096]).await;
        let length = body.len();
        let answer = format!("HTTP/1.1 403 No\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.expect("sent");
        let _ = stream.read(&mut [0; 1]).await;
    };
    tokio::spawn(refuse);
    let mut read = client(&url).subscribe(QUERY).start();
    assert_eq!(words(&mut read, "").await, ["failed FORBIDDEN"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again_until_tries_are_used_up() {
    // Bound, so that nobody else gets the port, and not listening.
    let silent = tokio::net::TcpSocket::new_v4().expect("a socket");
    let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    silent.bind(any).expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("its address"));
    for transport in TRANSPORTS {
        let client = client(&url).transport(transport).tries_max(3);
        let mut read = client.subscribe(QUERY).start();
        assert_eq!(words(&mut read, "").await, ["again", "again", "failed "]);
    }
}

#[tokio::test]
async fn a_network_that_falls_silent_is_noticed() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|number, served| {
            served.next(frame("c0"));
            if number >= 2 {
                served.next(event(1));
            }
        })
        .await;
        let short = Duration::from_millis(30);
        let no_pongs = HeaderName::from_static("no-pongs");
        let client = client(&server.url())
            .transport(transport)
            .header(no_pongs, HeaderValue::from_static("1"))
            .keep_alive(short, short)
            .silence_max(short * 2);
        let mut read = client.subscribe(QUERY).start();
        // On a slow machine, it may be noticed more than once.
        let words = words(&mut read, "1").await;
        assert!(words.contains(&"again".to_owned()), "{words:?}");
        let gaps = words.iter().filter(|it| it.starts_with("gap")).count();
        assert_eq!(gaps, 1, "{transport:?} {words:?}");
    }
}

#[tokio::test]
async fn a_quiet_socket_that_answers_pings_stays() {
    let server = FakeServer::start(|_, served| served.next(frame("c0"))).await;
    let short = Duration::from_millis(5);
    let client = client(&server.url()).keep_alive(short, Duration::from_secs(60));
    let mut read = client.subscribe(QUERY).start();
    assert_eq!(words(&mut read, "gap!").await, ["stands c0", "gap!"]);
    tokio::time::sleep(short * 10).await;
    server.asked(1).await.next(event(1));
    assert_eq!(words(&mut read, "1").await, ["1"]);
}

#[tokio::test]
async fn headers_are_asked_for_each_connection_and_may_fail_or_hang() {
    for transport in TRANSPORTS {
        let server = FakeServer::start(|number, served| match number {
            1 => served.fail("TOKEN_EXPIRED", json!({})),
            _ => served.next(event(1)),
        })
        .await;
        let count = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&count);
        let client = client(&server.url())
            .transport(transport)
            .connect_within(Duration::from_secs(2))
            .token(move || {
                let number = asked.fetch_add(1, Relaxed);
                async move {
                    match number {
                        0 => std::future::pending().await,
                        1 => Err("no token".into()),
                        _ => Ok(format!("token-{number}")),
                    }
                }
            });
        let mut read = client.subscribe(QUERY).start();
        let (failure, _) = reconnecting(&mut read).await;
        assert_eq!(failure.message(), "The connection took too long.");
        let (failure, _) = reconnecting(&mut read).await;
        assert_eq!(failure.message(), "no token");
        words(&mut read, "1").await;
        for number in [1, 2] {
            let head = server.asked(number).await.head.to_lowercase();
            let token = format!("token-{}", number + 1);
            // The debug form of a WebSocket's headers, or the head itself.
            assert!(head.contains(&token), "{transport:?} {head}");
        }
    }
}

#[tokio::test]
async fn own_headers_cannot_change_what_the_protocols_need() {
    let seen = Arc::new(Mutex::new(String::new()));
    let heads = Arc::clone(&seen);
    let server = FakeServer::start(move |_, served| {
        *heads.lock().expect("no panic") = served.head.to_lowercase();
        served.complete();
    })
    .await;
    let client = client(&server.url())
        .transport(Transport::ServerSentEvents)
        .headers(|| async {
            let accept = (http::header::ACCEPT, HeaderValue::from_static("text/html"));
            Ok(HeaderMap::from_iter([accept]))
        });
    let mut read = client.subscribe(QUERY).start();
    assert_eq!(words(&mut read, "").await, ["end"]);
    let head = seen.lock().expect("no panic").clone();
    assert!(head.contains("accept: text/event-stream"), "{head}");
}

#[test]
fn only_urls_of_a_server_are_taken() {
    for url in ["", "/graphql", "ftp://a/", "http://"] {
        let client = Client::new(url);
        assert!(matches!(client, Err(InvalidClient::Url(_))), "{url}");
    }
}
