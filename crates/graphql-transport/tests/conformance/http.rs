//! GraphQL over HTTP: <https://graphql.github.io/graphql-over-http/draft/>, and what a client that is
//! wrong or hostile gets.

use graphql_transport::testing::{PATIENCE, Wire};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support;

const JSON: &str = "application/json";
const GRAPHQL: &str = "application/graphql-response+json";
const GREETING: &str = r#"{"query":"{ greeting }"}"#;

/// Status, media type and body.
async fn sent(request: RequestBuilder) -> (u16, String, Value) {
    let response = request.send().await.expect("an answer");
    let media_type = response.headers()["content-type"].to_str().expect("text");
    let media_type = media_type.to_owned();
    (
        response.status().as_u16(),
        media_type,
        response.json().await.expect("JSON"),
    )
}

fn code(body: &Value) -> &str {
    let code = &body["errors"][0]["extensions"]["code"];
    code.as_str().unwrap_or("none")
}

#[tokio::test]
async fn the_status_follows_the_media_type() {
    for target in support::both().await {
        for (body, json_status, graphql_status, expected) in [
            (GREETING, 200, 200, "none"),
            (
                r#"{"query":"{greeting}","variables":null,"operationName":null,"extensions":null}"#,
                200,
                200,
                "none",
            ),
            (r#"{"query":"{"}"#, 200, 400, "GRAPHQL_PARSE_FAILED"),
            (
                r#"{"query":"{ no }"}"#,
                200,
                400,
                "GRAPHQL_VALIDATION_FAILED",
            ),
            (
                r#"{"query":"subscription{never}"}"#,
                200,
                400,
                "SUBSCRIPTION_FORBIDDEN",
            ),
            (r#"{"query":"#, 400, 400, "BAD_REQUEST"),
            (r#"{"query":"{greeting}"} more"#, 400, 400, "BAD_REQUEST"),
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
                r#"{"query":"{greeting}","variables":[]}"#,
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
                let request = target.post().header("accept", accept).body(body);
                let (answered, media_type, answer) = sent(request).await;
                let what = format!("{} {accept} {body}: {answer}", target.name);
                assert_eq!((answered, code(&answer)), (status, expected), "{what}");
                assert_eq!(media_type, format!("{accept}; charset=utf-8"), "{what}");
                assert_eq!(answer.get("data").is_some(), expected == "none", "{what}");
            }
        }
    }
}

#[tokio::test]
async fn the_operations_name_picks_one() {
    let body = json!({
        "query": "query A { greeting } query B($n: String) { greeting(name: $n) }",
        "operationName": "B",
        "variables": {"n": "B"},
        "extensions": {"any": 1},
    });
    for target in support::both().await {
        let (_, _, answer) = sent(target.post().body(body.to_string())).await;
        let expected = json!({"data": {"greeting": "hello B"}});
        assert_eq!(answer, expected, "{}", target.name);
    }
}

#[tokio::test]
async fn the_accepted_media_type_is_negotiated() {
    for target in support::both().await {
        for (accept, expected) in [
            ("*/*", Some(JSON)),
            ("application/*", Some(JSON)),
            (
                "application/json;q=0.5, application/graphql-response+json",
                Some(GRAPHQL),
            ),
            (
                "application/graphql-response+json;q=0.5, application/json",
                Some(JSON),
            ),
            ("application/graphql-response+json;q=0, */*", Some(JSON)),
            ("image/png", None),
            ("text/event-streams", None),
        ] {
            let request = target.post().header("accept", accept).body(GREETING);
            let (status, media_type, answer) = sent(request).await;
            let what = format!("{} {accept}: {answer}", target.name);
            match expected {
                Some(expected) => {
                    assert_eq!(media_type, format!("{expected}; charset=utf-8"), "{what}")
                }
                None => assert_eq!((status, code(&answer)), (406, "NOT_ACCEPTABLE"), "{what}"),
            }
        }
    }
}

#[tokio::test]
async fn what_http_itself_refuses_has_its_own_status() {
    for target in support::with(|http, _| http.request_bytes_max = 1000).await {
        let post = || reqwest::Client::new().post(target.url("")).body(GREETING);
        let large = format!("{GREETING}{}", " ".repeat(2_000_000));
        for (request, status, expected) in [
            (post(), 415, "UNSUPPORTED_MEDIA_TYPE"),
            (
                post().header("content-type", "text/plain"),
                415,
                "UNSUPPORTED_MEDIA_TYPE",
            ),
            (
                post().header("content-type", "application/jsonx"),
                415,
                "UNSUPPORTED_MEDIA_TYPE",
            ),
            (
                post().header("content-type", "application/json; charset=utf-16"),
                415,
                "UNSUPPORTED_MEDIA_TYPE",
            ),
            (
                target
                    .post()
                    .header("content-encoding", "deflate")
                    .body(GREETING),
                415,
                "UNSUPPORTED_CONTENT_ENCODING",
            ),
            (
                target
                    .post()
                    .header("content-encoding", "gzip")
                    .body(GREETING),
                400,
                "BAD_REQUEST",
            ),
            (target.post().body(large), 413, "REQUEST_TOO_LARGE"),
            (
                target
                    .post()
                    .body(&b"{\"query\": \"{ greeting(name: \\\"\xff\\\") }\"}"[..]),
                400,
                "BAD_REQUEST",
            ),
        ] {
            let (answered, _, answer) = sent(request).await;
            let what = format!("{}: {answer}", target.name);
            assert_eq!((answered, code(&answer)), (status, expected), "{what}");
        }
    }
}

#[tokio::test]
async fn other_methods_are_told_which_ones_there_are() {
    let plain = support::both().await;
    // Its requests take the way through the router.
    let with_cors =
        support::with(|http, _| http.cors_origins = vec!["https://app.example".to_owned()]).await;
    for target in plain.into_iter().chain(with_cors) {
        for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD] {
            let request = reqwest::Client::new().request(method, target.url("?query={greeting}"));
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status(), 405, "{}", target.name);
            assert_eq!(response.headers()["allow"], "GET, POST, OPTIONS");
        }
    }
}

#[tokio::test]
async fn a_get_reads_and_does_not_write() {
    for target in support::both().await {
        let client = reqwest::Client::new();
        let get = |query: &str| client.get(target.url(query));
        let named = "?query=query($n:String){greeting(name:$n)}&variables=%7B%22n%22:%22G%22%7D";
        let (status, _, answer) = sent(get(named)).await;
        assert_eq!(
            (status, answer),
            (200, json!({"data": {"greeting": "hello G"}}))
        );

        let mutation = get("?query=mutation%7Bpublish(text:%22x%22)%7D")
            .send()
            .await;
        let mutation = mutation.expect("an answer");
        assert_eq!(
            (mutation.status().as_u16(), &mutation.headers()["allow"]),
            (405, &"POST".parse().expect("a value"))
        );
        let answer: Value = mutation.json().await.expect("JSON");
        assert_eq!(code(&answer), "MUTATION_FORBIDDEN", "{}", target.name);

        for query in [
            "",
            "?query=%7Bgreeting%7D&variables=1",
            "?query=a&query=b",
            "?query=%ff",
        ] {
            let (status, _, answer) = sent(get(query)).await;
            assert_eq!(
                (status, code(&answer)),
                (400, "BAD_REQUEST"),
                "{} {query}",
                target.name
            );
        }
    }
}

#[tokio::test]
async fn a_page_of_another_site_is_refused() {
    let allowed = |http: &mut graphql_transport::HttpSettings, _: &mut _| {
        http.cors_origins = vec!["https://app.example".to_owned()];
    };
    for target in support::with(allowed).await {
        let own = format!("http://{}", target.address);
        let client = reqwest::Client::new();
        for method in [Method::GET, Method::POST] {
            for (headers, expected) in [
                (vec![], 200),
                (vec![("sec-fetch-site", "same-origin")], 200),
                (vec![("sec-fetch-site", "none")], 200),
                (vec![("sec-fetch-site", "cross-site")], 403),
                (vec![("sec-fetch-site", "same-site")], 403),
                (vec![("origin", "https://evil.example")], 403),
                (vec![("origin", "null")], 403),
                (vec![("origin", own.as_str())], 200),
                (
                    vec![
                        ("sec-fetch-site", "cross-site"),
                        ("origin", "https://app.example"),
                    ],
                    200,
                ),
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
                let request = match method {
                    Method::GET => client.get(target.url("?query=%7Bgreeting%7D")),
                    _ => target.post().body(GREETING),
                };
                let request = headers.iter().fold(request, |request, (name, value)| {
                    request.header(*name, *value)
                });
                let (status, _, answer) = sent(request).await;
                let what = format!("{} {method} {headers:?}: {answer}", target.name);
                assert_eq!(status, expected, "{what}");
                assert_eq!(
                    code(&answer),
                    if expected == 403 {
                        "CSRF_REFUSED"
                    } else {
                        "none"
                    }
                );
            }
        }
    }
}

#[tokio::test]
async fn who_asks_before_sending_too_much_gets_no_100() {
    for target in support::both().await {
        let mut wire = Wire::open(target.address).await;
        wire.send(
            "POST /graphql HTTP/1.1\r\nhost: service\r\ncontent-type: application/json\r\n\
             expect: 100-continue\r\ncontent-length: 99999999\r\n\r\n",
        )
        .await;
        let (status, answer) = wire.answer().await;
        assert_eq!(
            (status, code(&answer)),
            (413, "REQUEST_TOO_LARGE"),
            "{}",
            target.name
        );
    }
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_gets_its_refusal() {
    const BYTES: usize = 16 << 20;
    for target in support::both().await {
        for (headers, status, expected) in [
            (
                "content-type: multipart/form-data; boundary=b",
                415,
                "UNSUPPORTED_MEDIA_TYPE",
            ),
            ("content-type: application/json", 413, "REQUEST_TOO_LARGE"),
            (
                "content-type: application/json\r\nsec-fetch-site: cross-site",
                403,
                "CSRF_REFUSED",
            ),
        ] {
            let whole = (format!("content-length: {BYTES}"), String::new(), "");
            let size = format!("{BYTES:x}\r\n");
            let chunked = (
                "transfer-encoding: chunked".to_owned(),
                size,
                "\r\n0\r\n\r\n",
            );
            for (length, before, after) in [whole, chunked] {
                let mut wire = Wire::open(target.address).await;
                let head = format!("POST /graphql HTTP/1.1\r\nhost: service\r\n{headers}\r\n");
                wire.send(&format!("{head}{length}\r\n\r\n{before}")).await;
                wire.send(&"x".repeat(BYTES)).await;
                wire.send(after).await;
                let (answered, answer) = wire.answer().await;
                let what = format!("{} {length}", target.name);
                assert_eq!((answered, code(&answer)), (status, expected), "{what}");
            }
        }
    }
}

/// A request whose body has 60,000 of its 80,000 bytes.
async fn begun(target: &support::Target) -> Wire {
    let mut wire = Wire::open(target.address).await;
    let begin = format!("{GREETING}{}", " ".repeat(60_000 - GREETING.len()));
    wire.send(&format!(
        "POST /graphql HTTP/1.1\r\nhost: service\r\ncontent-type: application/json\r\n\
         content-length: 80000\r\n\r\n{begin}"
    ))
    .await;
    wire
}

#[tokio::test]
async fn bodies_on_the_way_have_a_bound_for_each_client() {
    let bounded = |http: &mut graphql_transport::HttpSettings, _: &mut _| {
        http.request_bytes_max = 100_000;
        http.request_bodies_bytes_per_client_max = 100_000;
    };
    for target in support::with(bounded).await {
        for _ in 0..2 {
            let (mut one, mut other) = (begun(&target).await, begun(&target).await);
            // Which one finds no room depends on which is read first.
            let (refused, mut left) = tokio::select! {
                answer = one.answer() => (answer, other),
                answer = other.answer() => (answer, one),
            };
            let found = (refused.0, code(&refused.1));
            assert_eq!(found, (503, "TOO_MANY_REQUEST_BYTES"), "{}", target.name);
            let (status, ..) = sent(target.post().body(GREETING)).await;
            assert_eq!(status, 200, "{}", target.name);
            left.send(&" ".repeat(20_000)).await;
            let (status, answer) = left.answer().await;
            assert_eq!((status, code(&answer)), (200, "none"), "{}", target.name);
        }
    }
}

#[tokio::test]
async fn a_request_of_the_largest_size_is_answered() {
    for target in support::both().await {
        let beginning = r#"{"query":"query($n:String){greeting(name:$n)}","variables":{"n":""#;
        let bytes_max = graphql_transport::HttpSettings::default().request_bytes_max;
        let name = "x".repeat(bytes_max - beginning.len() - 3);
        let body = format!("{beginning}{name}\"}}}}");
        assert_eq!(body.len(), bytes_max);
        let (status, _, answer) = sent(target.post().body(body.clone())).await;
        let greeting = answer["data"]["greeting"].as_str().map(str::len);
        assert_eq!(
            (status, greeting),
            (200, Some(6 + name.len())),
            "{}",
            target.name
        );
        let (status, _, _) = sent(target.post().body(body + " ")).await;
        assert_eq!(status, 413, "{}", target.name);
    }
}

#[tokio::test]
async fn a_request_has_one_host_and_one_that_is_allowed() {
    let named = |http: &mut graphql_transport::HttpSettings, _: &mut _| {
        http.allowed_hosts = vec!["localhost".to_owned()];
    };
    for target in support::with(named).await {
        for (hosts, status, expected) in [
            ("host: localhost\r\n", 200, "none"),
            ("host: localhost:1\r\n", 200, "none"),
            ("host: evil.example\r\n", 421, "HOST_REFUSED"),
            ("", 400, "BAD_REQUEST"),
            ("host: localhost\r\nhost: localhost\r\n", 400, "BAD_REQUEST"),
        ] {
            let mut wire = Wire::open(target.address).await;
            wire.send(&format!(
                "GET /graphql?query=%7Bgreeting%7D HTTP/1.1\r\n{hosts}\r\n"
            ))
            .await;
            let (answered, answer) = wire.answer().await;
            let what = format!("{} {hosts}", target.name);
            assert_eq!((answered, code(&answer)), (status, expected), "{what}");
        }
    }
}

#[tokio::test]
async fn a_client_that_ends_its_side_has_left() {
    for target in support::both().await {
        let mut wire = Wire::open(target.address).await;
        wire.post(JSON, "{ slow }").await;
        let begun = async {
            while target.gate.begun() == 0 {
                tokio::task::yield_now().await;
            }
        };
        let begun = tokio::time::timeout(PATIENCE, begun).await;
        begun.expect("the request begins in time");
        wire.finish().await;
        // Its answer is never there: the gate is closed.
        assert_eq!(wire.rest().await, b"", "{}", target.name);
    }
}

#[tokio::test]
async fn pages_of_the_machine_itself_are_allowed_in_development() {
    let loopback = |http: &mut graphql_transport::HttpSettings, _: &mut _| {
        *http = std::mem::take(http).for_loopback_pages();
    };
    for target in support::with(loopback).await {
        let client = reqwest::Client::new();
        for (origin, status) in [
            ("http://localhost:5173", 200),
            ("http://127.0.0.1:5173", 200),
            ("https://evil.example", 403),
            ("null", 403),
        ] {
            let request = target.post().body(GREETING).header("origin", origin);
            let response = request.header("sec-fetch-site", "cross-site").send();
            let response = response.await.expect("an answer");
            let what = format!("{} {origin}", target.name);
            assert_eq!(response.status(), status, "{what}");
            let allowed = response.headers().get("access-control-allow-origin");
            let allowed = allowed.map(|value| value.to_str().expect("text"));
            assert_eq!(allowed, (status == 200).then_some(origin), "{what}");
        }
        let preflight = client
            .request(Method::OPTIONS, target.url(""))
            .header("origin", "http://localhost:5173")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let preflight = preflight.send().await.expect("an answer");
        let headers = preflight.headers();
        assert_eq!(
            headers["access-control-allow-origin"],
            "http://localhost:5173"
        );
        assert_eq!(headers["access-control-allow-headers"], "content-type");
    }
}
