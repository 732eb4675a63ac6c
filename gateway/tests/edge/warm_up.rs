//! Before a new supergraph serves, the operations of clients are prepared for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    eventually,
    gateway::{SUPERGRAPH, TestGateway},
};

const OPERATIONS: usize = 80;
const CLIENTS: usize = 4;

/// Distinct operations; some have names, or conditions with both values.
fn operations() -> Vec<Value> {
    let all = (0..OPERATIONS).map(|number| match number % 4 {
        0 => json!({"query": format!("{{ a{number}: greeting }}")}),
        1 => json!({
            "query": format!("query Named{number} {{ greeting }} query Other {{ greeting }}"),
            "operationName": format!("Named{number}"),
        }),
        _ => json!({
            "query": format!(
                "query($x: Boolean!) {{ a{}: greeting @include(if: $x) b: header(name: \"x\") @skip(if: $x) }}",
                number / 4
            ),
            "variables": {"x": number % 4 == 2},
        }),
    });
    all.collect()
}

/// Clients that send all operations again and again.
struct Load {
    stop: Arc<AtomicBool>,
    passes: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(gateway: &TestGateway) -> Self {
        let (stop, passes) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..CLIENTS).map(|_| {
            let (stop, passes) = (Arc::clone(&stop), Arc::clone(&passes));
            let (http, url) = (gateway.http.clone(), gateway.url("/graphql"));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    for operation in operations() {
                        let request = http.post(&url).json(&operation).send();
                        let answer: Value = request
                            .await
                            .expect("an answer")
                            .json()
                            .await
                            .expect("JSON");
                        assert!(answer["errors"].is_null(), "{answer}");
                    }
                    passes.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        Self {
            clients: clients.collect(),
            stop,
            passes,
        }
    }

    /// Waits until every client has sent every operation from now on.
    async fn more_passes(&self) {
        let before = self.passes.load(Ordering::SeqCst);
        // One client may be quicker than the others, by any number of passes: these suffice for each on average.
        eventually("everything was sent again", || async {
            self.passes.load(Ordering::SeqCst) >= before + 3 * CLIENTS
        })
        .await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.expect("all were answered");
        }
    }
}

async fn misses(gateway: &TestGateway) -> f64 {
    gateway
        .metric("gateway_prepared_operation_misses_total")
        .await
}

#[tokio::test]
async fn after_a_reload_under_load_no_operation_is_prepared_on_request() {
    let gateway = TestGateway::start().await;
    let load = Load::start(&gateway);
    load.more_passes().await;
    let before = misses(&gateway).await;
    assert!(before >= OPERATIONS as f64);
    for version in 0..3 {
        gateway.serves(&format!("# {version}\n{SUPERGRAPH}")).await;
        load.more_passes().await;
        assert_eq!(misses(&gateway).await, before, "version {version}");
    }
    assert!(gateway.metric("gateway_warmed_operations_total").await >= 3.0 * OPERATIONS as f64);
    load.end().await;
}

#[tokio::test]
async fn without_it_all_of_them_are() {
    let gateway = TestGateway::with(&["--supergraph-warm-up-time=0s"]).await;
    let load = Load::start(&gateway);
    load.more_passes().await;
    let before = misses(&gateway).await;
    gateway.serves(&format!("# next\n{SUPERGRAPH}")).await;
    load.more_passes().await;
    assert!(misses(&gateway).await >= before + OPERATIONS as f64);
    load.end().await;
}

#[tokio::test]
async fn trusted_documents_are_prepared_at_the_start_and_again() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("trusted.json");
    let documents =
        json!({"one": "query One { greeting }", "two": "query Two { greeting two: greeting }"});
    std::fs::write(&path, documents.to_string()).expect("written");
    let trusted = format!("--trusted-documents={}", path.display());
    let gateway = TestGateway::with(&[&trusted]).await;
    let warmed = || gateway.metric("gateway_warmed_operations_total");
    // Each by its name and without.
    eventually("they are prepared", || async { warmed().await == 4.0 }).await;
    for round in 1..=2 {
        for id in ["one", "two"] {
            let body = json!({"documentId": id}).to_string();
            let answer = gateway.post().body(body).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
        }
        assert_eq!(misses(&gateway).await, 0.0, "round {round}");
        gateway.serves(&format!("# {round}\n{SUPERGRAPH}")).await;
        assert_eq!(warmed().await, 4.0 + 4.0 * f64::from(round));
    }
}

#[tokio::test]
async fn a_supergraph_waits_no_longer_than_the_time_for_it() {
    let gateway = TestGateway::with(&["--supergraph-warm-up-time=1ms"]).await;
    for number in 0..50 {
        gateway.query(&format!("{{ a{number}: greeting }}")).await;
    }
    let next = format!("# next\n{SUPERGRAPH}");
    let served = gateway.serves(&next);
    tokio::time::timeout(Duration::from_secs(20), served)
        .await
        .expect("it is served");
    assert!(gateway.metric("gateway_warmed_operations_total").await < 50.0);
}
