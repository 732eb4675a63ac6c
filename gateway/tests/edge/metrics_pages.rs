//! Metrics pages of other services at `/metrics/NAME`.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, routing::get};
use http::{HeaderMap, StatusCode, header};

use crate::support::{eventually, gateway::TestGateway, server::Server};

const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn serving(pages: Router) -> (Server, String) {
    let server = Server::start(pages);
    let origin = server.url().replace("/graphql", "");
    (server, origin)
}

async fn page(gateway: &TestGateway, name: &str) -> (StatusCode, String) {
    let response = gateway.get(&format!("/metrics/{name}")).await;
    (response.status(), response.text().await.expect("text"))
}

#[tokio::test]
async fn a_configured_page_is_served_as_it_is_and_no_other() {
    let asked = Arc::new(AtomicUsize::new(0));
    let headers_seen = Arc::new(Mutex::new(HeaderMap::new()));
    let (count, seen) = (Arc::clone(&asked), Arc::clone(&headers_seen));
    let answer = move |headers: HeaderMap| {
        count.fetch_add(1, Ordering::SeqCst);
        *seen.lock().expect("no panic") = headers;
        async { ([(header::CONTENT_TYPE, TYPE)], "lag_seconds 1.5\n# EOF\n") }
    };
    let (_server, origin) = serving(Router::new().route("/metrics", get(answer)));
    let pages = format!("--metrics-pages=posts={origin}/metrics");
    let gateway = TestGateway::with(&[&pages]).await;

    let request = gateway.http.get(gateway.url("/metrics/posts?name=value"));
    let request = request
        .header("authorization", "secret")
        .header("cookie", "secret");
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], TYPE);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(
        response.text().await.expect("text"),
        "lag_seconds 1.5\n# EOF\n"
    );
    let seen = headers_seen.lock().expect("no panic").clone();
    assert!(!seen.contains_key("authorization") && !seen.contains_key("cookie"));

    // However many look, the service is read once a second.
    let looks = (0..20).map(|_| page(&gateway, "posts"));
    for (status, _) in futures_util::future::join_all(looks).await {
        assert_eq!(status, 200);
    }
    assert!(asked.load(Ordering::SeqCst) < 20);

    assert_eq!(page(&gateway, "comments").await.0, 404);
    assert!(gateway.get("/metrics").await.status().is_success());
    let unconfigured = TestGateway::start().await;
    assert_eq!(page(&unconfigured, "posts").await.0, 404);
}

#[tokio::test]
async fn a_page_that_cannot_be_read_is_a_502_with_its_reason() {
    let too_large = "a_metric_of_sixteen 1\n".repeat(300_000);
    let pages = Router::new()
        .route(
            "/broken",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        )
        .route(
            "/moved",
            get(|| async { axum::response::Redirect::to("/text") }),
        )
        .route(
            "/html",
            get(|| async { axum::response::Html("<p>Hello</p>") }),
        )
        .route("/large", get(|| async { too_large }))
        .route(
            "/silent",
            get(|| async { std::future::pending::<()>().await }),
        )
        .route("/text", get(|| async { "up 1\n" }));
    let (mut server, origin) = serving(pages);
    let names = ["broken", "moved", "html", "large", "silent", "text"];
    let pairs = names.map(|name| format!("{name}={origin}/{name}"));
    let gateway = TestGateway::with(&[&format!("--metrics-pages={}", pairs.join(","))]).await;

    for (name, reason) in [
        ("broken", "it answered with status 500"),
        ("moved", "it answered with status 303"),
        ("html", "its response is not a metrics page"),
        ("large", "it is larger than 4194304 bytes"),
        ("silent", "no whole response within 3 s"),
    ] {
        let expected = format!("the metrics of {name} cannot be read: {reason}\n");
        assert_eq!(
            page(&gateway, name).await,
            (StatusCode::BAD_GATEWAY, expected)
        );
    }
    assert_eq!(page(&gateway, "text").await.0, 200);

    server.kill();
    eventually("the service that ended is told", || async {
        let (status, text) = page(&gateway, "text").await;
        status == 502 && text.contains("no connection")
    })
    .await;
    server.restart().await;
    eventually("it is read again", || async {
        page(&gateway, "text").await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn metrics_are_on_the_port_for_operators_alone() {
    let pages = "--metrics-pages=posts=http://127.0.0.1:9/metrics";
    let gateway = TestGateway::with(&[pages, "--development"]).await;
    for path in ["/metrics", "/metrics/posts"] {
        let public = format!("http://{}{path}", gateway.address);
        let answer = gateway.http.get(public).send().await.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}");
    }
    assert_eq!(gateway.get("/metrics").await.status(), 200);
    assert_eq!(gateway.get("/metrics/posts").await.status(), 502);
}
