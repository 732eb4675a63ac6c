//! Supergraphs from servers that answer in all the ways that servers do, and from the copy on disk.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    eventually,
    gateway::{SUPERGRAPH, TestGateway},
    registry::{Act, Registry, etag, header},
};

/// The supergraph with one more field, by which versions differ.
fn with_field(name: &str) -> String {
    let fields = format!("  {name}: Int @join__field(graph: NEWS)\n  greeting(");
    SUPERGRAPH.replacen("  greeting(", &fields, 1)
}

async fn has_field(gateway: &TestGateway, name: &str) -> bool {
    let answer = gateway
        .query(&format!("{{ {name} @skip(if: true) }}"))
        .await;
    answer["errors"].is_null()
}

async fn until_served(gateway: &TestGateway, field: &str) {
    eventually(field, || has_field(gateway, field)).await;
}

async fn failures(gateway: &TestGateway, reason: &str) -> f64 {
    let name = format!("gateway_supergraph_source_failures_total{{reason=\"{reason}\"}}");
    gateway.metric(&name).await
}

async fn until_it_fails(gateway: &TestGateway, reason: &str) {
    let before = failures(gateway, reason).await;
    eventually(reason, || async {
        failures(gateway, reason).await > before
    })
    .await;
}

async fn from_source(arguments: &[&str]) -> TestGateway {
    let mut all = vec!["--supergraph-poll-pause-max=20ms"];
    all.extend(arguments);
    let gateway = TestGateway::without_supergraph(&all).await;
    eventually("the gateway is ready", || async {
        gateway.get("/health/ready").await.status() == 200
    })
    .await;
    gateway
}

#[tokio::test]
async fn an_unchanged_supergraph_is_not_sent_again_and_a_changed_one_is_served() {
    let registry = Registry::start(Act::Text(with_field("first"))).await;
    let url = format!("--supergraph={}", registry.url("/supergraph?graph=shop"));
    let gateway = from_source(&[&url, "--supergraph-header=X-Key: hunter2"]).await;
    assert!(has_field(&gateway, "first").await);
    let first = registry.requests().remove(0);
    assert!(
        first
            .head
            .starts_with("GET /supergraph?graph=shop HTTP/1.1\r\n"),
        "{}",
        first.head
    );
    assert_eq!(header(&first.head, "x-key"), Some("hunter2"));
    assert_eq!(
        (first.status, header(&first.head, "if-none-match")),
        (200, None)
    );
    for next in registry.more_requests(3).await {
        let tag = etag(&with_field("first"));
        assert_eq!(header(&next.head, "if-none-match"), Some(&*tag));
        assert_eq!(next.status, 304);
    }
    assert_eq!(gateway.metric("gateway_supergraph_loads_total").await, 1.0);

    registry.acts(Act::Text(with_field("second")));
    until_served(&gateway, "second").await;
    // Back, and the first one's tag is not remembered for the second one's text.
    registry.acts(Act::Text(with_field("first")));
    until_served(&gateway, "first").await;
    assert!(!has_field(&gateway, "second").await);
    assert_eq!(gateway.metric("gateway_supergraph_loads_total").await, 3.0);
}

#[tokio::test]
async fn whatever_a_server_answers_the_last_good_one_serves() {
    let registry = Registry::start(Act::Text(with_field("good"))).await;
    let url = format!("--supergraph={}", registry.url("/"));
    let small = format!("--supergraph-bytes-max={}", with_field("good").len());
    let gateway = from_source(&[&url, &small, "--supergraph-timeout=150ms"]).await;
    // As long as the good one.
    let other = with_field("next");
    for (act, reason) in [
        (Act::Other(500, "", String::new()), "status"),
        (Act::Other(404, "", "no such graph".to_owned()), "status"),
        (Act::Other(304, "", String::new()), "status"),
        (Act::Silence, "timeout"),
        (Act::Half(other.clone()), "broken"),
        (
            Act::HalfWithoutLength(format!("{SUPERGRAPH}{SUPERGRAPH}")),
            "broken",
        ),
        (Act::Other(200, "", format!("{other}# longer")), "too_large"),
        (Act::Endless, "too_large"),
        (Act::Redirect(registry.url("/again")), "status"),
        (Act::Redirect("ftp://elsewhere/".to_owned()), "status"),
    ] {
        // A tag that it had would make the 304 one of its own.
        if matches!(act, Act::Other(304, ..)) {
            registry.acts(Act::Other(200, "", with_field("good")));
            registry.more_requests(2).await;
        }
        registry.acts(act);
        until_it_fails(&gateway, reason).await;
        assert!(has_field(&gateway, "good").await, "{reason}");
    }
    for broken in [
        "type Query {",
        "<html>Sign in</html>",
        "type Query { a: Int }",
        "",
    ] {
        let refused = || gateway.metric("gateway_supergraph_failures_total");
        let before = refused().await;
        registry.acts(Act::Text(broken.to_owned()));
        eventually("it is refused", || async { refused().await > before }).await;
        // Once for each text, however often it comes.
        registry.more_requests(3).await;
        assert_eq!(refused().await, before + 1.0, "{broken}");
        assert!(has_field(&gateway, "good").await, "{broken}");
    }
    assert!(
        gateway
            .metric("gateway_supergraph_unconfirmed_seconds")
            .await
            > 0.0
    );
    // Back to what is served: there is nothing to load.
    registry.acts(Act::Text(with_field("good")));
    registry.more_requests(2).await;
    assert_eq!(gateway.metric("gateway_supergraph_loads_total").await, 1.0);
    registry.acts(Act::Text(with_field("okay")));
    until_served(&gateway, "okay").await;
}

#[tokio::test]
async fn a_file_that_is_not_text_or_too_large_is_a_failure_too() {
    let small = format!("--supergraph-bytes-max={}", SUPERGRAPH.len());
    let gateway = TestGateway::with(&[&small]).await;
    gateway.write_supergraph(&format!("{SUPERGRAPH}\n"));
    until_it_fails(&gateway, "too_large").await;
    let path = gateway.supergraph_path();
    std::fs::write(&path, b"type Query { a: Int } # \xff").expect("written");
    until_it_fails(&gateway, "not_text").await;
    std::fs::remove_file(&path).expect("removed");
    until_it_fails(&gateway, "unreadable").await;
    assert!(has_field(&gateway, "greeting").await);
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
}

#[tokio::test]
async fn the_next_address_is_asked_when_one_fails() {
    let mut main = Registry::start(Act::Text(with_field("main"))).await;
    let mirror = Registry::start(Act::Text(with_field("mirror"))).await;
    let urls = format!("--supergraph={},{}", main.url("/s"), mirror.url("/s"));
    let gateway = from_source(&[&urls]).await;
    assert!(has_field(&gateway, "main").await);
    assert!(mirror.requests().is_empty());
    main.stop().await;
    until_served(&gateway, "mirror").await;
    // The tag of one says nothing to the other.
    main.restart().await;
    until_served(&gateway, "main").await;
    main.acts(Act::Other(503, "", String::new()));
    until_served(&gateway, "mirror").await;
    assert_eq!(failures(&gateway, "status").await, 0.0);
}

#[tokio::test]
async fn a_key_goes_no_further_than_its_server() {
    let store = Registry::start(Act::Text(with_field("stored"))).await;
    let registry = Registry::start(Act::Redirect(store.url("/bucket?signature=s3"))).await;
    let url = format!("--supergraph={}", registry.url("/s"));
    let gateway = from_source(&[&url, "--supergraph-header=authorization: hunter2"]).await;
    assert!(has_field(&gateway, "stored").await);
    let [asked, stored] = [&registry, &store].map(|it| it.requests().remove(0).head);
    assert_eq!(header(&asked, "authorization"), Some("hunter2"));
    assert_eq!(header(&stored, "authorization"), None);
    assert!(stored.starts_with("GET /bucket?signature=s3 "), "{stored}");
    let next = store.more_requests(1).await.remove(0);
    assert_eq!(next.status, 304, "the tag is the store's");
}

#[tokio::test]
async fn hive_is_asked_for_its_artifact_with_its_key() {
    let registry = Registry::start(Act::Text(with_field("hive"))).await;
    let endpoint = format!(
        "--hive-cdn-endpoint={}",
        registry.url("/artifacts/v1/target")
    );
    let gateway = from_source(&["--supergraph=hive", &endpoint, "--hive-cdn-key=hunter2"]).await;
    assert!(has_field(&gateway, "hive").await);
    let head = registry.requests().remove(0).head;
    assert!(
        head.starts_with("GET /artifacts/v1/target/supergraph HTTP/1.1"),
        "{head}"
    );
    assert_eq!(header(&head, "x-hive-cdn-key"), Some("hunter2"));
    assert_eq!(registry.more_requests(1).await.remove(0).status, 304);
}

/// A supergraph of Uplink that may be asked for again at once.
fn uplink(id: &'static str, sdl: String) -> Act {
    Act::Uplink {
        id,
        sdl,
        pause: 0.0,
    }
}

#[tokio::test]
async fn uplink_is_asked_after_its_last_answer_and_its_endpoints_in_turn() {
    let mut first = Registry::start(uplink("1", with_field("one"))).await;
    let second = Registry::start(uplink("2", with_field("two"))).await;
    let endpoints = format!(
        "--apollo-uplink-endpoints={},{}",
        first.url("/"),
        second.url("/")
    );
    let arguments = [
        "--supergraph=uplink",
        "--apollo-graph-ref=shop@current",
        "--apollo-key=service:shop:hunter2",
        &endpoints,
    ];
    let gateway = from_source(&[&arguments[..], &["--supergraph-timeout=300ms"]].concat()).await;
    assert!(has_field(&gateway, "one").await);
    let variables = |body: &str| -> Value {
        let body: Value = serde_json::from_str(body).expect("JSON");
        body["variables"].clone()
    };
    let asked = first.requests().remove(0);
    assert!(asked.head.starts_with("POST / HTTP/1.1"), "{}", asked.head);
    assert_eq!(
        header(&asked.head, "content-type"),
        Some("application/json")
    );
    let expected =
        json!({"ref": "shop@current", "apiKey": "service:shop:hunter2", "ifAfterId": null});
    assert_eq!(variables(&asked.body), expected);
    let asked = first.more_requests(1).await.remove(0);
    assert_eq!(variables(&asked.body)["ifAfterId"], "1");
    assert_eq!(gateway.metric("gateway_supergraph_loads_total").await, 1.0);

    first.stop().await;
    until_served(&gateway, "two").await;
    // It stays with the one that answers.
    first.restart().await;
    let before = first.requests().len();
    second.more_requests(3).await;
    assert_eq!(first.requests().len(), before);
    for act in [
        Act::Other(200, "", "no JSON".to_owned()),
        Act::Other(
            200,
            "",
            json!({"data": null, "errors": [{"message": "no"}]}).to_string(),
        ),
        Act::Other(502, "", String::new()),
    ] {
        second.acts(act);
        first.acts(uplink("3", with_field("three")));
        until_served(&gateway, "three").await;
        second.acts(uplink("2", with_field("two")));
        first.acts(Act::Silence);
        until_served(&gateway, "two").await;
    }
}

#[tokio::test]
async fn a_refusal_of_uplink_is_counted_and_the_pause_that_it_asks_for_is_kept() {
    let registry = Registry::start(uplink("1", with_field("one"))).await;
    let endpoints = format!("--apollo-uplink-endpoints={}", registry.url("/"));
    let arguments = [
        "--supergraph=uplink",
        "--apollo-graph-ref=shop@current",
        "--apollo-key=hunter2",
        &endpoints,
    ];
    let gateway = from_source(&arguments).await;
    registry.acts(Act::UplinkError {
        code: "RETRY_LATER",
        message: "not now".to_owned(),
        pause: 0.4,
    });
    until_it_fails(&gateway, "refused").await;
    let began = Instant::now();
    registry.more_requests(1).await;
    // Some of the pause is over when the failure is seen.
    assert!(
        began.elapsed() >= Duration::from_millis(250),
        "{:?}",
        began.elapsed()
    );
    assert!(has_field(&gateway, "one").await);
    registry.acts(uplink("2", with_field("two")));
    until_served(&gateway, "two").await;
}

#[tokio::test]
async fn a_server_that_wants_to_be_left_alone_is() {
    let registry = Registry::start(Act::Text(with_field("one"))).await;
    let url = format!("--supergraph={}", registry.url("/"));
    let gateway = from_source(&[&url]).await;
    registry.acts(Act::Other(503, "retry-after: 1\r\n", String::new()));
    until_it_fails(&gateway, "status").await;
    let began = Instant::now();
    registry.more_requests(1).await;
    assert!(
        began.elapsed() >= Duration::from_millis(800),
        "{:?}",
        began.elapsed()
    );
}

fn copy_of(folder: &Path) -> String {
    format!(
        "--supergraph-copy={}",
        folder.join("copy.graphql").display()
    )
}

#[tokio::test]
async fn a_gateway_starts_from_its_copy_while_the_source_is_down() {
    let folder = TempDir::new().expect("a folder");
    let copy = copy_of(folder.path());
    let mut registry = Registry::start(Act::Text(with_field("kept"))).await;
    let url = format!("--supergraph={}", registry.url("/"));
    let mut gateway = from_source(&[&url, &copy]).await;
    registry.acts(Act::Text("type Query {".to_owned()));
    eventually("it is refused", || async {
        gateway.metric("gateway_supergraph_failures_total").await > 0.0
    })
    .await;
    gateway.end().await.expect("a clean end");
    registry.stop().await;

    let gateway = from_source(&[&url, &copy]).await;
    assert!(has_field(&gateway, "kept").await);
    assert_eq!(gateway.metric("gateway_supergraph_is_copy").await, 1.0);
    assert!(failures(&gateway, "unreachable").await > 0.0);
    registry.acts(Act::Text(with_field("kept")));
    registry.restart().await;
    eventually("the source confirms it", || async {
        gateway.metric("gateway_supergraph_is_copy").await == 0.0
    })
    .await;
    assert_eq!(gateway.metric("gateway_supergraph_loads_total").await, 0.0);
    registry.acts(Act::Text(with_field("newer")));
    until_served(&gateway, "newer").await;
    let path = folder.path().join("copy.graphql");
    eventually("it is kept", || async {
        std::fs::read_to_string(&path).is_ok_and(|kept| kept.contains("newer"))
    })
    .await;
    drop(gateway);

    // The source gives what cannot be served.
    registry.acts(Act::Text("type Query {".to_owned()));
    let gateway = from_source(&[&url, &copy]).await;
    assert!(has_field(&gateway, "newer").await);
    drop(gateway);
    // It accepts connections and says nothing.
    registry.acts(Act::Silence);
    let began = Instant::now();
    let gateway = from_source(&[&url, &copy, "--supergraph-timeout=1m"]).await;
    assert!(has_field(&gateway, "newer").await);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_copy_that_was_changed_or_is_of_another_graph_is_not_served() {
    let folder = TempDir::new().expect("a folder");
    let copy = copy_of(folder.path());
    let mut registry = Registry::start(Act::Text(with_field("kept"))).await;
    let url = |path: &str| format!("--supergraph={}", registry.url(path));
    let (own, other) = (url("/own"), url("/other"));
    let path = folder.path().join("copy.graphql");
    let mut gateway = from_source(&[&own, &copy]).await;
    eventually("the copy is there", || async { path.exists() }).await;
    gateway.end().await.expect("a clean end");
    registry.stop().await;
    let whole = std::fs::read_to_string(&path).expect("a copy");
    for (url, content) in [
        (&other, whole.clone()),
        (&own, whole.replace("kept", "lost")),
        (&own, whole[..whole.len() / 2].to_owned()),
    ] {
        std::fs::write(&path, content).expect("written");
        let arguments = [url.as_str(), &copy, "--supergraph-poll-pause-max=20ms"];
        let gateway = TestGateway::without_supergraph(&arguments).await;
        until_it_fails(&gateway, "unreachable").await;
        eventually("the copy is refused", || async {
            failures(&gateway, "copy").await == 1.0
        })
        .await;
        assert_eq!(gateway.get("/health/ready").await.status(), 503);
    }
}

#[tokio::test]
async fn a_copy_that_cannot_be_written_stops_nothing() {
    let folder = TempDir::new().expect("a folder");
    let copy = copy_of(&folder.path().join("missing"));
    let registry = Registry::start(Act::Text(with_field("one"))).await;
    let url = format!("--supergraph={}", registry.url("/"));
    let gateway = from_source(&[&url, &copy]).await;
    registry.acts(Act::Text(with_field("two")));
    until_served(&gateway, "two").await;
    eventually("both writes have failed", || async {
        failures(&gateway, "copy").await == 2.0
    })
    .await;
}
