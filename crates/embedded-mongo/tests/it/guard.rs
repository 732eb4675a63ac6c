//! No mongod outlives its owner; the shared one outlives the first of its users, and not the last.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use embedded_mongo::{Options, ReplicaSet, locate, test_database};
use mongodb::bson::{Document, doc};

/// Set in a process that plays an owner.
const ROLE: &str = "EMBEDDED_MONGO_TEST_OWNER";

#[tokio::test]
async fn a_mongod_whose_owner_is_killed_ends_and_leaves_no_data() {
    if std::env::var_os(ROLE).is_some() {
        let set = ReplicaSet::start(Options::default()).await.expect("a node");
        let command = async |command| set.admin_command(0, command).await.expect("an answer");
        tell_and_wait(
            command(doc! { "serverStatus": 1 }).await,
            command(doc! { "getCmdLineOpts": 1 }).await,
        )
        .await;
    }
    let cache = tempfile::tempdir().expect("a folder");
    let mut owner = Owner::start(
        "guard::a_mongod_whose_owner_is_killed_ends_and_leaves_no_data",
        cache.path(),
    )
    .await;
    assert!(is_running(&owner.mongod));

    owner.kill();

    wait_until("mongod has ended", || !is_running(&owner.mongod));
    wait_until("its data is gone", || !Path::new(&owner.data).exists());
}

#[tokio::test]
async fn the_shared_mongod_ends_after_the_last_of_its_users() {
    if std::env::var_os(ROLE).is_some() {
        let test = test_database().await;
        let admin = test.client().database("admin");
        let command =
            async |command: Document| admin.run_command(command).await.expect("an answer");
        tell_and_wait(
            command(doc! { "serverStatus": 1 }).await,
            command(doc! { "getCmdLineOpts": 1 }).await,
        )
        .await;
    }
    let cache = tempfile::tempdir().expect("a folder");
    let start = || {
        Owner::start(
            "guard::the_shared_mongod_ends_after_the_last_of_its_users",
            cache.path(),
        )
    };
    let (mut first, mut second) = (start().await, start().await);
    assert_eq!(
        first.mongod, second.mongod,
        "the second user joins the first one's server"
    );

    first.kill();
    let mut third = start().await;
    assert_eq!(
        third.mongod, second.mongod,
        "the server stays for the others"
    );

    second.kill();
    third.kill();
    wait_until("mongod has ended", || !is_running(&first.mongod));
    wait_until("its data is gone", || !Path::new(&first.data).exists());
}

/// A process that owns or uses a mongod.
struct Owner {
    process: Child,
    /// The process id of its mongod.
    mongod: String,
    /// The folder of its mongod's data.
    data: String,
}

impl Owner {
    /// Runs the named test of this binary in the owner's role, with a cache of its own.
    async fn start(test: &str, cache: &Path) -> Self {
        let mongod = locate().await.expect("a mongod");
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args([test, "--exact", "--nocapture"])
            .env(ROLE, "1")
            .env("XDG_CACHE_HOME", cache)
            .env("MONGOD", mongod)
            .env_remove("MONGO_URI")
            .stdout(Stdio::piped())
            .spawn()
            .expect("an owner");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut lines = output.lines().map(|line| line.expect("a line"));
        let line = lines
            .find(|line| line.starts_with("owns "))
            .expect("the owner's word");
        let mut words = line.split(' ').skip(1).map(str::to_owned);
        let (mongod, data) = (
            words.next().expect("a process id"),
            words.next().expect("a folder"),
        );
        Self {
            process,
            mongod,
            data,
        }
    }

    fn kill(&mut self) {
        self.process.kill().expect("SIGKILL");
        self.process.wait().expect("its end");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A failed test must not leave it behind; one that has ended already is fine.
        let _ = self.process.kill();
    }
}

/// In the owner's role: tells mongod's process id and data folder, and waits to be killed.
async fn tell_and_wait(status: Document, options: Document) {
    let parsed = options.get_document("parsed").expect("the parsed options");
    let data = parsed
        .get_document("storage")
        .expect("storage")
        .get_str("dbPath")
        .expect("a folder");
    println!("\nowns {} {data}", status.get("pid").expect("a process id"));
    std::future::pending().await
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended; it only waits for its parent to hear of it.
    stat.rsplit_once(") ")
        .is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
