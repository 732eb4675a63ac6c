//! Traces of the gateway: spans over OTLP, and the trace context that its subgraphs get.

use serde_json::{Value, json};
use traces::testing::{Act, Received, Receiver};

use crate::support::{
    Socket, eventually,
    gateway::TestGateway,
    scripted::{self, Scripted},
    tls::TlsFront,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

async fn gateway_with(receiver: &Receiver, more: &[&str]) -> TestGateway {
    let flags = receiver.flags();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(more);
    TestGateway::with(&flags).await
}

async fn ask(gateway: &TestGateway, query: &str, headers: &[(&str, &str)]) -> Value {
    let mut request = gateway.post().body(json!({ "query": query }).to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

async fn in_trace(receiver: &Receiver, trace: &str, name: &str) -> Received {
    let is_it = |span: &Received| span.trace_id() == trace && span.span.name == name;
    receiver.span(name, is_it).await
}

#[tokio::test]
async fn a_trace_goes_from_the_client_through_the_phases_to_the_subgraphs() {
    let receiver = Receiver::start(&[]).await;
    let gateway = gateway_with(&receiver, &[]).await;
    let query = r#"mutation Write { publish(text: "secret-text") { text length } }"#;
    let headers = [("traceparent", SAMPLED), ("tracestate", "a=1")];
    let answer = ask(&gateway, query, &headers).await;
    assert_eq!(answer["data"]["publish"]["length"], 100);

    let request = in_trace(&receiver, TRACE, "POST /graphql").await;
    assert_eq!(request.parent(), "00f067aa0ba902b7");
    assert_eq!(request.kind() as i32, traces::Kind::Server as i32);
    assert_eq!(request.span.trace_state, "a=1");
    assert_eq!(
        request.of_resource("service.name").as_deref(),
        Some("gateway")
    );
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/graphql"),
        ("url.path", "/graphql"),
        ("server.address", "127.0.0.1"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(request.attribute(name).as_deref(), Some(value), "{name}");
    }
    let operation = in_trace(&receiver, TRACE, "mutation Write").await;
    assert_eq!(operation.parent(), request.id());
    for (name, value) in [
        ("graphql.operation.type", "mutation"),
        ("graphql.operation.name", "Write"),
        ("rejoinder.outcome", "executed"),
    ] {
        assert_eq!(operation.attribute(name).as_deref(), Some(value), "{name}");
    }
    assert!(!operation.has_failed());
    let prepare = in_trace(&receiver, TRACE, "prepare").await;
    let execute = in_trace(&receiver, TRACE, "execute").await;
    let was_kept = prepare.attribute("rejoinder.operation.was_kept");
    assert_eq!(was_kept.as_deref(), Some("false"));
    for (name, parent) in [
        ("read", &request),
        ("prepare", &operation),
        ("parse and validate", &prepare),
        ("plan", &prepare),
        ("execute", &operation),
        ("POST news", &execute),
        ("POST counts", &execute),
    ] {
        let span = in_trace(&receiver, TRACE, name).await;
        assert_eq!(span.parent(), parent.id(), "{name}");
        let (inner, outer) = (&span.span, &parent.span);
        assert!(
            inner.start_time_unix_nano >= outer.start_time_unix_nano,
            "{name}"
        );
        assert!(
            inner.end_time_unix_nano <= outer.end_time_unix_nano,
            "{name}"
        );
        assert!(
            inner.start_time_unix_nano <= inner.end_time_unix_nano,
            "{name}"
        );
    }
    let fetch = in_trace(&receiver, TRACE, "POST news").await;
    assert_eq!(fetch.kind() as i32, traces::Kind::Client as i32);
    assert_eq!(
        fetch.attribute("http.response.status_code").as_deref(),
        Some("200")
    );
    assert_eq!(
        fetch.attribute("rejoinder.subgraph.name").as_deref(),
        Some("news")
    );
    for span in receiver.spans() {
        assert!(!format!("{span:?}").contains("secret-text"), "{span:?}");
    }

    // The second time, it need not be prepared.
    ask(&gateway, query, &headers).await;
    let kept =
        |span: &Received| span.attribute("rejoinder.operation.was_kept").as_deref() == Some("true");
    receiver.span("one that was kept", kept).await;
}

#[tokio::test]
async fn a_subgraph_gets_the_span_of_its_request_and_what_goes_with_it() {
    let receiver = Receiver::start(&[]).await;
    let gateway = gateway_with(&receiver, &["--forward-headers=baggage"]).await;
    let query = r#"{
        parent: header(name: "traceparent") state: header(name: "tracestate") baggage: header(name: "baggage")
    }"#;
    let headers = [
        ("traceparent", SAMPLED),
        ("tracestate", "a=1"),
        ("baggage", "user=7,b=2"),
    ];
    let data = ask(&gateway, query, &headers).await["data"].take();
    let fetch = in_trace(&receiver, TRACE, "POST news").await;
    assert_eq!(data["parent"], format!("00-{TRACE}-{}-01", fetch.id()));
    assert_eq!(data["state"], "a=1");
    assert_eq!(data["baggage"], "user=7,b=2");

    // Without a parent, it begins a trace, and a state of another one is not passed on.
    let data = ask(&gateway, query, &[("tracestate", "a=1")]).await["data"].take();
    let parent = data["parent"].as_str().expect("a parent").to_owned();
    assert!(
        !parent.contains(TRACE) && parent.ends_with("-01"),
        "{parent}"
    );
    assert_eq!(data["state"], Value::Null);
    let fetch = in_trace(&receiver, &parent[3..35], "POST news").await;
    assert_eq!(fetch.id(), parent[36..52]);
    let long = format!("a={}", "1".repeat(9_000));
    let data = ask(&gateway, query, &[("baggage", &long)]).await["data"].take();
    assert_eq!(data["baggage"], Value::Null);
}

#[tokio::test]
async fn the_sampler_and_the_parent_choose_the_traces() {
    let receiver = Receiver::start(&[]).await;
    let query = r#"{ header(name: "traceparent") }"#;
    let asks_the_parent = gateway_with(&receiver, &[]).await;
    let data = ask(&asks_the_parent, query, &[("traceparent", UNSAMPLED)]).await;
    assert_eq!(data["data"]["header"], UNSAMPLED);
    let none = [
        "--otel-traces-sampler=parentbased_traceidratio",
        "--otel-traces-sampler-arg=0",
    ];
    let chooses_none = gateway_with(&receiver, &none).await;
    let data = ask(&chooses_none, query, &[]).await;
    let parent = data["data"]["header"].as_str().expect("a parent");
    assert!(
        parent.ends_with("-00"),
        "others need not choose it either: {parent}"
    );
    ask(&chooses_none, query, &[("traceparent", SAMPLED)]).await;
    let request = in_trace(&receiver, TRACE, "POST /graphql").await;
    let spans = receiver.spans();
    let roots: Vec<_> = spans
        .iter()
        .filter(|it| it.span.name == "POST /graphql")
        .collect();
    assert_eq!(roots.len(), 1, "{roots:?}");
    assert_eq!(request.trace_id(), TRACE);
}

#[tokio::test]
async fn what_failed_is_marked() {
    let receiver = Receiver::start(&[]).await;
    let broken = Scripted::start(&[scripted::Act::Break("HTTP/1.1 200 OK\r\n")]).await;
    let gateway = gateway_with(&receiver, &[&broken.instead_of("counts")]).await;
    ask(&gateway, "mutation Count { recount }", &[]).await;
    let fetch = receiver.named("POST counts").await;
    assert!(fetch.has_failed());
    assert_eq!(fetch.attribute("error.type").as_deref(), Some("connection"));
    let operation = receiver.named("mutation Count").await;
    assert!(operation.has_failed());
    let kind = operation.attribute("error.type");
    assert_eq!(kind.as_deref(), Some("SUBREQUEST_HTTP_ERROR"));

    ask(&gateway, "query Odd { missing }", &[]).await;
    let refused =
        |span: &Received| span.attribute("rejoinder.outcome").as_deref() == Some("refused");
    let refused = receiver.span("what was refused", refused).await;
    assert!(refused.has_failed());
    assert_eq!(refused.span.name, "GraphQL operation");
}

#[tokio::test]
async fn an_operation_on_a_websocket_has_a_trace_of_its_own() {
    let receiver = Receiver::start(&[]).await;
    let gateway = gateway_with(&receiver, &[]).await;
    let mut socket = Socket::open(gateway.address, &[("traceparent", SAMPLED)]).await;
    socket.init(json!({})).await;
    socket.subscribe("1", "query Q { greeting }").await;
    socket.next().await;
    let opened = in_trace(&receiver, TRACE, "GET /graphql").await;
    assert_eq!(
        opened.attribute("http.response.status_code").as_deref(),
        Some("101")
    );
    let operation = receiver.named("query Q").await;
    assert_ne!(operation.trace_id(), TRACE);
    assert_eq!(operation.span.links[0].span_id, opened.span.span_id);
    let fetch = in_trace(&receiver, &operation.trace_id(), "POST news").await;
    assert_eq!(fetch.trace_id(), operation.trace_id());
}

/// It accepts connections and answers nothing. Another test has a receiver that is not there.
#[tokio::test]
async fn a_receiver_that_never_answers_costs_spans_and_no_request() {
    let receiver = Receiver::start(&[Act::Silence; 100]).await;
    let gateway = gateway_with(&receiver, &["--traces-bytes-max=1048576"]).await;
    let dropped = "traces_spans_dropped_total{reason=\"queue_full\"}";
    let agent = "x".repeat(900);
    eventually("spans are dropped", || async {
        for _ in 0..50 {
            let answer = ask(&gateway, "{ greeting }", &[("user-agent", &agent)]).await;
            assert_eq!(answer["data"]["greeting"], "hello you");
        }
        gateway.metric(dropped).await > 0.0
    })
    .await;
    assert!(gateway.metric("traces_waiting_bytes").await <= 1_048_576.0);
    assert_eq!(gateway.metric("traces_spans_sent_total").await, 0.0);
    let mut gateway = gateway;
    gateway
        .end()
        .await
        .expect("it does not wait for the receiver");
}

#[tokio::test]
async fn a_receiver_with_a_certificate_gets_them_by_tls() {
    let receiver = Receiver::start(&[]).await;
    let front = TlsFront::start(receiver.address(), "localhost").await;
    let address = front.url().replace("/graphql", "");
    let endpoint = format!("--otel-exporter-otlp-endpoint={address}");
    let authority = format!(
        "--otel-exporter-otlp-certificate={}",
        front.authority.path().display()
    );
    let delay = "--otel-bsp-schedule-delay=10";
    let gateway = TestGateway::with(&[&endpoint, &authority, delay]).await;
    ask(&gateway, "query Safe { greeting }", &[]).await;
    receiver.named("query Safe").await;
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_process_ends() {
    let receiver = Receiver::start(&[]).await;
    let endpoint = receiver.flags()[0].clone();
    let mut gateway = TestGateway::with(&[&endpoint, "--otel-bsp-schedule-delay=600000"]).await;
    ask(&gateway, "query Last { greeting }", &[]).await;
    assert!(receiver.spans().is_empty());
    gateway.end().await.expect("no fault");
    let names: Vec<_> = receiver
        .spans()
        .into_iter()
        .map(|it| it.span.name)
        .collect();
    assert!(names.iter().any(|name| name == "query Last"), "{names:?}");
}
