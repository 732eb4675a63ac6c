//! What operators see of each request: the access log, slow operations, metrics by operation and client.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::{
    Socket, eventually,
    gateway::TestGateway,
    process::GatewayProcess,
    scripted::{Act, Scripted},
};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[tokio::test]
async fn a_request_is_one_line_without_its_variables() {
    let mut gateway = GatewayProcess::start(&[("ACCESS_LOG", "json")]).await;
    let query = "query Greet($name: String) { greeting(name: $name) }";
    let body = json!({ "query": query, "variables": { "name": "secret-value" } });
    let request = gateway.post(&body).header("traceparent", TRACEPARENT);
    let request = request
        .header("x-request-id", "request-1")
        .header("apollographql-client-name", "web shop")
        .header("apollographql-client-version", "1.2");
    let answer = request.send().await.expect("an answer");
    let bytes = answer.bytes().await.expect("a body").len();

    let line = gateway.printed("/graphql");
    assert!(!line.contains("secret-value"), "{line}");
    let mut line = parsed(&line);
    let members = line.as_object_mut().expect("an object");
    let time = members.remove("time").expect("a time").to_string();
    assert!(time.starts_with("\"20") && time.ends_with("Z\""), "{time}");
    let took = members.remove("duration_ms").expect("a duration");
    assert!(took.as_f64().is_some_and(|took| took > 0.0), "{took}");
    let hash = members.remove("hash").expect("a hash").to_string();
    assert_eq!(hash.len(), 66, "{hash}");
    let expected = json!({
        "method": "POST",
        "path": "/graphql",
        "status": 200,
        "operation": "Greet",
        "type": "query",
        "outcome": "executed",
        "client": "web shop",
        "client_version": "1.2",
        "bytes": bytes,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "request_id": "request-1",
    });
    assert_eq!(line, expected);

    // The variables of a GET are in its query.
    let url = gateway.url("/graphql?query=%7Bgreeting%7D&variables=%7B%22secret%22:1%7D");
    let answer = gateway.http.get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let line = gateway.printed("\"GET\"");
    assert!(!line.contains("secret"), "{line}");
    assert_eq!(parsed(&line)["path"], "/graphql");
}

#[tokio::test]
async fn errors_refusals_and_operations_of_websockets_have_their_lines() {
    let mut gateway = GatewayProcess::start(&[("ACCESS_LOG", "json")]).await;
    let post = |query: &str| gateway.post(&json!({ "query": query }));
    for query in ["{", "{ missing }", "mutation M { recount }"] {
        post(query).send().await.expect("an answer");
    }
    let mut errors = |kind: &str| {
        let line = parsed(&gateway.printed(kind));
        (line["status"].clone(), line["errors"].clone())
    };
    assert_eq!(
        errors("GRAPHQL_PARSE"),
        (200.into(), json!(["GRAPHQL_PARSE_FAILED"]))
    );
    let invalid = json!(["GRAPHQL_VALIDATION_FAILED"]);
    assert_eq!(errors("GRAPHQL_VALIDATION"), (200.into(), invalid));
    let failed = json!(["DOWNSTREAM_SERVICE_ERROR"]);
    assert_eq!(errors("mutation"), (200.into(), failed));

    // A transport refuses it.
    let answer = gateway.http.post(gateway.url("/graphql")).body("{}");
    assert_eq!(answer.send().await.expect("an answer").status(), 415);
    let line = parsed(&gateway.printed("UNSUPPORTED_MEDIA_TYPE"));
    assert_eq!(
        (&line["status"], &line["outcome"]),
        (&json!(415), &json!("refused"))
    );

    let mut socket = Socket::open(gateway.address, &[]).await;
    socket.init(json!({ "graphql-client-name": "live" })).await;
    socket.subscribe("1", "query Q { greeting }").await;
    socket.next().await;
    let line = parsed(&gateway.printed("websocket"));
    assert_eq!(line["operation"], "Q");
    assert_eq!(line["client"], "live");
    assert_eq!(line["outcome"], "executed");
    assert!(
        line.get("status").is_none() && line["bytes"].is_u64(),
        "{line}"
    );
}

#[tokio::test]
async fn names_that_clients_choose_forge_no_line() {
    let mut gateway = GatewayProcess::start(&[("ACCESS_LOG", "text")]).await;
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    let body = r#"{"query":"{greeting}"}"#;
    let mut request = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\ngraphql-client-name: evil\" status=200 ",
        body.len()
    )
    .into_bytes();
    // What HTTP allows in a header's value, beside printable ASCII.
    request.extend_from_slice(b"\t\x80\xff\xe2\x80\xa8end\r\n\r\n");
    request.extend_from_slice(body.as_bytes());
    stream.write_all(&request).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let line = gateway.printed("/graphql");
    assert!(line.is_ascii(), "{line}");
    let expected = " client=\"evil? status=200 ??????end\" ";
    assert!(line.contains(expected), "{line}");
}

#[tokio::test]
async fn a_client_that_leaves_has_its_line() {
    let silent = Scripted::start(&[Act::Stall("")]).await;
    let settings = [("ACCESS_LOG", "json"), ("SUBGRAPH_URL_NEWS", &silent.url())];
    let mut gateway = GatewayProcess::start(&settings).await;
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    let body = r#"{"query":"query Long {greeting}"}"#;
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("written");
    eventually("the subgraph has its request", || async {
        silent.requests() == 1
    })
    .await;
    drop(stream);
    let line = parsed(&gateway.printed("Long"));
    assert_eq!(line["outcome"], "unfinished");
    assert!(line.get("status").is_none(), "{line}");
}

#[tokio::test]
async fn a_sample_has_some_lines_and_every_error() {
    let settings = [("ACCESS_LOG", "json"), ("ACCESS_LOG_SAMPLE", "0")];
    let mut gateway = GatewayProcess::start(&settings).await;
    for query in ["query Well { greeting }", "query Wrong { missing }"] {
        let answer = gateway.post(&json!({ "query": query })).send().await;
        answer.expect("an answer");
    }
    let line = gateway.printed("/graphql");
    assert!(line.contains("GRAPHQL_VALIDATION_FAILED"), "{line}");
}

#[tokio::test]
async fn a_reader_of_the_log_that_stalls_keeps_no_request_waiting() {
    let mut gateway = GatewayProcess::start(&[("ACCESS_LOG", "json")]).await;
    // The pipe holds 64 KiB, the queue 1 MiB. A line has more than 400 bytes.
    let path = format!("/{}", "x".repeat(99));
    let id = "i".repeat(128);
    let http = &gateway.http;
    let url = &gateway.url(&path);
    let answers = stream::iter(0..4_000).map(|_| {
        let request = http.get(url).header("graphql-client-name", &id);
        let request = request.header("graphql-client-version", &id);
        async { request.send().await.map(|answer| answer.status()) }
    });
    let mut answers = answers.buffer_unordered(16);
    while let Some(status) = answers.next().await {
        assert_eq!(status.expect("an answer"), 404);
    }
    drop(answers);
    let page = gateway.http.get(gateway.url("/metrics")).send().await;
    let page = page.expect("metrics").text().await.expect("text");
    let dropped = page
        .lines()
        .find_map(|line| line.strip_prefix("output_lines_dropped_total "));
    let dropped: u64 = dropped.expect("a count").parse().expect("a number");
    assert!((1..4_000).contains(&dropped), "{dropped}");
    // Nobody has to read it for the process to end.
    assert!(gateway.end());
}

#[tokio::test]
async fn a_slow_operation_is_logged_with_the_times_of_its_requests() {
    let mut gateway = GatewayProcess::start(&[("SLOW_OPERATION_TIME", "1ns")]).await;
    let query = "mutation Write($text: String!) { publish(text: $text) { text length } }";
    let body = json!({ "query": query, "variables": { "text": "secret-value" } });
    let request = gateway.post(&body).header("graphql-client-name", "cli");
    let answer: Value = request
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(answer["data"]["publish"]["length"], 100);
    let line = gateway.logged("an operation was slow");
    assert!(!line.to_string().contains("secret-value"), "{line}");
    assert_eq!(line["operation.name"], "Write");
    assert_eq!(line["operation.kind"], "mutation");
    assert_eq!(line["operation.hash"].as_str().map(str::len), Some(64));
    assert_eq!(line["client.name"], "cli");
    assert_eq!(line["outcome"], "executed");
    let fetches = line["fetches"].as_str().expect("text");
    let [news, counts] = fetches.split(", ").collect::<Vec<_>>()[..] else {
        panic!("two requests, not {fetches}")
    };
    let is_timed = |text: &str| text.contains('+') && text.ends_with(" ms");
    assert!(news.starts_with("news ") && is_timed(news), "{fetches}");
    assert!(
        counts.starts_with("counts ") && is_timed(counts),
        "{fetches}"
    );
}

#[tokio::test]
async fn operations_and_clients_are_counted_by_name() {
    let gateway = TestGateway::start().await;
    let send = async |query: &str, client: &str| {
        let body = json!({ "query": query }).to_string();
        let request = gateway.post().header("graphql-client-name", client);
        let request = request.header("graphql-client-version", "3");
        request.body(body).send().await.expect("an answer");
    };
    for _ in 0..3 {
        send("query Greet { greeting }", "web").await;
    }
    send("{ greeting }", "(other)").await;
    send("{ missing }", "web").await;
    send("mutation Count { recount }", "web").await;

    let operation = async |name: &str, kind: &str, outcome: &str| {
        let labels = format!("operation=\"{name}\",kind=\"{kind}\",outcome=\"{outcome}\"");
        gateway
            .metric(&format!("gateway_operations_total{{{labels}}}"))
            .await
    };
    assert_eq!(operation("Greet", "query", "executed").await, 3.0);
    assert_eq!(operation("(anonymous)", "query", "executed").await, 1.0);
    assert_eq!(operation("(refused)", "unknown", "refused").await, 1.0);
    assert_eq!(operation("Count", "mutation", "failed").await, 1.0);
    let seconds = "gateway_operation_seconds_count{operation=\"Greet\",kind=\"query\"}";
    assert_eq!(gateway.metric(seconds).await, 3.0);

    let client = async |name: &str, outcome: &str| {
        let labels = format!("client=\"{name}\",version=\"3\",outcome=\"{outcome}\"");
        gateway
            .metric(&format!("gateway_client_operations_total{{{labels}}}"))
            .await
    };
    assert_eq!(client("web", "executed").await, 3.0);
    assert_eq!(client("web", "refused").await, 1.0);
    assert_eq!(client("?other?", "executed").await, 1.0);

    let errors =
        "gateway_subgraph_errors_total{subgraph=\"counts\",code=\"DOWNSTREAM_SERVICE_ERROR\"}";
    assert_eq!(gateway.metric(errors).await, 1.0);
}

#[tokio::test]
async fn more_names_than_the_bound_are_counted_together() {
    let gateway = TestGateway::with(&["--operation-metrics-max=10"]).await;
    for index in 0..60 {
        let body = json!({ "query": format!("query Q{index} {{ greeting }}") });
        let request = gateway
            .post()
            .header("graphql-client-name", format!("c{index}"));
        let answer = request.body(body.to_string()).send().await;
        assert_eq!(answer.expect("an answer").status(), 200);
    }
    let others =
        "gateway_operations_total{operation=\"(other)\",kind=\"(other)\",outcome=\"executed\"}";
    assert_eq!(gateway.metric(others).await, 50.0);
    let clients = "gateway_client_operations_total{client=\"(other)\",version=\"(other)\",outcome=\"executed\"}";
    assert_eq!(gateway.metric(clients).await, 50.0);
    let page = gateway.get("/metrics").await.text().await.expect("text");
    let series = |name: &str| page.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(series("gateway_operation_seconds_count{"), 11);

    let off = TestGateway::with(&["--operation-metrics-max=0"]).await;
    off.query("{ greeting }").await;
    let page = off.get("/metrics").await.text().await.expect("text");
    assert!(!page.contains("gateway_operations_total{"), "{page}");
}
