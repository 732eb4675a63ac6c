//! Replica sets live through the faults that tests inject, and kept data through restarts.

use std::time::{Duration, Instant};

use embedded_mongo::{Error, Options, ReplicaSet};
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use rustix::process::{Pid, Signal, kill_process};

async fn posts(set: &ReplicaSet) -> Collection<Document> {
    let client = Client::with_uri_str(set.uri_for("faults"))
        .await
        .expect("a client");
    client.database("faults").collection("posts")
}

#[tokio::test]
async fn three_nodes_survive_a_step_down_and_a_killed_primary() {
    let mut set = ReplicaSet::start(Options::default().nodes(3))
        .await
        .expect("three nodes");
    let posts = posts(&set).await;
    posts
        .insert_one(doc! { "_id": 1 })
        .await
        .expect("an insert");

    let first = set.primary().await.expect("a primary");
    let second = set.step_down_primary().await.expect("a step-down");
    assert_ne!(first, second);
    posts
        .insert_one(doc! { "_id": 2 })
        .await
        .expect("an insert after the step-down");

    let killed = set.kill_primary().await.expect("a primary to kill");
    posts
        .insert_one(doc! { "_id": 3 })
        .await
        .expect("an insert after the kill");
    set.restart_node(killed).await.expect("a restart");
    assert_eq!(posts.count_documents(doc! {}).await.expect("a count"), 3);
}

#[tokio::test]
async fn a_single_node_comes_back_with_its_data_after_a_kill() {
    let mut set = ReplicaSet::start(Options::default()).await.expect("a node");
    let posts = posts(&set).await;
    posts
        .insert_one(doc! { "_id": 1 })
        .await
        .expect("an insert");
    let killed = set.kill_primary().await.expect("a primary to kill");
    set.restart_node(killed).await.expect("a restart");
    set.primary().await.expect("a primary");
    assert_eq!(posts.count_documents(doc! {}).await.expect("a count"), 1);
}

#[tokio::test]
async fn a_fail_point_fails_the_commands_it_names() {
    let set = ReplicaSet::start(Options::default()).await.expect("a node");
    let posts = posts(&set).await;
    let fail_once = doc! {
        "configureFailPoint": "failCommand", "mode": { "times": 1 },
        "data": { "failCommands": ["insert"], "errorCode": 2 },
    };
    set.admin_command(0, fail_once).await.expect("a fail point");
    posts
        .insert_one(doc! { "_id": 1 })
        .await
        .expect_err("the fail point's error");
    posts
        .insert_one(doc! { "_id": 1 })
        .await
        .expect("the next insert");
}

#[tokio::test]
async fn a_kept_folder_goes_on_with_its_data_even_on_another_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = ReplicaSet::open("kept", folder.path())
        .await
        .expect("a new set");
    posts(&set)
        .await
        .insert_one(doc! { "_id": 1 })
        .await
        .expect("an insert");
    let in_use = ReplicaSet::open("kept", folder.path())
        .await
        .expect_err("the folder is in use");
    assert!(matches!(in_use, Error::DataFolderInUse(_)), "{in_use}");
    let first_uri = set.uri();
    set.stop();

    let port = first_uri
        .split(':')
        .nth(2)
        .and_then(|rest| rest.split('/').next())
        .expect("a port");
    let _taken = std::net::TcpListener::bind(format!("127.0.0.1:{port}"))
        .expect("the port of the first run");
    let set = ReplicaSet::open("kept", folder.path())
        .await
        .expect("the same set");
    assert_ne!(set.uri(), first_uri);
    assert_eq!(
        posts(&set)
            .await
            .count_documents(doc! {})
            .await
            .expect("a count"),
        1
    );
}

#[tokio::test]
async fn a_mongod_whose_guard_alone_is_killed_is_noticed_and_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut set = ReplicaSet::open("kept", folder.path())
        .await
        .expect("a new set");
    let posts = posts(&set).await;
    posts
        .insert_one(doc! { "_id": 1 })
        .await
        .expect("an insert");
    let status = set.admin_command(0, doc! { "serverStatus": 1 });
    let status = status.await.expect("its status");
    let mongod = status.get("pid").expect("a process id").to_string();
    kill_process(parent_of(&mongod), Signal::KILL).expect("SIGKILL for the guard");

    let deadline = Instant::now() + Duration::from_secs(60);
    let ended = loop {
        if let Some(node) = set.ended_node().expect("the node's state") {
            break node;
        }
        assert!(Instant::now() < deadline, "nobody noticed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    set.restart_node(ended).await.expect("a restart");
    assert_eq!(posts.count_documents(doc! {}).await.expect("a count"), 1);
}

/// The parent of a process, by proc(5).
fn parent_of(pid: &str) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let parent = fields.split(' ').nth(1).and_then(|id| id.parse().ok());
    Pid::from_raw(parent.expect("a process id")).expect("a parent")
}
