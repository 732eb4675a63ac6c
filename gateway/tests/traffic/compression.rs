//! Compressed requests of clients, and compressed responses of subgraphs.

use std::io::Write;

use axum::{
    Router,
    http::{HeaderMap, header},
    response::IntoResponse,
    routing::post,
};
use flate2::{Compression, write::GzEncoder};
use graphql_transport::coding::Coding;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};

use crate::support::{gateway::TestGateway, server::Server};

const ALL: [(&str, Coding); 3] = [
    ("gzip", Coding::Gzip),
    ("br", Coding::Brotli),
    ("zstd", Coding::Zstd),
];

fn packed(coding: Coding, plain: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
            encoder.write_all(plain).expect("in memory");
            encoder.finish().expect("in memory")
        }
        Coding::Brotli => {
            let mut out = Vec::new();
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: 4,
                ..Default::default()
            };
            brotli::BrotliCompress(&mut &*plain, &mut out, &parameters).expect("in memory");
            out
        }
        Coding::Zstd => compress_to_vec(plain, CompressionLevel::Fastest),
    }
}

async fn sent(gateway: &TestGateway, encoding: &str, body: Vec<u8>) -> (u16, HeaderMap, Value) {
    let request = gateway.post().header("content-encoding", encoding);
    let response = request.body(body).send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.json().await.expect("JSON"))
}

fn code(answer: &Value) -> &str {
    let code = &answer["errors"][0]["extensions"]["code"];
    code.as_str().unwrap_or("none")
}

#[tokio::test]
async fn clients_may_compress_their_requests() {
    let gateway = TestGateway::start().await;
    // Several times what is decompressed at once, and of words that differ.
    let name: String = (0..30_000).map(|number| format!("{number} ")).collect();
    let query = "query($name: String) { greeting(name: $name) }";
    for name in ["Ada", &name] {
        let body = json!({ "query": query, "variables": { "name": name } }).to_string();
        for (encoding, coding) in ALL {
            let body = packed(coding, body.as_bytes());
            let (status, _, answer) = sent(&gateway, encoding, body).await;
            assert_eq!(status, 200, "{encoding}");
            let greeting = format!("hello {name}");
            assert_eq!(answer["data"]["greeting"], greeting, "{encoding}");
        }
    }
}

#[tokio::test]
async fn another_coding_is_refused_with_those_that_are_read() {
    let gateway = TestGateway::start().await;
    let body = br#"{"query":"{ greeting }"}"#.to_vec();
    for encoding in ["deflate", "gzip, gzip", "compress"] {
        let (status, headers, answer) = sent(&gateway, encoding, body.clone()).await;
        assert_eq!(
            (status, code(&answer)),
            (415, "UNSUPPORTED_CONTENT_ENCODING")
        );
        assert_eq!(headers[header::ACCEPT_ENCODING], "gzip, br, zstd");
    }
    let text = gateway.post().header("content-type", "text/plain");
    let response = text.body(body).send().await.expect("an answer");
    assert!(!response.headers().contains_key(header::ACCEPT_ENCODING));
}

#[tokio::test]
async fn a_small_body_that_becomes_a_large_one_is_refused() {
    let gateway = TestGateway::with(&["--request-bytes-max=1000000"]).await;
    let query = r#"{"query":"{ greeting }"}"#;
    // Above the bound; and below it, but from almost nothing.
    for bytes in [4_000_000, 999_000] {
        let bomb = format!("{query}{}", " ".repeat(bytes));
        for (encoding, coding) in ALL {
            let body = packed(coding, bomb.as_bytes());
            assert!(body.len() < 200_000, "{encoding}: {}", body.len());
            let (status, _, answer) = sent(&gateway, encoding, body).await;
            assert_eq!(
                (status, code(&answer)),
                (413, "REQUEST_TOO_LARGE"),
                "{encoding}"
            );
        }
    }
    assert_eq!(gateway.metric("gateway_unfinished_body_bytes").await, 0.0);
    assert_eq!(
        gateway.query("{ greeting }").await["data"]["greeting"],
        "hello you"
    );
}

#[tokio::test]
async fn a_body_that_is_not_what_it_says_is_refused() {
    let gateway = TestGateway::start().await;
    for (encoding, coding) in ALL {
        let body = packed(coding, br#"{"query":"{ greeting }"}"#);
        for broken in [b"{}".to_vec(), body[..body.len() - 1].to_vec(), Vec::new()] {
            let (status, _, answer) = sent(&gateway, encoding, broken).await;
            assert_eq!((status, code(&answer)), (400, "BAD_REQUEST"), "{encoding}");
        }
    }
}

/// A subgraph whose responses have this coding, whatever it is asked for, and a greeting of so many bytes.
fn packing(encoding: &'static str, coding: Coding, bytes: usize) -> Server {
    let greeting = "x".repeat(bytes);
    let body = json!({ "data": { "greeting": greeting } }).to_string();
    let body = packed(coding, body.as_bytes());
    let answer = move |headers: HeaderMap| {
        let asked = headers.get(header::ACCEPT_ENCODING).cloned();
        let asked = asked.map(|it| it.to_str().expect("text").to_owned());
        let body = body.clone();
        async move {
            let asked = asked.expect("it says what it accepts");
            assert!(asked == "zstd, br, gzip" || asked == "identity", "{asked}");
            ([(header::CONTENT_ENCODING, encoding)], body).into_response()
        }
    };
    Server::start(Router::new().route("/graphql", post(answer)))
}

#[tokio::test]
async fn subgraphs_compress_where_they_are_asked_to() {
    for (encoding, coding) in ALL {
        for bytes in [3, 200_000] {
            let news = packing(encoding, coding, bytes);
            let url = format!("--subgraph-url=news={}", news.url());
            let asks = "--subgraph-accept-encoding=zstd, br, gzip";
            let gateway = TestGateway::with(&[&url, asks]).await;
            // More than one, over a kept connection.
            for _ in 0..2 {
                let answer = gateway.query("{ greeting }").await;
                assert_eq!(answer["data"]["greeting"], "x".repeat(bytes), "{encoding}");
            }
            let gateway = TestGateway::with(&[&url]).await;
            let answer = gateway.query("{ greeting }").await;
            assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{encoding}");
        }
    }
}

#[tokio::test]
async fn a_subgraphs_response_is_as_large_as_it_is_decompressed() {
    for (encoding, coding) in ALL {
        let news = packing(encoding, coding, 2_000_000);
        let url = format!("--subgraph-url=news={}", news.url());
        let asks = "--subgraph-accept-encoding=zstd, br, gzip";
        let max = "--subgraph-body-bytes-max=1000000";
        let gateway = TestGateway::with(&[&url, asks, max]).await;
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBREQUEST_RESPONSE_TOO_LARGE", "{encoding}");
    }
}
