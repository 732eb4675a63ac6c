//! What the gateway adds to GraphQL over HTTP: its codes, CORS, headers, counters.
//! `crates/graphql-transport/tests` covers the protocol itself.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Wire, gateway::TestGateway};

const JSON: &str = "application/json";
const GRAPHQL: &str = "application/graphql-response+json";

async fn asked(gateway: &TestGateway, accept: &str, body: &str) -> (u16, String, Value) {
    let response = gateway
        .post()
        .header("accept", accept)
        .body(body.to_owned())
        .send()
        .await
        .expect("an answer");
    let content_type = response.headers()["content-type"]
        .to_str()
        .expect("text")
        .to_owned();
    (
        response.status().as_u16(),
        content_type,
        response.json().await.expect("JSON"),
    )
}

fn code(body: &Value) -> &str {
    body["errors"][0]["extensions"]["code"]
        .as_str()
        .unwrap_or("none")
}

#[tokio::test]
async fn the_status_of_the_gateways_own_refusals_follows_the_media_type() {
    let gateway = TestGateway::start().await;
    for (query, expected) in [
        ("query($n: String!){greeting(name:$n)}", "BAD_USER_INPUT"),
        (
            "query A{greeting} query B{greeting}",
            "OPERATION_RESOLUTION_FAILURE",
        ),
    ] {
        let body = json!({ "query": query }).to_string();
        for (accept, status) in [(JSON, 200), (GRAPHQL, 400)] {
            let (answered, content_type, answer) = asked(&gateway, accept, &body).await;
            assert_eq!((answered, code(&answer)), (status, expected), "{answer}");
            assert_eq!(content_type, format!("{accept}; charset=utf-8"), "{query}");
            assert_eq!(answer.get("data"), None, "{query}");
        }
    }
}

#[tokio::test]
async fn cors_lets_listed_origins_read_and_nobody_else() {
    let gateway = TestGateway::with(&[
        "--cors-origins=https://app.example",
        "--cors-credentials",
        "--return-headers=x-served-by@news",
    ])
    .await;
    let answer = gateway
        .post()
        .header("origin", "https://app.example")
        .body(r#"{"query":"{ greeting }"}"#)
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        answer.headers()["access-control-expose-headers"],
        "x-served-by,x-request-id,retry-after"
    );
    let preflight = async |origin: &str| {
        let request = gateway
            .http
            .request(Method::OPTIONS, gateway.url("/graphql"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        request.send().await.expect("an answer").headers().clone()
    };
    let allowed = preflight("https://app.example").await;
    assert_eq!(
        allowed["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(allowed["access-control-allow-credentials"], "true");
    assert_eq!(allowed["access-control-allow-headers"], "content-type");
    assert!(
        !preflight("https://evil.example")
            .await
            .contains_key("access-control-allow-origin")
    );

    // Without the setting no origin is allowed, and the preflight fails.
    let closed = TestGateway::start().await;
    let request = closed.http.request(Method::OPTIONS, closed.url("/graphql"));
    let response = request
        .header("origin", "https://app.example")
        .send()
        .await
        .expect("an answer");
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
}

#[tokio::test]
async fn the_requests_id_goes_on_and_comes_back() {
    let gateway = TestGateway::start().await;
    let body = json!({"query": "{ id: header(name: \"x-request-id\") trace: header(name: \"traceparent\") }"});
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = gateway
        .post()
        .header("x-request-id", "mine")
        .header("traceparent", trace);
    let response = request
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.headers()["x-request-id"], "mine");
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!(answer, json!({"data": {"id": "mine", "trace": trace}}));

    let response = gateway
        .post()
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    let id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(
        response.json::<Value>().await.expect("JSON")["data"]["id"],
        json!(id)
    );
}

#[tokio::test]
async fn headers_travel_by_the_rules_and_no_others() {
    let rules = [
        "--forward-headers=authorization,x-news@news,x-counts@counts",
        "--return-headers=x-served-by",
    ];
    let gateway = TestGateway::with(&rules).await;
    let body = json!({"query": "{ a: header(name: \"authorization\") n: header(name: \"x-news\") \
        c: header(name: \"x-counts\") o: header(name: \"cookie\") }"});
    let request = ["authorization", "x-news", "x-counts", "cookie"]
        .iter()
        .fold(gateway.post(), |request, name| {
            request.header(*name, "sent")
        });
    let response = request
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.headers()["x-served-by"], "news");
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!(
        answer,
        json!({"data": {"a": "sent", "n": "sent", "c": null, "o": null}})
    );
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered() {
    let gateway = TestGateway::with(&["--request-timeout=2s"]).await;
    let response = gateway
        .post()
        .body(r#"{"query":"{ slow(milliseconds: 60000) }"}"#)
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 504);
    assert_eq!(
        code(&response.json().await.expect("JSON")),
        "REQUEST_TIMEOUT"
    );
    // The gateway is none the worse for it.
    assert_eq!(
        gateway.query("{ greeting }").await,
        json!({"data": {"greeting": "hello you"}})
    );
}

#[tokio::test]
async fn requests_are_counted_by_transport_and_outcome() {
    let gateway = TestGateway::start().await;
    gateway.query("{ greeting }").await;
    gateway.query("{ nothing }").await;
    let post = "gateway_requests_total{transport=\"Post\",outcome=";
    assert_eq!(gateway.metric(&format!("{post}\"executed\"}}")).await, 1.0);
    assert_eq!(gateway.metric(&format!("{post}\"refused\"}}")).await, 1.0);
    let refusals = "gateway_refusals_total{code=\"GRAPHQL_VALIDATION_FAILED\"}";
    assert_eq!(gateway.metric(refusals).await, 1.0);
}

/// The one answer of a request that was sent in chunks.
async fn chunked(wire: &mut Wire, pieces: &[&str]) -> (u16, Value) {
    wire.send(
        "POST /graphql HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n",
    )
    .await;
    for piece in pieces {
        wire.send(&format!("{:x}\r\n{piece}\r\n", piece.len()))
            .await;
    }
    wire.send("0\r\n\r\n").await;
    wire.answer().await
}

#[tokio::test]
async fn a_request_may_come_in_chunks_and_no_more_of_them_than_allowed() {
    let gateway = TestGateway::with(&["--request-bytes-max=1000"]).await;
    let mut wire = Wire::open(gateway.address).await;
    assert_eq!(
        chunked(&mut wire, &["{\"que", "ry\":\"{ gree", "ting }\"}"]).await,
        (200, json!({"data": {"greeting": "hello you"}}))
    );
    let spaces = " ".repeat(500);
    let (status, answer) = chunked(
        &mut wire,
        &["{\"query\":\"{ greeting }\"}", &spaces, &spaces],
    )
    .await;
    assert_eq!(
        (status, &answer["errors"][0]["extensions"]["code"]),
        (413, &json!("REQUEST_TOO_LARGE"))
    );
}
