//! GraphiQL, and the pages in `WEB_DIR`.

use std::fs;

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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
        ("embed.js", "script for other sites"),
        ("assets/embed-view-1234.js", "its part"),
        ("own.js", "script of the operator"),
        ("assets/app-1234.js", "script"),
        ("assets/app-1234.js.br", "script in brotli"),
        ("assets/app-1234.js.gz", "script in gzip"),
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
    let shared = browse(&gateway, "/graphql?query=%7Bgreeting%7D").await;
    let shared = shared.text().await.expect("text");
    assert!(shared.contains("GraphiQL"), "it shows the query: {shared}");
    let program = gateway
        .http
        .get(gateway.url("/graphql?query=%7Bgreeting%7D"));
    let answer = program.send().await.expect("an answer");
    let answer = answer.text().await.expect("text");
    let cost = r#""extensions":{"cost":{"estimated":0,"actual":0}}"#;
    assert_eq!(
        answer,
        format!(r#"{{"data":{{"greeting":"hello you"}},{cost}}}"#)
    );

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
    assert_eq!(script.headers()["vary"], "accept-encoding");
    assert_eq!(script.text().await.expect("text"), "script in brotli");
    for (accepted, encoding, text) in [
        ("gzip", Some("gzip"), "script in gzip"),
        ("identity", None, "script"),
    ] {
        let request = gateway.http.get(gateway.url("/assets/app-1234.js"));
        let answer = request.header("accept-encoding", accepted).send();
        let answer = answer.await.expect("an answer");
        let got = answer.headers().get("content-encoding");
        assert_eq!(got.map(|value| value.to_str().expect("text")), encoding);
        assert_eq!(answer.headers()["vary"], "accept-encoding");
        assert_eq!(answer.text().await.expect("text"), text);
    }

    let graphiql = browse(&gateway, "/graphql").await;
    assert!(graphiql.headers().contains_key("content-security-policy"));
    assert_eq!(graphiql.text().await.expect("text"), "built GraphiQL");
    assert_eq!(browse(&gateway, "/assets/absent.js").await.status(), 404);
}

#[tokio::test]
async fn pages_of_other_origins_may_load_the_embed_and_nothing_else() {
    let folder = pages();
    let gateway = TestGateway::with(&[&format!("--web-dir={}", folder.path().display())]).await;
    let from_elsewhere = async |path: &str| {
        let request = gateway.http.get(gateway.url(path));
        let request = request.header("origin", "https://blog.example");
        let answer = request.header("accept", BROWSER).send().await;
        answer.expect("an answer")
    };
    for path in ["/embed.js", "/assets/embed-view-1234.js"] {
        let script = from_elsewhere(path).await;
        assert_eq!(script.status(), 200, "{path}");
        let headers = script.headers();
        assert_eq!(headers["access-control-allow-origin"], "*", "{path}");
        assert_eq!(headers["cross-origin-resource-policy"], "cross-origin");
        assert!(!headers.contains_key("access-control-allow-credentials"));
    }
    let named = from_elsewhere("/embed.js").await;
    assert_eq!(named.headers()["cache-control"], "public, max-age=300");
    let modified = named.headers()["last-modified"].clone();
    let again = gateway.http.get(gateway.url("/embed.js"));
    let again = again.header("if-modified-since", modified).send().await;
    let again = again.expect("an answer");
    assert_eq!(again.status(), 304);
    assert_eq!(again.headers()["access-control-allow-origin"], "*");
    assert_eq!(again.headers()["cache-control"], "public, max-age=300");

    for (path, cache) in [
        ("/", "no-cache"),
        ("/graphiql.html", "no-cache"),
        ("/absent.js", "no-cache"),
        ("/posts/1", "no-cache"),
        ("/own.js", "public, max-age=300"),
        ("/assets/app-1234.js", "public, max-age=31536000, immutable"),
        ("/assets/embed-x/own.js", "no-cache"),
    ] {
        let answer = from_elsewhere(path).await;
        let headers = answer.headers();
        for header in [
            "access-control-allow-origin",
            "cross-origin-resource-policy",
        ] {
            assert!(!headers.contains_key(header), "{path}: {header}");
        }
        assert_eq!(headers["cache-control"], cache, "{path}");
    }
}

#[tokio::test]
async fn the_port_for_operators_has_the_statistics_beside_the_metrics_and_no_other_page() {
    let folder = pages();
    fs::write(folder.path().join("stats.html"), "statistics").expect("written");
    let gateway = TestGateway::with(&[&format!("--web-dir={}", folder.path().display())]).await;
    // `/metrics/..` is on that port.
    let origin = gateway.url("/metrics").replace("/metrics", "");
    let get = async |path: &str| {
        let answer = gateway.http.get(format!("{origin}{path}")).send().await;
        answer.expect("an answer")
    };
    for path in ["/", "/stats.html"] {
        let page = get(path).await;
        assert!(page.headers().contains_key("content-security-policy"));
        assert_eq!(page.headers()["cache-control"], "no-cache");
        assert_eq!(page.text().await.expect("text"), "statistics", "{path}");
    }
    let script = get("/assets/app-1234.js").await;
    let cache = "public, max-age=31536000, immutable";
    assert_eq!(script.headers()["cache-control"], cache);
    assert_eq!(get("/metrics").await.status(), 200);
    for path in [
        "/index.html",
        "/embed.js",
        "/graphiql.html",
        "/graphql",
        "/posts/1",
        "/assets/../index.html",
        "/assets/%2e%2e/index.html",
    ] {
        assert_eq!(get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn pages_learn_of_a_token_service_and_may_connect_to_it() {
    let folder = pages();
    let web = format!("--web-dir={}", folder.path().display());
    let token_service = "--web-sign-in-url=https://id.example/token";
    let gateway = TestGateway::with(&["--development", &web, token_service]).await;
    for path in ["/", "/posts/1", "/graphql"] {
        let page = browse(&gateway, path).await;
        let policy = page.headers()["content-security-policy"].to_str();
        let policy = policy.expect("text");
        assert!(
            policy.contains("; connect-src 'self' https://id.example; "),
            "{path}: {policy}"
        );
    }
    let told = gateway.get("/sign-in.json").await;
    assert_eq!(told.headers()["content-type"], "application/json");
    assert_eq!(told.headers()["cache-control"], "no-cache");
    let told: serde_json::Value = told.json().await.expect("JSON");
    assert_eq!(
        told,
        serde_json::json!({"tokenUrl": "https://id.example/token"})
    );

    let gateway = TestGateway::with(&["--development", &web]).await;
    let told = gateway.get("/sign-in.json").await;
    assert_eq!(told.status(), 204);
    for path in ["/", "/graphql"] {
        let page = browse(&gateway, path).await;
        let policy = page.headers()["content-security-policy"].to_str();
        let policy = policy.expect("text");
        assert!(
            policy.contains("; connect-src 'self'; "),
            "{path}: {policy}"
        );
    }
}

#[tokio::test]
async fn an_address_of_a_view_opens_the_page() {
    let folder = pages();
    let gateway = TestGateway::with(&[&format!("--web-dir={}", folder.path().display())]).await;
    for path in ["/posts/1", "/posts/not-there", "/new?draft=1"] {
        let view = browse(&gateway, path).await;
        assert_eq!(view.status(), 200, "{path}");
        assert_eq!(view.headers()["cache-control"], "no-cache");
        assert!(view.headers().contains_key("content-security-policy"));
        assert_eq!(view.text().await.expect("text"), "live page", "{path}");
        let program = gateway.http.get(gateway.url(path)).send().await;
        assert_eq!(program.expect("an answer").status(), 404, "{path}");
    }
    for path in ["/assets/absent", "/absent.js", "/posts/1.json"] {
        assert_eq!(browse(&gateway, path).await.status(), 404, "{path}");
    }
    let posted = gateway
        .http
        .post(gateway.url("/posts/1"))
        .header("accept", BROWSER);
    assert_ne!(posted.send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn nothing_beside_the_folder_is_served() {
    let outside = TempDir::new().expect("a folder");
    let folder = outside.path().join("dist");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("index.html"), "live page").expect("written");
    fs::write(outside.path().join("secret"), "not for the world").expect("written");
    let gateway = TestGateway::with(&[&format!("--web-dir={}", folder.display())]).await;
    // As bytes: a client's library would take the dots out of the address.
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/assets/../../secret",
    ] {
        let mut connection = TcpStream::connect(gateway.address)
            .await
            .expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n");
        connection
            .write_all(request.as_bytes())
            .await
            .expect("written");
        let mut answer = String::new();
        connection
            .read_to_string(&mut answer)
            .await
            .expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert!(!answer.contains("not for the world"), "{path}");
    }
}

#[tokio::test]
async fn graphiql_from_the_cdn_runs_its_own_scripts_alone_and_keeps_no_headers() {
    let gateway = TestGateway::with(&["--development"]).await;
    let mut policies = Vec::new();
    for _ in 0..2 {
        let page = browse(&gateway, "/graphql").await;
        let policy = page.headers()["content-security-policy"].to_str();
        let policy = policy.expect("text").to_owned();
        let (_, nonce) = policy.split_once("'nonce-").expect("a nonce");
        let (nonce, _) = nonce.split_once('\'').expect("its end");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("script-src 'unsafe"), "{policy}");
        let text = page.text().await.expect("text");
        let scripts = text.matches("<script").count();
        assert_eq!(
            text.matches(&format!(" nonce=\"{nonce}\">")).count(),
            scripts
        );
        assert!(text.contains("shouldPersistHeaders: false"));
        policies.push(policy);
    }
    assert_ne!(policies[0], policies[1], "a nonce is good for one page");
}
