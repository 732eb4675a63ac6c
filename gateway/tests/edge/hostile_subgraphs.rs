//! A subgraph that violates the WebSocket protocol: its own clients get an error, at once or soon,
//! and clients of other subgraphs are not affected.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::support::{
    Socket, eventually,
    gateway::{SUPERGRAPH, TestGateway},
};

/// The subscription that the hostile subgraph receives.
const NOISE: &str = "subscription { noise }";
const LOST: &str = "error SUBSCRIPTION_UPSTREAM_LOST";

const TEXT: u8 = 0x81;
const TEXT_BEGINS: u8 = 0x01;
const GOES_ON: u8 = 0x00;
const ENDS: u8 = 0x80;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A frame as a server sends it.
fn frame(head: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = vec![head, 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend(payload);
    frame
}

/// A frame of control, whose length is short.
fn control(head: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[head, length], payload].concat()
}

fn text(message: &str) -> Vec<u8> {
    frame(TEXT, message)
}

fn next(payload: &str) -> Vec<u8> {
    text(&format!(
        r#"{{"id":"1","type":"next","payload":{payload}}}"#
    ))
}

/// An event that is as it should be.
fn well() -> Vec<u8> {
    next(r#"{"data":{"noise":"well"}}"#)
}

fn ack() -> Vec<u8> {
    text(r#"{"type":"connection_ack"}"#)
}

fn complete() -> Vec<u8> {
    text(r#"{"id":"1","type":"complete"}"#)
}

/// What a subgraph does: its bytes in place of the acknowledgement, those after a subscription, and those that
/// it repeats from then on, while it reads.
#[derive(Clone, Default)]
struct Script {
    acknowledges: Vec<u8>,
    answers: Vec<u8>,
    repeats: Vec<u8>,
}

/// Serves WebSockets by a script, until it is dropped.
struct Hostile {
    url: String,
    _serving: JoinSet<()>,
}

impl Hostile {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let script = script.clone();
                open.spawn(async move { play(stream, script).await });
            }
        });
        Self {
            url: format!("http://{address}/graphql"),
            _serving: serving,
        }
    }
}

async fn play(mut stream: TcpStream, script: Script) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let key = head
        .lines()
        .find_map(|line| Some(line.split_once(": ")?).filter(is_key));
    let accept = derive_accept_key(key?.1.as_bytes());
    let switching = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-protocol: graphql-transport-ws\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    stream.write_all(switching.as_bytes()).await.ok()?;
    let mut heard = vec![0; 4096];
    // The gateway says nothing more before it is answered.
    for bytes in [script.acknowledges, script.answers] {
        stream
            .read(&mut heard)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        stream.write_all(&bytes).await.ok()?;
    }
    let (mut read, mut write) = stream.split();
    let reads = async { while read.read(&mut heard).await.is_ok_and(|read| read > 0) {} };
    let writes = async {
        while !script.repeats.is_empty() && write.write_all(&script.repeats).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = reads => {}
        () = writes => {}
    }
    Some(())
}

fn is_key(header: &(&str, &str)) -> bool {
    header.0.eq_ignore_ascii_case("sec-websocket-key")
}

/// What a client hears next, in short.
async fn heard(socket: &mut Socket) -> String {
    let message = socket.next().await;
    let payload = &message["payload"];
    let error = match message["type"].as_str() {
        Some("error") => &payload[0],
        _ => &payload["errors"][0],
    };
    let said = match &error["extensions"]["code"] {
        Value::Null => payload["data"]["noise"].as_str(),
        code => code.as_str(),
    };
    [message["type"].as_str(), said]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The other subgraphs' supergraph, and one more subgraph with a subscription.
fn supergraph() -> String {
    let graph = r#"NOISE @join__graph(name: "noise", url: "http://127.0.0.1:9/graphql")"#;
    let subscription = "type Subscription @join__type(graph: NEWS)";
    SUPERGRAPH
        .replace("enum join__Graph {", &format!("enum join__Graph {{ {graph}"))
        .replace("type Query", "type Query @join__type(graph: NOISE)")
        .replace(
            &format!("{subscription} {{"),
            &format!("{subscription} @join__type(graph: NOISE) {{ noise: String @join__field(graph: NOISE)"),
        )
}

/// A gateway before this subgraph and the others.
async fn before(hostile: &Hostile, keep_alive: &str) -> TestGateway {
    before_with(hostile, &format!("--subscription-keep-alive={keep_alive}")).await
}

/// The same with a setting.
async fn before_with(hostile: &Hostile, setting: &str) -> TestGateway {
    let gateway = TestGateway::without_supergraph(&[
        &format!("--subgraph-url=noise={}", hostile.url),
        setting,
        "--subscription-retry-time=0ms",
    ])
    .await;
    gateway.write_supergraph(&supergraph());
    eventually("the gateway is ready", || async {
        gateway.get("/health/ready").await.status() == 200
    })
    .await;
    gateway
}

/// The subgraph's client hears this, and that of another subgraph its own event.
async fn check(name: &str, script: Script, expected: &[&str]) {
    let hostile = Hostile::start(script).await;
    let gateway = before(&hostile, "10s").await;
    let mut bystander = gateway
        .subscribed("subscription { messages { text } }")
        .await;
    gateway.news.log.until_open(1).await;
    let mut socket = gateway.subscribed(NOISE).await;
    let mut all = Vec::new();
    while all.len() < expected.len() {
        all.push(heard(&mut socket).await);
    }
    assert_eq!(all, expected, "{name}");
    gateway.news.log.publish("news");
    let event = bystander.next_payload("1").await;
    assert_eq!(
        event,
        json!({"data": {"messages": {"text": "news"}}}),
        "{name}"
    );
}

async fn answers(name: &str, answers: Vec<u8>, expected: &[&str]) {
    let script = Script {
        acknowledges: ack(),
        answers,
        ..Script::default()
    };
    check(name, script, expected).await;
}

#[tokio::test]
async fn what_is_odd_but_harmless_is_passed_over() {
    const MALFORMED: &str = "next SUBREQUEST_MALFORMED_RESPONSE";
    const REPORTED: &str = "next DOWNSTREAM_SERVICE_ERROR";
    let event = r#"{"id":"\u0031","type":"n\u0065xt","payload":{"data":{"noise":"well"}}}"#;
    let (begin, end) = event.split_at(30);
    for (name, bytes, expected) in [
        ("an event", well(), &["next well"][..]),
        ("an id with escapes", text(event), &["next well"]),
        (
            "types that the protocol does not have",
            [
                text(r#"{"id":"1","type":"nexxt"}"#),
                text(r#"{"type":""}"#),
                well(),
            ]
            .concat(),
            &["next well"],
        ),
        (
            "ids that nobody has",
            [
                "",
                "0",
                "2",
                "-1",
                "18446744073709551616",
                "é",
                "\\ud83d\\ude00",
            ]
            .map(|id| text(&format!(r#"{{"id":"{id}","type":"complete"}}"#)))
            .into_iter()
            .chain([text(r#"{"type":"complete"}"#), well()])
            .flatten()
            .collect(),
            &["next well"],
        ),
        (
            "another acknowledgement, binary data and pongs",
            [
                ack(),
                frame(BINARY, [0xff; 300]),
                control(PONG, &[0xff; 8]),
                control(PONG, b"x"),
                well(),
            ]
            .concat(),
            &["next well"],
        ),
        (
            "a message in pieces, with a ping between them",
            [
                frame(TEXT_BEGINS, begin),
                control(PING, b"?"),
                frame(GOES_ON, ""),
                frame(ENDS, end),
            ]
            .concat(),
            &["next well"],
        ),
        (
            "events after the end",
            [
                complete(),
                well(),
                complete(),
                text(r#"{"id":"1","type":"error","payload":[]}"#),
            ]
            .concat(),
            &["complete"],
        ),
        (
            "payloads that are no response",
            [
                "[]",
                "null",
                "1",
                "\"\"",
                r#"{"data":[]}"#,
                r#"{"errors":{}}"#,
                "{}",
            ]
            .map(next)
            .into_iter()
            .chain([text(r#"{"id":"1","type":"next"}"#), well()])
            .flatten()
            .collect(),
            &[
                MALFORMED,
                MALFORMED,
                MALFORMED,
                MALFORMED,
                MALFORMED,
                REPORTED,
                MALFORMED,
                MALFORMED,
                "next well",
            ],
        ),
        (
            "brackets without an end",
            [
                next(&format!(
                    "{}{}",
                    "[".repeat(1_000_000),
                    "]".repeat(1_000_000)
                )),
                well(),
            ]
            .concat(),
            &[MALFORMED, "next well"],
        ),
    ] {
        answers(name, bytes, expected).await;
    }
}

#[tokio::test]
async fn an_error_that_is_no_list_ends_its_subscription() {
    for payload in [
        "{}",
        "null",
        "1",
        "[]",
        "[1]",
        r#"[{"message":1}]"#,
        r#"{"errors":[{"message":"m"}]}"#,
    ] {
        let error = format!(r#"{{"id":"1","type":"error","payload":{payload}}}"#);
        let script = Script {
            acknowledges: ack(),
            answers: [text(&error), well()].concat(),
            ..Script::default()
        };
        let hostile = Hostile::start(script).await;
        let gateway = before(&hostile, "10s").await;
        let mut socket = gateway.subscribed(NOISE).await;
        let message = socket.next().await;
        let errors = &message["payload"]["errors"];
        assert!(errors[0]["message"].is_string(), "{payload}: {message}");
        assert_eq!(socket.next().await, json!({"id": "1", "type": "complete"}));
    }
}

#[tokio::test]
async fn what_is_not_of_the_protocol_ends_the_socket() {
    let with_length = |head: u8, length: u64| {
        let mut bytes = vec![head, 127];
        bytes.extend(length.to_be_bytes());
        bytes
    };
    for (name, bytes) in [
        ("a list", text("[]")),
        ("no JSON", text("{")),
        ("nothing", text("")),
        (
            "an id that is a number",
            text(r#"{"id":1,"type":"next","payload":{}}"#),
        ),
        ("no type", text(r#"{"id":"1"}"#)),
        (
            "a type twice",
            text(r#"{"type":"next","type":"next","id":"1"}"#),
        ),
        ("text that is no UTF-8", frame(TEXT, [b'"', 0xff])),
        ("the rest of no message", frame(ENDS, "{}")),
        ("a frame of no kind", frame(0x83, "{}")),
        ("bits that are reserved", frame(0xf1, "{}")),
        ("a long ping", frame(PING, [b'x'; 126])),
        (
            "a message within another",
            [frame(TEXT_BEGINS, "{"), text("{}")].concat(),
        ),
        ("an endless message", with_length(TEXT, u64::MAX >> 1)),
        ("a length without a sign", with_length(TEXT, u64::MAX)),
        ("a close without a code", control(CLOSE, b"")),
        ("half a code", control(CLOSE, b"x")),
        (
            "a code that is none, and no reason",
            control(CLOSE, &[0, 0, 0xff]),
        ),
    ] {
        answers(name, bytes, &[LOST]).await;
    }
}

#[tokio::test]
async fn a_flood_ends_the_socket() {
    for (name, answers, repeats) in [
        ("pings", Vec::new(), control(PING, &[b'x'; 125])),
        (
            "an endless text",
            frame(TEXT_BEGINS, ""),
            frame(GOES_ON, [b' '; 60_000]),
        ),
    ] {
        let script = Script {
            acknowledges: ack(),
            answers,
            repeats: repeats.repeat(100),
        };
        check(name, script, &[LOST]).await;
    }
}

#[tokio::test]
async fn pings_and_events_have_bounds_that_can_be_set() {
    let script = Script {
        acknowledges: ack(),
        answers: [control(PING, b"").repeat(10), well()].concat(),
        ..Script::default()
    };
    for (setting, expected) in [
        ("--subscription-socket-pings-max=10", "next well"),
        ("--subscription-socket-pings-max=9", LOST),
        ("--subscription-event-bytes-max=1000", "next well"),
        ("--subscription-event-bytes-max=40", LOST),
    ] {
        let hostile = Hostile::start(script.clone()).await;
        let gateway = before_with(&hostile, setting).await;
        let mut socket = gateway.subscribed(NOISE).await;
        assert_eq!(heard(&mut socket).await, expected, "{setting}");
    }
}

#[tokio::test]
async fn what_never_becomes_a_message_is_silence() {
    let pieces = frame(GOES_ON, "");
    for (name, answers, repeats) in [
        ("nothing", Vec::new(), Vec::new()),
        ("half a frame", frame(TEXT, "{}")[..11].to_vec(), Vec::new()),
        ("half a message", frame(TEXT_BEGINS, "{"), Vec::new()),
        ("pieces of nothing", frame(TEXT_BEGINS, ""), pieces),
    ] {
        let script = Script {
            acknowledges: ack(),
            answers,
            repeats: repeats.repeat(100),
        };
        let hostile = Hostile::start(script).await;
        let gateway = before(&hostile, "50ms").await;
        let mut socket = gateway.subscribed(NOISE).await;
        assert_eq!(heard(&mut socket).await, LOST, "{name}");
    }
}

#[tokio::test]
async fn an_end_before_the_acknowledgement_is_a_loss() {
    for (name, acknowledges) in [
        (
            "a close with a reason",
            control(CLOSE, b"\x11\x33forbidden"),
        ),
        ("a message of another kind", text("[]")),
        ("pings without an end", control(PING, b"").repeat(2_000)),
    ] {
        let script = Script {
            acknowledges,
            ..Script::default()
        };
        check(name, script, &[LOST]).await;
    }
}
