//! The life of a gateway: without a supergraph, with a new one, with a broken one, and its end.

use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    Socket, eventually,
    gateway::{SUPERGRAPH, TestGateway},
};

/// Ends when the test wants it to.
const SLOW_REQUEST: &str = r#"{"query":"{ slow(milliseconds: 3600000) }"}"#;

#[tokio::test]
async fn without_a_supergraph_it_says_so_until_one_appears() {
    let gateway = TestGateway::without_supergraph(&[]).await;
    let ready = gateway.get("/health/ready").await;
    assert_eq!(ready.status(), 503);
    assert!(
        ready
            .text()
            .await
            .expect("text")
            .contains("no supergraph has been loaded")
    );
    assert_eq!(gateway.get("/health/live").await.status(), 200);
    let response = gateway
        .post()
        .body(r#"{"query":"{ greeting }"}"#)
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    let answer = response.text().await.expect("text");
    assert!(answer.contains("SUPERGRAPH_UNAVAILABLE"), "{answer}");

    gateway.write_supergraph(SUPERGRAPH);
    eventually("ready", || async {
        gateway.get("/health/ready").await.status() == 200
    })
    .await;
    assert_eq!(
        gateway.query("{ greeting }").await,
        json!({"data": {"greeting": "hello you"}})
    );
}

#[tokio::test]
async fn a_new_supergraph_is_served_and_a_broken_one_is_not() {
    let gateway = TestGateway::start().await;
    let renamed = SUPERGRAPH.replace(
        "  greeting(",
        "  later: Int @join__field(graph: NEWS)\n  greeting(",
    );
    assert!(gateway.query("{ later }").await["errors"].is_array());
    gateway.write_supergraph(&renamed);
    eventually("the new one is served", || async {
        gateway.metric("gateway_supergraph_loads_total").await == 2.0
    })
    .await;
    let unknown = SUPERGRAPH.replace(
        "\n{\n",
        "\n@link(url: \"https://specs.apollo.dev/secret/v0.1\", for: SECURITY)\n{\n",
    );
    for broken in ["type Query {", "type Query { a: Int }", "", &unknown] {
        let before = gateway.metric("gateway_supergraph_failures_total").await;
        gateway.write_supergraph(broken);
        eventually("the broken one is refused", || async {
            gateway.metric("gateway_supergraph_failures_total").await > before
        })
        .await;
        assert_eq!(gateway.get("/health/ready").await.status(), 200);
        assert_eq!(
            gateway.query("{ greeting }").await,
            json!({"data": {"greeting": "hello you"}})
        );
    }
}

#[tokio::test]
async fn a_reload_reads_the_supergraph_at_once() {
    // It is there before the gateway looks for the first time.
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("supergraph.graphql");
    std::fs::write(file, SUPERGRAPH).expect("written");
    let gateway = TestGateway::in_folder(folder, &["--supergraph-poll-interval=1h"]).await;
    let loads = || gateway.metric("gateway_supergraph_loads_total");
    eventually("the first one is served", || async { loads().await == 1.0 }).await;
    let renamed = SUPERGRAPH.replace(
        "  greeting(",
        "  later: Int @join__field(graph: NEWS)\n  greeting(",
    );
    gateway.write_supergraph(&renamed);
    gateway.lifecycle.reload();
    eventually("the new one is served", || async { loads().await == 2.0 }).await;
}

/// Kubernetes mounts a ConfigMap as links: `supergraph.graphql` leads to `..data`, and that to a folder with a time in
/// its name. A new version is a new folder, and `..data` is replaced.
#[cfg(unix)]
#[tokio::test]
async fn a_changed_config_map_is_served() {
    use std::{fs, os::unix::fs::symlink, time::SystemTime};

    let gateway = TestGateway::without_supergraph(&[]).await;
    let file = gateway.supergraph_path();
    let folder = file.parent().expect("a folder");
    let written_at = SystemTime::now();
    let mount = |version: &str, sdl: &str| {
        fs::create_dir(folder.join(version)).expect("a folder");
        let path = folder.join(version).join("supergraph.graphql");
        fs::write(&path, sdl).expect("written");
        let written = fs::File::options().write(true).open(path).expect("open");
        written.set_modified(written_at).expect("a time");
        symlink(version, folder.join("..data_tmp")).expect("a link");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("renamed");
    };
    let with_field = |name: &str| {
        let fields = format!("  {name}: Int @join__field(graph: NEWS)\n  greeting(");
        SUPERGRAPH.replace("  greeting(", &fields)
    };
    mount("..2026_01", &with_field("first"));
    symlink("..data/supergraph.graphql", &file).expect("a link");
    eventually("the first one is served", || async {
        gateway.metric("gateway_supergraph_loads_total").await == 1.0
    })
    .await;
    // Of the same size, and as old.
    mount("..2026_02", &with_field("other"));
    eventually("the other one is served", || async {
        gateway.metric("gateway_supergraph_loads_total").await == 2.0
    })
    .await;
    assert!(gateway.query("{ first }").await["errors"].is_array());
}

#[tokio::test]
async fn no_request_is_dropped_while_supergraphs_change() {
    let gateway = TestGateway::start().await;
    let slow = tokio::spawn(gateway.post().body(SLOW_REQUEST).send());
    gateway.news.log.until_slow(1).await;
    for round in 0..20 {
        gateway.write_supergraph(&format!("# {round}\n{SUPERGRAPH}"));
        for _ in 0..10 {
            assert_eq!(
                gateway.query("{ greeting }").await,
                json!({"data": {"greeting": "hello you"}})
            );
        }
    }
    eventually("some have been loaded", || async {
        gateway.metric("gateway_supergraph_loads_total").await > 1.0
    })
    .await;
    gateway.news.log.end_slow();
    let answer = slow.await.expect("no panic").expect("an answer");
    assert_eq!(
        answer.text().await.expect("text"),
        r#"{"data":{"slow":"at last"}}"#
    );
}

#[tokio::test]
async fn running_subscriptions_move_over_to_a_new_supergraph() {
    let gateway = TestGateway::start().await;
    let mut socket = gateway
        .subscribed("subscription { messages { text length } }")
        .await;
    gateway.news.log.until_open(1).await;
    gateway.write_supergraph(&format!("# Another comment\n{SUPERGRAPH}"));
    eventually("served", || async {
        gateway.metric("gateway_supergraph_loads_total").await == 2.0
    })
    .await;
    gateway.news.log.publish("after");
    assert_eq!(
        socket.next_payload("1").await,
        json!({"data": {"messages": {"text": "after", "length": 100}}})
    );
    assert_eq!(
        gateway.news.log.started(),
        1,
        "nothing upstream has changed"
    );
}

#[tokio::test]
async fn a_subscription_that_does_not_fit_any_more_ends_with_an_error() {
    let gateway = TestGateway::start().await;
    let mut socket = gateway
        .subscribed("subscription { messages { text } }")
        .await;
    socket
        .subscribe("2", "subscription { changes { message { text } } }")
        .await;
    gateway.news.log.until_open(2).await;
    gateway
        .write_supergraph(&SUPERGRAPH.replace("messages(topic: String)", "renamed(topic: String)"));
    let error = socket.next().await;
    assert_eq!(
        (&error["type"], &error["id"]),
        (&json!("error"), &json!("1")),
        "{error}"
    );
    assert_eq!(
        error["payload"][0]["extensions"]["code"],
        "SUBSCRIPTION_SCHEMA_CHANGED"
    );
    let counted = "gateway_refusals_total{code=\"SUBSCRIPTION_SCHEMA_CHANGED\"}";
    assert_eq!(gateway.metric(counted).await, 1.0);
    gateway.news.log.publish("still here");
    let event = socket.next_payload("2").await;
    assert_eq!(
        event,
        json!({"data": {"changes": {"message": {"text": "still here"}}}})
    );
}

#[tokio::test]
async fn at_the_end_running_requests_are_answered_and_sockets_told_to_come_back() {
    let mut gateway = TestGateway::start().await;
    let mut socket = gateway.socket().await;
    socket
        .subscribe("live", "subscription { messages { text } }")
        .await;
    socket
        .subscribe("slow", "{ slow(milliseconds: 3600000) }")
        .await;
    let mut quiet = Socket::open(gateway.address, &[]).await;
    quiet.init(json!({})).await;
    let running = tokio::spawn(gateway.post().body(SLOW_REQUEST).send());
    let log = Arc::clone(&gateway.news.log);
    log.until_open(1).await;
    log.until_slow(2).await;
    // It is told to end first.
    let (ended, ()) = tokio::join!(gateway.end(), async { log.end_slow() });
    ended.expect("a clean end");
    let answer = running.await.expect("no panic").expect("an answer");
    assert_eq!(
        answer.text().await.expect("text"),
        r#"{"data":{"slow":"at last"}}"#
    );
    assert_eq!(
        socket.next_payload("slow").await,
        json!({"data": {"slow": "at last"}})
    );
    assert_eq!(
        socket.next().await,
        json!({"id": "slow", "type": "complete"})
    );
    assert_eq!(
        socket.closed().await,
        (1012, "Restarting: connect again".to_owned())
    );
    assert_eq!(quiet.closed().await.0, 1012);
}
