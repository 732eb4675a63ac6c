//! The service that renders views of the pages, over real sockets: what it gets and gives, and every way to fail.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser;
use gateway::config::Config;
use http::HeaderMap;
use service::Lifecycle;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{eventually, gateway::TestGateway};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
/// Longer than any answer in these tests takes.
const PATIENT: &str = "--pages-timeout=30s";

/// A page service of which each connection is answered by the script.
struct Scripted {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
enum Script {
    /// Sends these bytes, and closes the connection.
    Sends(Vec<u8>),
    /// Sends these bytes, and nothing more.
    Hangs(Vec<u8>),
    /// Sends them for ever.
    Floods(Vec<u8>),
}

impl Scripted {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, noted) = (script.clone(), Arc::clone(&noted));
                tokio::spawn(async move { play(stream, script, &noted).await });
            }
        });
        Self { address, heads }
    }

    async fn answering(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
        );
        Self::start(Script::Sends(answer.into_bytes())).await
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

async fn play(mut stream: TcpStream, script: Script, noted: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    noted.lock().expect("no panic").push(head);
    match script {
        Script::Sends(bytes) => drop(stream.write_all(&bytes).await),
        Script::Hangs(bytes) => {
            let _ = stream.write_all(&bytes).await;
            // Until the gateway leaves.
            let _ = stream.read_u8().await;
        }
        Script::Floods(bytes) => while stream.write_all(&bytes).await.is_ok() {},
    }
}

fn web() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("index.html"), "plain page").expect("written");
    fs::write(folder.path().join("stats.html"), "a file").expect("written");
    folder
}

async fn gateway(web: &TempDir, service: SocketAddr, more: &[&str]) -> TestGateway {
    let web = format!("--web-dir={}", web.path().display());
    let url = format!("--pages-url=http://{service}");
    let paths = "--pages-paths=/robots.txt,/posts/*/feed.atom";
    let mut arguments = vec![&*web, &url, paths];
    arguments.extend(more);
    TestGateway::with(&arguments).await
}

async fn get(gateway: &TestGateway, path: &str, accept: &str) -> (u16, HeaderMap, String) {
    let request = gateway.http.get(gateway.url(path)).header("accept", accept);
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.text().await.expect("text"))
}

async fn browse(gateway: &TestGateway, path: &str) -> (u16, String) {
    let (status, _, text) = get(gateway, path, BROWSER).await;
    (status, text)
}

/// Every view is plain, and other paths of the service are not available.
async fn assert_plain(gateway: &TestGateway) {
    for path in ["/", "/posts/1"] {
        assert_eq!(browse(gateway, path).await, (200, "plain page".to_owned()));
    }
    let (status, headers, _) = get(gateway, "/posts/1/feed.atom", "*/*").await;
    assert_eq!(
        (status, headers["retry-after"].as_bytes()),
        (503, &b"5"[..])
    );
    assert_eq!(get(gateway, "/posts/1", "*/*").await.0, 404);
    assert_eq!(get(gateway, "/", "*/*").await.2, "plain page");
}

async fn forwards(gateway: &TestGateway, outcome: &str) -> f64 {
    let name = format!("gateway_page_forwards_total{{outcome=\"{outcome}\"}}");
    gateway.metric(&name).await
}

#[tokio::test]
async fn views_come_from_the_service_which_is_not_told_who_asks() {
    let headers = "content-type: text/html\r\netag: W/\"1\"\r\nset-cookie: a=b\r\nserver: x\r\n\
                   content-security-policy: none\r\nlocation: https://evil.example/\r\n";
    let service = Scripted::answering("404 Not Found", headers, "rendered").await;
    let (web, address) = (web(), service.address);
    let gateway = gateway(&web, address, &[PATIENT]).await;
    for path in ["/", "/posts/1?after=x", "/posts/1/feed.atom", "/robots.txt"] {
        let request = gateway.http.get(gateway.url(path));
        let request = request
            .header("accept", BROWSER)
            .header("accept-encoding", "gzip")
            .header("if-none-match", "W/\"1\"")
            .header("cookie", "session=secret")
            .header("authorization", "Bearer secret")
            .header("x-forwarded-for", "192.0.2.1")
            .header("user-agent", "secret browser");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}");
        let headers = answer.headers().clone();
        assert_eq!(headers["etag"], "W/\"1\"");
        assert_eq!(headers["content-type"], "text/html");
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        for name in ["set-cookie", "server", "location"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert_eq!(answer.text().await.expect("text"), "rendered");
    }
    for head in service.heads() {
        assert!(
            !head.contains("secret") && !head.contains("192.0.2.1"),
            "{head}"
        );
        assert!(
            head.contains("accept-encoding: gzip\r\nif-none-match: w/\"1\"\r\n"),
            "{head}"
        );
        let host = format!("x-forwarded-host: {}\r\n", gateway.address);
        assert!(head.contains(&host), "{head}");
    }
    assert!(service.heads()[1].starts_with("get /posts/1?after=x http/1.1\r\n"));
    assert_eq!(forwards(&gateway, "Answered").await, 4.0);
}

#[tokio::test]
async fn a_program_that_makes_previews_gets_views_and_no_other_gets_less_than_before() {
    let service = Scripted::answering("200 OK", "content-type: text/html\r\n", "rendered").await;
    let (web, address) = (web(), service.address);
    let gateway = gateway(&web, address, &[PATIENT]).await;
    for path in ["/", "/posts/1"] {
        assert_eq!(get(&gateway, path, "*/*").await.2, "rendered");
    }
    assert_eq!(get(&gateway, "/stats.html", BROWSER).await.2, "a file");
    assert_eq!(get(&gateway, "/posts/1", "application/json").await.0, 404);
    assert_eq!(get(&gateway, "/", "application/json").await.2, "plain page");
    for path in ["/assets/none", "/none.js", "/posts/1/other.atom"] {
        assert_eq!(get(&gateway, path, BROWSER).await.0, 404, "{path}");
    }
    let posted = gateway.http.post(gateway.url("/posts/1")).send().await;
    assert!(posted.expect("an answer").status().is_client_error());
    let head = gateway.http.head(gateway.url("/posts/1")).send().await;
    let head = head.expect("an answer");
    assert_eq!(head.headers()["content-length"], "8");
    let long = format!("/posts/1?{}", "a".repeat(2_100));
    assert_eq!(browse(&gateway, &long).await.1, "plain page");
}

#[tokio::test]
async fn the_pages_are_plain_when_the_service_is_dead() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let web = web();
    let gateway = gateway(&web, address, &[PATIENT]).await;
    assert_plain(&gateway).await;
    assert!(forwards(&gateway, "Unreachable").await > 2.0);
}

#[tokio::test]
async fn the_pages_are_plain_when_the_service_fails() {
    let flood = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{flood}1000\r\n{}\r\n", "a".repeat(0x1000));
    let large = "a".repeat(70_000);
    for (script, outcome) in [
        (
            Script::Sends(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".into()),
            "Failed",
        ),
        (Script::Sends(b"nonsense\r\n\r\n".into()), "Unreachable"),
        (Script::Sends(Vec::new()), "Unreachable"),
        (
            Script::Sends(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort".into()),
            "Unreachable",
        ),
        (
            Script::Sends(
                format!("HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{large}").into(),
            ),
            "TooLarge",
        ),
        (Script::Floods(chunk.into_bytes()), "TooLarge"),
    ] {
        let service = Scripted::start(script).await;
        let (web, address) = (web(), service.address);
        let limit = "--pages-bytes-max=65536";
        // The flood is not well-formed after its first part, which is larger than the limit.
        let gateway = gateway(&web, address, &[PATIENT, limit]).await;
        assert_plain(&gateway).await;
        let failed = forwards(&gateway, outcome).await + forwards(&gateway, "Unreachable").await;
        assert!(failed > 2.0, "{outcome}");
    }
}

#[tokio::test]
async fn a_service_that_hangs_costs_a_few_readers_a_moment() {
    for begun in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"] {
        let service = Scripted::start(Script::Hangs(begun.into())).await;
        let (web, address) = (web(), service.address);
        let gateway = gateway(&web, address, &["--pages-timeout=20ms"]).await;
        assert_plain(&gateway).await;
        let asked = service.heads().len();
        for _ in 0..20 {
            assert_eq!(browse(&gateway, "/").await.1, "plain page");
        }
        assert_eq!(asked, 3, "then it is not asked for a while");
        assert_eq!(service.heads().len(), 3);
        assert!(forwards(&gateway, "Paused").await >= 20.0);
    }
}

#[tokio::test]
async fn requests_that_wait_are_bounded_for_all_and_for_each_client() {
    let service = Scripted::start(Script::Hangs(Vec::new())).await;
    let (web, address) = (web(), service.address);
    let gateway = gateway(&web, address, &[PATIENT, "--pages-in-flight-max=8"]).await;
    let waiting: Vec<_> = (0..2)
        .map(|number| {
            let url = gateway.url(&format!("/posts/{number}"));
            let request = gateway.http.get(url).header("accept", BROWSER);
            tokio::spawn(request.send())
        })
        .collect();
    eventually("two requests wait", || async { service.heads().len() == 2 }).await;
    assert_plain(&gateway).await;
    assert_eq!(
        service.heads().len(),
        2,
        "a client has a quarter of the room"
    );
    // GraphQL is another matter.
    let answer = gateway.query("{ greeting }").await;
    assert!(answer["errors"].is_null(), "{answer}");
    // Who leaves makes room.
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("there is room again", || async {
        let url = gateway.url("/posts/3");
        let request = gateway.http.get(url).header("accept", BROWSER);
        let _ = tokio::time::timeout(Duration::from_millis(50), request.send()).await;
        service.heads().len() > 2
    })
    .await;
}

#[tokio::test]
async fn an_answer_counts_until_the_client_has_taken_it() {
    let body = "a".repeat(16 * 1024 * 1024);
    let service = Scripted::answering("200 OK", "content-type: text/html\r\n", &body).await;
    let (web, address) = (web(), service.address);
    let more = [
        PATIENT,
        "--pages-in-flight-max=4",
        "--pages-bytes-max=20000000",
    ];
    let gateway = gateway(&web, address, &more).await;
    let mut slow = TcpStream::connect(gateway.address)
        .await
        .expect("a connection");
    let request = format!(
        "GET / HTTP/1.1\r\nhost: {}\r\naccept: text/html\r\n\r\n",
        gateway.address
    );
    slow.write_all(request.as_bytes()).await.expect("sent");
    slow.read_u8().await.expect("the answer begins");
    assert_eq!(browse(&gateway, "/").await.1, "plain page");
    drop(slow);
    eventually("there is room again", || async {
        browse(&gateway, "/").await.1.len() == body.len()
    })
    .await;
}

#[tokio::test]
async fn settings_that_cannot_be_followed_end_the_process() {
    for (arguments, expected) in [
        (&["--pages-url=http://127.0.0.1:1"][..], "WEB_DIR"),
        (&["--pages-url=https://pages", "--web-dir=."], "PAGES_URL"),
        (
            &["--pages-url=http://a", "--web-dir=.", "--pages-paths=feed"],
            "PAGES_PATHS",
        ),
    ] {
        let all = ["gateway", "--supergraph=none"].iter().chain(arguments);
        let config = Config::try_parse_from(all).expect("well-formed arguments");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let run = gateway::run(config, listener, Lifecycle::new()).await;
        let error = format!("{:#}", run.expect_err("refused"));
        assert!(error.contains(expected), "{error}");
    }
}
