//! The endpoint over a small schema: faults of resolvers, media types, and stream transports.

use async_graphql::{EmptyMutation, Object, Schema, Subscription};
use axum::Router;
use axum::body::{Body, to_bytes};
use futures_util::{Stream, stream};
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use subgraph::{Code, CodedError, endpoint};
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

    async fn panic(&self) -> i32 {
        "not a number".parse().expect("a resolver's mistake")
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
    let schema = Schema::new(Query, EmptyMutation, Subscriptions);
    endpoint::routes::<Fault, _>(schema, CancellationToken::new())
}

/// Sends a request as JSON and returns the status, the media type and the body.
async fn post(router: &Router, query: &str, accept: &str) -> (StatusCode, String, String) {
    let request = Request::post("/graphql")
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
async fn a_panic_harms_its_own_request_alone() {
    let router = router();
    let (status, _, body) = post(&router, "{ panic }", "application/json").await;
    let response: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, StatusCode::OK);
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
        assert_eq!((status, media_type.as_str()), (expected, accept), "{query}");
    }
}

#[tokio::test]
async fn server_sent_events_end_with_complete() {
    let (_, media_type, body) =
        post(&router(), "subscription { numbers }", "text/event-stream").await;
    assert_eq!(media_type, "text/event-stream");
    let events = [
        "event: next\ndata: {\"data\":{\"numbers\":1}}",
        "event: next\ndata: {\"data\":{\"numbers\":2}}",
        "event: complete\ndata: {}",
    ];
    assert_eq!(body, events.map(|event| format!("{event}\n\n")).concat());
}

#[tokio::test]
async fn other_bodies_than_json_are_refused() {
    let request = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "text/plain")
        .body(Body::from(r#"{"query":"{ fine }"}"#))
        .expect("a request");
    let response = router().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
