//! GraphiQL, and a folder of built pages.

use std::fs;

use tempfile::TempDir;

use crate::support::gateway::TestGateway;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn browse(gateway: &TestGateway, path: &str) -> reqwest::Response {
    let request = gateway
        .http
        .get(gateway.url(path))
        .header("accept", BROWSER);
    request
        .header("accept-encoding", "gzip, br")
        .send()
        .await
        .expect("an answer")
}

fn pages() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::create_dir(folder.path().join("assets")).expect("a folder");
    for (path, text) in [
        ("index.html", "live page"),
        ("graphiql.html", "built GraphiQL"),
        ("assets/app-1234.js", "script"),
        ("assets/app-1234.js.br", "script in brotli"),
    ] {
        fs::write(folder.path().join(path), text).expect("written");
    }
    folder
}

#[tokio::test]
async fn a_browser_gets_graphiql_in_development_only() {
    let gateway = TestGateway::with(&["--development"]).await;
    let page = browse(&gateway, "/graphql").await;
    assert_eq!(page.status(), 200);
    assert!(page.text().await.expect("text").contains("GraphiQL"));
    assert_eq!(
        browse(&gateway, "/graphql?query=%7Bgreeting%7D")
            .await
            .status(),
        200
    );
    let answer = browse(&gateway, "/graphql?query=%7Bgreeting%7D")
        .await
        .text()
        .await
        .expect("text");
    assert_eq!(answer, r#"{"data":{"greeting":"hello you"}}"#);

    let gateway = TestGateway::start().await;
    assert_eq!(browse(&gateway, "/graphql").await.status(), 400);
    assert_eq!(browse(&gateway, "/").await.status(), 404);
}

#[tokio::test]
async fn built_pages_are_served_compressed_and_cached_by_name() {
    let folder = pages();
    let gateway = TestGateway::with(&[
        "--development",
        &format!("--web-dir={}", folder.path().display()),
    ])
    .await;
    let index = browse(&gateway, "/?post=1").await;
    assert_eq!(index.headers()["cache-control"], "no-cache");
    assert!(
        index.headers()["content-security-policy"]
            .to_str()
            .expect("text")
            .contains("default-src 'none'")
    );
    assert_eq!(index.text().await.expect("text"), "live page");

    let script = browse(&gateway, "/assets/app-1234.js").await;
    assert_eq!(
        script.headers()["cache-control"],
        "public, max-age=31536000, immutable"
    );
    assert_eq!(script.headers()["content-encoding"], "br");
    assert_eq!(script.headers()["content-type"], "text/javascript");
    assert_eq!(script.text().await.expect("text"), "script in brotli");

    let graphiql = browse(&gateway, "/graphql").await;
    assert!(graphiql.headers().contains_key("content-security-policy"));
    assert_eq!(graphiql.text().await.expect("text"), "built GraphiQL");
    assert_eq!(browse(&gateway, "/assets/absent.js").await.status(), 404);
    assert_eq!(browse(&gateway, "/../secret").await.status(), 404);
}
