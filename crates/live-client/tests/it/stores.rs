//! Cursors that are kept, by stores that work and by stores that do not.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rejoinder_client::{BoxError, CursorStore, FileStore, MemoryStore};
use serde_json::json;

use crate::reader::{QUERY, client, words};
use crate::server::{FakeServer, event, failed, frame, log};

async fn kept(store: &dyn CursorStore) -> Option<String> {
    store.get("ticks").await.expect("an answer")
}

#[tokio::test]
async fn after_a_restart_it_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cursors.json");
    let server = FakeServer::start(log(5, 9)).await;
    let client = client(&server.url());
    let open = || Arc::new(FileStore::open(&path).expect("a store"));
    let mut read = client.subscribe(QUERY).store(open()).key("ticks").start();
    words(&mut read, "3").await;
    read.close().await;
    let store = open();
    assert_eq!(kept(&*store).await.as_deref(), Some("c3"));
    let mut read = client.subscribe(QUERY).store(store).key("ticks").start();
    assert_eq!(words(&mut read, "5").await, ["stands c3", "4", "5"]);
    drop(read);
    // What is dropped without being closed may not be applied: the last event comes again.
    let store = open();
    let kept = kept(&*store).await;
    assert!(matches!(kept.as_deref(), Some("c3" | "c4")), "{kept:?}");
}

#[tokio::test]
async fn a_stored_cursor_that_cannot_be_used_is_forgotten() {
    let store = Arc::new(MemoryStore::default());
    store
        .set("ticks", Some("old".to_owned()))
        .await
        .expect("kept");
    let server = FakeServer::start(|_, served| match served.after() {
        Some(_) => served.fail("RESYNC_REQUIRED", json!({})),
        None => served.next(frame("c7")),
    })
    .await;
    let request = client(&server.url()).subscribe(QUERY);
    let mut read = request.store(store.clone()).key("ticks").start();
    let expected = ["again", "stands c7", "gap!"];
    assert_eq!(words(&mut read, "gap!").await, expected);
    // Not before the data is read, which the next item says.
    assert_eq!(kept(&*store).await, None);
    server.asked(2).await.next(event(8));
    words(&mut read, "8").await;
    read.close().await;
    assert_eq!(kept(&*store).await.as_deref(), Some("c8"));
}

#[tokio::test]
async fn nothing_is_stored_between_a_gap_and_the_end_of_its_reading() {
    let store = Arc::new(MemoryStore::default());
    let server = FakeServer::start(|_, served| {
        served.next(frame("c0"));
        served.next(event(1));
        served.next(failed("SUBSCRIPTION_INTERRUPTED", None));
        served.next(event(2));
    })
    .await;
    let request = client(&server.url()).subscribe(QUERY);
    let mut read = request.store(store.clone()).key("ticks").start();
    words(&mut read, "gap").await;
    drop(read);
    assert_eq!(kept(&*store).await, None, "whoever comes back has to read");
}

/// Fails in every way.
struct Broken;

impl CursorStore for Broken {
    fn get(&self, _: &str) -> BoxFuture<'_, Result<Option<String>, BoxError>> {
        async { Err("no".into()) }.boxed()
    }

    fn set(&self, _: &str, _: Option<String>) -> BoxFuture<'_, Result<(), BoxError>> {
        async { Err("full".into()) }.boxed()
    }
}

/// Never answers.
struct Hanging;

impl CursorStore for Hanging {
    fn get(&self, _: &str) -> BoxFuture<'_, Result<Option<String>, BoxError>> {
        std::future::pending().boxed()
    }

    fn set(&self, _: &str, _: Option<String>) -> BoxFuture<'_, Result<(), BoxError>> {
        std::future::pending().boxed()
    }
}

#[tokio::test]
async fn a_store_that_fails_or_hangs_is_done_without() {
    let stores: [Arc<dyn CursorStore>; 2] = [Arc::new(Broken), Arc::new(Hanging)];
    for store in stores {
        let server = FakeServer::start(log(3, 2)).await;
        let request = client(&server.url()).subscribe(QUERY).store(store);
        let mut read = request.start();
        let words = words(&mut read, "3").await;
        assert_eq!(words[..4], ["stands c0", "gap!", "1", "2"]);
    }
}
