//! No mongod outlives its owner, and the shared one outlives none but its last user.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use embedded_mongo::{Options, ReplicaSet};
use mongodb::bson::doc;

/// Set in the process that plays the owner.
const ROLE: &str = "EMBEDDED_MONGO_TEST_OWNER";

#[tokio::test]
async fn a_mongod_whose_owner_is_killed_ends_and_leaves_no_data() {
    if std::env::var_os(ROLE).is_some() {
        return own_a_replica_set().await;
    }
    let mut owner = owner("guard::a_mongod_whose_owner_is_killed_ends_and_leaves_no_data");
    let (pid, folder) = what_it_owns(&mut owner);
    assert!(is_running(&pid));

    owner.kill().expect("SIGKILL");
    owner.wait().expect("the owner's end");

    wait_until("mongod has ended", || !is_running(&pid));
    wait_until("its data is gone", || !Path::new(&folder).exists());
}

/// Starts a replica set, tells its process id and data folder, and waits to be killed.
async fn own_a_replica_set() {
    let set = ReplicaSet::start(Options::default()).await.expect("a node");
    let status = set
        .admin_command(0, doc! { "serverStatus": 1 })
        .await
        .expect("the status");
    let options = set
        .admin_command(0, doc! { "getCmdLineOpts": 1 })
        .await
        .expect("the options");
    let parsed = options.get_document("parsed").expect("the parsed options");
    let folder = parsed
        .get_document("storage")
        .expect("storage")
        .get_str("dbPath")
        .expect("a folder");
    println!(
        "\nowns {} {folder}",
        status.get("pid").expect("a process id")
    );
    std::future::pending().await
}

fn owner(test: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args([test, "--exact", "--nocapture"])
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("an owner")
}

fn what_it_owns(owner: &mut Child) -> (String, String) {
    let output = BufReader::new(owner.stdout.take().expect("a pipe"));
    let lines = output.lines().map(|line| line.expect("a line"));
    let line = lines
        .into_iter()
        .find(|line| line.starts_with("owns "))
        .expect("the owner's word");
    let mut words = line.split(' ').skip(1).map(str::to_owned);
    (
        words.next().expect("a process id"),
        words.next().expect("a folder"),
    )
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended; it only waits for its parent to hear of it.
    stat.rsplit_once(") ")
        .is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
