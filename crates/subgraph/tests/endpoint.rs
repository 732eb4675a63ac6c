//! The endpoint over a small schema: faults of resolvers, media types, and stream transports.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{EmptyMutation, ErrorExtensions, Object, Schema, Subscription};
use axum::Router;
use axum::body::{Body, to_bytes};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use graphql_transport::signature::{Secrets, SignatureHeaders};
use graphql_transport::{HttpSettings, Serving, Settings, TransportMetrics};
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::{Value, json};
use service::prometheus_client::registry::Registry;
use service::{Lifecycle, Metrics};
use subgraph::database_calls::{CallLimits, CallMetrics};
use subgraph::endpoint::AnySchema;
use subgraph::{
    AccessSettings, Code, CodedError, DatabaseCalls, DateTime, Limits, Overloaded, endpoint,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

#[derive(Clone, Debug, thiserror::Error)]
#[error("mongodb://user:password@host is down")]
struct Fault;

impl CodedError for Fault {
    fn code(&self) -> Code {
        Code::InternalServerError
    }
}

struct Query;

#[Object]
impl Query {
    async fn fine(&self) -> &str {
        "fine"
    }

    async fn fault(&self) -> Result<i32, Fault> {
        Err(Fault)
    }

    async fn foreign(&self) -> async_graphql::Result<i32> {
        Err(std::io::Error::other("mongodb://user:password@host is down").into())
    }

    async fn echo(&self, at: DateTime) -> DateTime {
        at
    }

    async fn busy(&self) -> async_graphql::Result<i32> {
        busy()
    }

    async fn hang(&self) -> i32 {
        std::future::pending().await
    }

    async fn panic(&self) -> i32 {
        "not a number".parse().expect("a resolver's mistake")
    }
}

fn busy() -> async_graphql::Result<i32> {
    let busy = async_graphql::Error::new("try again");
    Err(busy.extend_with(|_, extensions| extensions.set("code", "OVERLOADED")))
}

struct Mutation;

#[Object]
impl Mutation {
    async fn write(&self) -> Query {
        Query
    }

    async fn busy(&self) -> async_graphql::Result<i32> {
        busy()
    }
}

struct Subscriptions;

#[Subscription]
impl Subscriptions {
    async fn numbers(&self) -> impl Stream<Item = i32> {
        stream::iter(1..=2)
    }
}

fn router() -> Router {
    let schema = Schema::new(Query, Mutation, Subscriptions);
    let settings = Settings::default();
    endpoint::routes_within(
        AnySchema::new::<Fault>(schema),
        None,
        Limits::default(),
        serving(settings),
    )
}

fn serving(settings: Settings) -> Serving {
    let metrics = TransportMetrics::register(&mut Registry::default(), "test");
    Serving::new(settings, Arc::new(metrics), CancellationToken::new())
}

/// Behind a queue that has no room.
fn full_router() -> (Router, impl Sized) {
    let limits = CallLimits {
        connections: 1,
        queue_max: 0,
        wait_max: Duration::ZERO,
    };
    let calls = DatabaseCalls::new((), limits, CallMetrics::default());
    let busy = calls.clone();
    let mut held = Box::pin(async move {
        let call = busy.run(|()| std::future::pending::<Result<(), Overloaded>>());
        call.await
    });
    assert!(held.as_mut().now_or_never().is_none());
    let schema = Schema::new(Query, EmptyMutation, Subscriptions);
    let (gate, limits) = (Some(calls.gate().clone()), Limits::default());
    let serving = serving(Settings::default());
    let router = endpoint::routes_within(AnySchema::new::<Fault>(schema), gate, limits, serving);
    (router, held)
}

/// As a binary serves it, with these arguments.
fn served_with(arguments: &[&str]) -> Router {
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        access: AccessSettings,
        #[command(flatten)]
        service: service::Settings,
    }
    let arguments = ["subgraph"].iter().chain(arguments);
    let flags = <Flags as clap::Parser>::parse_from(arguments);
    let limits = CallLimits {
        connections: 1,
        queue_max: 1,
        wait_max: Duration::ZERO,
    };
    let calls = DatabaseCalls::new((), limits, CallMetrics::default());
    let schema = Schema::new(Query, EmptyMutation, Subscriptions);
    let endpoint = endpoint::endpoint(
        AnySchema::new::<Fault>(schema),
        calls.gate().clone(),
        Limits::default(),
        &flags.access,
        &Metrics::new("subgraph"),
        &Lifecycle::new(),
        &flags.service,
    );
    graphql_transport::routes(&endpoint.expect("well-formed settings"))
}

#[tokio::test]
async fn in_development_it_answers_to_the_names_of_its_machine_alone() {
    let named = ["--development", "--allowed-hosts=posts.internal"];
    for (arguments, host, status) in [
        (&["--development"][..], "localhost:4001", 200),
        (&["--development"], "127.0.0.1:4001", 200),
        (&["--development"], "evil.example:4001", 421),
        (&[], "posts:4001", 200),
        (&named, "posts.internal:4001", 200),
        (&named, "localhost:4001", 421),
        (&named[1..], "posts:4001", 421),
    ] {
        let request = Request::get("/graphql?query=%7Bfine%7D").header(header::HOST, host);
        let request = request.body(Body::empty()).expect("a request");
        let response = served_with(arguments).oneshot(request).await;
        let found = response.expect("an answer").status();
        assert_eq!(found, status, "{arguments:?} {host}");
    }
}

#[tokio::test]
async fn with_a_secret_only_its_gateway_is_answered() {
    let secret = "0123456789abcdef0123456789abcdef";
    let argument = format!("--subgraph-secret={secret}");
    let signer = Secrets::new(secret).expect("a long secret").signer("posts");
    for query in [
        "{ fine }",
        "{ _service { sdl } }",
        "{ __schema { queryType { name } } }",
        "query($r: [_Any!]!) { _entities(representations: $r) { __typename } }",
        "{",
    ] {
        let body = json!({ "query": query }).to_string();
        let post = |signature: Option<SignatureHeaders>| {
            let mut request = Request::post("/graphql")
                .header(header::HOST, "posts")
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.clone()))
                .expect("a request");
            if let Some(signature) = signature {
                signature.add_to(request.headers_mut());
            }
            served_with(&[
                "--development",
                "--allowed-hosts=*",
                "--subgraph-name=posts",
                &argument,
            ])
            .oneshot(request)
        };
        let response = post(None).await.expect("a response");
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{query}");
        let answer = to_bytes(response.into_body(), usize::MAX)
            .await
            .expect("a body");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(
            answer["errors"][0]["extensions"]["code"],
            "SIGNATURE_REFUSED"
        );
        let sign = |text: &str| {
            let body = Some(text.as_bytes());
            signer.sign(&Method::POST, "/graphql", body, &HeaderMap::new())
        };
        let other = post(sign("{}")).await.expect("a response");
        assert_eq!(
            other.status(),
            StatusCode::FORBIDDEN,
            "another body: {query}"
        );
        let own = post(sign(&body)).await.expect("a response");
        assert_ne!(own.status(), StatusCode::FORBIDDEN, "{query}");
    }
    for (name, value) in [("upgrade", "websocket"), ("accept", "text/event-stream")] {
        let request = Request::get("/graphql?query=%7Bfine%7D").header(header::HOST, "posts");
        let request = request
            .header(name, value)
            .body(Body::empty())
            .expect("a request");
        let response = served_with(&[&argument, "--subgraph-name=posts"])
            .oneshot(request)
            .await
            .expect("a response");
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{value}");
    }
}

/// For what never ends.
fn impatient_router() -> Router {
    let http = HttpSettings {
        request_timeout: Duration::from_millis(10),
        request_body_timeout: Duration::from_millis(10),
        ..HttpSettings::default()
    };
    let settings = Settings {
        http,
        ..Settings::default()
    };
    let schema = Schema::new(Query, EmptyMutation, Subscriptions);
    endpoint::routes_within(
        AnySchema::new::<Fault>(schema),
        None,
        Limits::default(),
        serving(settings),
    )
}

/// Sends a request as JSON and returns the status, the media type and the body.
async fn post(router: &Router, query: &str, accept: &str) -> (StatusCode, String, String) {
    let request = Request::post("http://subgraph/graphql")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, accept)
        .body(Body::from(json!({ "query": query }).to_string()))
        .expect("a request");
    let response = router.clone().oneshot(request).await.expect("an answer");
    let status = response.status();
    let media_type = response.headers()[header::CONTENT_TYPE]
        .to_str()
        .expect("a text")
        .to_owned();
    let body = to_bytes(response.into_body(), usize::MAX)
        .await
        .expect("a body");
    (
        status,
        media_type,
        String::from_utf8(body.to_vec()).expect("UTF-8"),
    )
}

#[tokio::test]
async fn an_overload_without_data_is_503_with_a_time_to_come_back() {
    let (full, _held) = full_router();
    for (router, query) in [(&router(), "{ busy }"), (&full, "{ fine }")] {
        for accept in ["application/json", "application/graphql-response+json"] {
            let request = Request::post("http://subgraph/graphql")
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, accept)
                .body(Body::from(json!({ "query": query }).to_string()));
            let answer = router.clone().oneshot(request.expect("a request")).await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{query}");
            assert_eq!(answer.headers()[header::RETRY_AFTER], "1", "{query}");
            let body = to_bytes(answer.into_body(), usize::MAX).await;
            let body: Value = serde_json::from_slice(&body.expect("a body")).expect("JSON");
            assert_eq!(
                body["errors"][0]["extensions"]["code"], "OVERLOADED",
                "{body}"
            );
        }
    }
    for query in ["{ fine }", "subscription { numbers }"] {
        let (_, _, body) = post(&full, query, "text/event-stream").await;
        assert!(body.contains("event: next\n"), "{body}");
        assert!(body.contains(r#""code":"OVERLOADED""#), "{body}");
    }
}

#[tokio::test]
async fn only_a_mutation_of_which_nothing_was_begun_can_be_sent_again() {
    let (refused, after) = ("OVERLOADED", "READ_AFTER_WRITE_FAILED");
    for (mutation, expected, code, path) in [
        ("mutation { busy }", 503, refused, json!(["busy"])),
        ("mutation { a: busy }", 503, refused, json!(["a"])),
        (
            "mutation { write { busy } }",
            200,
            after,
            json!(["write", "busy"]),
        ),
        (
            "mutation { write { fine } busy }",
            200,
            refused,
            json!(["busy"]),
        ),
        (
            "mutation { ...{ write { fine } busy } }",
            200,
            refused,
            json!(["busy"]),
        ),
    ] {
        let (status, _, body) = post(&router(), mutation, "application/json").await;
        assert_eq!(status.as_u16(), expected, "{mutation}: {body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let error = &body["errors"][0];
        assert_eq!(error["extensions"]["code"], code, "{mutation}: {body}");
        assert_eq!(error["path"], path, "{mutation}: {body}");
    }
    let mutation = "mutation { write { busy } }";
    let (_, _, body) = post(&router(), mutation, "text/event-stream").await;
    assert!(body.contains(after), "{body}");
}

#[tokio::test]
async fn a_panic_harms_its_own_request_alone() {
    let router = router();
    let (status, _, body) = post(&router, "{ panic }", "application/json").await;
    let response: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        response["errors"][0]["extensions"]["code"],
        "INTERNAL_SERVER_ERROR"
    );

    let (_, _, body) = post(&router, "{ fine }", "application/json").await;
    assert_eq!(body, r#"{"data":{"fine":"fine"}}"#);
}

#[tokio::test]
async fn the_text_of_a_fault_is_not_shown() {
    let (_, _, body) = post(&router(), "{ fault }", "application/json").await;
    assert!(body.contains("INTERNAL_SERVER_ERROR"), "{body}");
    assert!(!body.contains("password"), "{body}");
}

#[tokio::test]
async fn the_status_tells_more_to_those_who_ask_for_it() {
    let router = router();
    let modern = "application/graphql-response+json";
    for (query, accept, expected) in [
        ("{ fine }", modern, StatusCode::OK),
        ("{ fault }", modern, StatusCode::OK),
        ("{ unknown }", modern, StatusCode::BAD_REQUEST),
        ("{", modern, StatusCode::BAD_REQUEST),
        ("{ unknown }", "application/json", StatusCode::OK),
    ] {
        let (status, media_type, _) = post(&router, query, accept).await;
        let accept = format!("{accept}; charset=utf-8");
        assert_eq!((status, media_type), (expected, accept), "{query}");
    }
}

#[tokio::test]
async fn an_error_that_is_not_the_subgraphs_own_is_not_shown() {
    let (_, _, body) = post(&router(), "{ foreign }", "application/json").await;
    assert!(body.contains("INTERNAL_SERVER_ERROR"), "{body}");
    assert!(!body.contains("password"), "{body}");
}

#[tokio::test]
async fn a_value_that_cannot_be_read_while_it_runs_is_the_clients() {
    let (_, _, body) = post(&router(), "{ echo(at: \"x\") }", "application/json").await;
    assert!(body.contains("BAD_USER_INPUT"), "{body}");
}

#[tokio::test]
async fn a_query_has_a_time_limit_over_every_transport() {
    for accept in ["application/json", "text/event-stream"] {
        let (_, _, body) = post(&impatient_router(), "{ hang }", accept).await;
        assert!(body.contains("REQUEST_TIMEOUT"), "{accept}: {body}");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let beginning = stream::iter([Ok::<_, std::io::Error>("{")]);
    let request = Request::post("http://subgraph/graphql")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from_stream(beginning.chain(stream::pending())))
        .expect("a request");
    let response = impatient_router().oneshot(request).await;
    assert_eq!(
        response.expect("an answer").status(),
        StatusCode::REQUEST_TIMEOUT
    );
}
