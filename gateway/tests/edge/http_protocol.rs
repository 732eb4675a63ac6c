//! GraphQL over HTTP: status codes, media types, and everything malformed.

use reqwest::{Method, StatusCode};
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
async fn the_status_follows_the_media_type() {
    let gateway = TestGateway::start().await;
    for (body, json_status, graphql_status, expected) in [
        (r#"{"query":"{ greeting }"}"#, 200, 200, "none"),
        (r#"{"query":"{"}"#, 200, 400, "GRAPHQL_PARSE_FAILED"),
        (
            r#"{"query":"{ nothing }"}"#,
            200,
            400,
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            r#"{"query":"query($n: String!){greeting(name:$n)}"}"#,
            200,
            400,
            "BAD_USER_INPUT",
        ),
        (
            r#"{"query":"query A{greeting} query B{greeting}"}"#,
            200,
            400,
            "OPERATION_RESOLUTION_FAILURE",
        ),
        (
            r#"{"query":"subscription{messages{id}}"}"#,
            200,
            400,
            "SUBSCRIPTION_FORBIDDEN",
        ),
        (r#"{"query":"#, 400, 400, "BAD_REQUEST"),
        (
            r#"{"query":"{greeting}"} trailing"#,
            400,
            400,
            "BAD_REQUEST",
        ),
        (
            r#"{"query":"{greeting}","query":"{greeting}"}"#,
            400,
            400,
            "BAD_REQUEST",
        ),
        (r#"[{"query":"{greeting}"}]"#, 400, 400, "BAD_REQUEST"),
        (r#"{"query":7}"#, 400, 400, "BAD_REQUEST"),
        (
            r#"{"query":"{greeting}","operationName":[]}"#,
            400,
            400,
            "BAD_REQUEST",
        ),
        (
            r#"{"query":"{greeting}","variables":"x"}"#,
            400,
            400,
            "BAD_REQUEST",
        ),
        (
            r#"{"query":"{greeting}","extensions":0}"#,
            400,
            400,
            "BAD_REQUEST",
        ),
        (r#"{"nothing":1}"#, 400, 400, "BAD_REQUEST"),
        ("", 400, 400, "BAD_REQUEST"),
    ] {
        for (accept, status) in [(JSON, json_status), (GRAPHQL, graphql_status)] {
            let (answered, content_type, answer) = asked(&gateway, accept, body).await;
            assert_eq!(
                (answered, code(&answer)),
                (status, expected),
                "{accept} {body}: {answer}"
            );
            assert_eq!(content_type, format!("{accept}; charset=utf-8"), "{body}");
            assert_eq!(answer.get("data").is_some(), expected == "none", "{body}");
        }
    }
}

#[tokio::test]
async fn null_members_are_as_good_as_absent() {
    let gateway = TestGateway::start().await;
    let body =
        r#"{"query":"{ greeting }","variables":null,"operationName":null,"extensions":null}"#;
    assert_eq!(
        asked(&gateway, GRAPHQL, body).await.2,
        json!({"data": {"greeting": "hello you"}})
    );
}

#[tokio::test]
async fn the_operations_name_picks_one() {
    let gateway = TestGateway::start().await;
    let body = json!({
        "query": "query A { greeting } query B($n: String) { greeting(name: $n) }",
        "operationName": "B",
        "variables": {"n": "B"},
        "extensions": {"any": 1},
    });
    let (_, _, answer) = asked(&gateway, GRAPHQL, &body.to_string()).await;
    assert_eq!(answer, json!({"data": {"greeting": "hello B"}}));
}

#[tokio::test]
async fn what_http_itself_refuses_has_its_own_status() {
    let gateway = TestGateway::with(&["--request-bytes-max=1000"]).await;
    let query = r#"{"query":"{ greeting }"}"#;
    let post = || gateway.http.post(gateway.url("/graphql"));
    let refused = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let answer: Value = response.json().await.expect("JSON");
        (status, code(&answer).to_owned())
    };
    let unsupported = (415, "UNSUPPORTED_MEDIA_TYPE".to_owned());
    assert_eq!(refused(post().body(query)).await, unsupported);
    assert_eq!(
        refused(post().header("content-type", "text/plain").body(query)).await,
        unsupported
    );
    let utf16 = post()
        .header("content-type", "application/json; charset=utf-16")
        .body(query);
    assert_eq!(refused(utf16).await, unsupported);
    let large = gateway
        .post()
        .body(format!("{query}{}", " ".repeat(2_000_000)));
    assert_eq!(refused(large).await, (413, "REQUEST_TOO_LARGE".to_owned()));
    let image = gateway.post().header("accept", "image/png").body(query);
    assert_eq!(refused(image).await, (406, "NOT_ACCEPTABLE".to_owned()));
    let bytes = gateway
        .post()
        .body(b"{\"query\":\"{ greeting(name: \\\"\xff\\\") }\"}".to_vec());
    assert_eq!(refused(bytes).await, (400, "BAD_REQUEST".to_owned()));
}

#[tokio::test]
async fn other_methods_are_told_which_ones_there_are() {
    let plain = TestGateway::start().await;
    // Its requests take the way through the router.
    let with_cors = TestGateway::with(&["--cors-origins=https://app.example"]).await;
    for gateway in [plain, with_cors] {
        for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD] {
            let response = gateway
                .http
                .request(method, gateway.url("/graphql?query=%7Bgreeting%7D"))
                .send()
                .await
                .expect("an answer");
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()["allow"], "GET, POST, OPTIONS");
        }
    }
}

#[tokio::test]
async fn queries_come_by_get_and_mutations_do_not() {
    let gateway = TestGateway::start().await;
    let query =
        "/graphql?query=query($n:String){greeting(name:$n)}&variables=%7B%22n%22:%22G%22%7D";
    let response = gateway.get(query).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.json::<Value>().await.expect("JSON"),
        json!({"data": {"greeting": "hello G"}})
    );

    let mutation = gateway
        .get("/graphql?query=mutation%7Bpublish(text:%22x%22)%7Bid%7D%7D")
        .await;
    assert_eq!(mutation.status(), 405);
    assert_eq!(mutation.headers()["allow"], "POST");
    assert_eq!(
        code(&mutation.json().await.expect("JSON")),
        "MUTATION_FORBIDDEN"
    );

    for query in [
        "",
        "?query=%7Bgreeting%7D&variables=1",
        "?query=%7Bgreeting%7D&query=%7Bgreeting%7D",
    ] {
        let response = gateway.get(&format!("/graphql{query}")).await;
        assert_eq!(response.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn a_browsers_cross_site_get_needs_a_preflight() {
    let gateway = TestGateway::start().await;
    let get = || {
        gateway
            .http
            .get(gateway.url("/graphql?query=%7Bgreeting%7D"))
    };
    for (headers, status) in [
        (vec![], 200),
        (vec![("sec-fetch-site", "same-origin")], 200),
        (vec![("sec-fetch-site", "none")], 200),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site")], 403),
        (vec![("origin", "https://evil.example")], 403),
        (
            vec![
                ("sec-fetch-site", "cross-site"),
                ("graphql-require-preflight", "1"),
            ],
            200,
        ),
        (
            vec![
                ("sec-fetch-site", "cross-site"),
                ("x-apollo-operation-name", "A"),
            ],
            200,
        ),
    ] {
        let request = headers.iter().fold(get(), |request, (name, value)| {
            request.header(*name, *value)
        });
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), status, "{headers:?}");
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
        "x-served-by,x-request-id"
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

    // Without the setting nobody is let in, and the preflight fails.
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
    let gateway = TestGateway::with(&["--request-timeout=50ms"]).await;
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
