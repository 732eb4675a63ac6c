//! The service that renders views of the pages, over real sockets: what it gets and gives, and every way to fail.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use clap::Parser;
use gateway::config::Config;
use graphql_transport::testing::HeldPort;
use http::HeaderMap;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use service::Lifecycle;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
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
    /// Sends these bytes to each connection that gets a permit.
    Waits(Arc<Semaphore>, Vec<u8>),
    /// Sends the first to the first connection, and so on; the last to all others.
    InTurn(Vec<Vec<u8>>),
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
        Self::start(Script::Sends(answer(status, headers, body))).await
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close");
    format!("{head}\r\n{headers}\r\n{body}").into_bytes()
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
    let number = {
        let mut noted = noted.lock().expect("no panic");
        noted.push(head);
        noted.len() - 1
    };
    match script {
        Script::Sends(bytes) => drop(stream.write_all(&bytes).await),
        Script::Waits(permits, bytes) => {
            permits.acquire().await.expect("open").forget();
            drop(stream.write_all(&bytes).await);
        }
        Script::InTurn(answers) => {
            let last = answers.len() - 1;
            drop(stream.write_all(&answers[number.min(last)]).await);
        }
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

/// A browser's request that would be answered with 304 or with a part, were the page as it was.
fn conditional(gateway: &TestGateway, path: &str, accept: &str) -> reqwest::RequestBuilder {
    let request = gateway.http.get(gateway.url(path)).header("accept", accept);
    request
        .header("if-none-match", "*")
        .header("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")
        .header("range", "bytes=0-1")
}

/// Nothing is said of a view, which is not known: it is the plain page, which nobody may keep.
async fn assert_not_rendered(gateway: &TestGateway) {
    for (path, accept, text) in [
        ("/", BROWSER, "plain page"),
        ("/posts/1", BROWSER, "plain page"),
        ("/", "*/*", "plain page"),
        ("/posts/1", "*/*", "plain page"),
        ("/posts/1/feed.atom", "*/*", ""),
    ] {
        let answer = conditional(gateway, path, accept).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 503, "{path} {accept}");
        let headers = answer.headers();
        assert_eq!(headers["retry-after"], "5", "{path} {accept}");
        assert_eq!(headers["cache-control"], "no-store");
        for name in ["etag", "last-modified", "accept-ranges", "content-range"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert!(headers.contains_key("content-security-policy"));
        assert_eq!(answer.text().await.expect("text"), text);
    }
    // These are no views.
    assert_eq!(get(gateway, "/posts/1", "application/json").await.0, 404);
    assert_eq!(get(gateway, "/", "application/json").await.0, 200);
    assert_eq!(get(gateway, "/stats.html", BROWSER).await.2, "a file");
}

/// A browser at another address.
async fn browse_elsewhere(gateway: &TestGateway, path: &str) -> (u16, String) {
    let http = reqwest::Client::builder().local_address(Some([127, 0, 0, 2].into()));
    let http = http.build().expect("a client");
    let request = http.get(gateway.url(path)).header("accept", BROWSER);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
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
        for (accept, expected) in [("*/*", "rendered"), ("application/json", "")] {
            let (_, headers, text) = get(&gateway, path, accept).await;
            assert!(text == expected || path == "/", "{path} {accept}");
            let vary: Vec<_> = headers.get_all("vary").iter().collect();
            assert!(
                vary.contains(&&"accept".parse().expect("a value")),
                "{vary:?}"
            );
        }
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
    assert_eq!(
        browse(&gateway, &long).await,
        (414, "plain page".to_owned())
    );
}

#[tokio::test]
async fn nothing_is_said_of_views_when_the_service_is_dead() {
    let dead = HeldPort::any();
    let web = web();
    let gateway = gateway(&web, dead.address(), &[PATIENT]).await;
    assert_not_rendered(&gateway).await;
    assert!(forwards(&gateway, "Unreachable").await > 2.0);
}

#[tokio::test]
async fn nothing_is_said_of_views_when_the_service_fails() {
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
        assert_not_rendered(&gateway).await;
        let failed = forwards(&gateway, outcome).await + forwards(&gateway, "Unreachable").await;
        assert!(failed > 2.0, "{outcome}");
    }
}

#[tokio::test]
async fn a_service_that_hangs_costs_a_few_readers_a_moment() {
    for begun in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"] {
        let service = Scripted::start(Script::Hangs(begun.into())).await;
        let (web, address) = (web(), service.address);
        let gateway = gateway(&web, address, &["--pages-timeout=500ms"]).await;
        assert_not_rendered(&gateway).await;
        let asked = service.heads().len();
        for _ in 0..20 {
            assert_eq!(browse(&gateway, "/").await.1, "plain page");
        }
        assert_eq!(asked, 4, "then it is asked for no view for a while");
        assert_eq!(service.heads().len(), 4);
        assert!(forwards(&gateway, "Paused").await >= 20.0);
    }
}

#[tokio::test]
async fn answers_that_tell_of_a_slow_graph_begin_a_pause_and_only_answers_end_it() {
    let slow = answer("504 Gateway Timeout", "", "");
    let script = [
        slow.clone(),
        slow.clone(),
        answer("200 OK", "", "rendered"),
        slow.clone(),
        answer("502 Bad Gateway", "", ""),
        slow.clone(),
        slow,
        answer("200 OK", "", "all"),
    ];
    let service = Scripted::start(Script::InTurn(script.to_vec())).await;
    let (web, address) = (web(), service.address);
    let gateway = gateway(&web, address, &[PATIENT]).await;
    let long = format!("/posts/1?{}", "a".repeat(2_100));
    for _ in 0..12 {
        browse(&gateway, "/").await;
        browse(&gateway, &long).await;
    }
    // Three slow ones since the answer, and the failure between them says nothing.
    assert_eq!(service.heads().len(), 7);
    assert_eq!(forwards(&gateway, "TooSlow").await, 5.0);
    // A path is asked for all the same, and does not end the pause.
    let text = get(&gateway, "/robots.txt", "*/*").await.2;
    assert_eq!(text, "all");
    assert_eq!(browse(&gateway, "/").await.0, 503);
    assert_eq!(service.heads().len(), 8);
    assert_eq!(forwards(&gateway, "TooLong").await, 12.0);
}

#[tokio::test]
async fn requests_that_wait_are_bounded_for_all_and_for_each_client() {
    let permits = Arc::new(Semaphore::new(0));
    let rendered = answer("200 OK", "content-type: text/html\r\n", "rendered");
    let script = Script::Waits(Arc::clone(&permits), rendered);
    let service = Scripted::start(script).await;
    let (web, address) = (web(), service.address);
    let gateway = gateway(&web, address, &[PATIENT, "--pages-in-flight-max=32"]).await;
    let mut waiting: Vec<_> = (0..2)
        .map(|number| {
            let http = reqwest::Client::new();
            let request = http.get(gateway.url(&format!("/posts/{number}")));
            tokio::spawn(request.header("accept", BROWSER).send())
        })
        .collect();
    eventually("two requests wait", || async { service.heads().len() == 2 }).await;
    assert_not_rendered(&gateway).await;
    assert_eq!(service.heads().len(), 2, "a client has a part of the room");
    // GraphQL is another matter.
    let answer = gateway.query("{ greeting }").await;
    assert!(answer["errors"].is_null(), "{answer}");
    // Who leaves keeps its place while the service works for it.
    let open = || gateway.metric("connections_open");
    let before = open().await;
    for request in waiting.drain(..) {
        request.abort();
        let _ = request.await;
    }
    eventually("both have left", || async { open().await <= before - 2.0 }).await;
    assert_eq!(browse(&gateway, "/posts/3").await.0, 503);
    assert_eq!(service.heads().len(), 2);
    // There is room for another client.
    let other = browse_elsewhere(&gateway, "/posts/4");
    let asked = eventually("it is asked", || async { service.heads().len() == 3 });
    let release = async {
        asked.await;
        permits.add_permits(100);
    };
    let (other, ()) = tokio::join!(other, release);
    assert_eq!(other, (200, "rendered".to_owned()));
    eventually("there is room again", || async {
        browse(&gateway, "/posts/3").await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn who_takes_nothing_holds_bytes_and_not_places() {
    let body = "a".repeat(20_000);
    let service = Scripted::answering("200 OK", "content-type: text/html\r\n", &body).await;
    let (web, address) = (web(), service.address);
    let more = [
        PATIENT,
        "--pages-in-flight-max=16",
        "--pages-bytes-max=65536",
    ];
    let gateway = gateway(&web, address, &more).await;
    let stream = TcpStream::connect(gateway.address).await;
    let handshake = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream.expect("a connection")));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut untaken = Vec::new();
    for expected in [200, 200, 200, 503] {
        let request = http::Request::get(gateway.url("/")).header("accept", BROWSER);
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let answer = sender.send_request(request).await.expect("a head");
        assert_eq!(answer.status(), expected);
        untaken.push(answer);
    }
    assert_eq!(forwards(&gateway, "Untaken").await, 1.0);
    assert_eq!(browse_elsewhere(&gateway, "/").await, (200, body));
    drop(untaken);
    eventually("there is room again", || async {
        browse(&gateway, "/").await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn a_large_answer_counts_until_the_client_has_taken_it() {
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
