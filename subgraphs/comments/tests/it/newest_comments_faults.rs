//! The newest comments beside a stream or a database that is late, stands still, or refuses: the database is asked.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use clap::Parser;
use embedded_mongo::{Options, ReplicaSet};
use mongodb::Collection;
use serde_json::json;
use subgraph::testing::TestService;

use crate::held_answers::HeldAnswers;
use crate::newest_comments::{CREATE, ON, document, metric, read, reads, until};
use crate::service::texts;

const DATABASE: &str = "faults";
/// A process stands still for so long: longer than a page may be old.
const PAUSE: Duration = Duration::from_millis(1_500);

/// A replica set of its own, on which faults may be injected.
async fn replica_set() -> ReplicaSet {
    let set = ReplicaSet::start(Options::default()).await;
    set.expect("a node")
}

/// A service that keeps pages, at a database of this name.
async fn start(uri: &str) -> TestService {
    let flags = ["comments", "--development", "--mongo-uri", uri, ON];
    // Without a second stream of comments.
    let more = ["--feed-look-back=0s", "--anonymous-writes=change"];
    let config = comments::Config::parse_from(flags.iter().chain(&more));
    let service =
        TestService::start(|listener, lifecycle| comments::run(config, listener, lifecycle)).await;
    service.ready().await;
    service
}

async fn collection(set: &ReplicaSet) -> Collection<Document> {
    let client = mongodb::Client::with_uri_str(set.uri()).await;
    client
        .expect("a client")
        .database(DATABASE)
        .collection("comments")
}

async fn insert(collection: &Collection<Document>, post: &str, text: &str) {
    let inserted = collection.insert_one(document(post, text)).await;
    inserted.expect("inserted");
}

async fn first(service: &TestService, post: &str) -> String {
    texts(&read(service, post, 3, None).await).join(" ")
}

/// Reads until a page came from memory; each is this.
async fn until_from_memory(service: &TestService, post: &str, expected: &str) {
    let before = reads(service, "memory").await;
    until("memory is used", async || {
        assert_eq!(first(service, post).await, expected);
        reads(service, "memory").await > before
    })
    .await;
}

/// Reads until a page came from the database, because memory could not be used.
async fn until_from_database(service: &TestService, post: &str) {
    let before = reads(service, "database").await;
    until("the database is asked", async || {
        first(service, post).await;
        reads(service, "database").await > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_makes_the_database_answer() {
    let set = replica_set().await;
    let comments = start(&set.uri_for(DATABASE)).await;
    let collection = collection(&set).await;
    let post = ObjectId::new().to_hex();
    insert(&collection, &post, "A").await;
    until_from_memory(&comments, &post, "A").await;
    let streams = ["getMore", "aggregate"];
    let failure = doc! { "errorCode": 43 };
    let failed = set.fail_commands("comments change streams", &streams, failure, i32::MAX);
    failed.await.expect("a fail point");
    until_from_database(&comments, &post).await;
    for number in 0..5 {
        let text = format!("T{number}");
        insert(&collection, &post, &text).await;
        assert_eq!(texts(&read(&comments, &post, 3, None).await)[0], text);
    }
    let healed = set.fail_commands("nobody", &streams, doc! { "errorCode": 43 }, 1);
    healed.await.expect("the fail point replaced");
    until_from_memory(&comments, &post, "T4 T3 T2").await;
}

/// As in a process that was paused: the answer "nothing new" waits in its socket, and when the process goes on, it is
/// the first thing that it hears.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_has_waited_is_no_news() {
    let set = replica_set().await;
    let relay = HeldAnswers::before(&set).await;
    let comments = start(&relay.uri_for(DATABASE)).await;
    let collection = collection(&set).await;
    let post = ObjectId::new().to_hex();
    insert(&collection, &post, "A").await;
    until_from_memory(&comments, &post, "A").await;
    relay.hold();
    until("the server says that there is nothing", async || {
        relay.waiting() == 1
    })
    .await;
    insert(&collection, &post, "B").await;
    tokio::time::sleep(PAUSE).await;
    let asked = relay.asked();
    relay.release_one();
    until("the answer is taken", async || relay.asked() > asked).await;
    for _ in 0..100 {
        assert_eq!(first(&comments, &post).await, "B A");
    }
    relay.release_all();
    until_from_memory(&comments, &post, "B A").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_writes_are_there_while_the_stream_is_late() {
    let set = replica_set().await;
    let relay = HeldAnswers::before(&set).await;
    let comments = start(&relay.uri_for(DATABASE)).await;
    let post = ObjectId::new();
    let posts = collection(&set).await.clone_with_type::<Document>();
    let posts = posts.client().database(DATABASE).collection("posts");
    let inserted = posts.insert_one(doc! { "_id": post }).await;
    inserted.expect("a post");
    let post = post.to_hex();
    let write = async |text: &str| {
        let create = json!({ "post": post, "text": text });
        comments.data(CREATE, create).await;
    };
    write("A").await;
    until_from_memory(&comments, &post, "A").await;
    relay.hold();
    write("B").await;
    assert_eq!(first(&comments, &post).await, "B A");
    relay.release_all();
    until_from_memory(&comments, &post, "B A").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_snapshots_is_not_asked_for_them_again_soon() {
    let set = replica_set().await;
    let comments = start(&set.uri_for(DATABASE)).await;
    let collection = collection(&set).await;
    let posts = [0; 4].map(|_| ObjectId::new().to_hex());
    for post in &posts {
        insert(&collection, post, "A").await;
    }
    until_from_memory(&comments, &posts[0], "A").await;
    let fail_once = async |code: i32| {
        let failure = doc! { "errorCode": code };
        let failed = set.fail_commands("comments requests", &["aggregate"], failure, 1);
        failed.await.expect("a fail point");
    };
    // `UnknownError`: the next reader loads again.
    fail_once(8).await;
    assert_eq!(first(&comments, &posts[1]).await, "A");
    until_from_memory(&comments, &posts[1], "A").await;
    // `SnapshotUnavailable`: nothing is loaded for a while, and pages that there are serve on.
    fail_once(246).await;
    assert_eq!(first(&comments, &posts[2]).await, "A");
    let loads = reads(&comments, "load").await;
    assert_eq!(first(&comments, &posts[2]).await, "A");
    assert_eq!(first(&comments, &posts[3]).await, "A");
    until_from_memory(&comments, &posts[0], "A").await;
    assert_eq!(reads(&comments, "load").await, loads);
    assert_eq!(metric(&comments, "comments_newest_pages").await, 2);
}

/// It says that there is nothing more while it is itself behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_may_be_read_at_a_secondary_keeps_no_pages() {
    let set = replica_set().await;
    let uri = format!(
        "{}&readPreference=secondaryPreferred",
        set.uri_for(DATABASE)
    );
    let comments = start(&uri).await;
    let collection = collection(&set).await;
    let post = ObjectId::new().to_hex();
    for number in 0..5 {
        insert(&collection, &post, &number.to_string()).await;
        let seen = texts(&read(&comments, &post, 3, None).await);
        assert_eq!(seen[0], number.to_string());
    }
    assert_eq!(reads(&comments, "memory").await, 0);
    assert_eq!(metric(&comments, "comments_newest_pages").await, 0);
}
