//! `cargo run`: what a person sees when starting and stopping the stack.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use e2e::{Graphql, Signal, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::PROGRAM;

const TIME_LIMIT: Duration = Duration::from_secs(60);
const COUNT: &str = "{ posts { edges { node { commentCount } } } }";

/// A running stack, with the processes that it started.
struct Stack {
    child: Child,
    graphql: Graphql,
    processes: BTreeSet<u32>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_adds_sample_posts_and_a_second_one_keeps_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let stack = Stack::start(folder.path(), &[]).await;
    let sample = counts(&stack.graphql, 5).await;
    stack.graphql.create_post("Mine").await;
    assert_eq!(stack.end(Signal::INT).await, Some(0));

    let stack = Stack::start(folder.path(), &[]).await;
    let edges = counts(&stack.graphql, 5).await;
    assert_eq!(
        edges,
        sample + 1,
        "the sample is there once, and so is the new post"
    );
    assert_eq!(stack.end(Signal::TERM).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sample_means_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let stack = Stack::start(folder.path(), &["--no-sample"]).await;
    let data = stack.graphql.data(COUNT, json!({})).await;
    assert_eq!(data, json!({ "posts": { "edges": [] } }));
    stack.end(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_stack_leaves_no_process_and_loses_no_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let stack = Stack::start(folder.path(), &["--no-sample"]).await;
    stack.graphql.create_post("Kept").await;
    stack.end(Signal::KILL).await;

    let stack = Stack::start(folder.path(), &["--no-sample"]).await;
    let data = stack.graphql.data(COUNT, json!({})).await;
    assert_eq!(
        data,
        json!({ "posts": { "edges": [{ "node": { "commentCount": 0 } }] } })
    );
    stack.end(Signal::INT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_start_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = command(folder.path())
        .args(["--port", "0"])
        .spawn()
        .expect("the stack");
    let id = child.id().expect("a running stack");
    let processes = eventually("mongod is on its way", || async {
        let processes = descendants(id);
        if processes.iter().any(|pid| is_called(*pid, "mongod")) {
            Ok(processes)
        } else {
            Err(format!("{processes:?}"))
        }
    })
    .await;
    let stack = Stack {
        child,
        graphql: Graphql::new(String::new()),
        processes,
    };
    assert_eq!(stack.end(Signal::INT).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_is_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let stack = Stack::start(folder.path(), &["--no-sample"]).await;
    let post = stack.graphql.create_post("Before").await;
    for victims in [&["posts", "comments"][..], &["gateway"], &["mongod"]] {
        for pid in descendants(stack.child.id().expect("a running stack")) {
            if victims.iter().any(|name| is_called(pid, name)) {
                e2e::send_signal(pid, Signal::KILL);
            }
        }
        eventually(
            &format!("comments are written again after {victims:?} died"),
            || async {
                let answer = stack.graphql.try_create_comment(&post, "after", None).await;
                let answer = answer.map_err(|error| error.to_string())?;
                if answer.codes().is_empty() {
                    Ok(())
                } else {
                    Err(answer.body.to_string())
                }
            },
        )
        .await;
    }
    e2e::assert_projected(&stack.graphql, &post).await;
    let processes = descendants(stack.child.id().expect("a running stack"));
    Stack { processes, ..stack }.end(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_before_anything_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let error = failed_start(folder.path(), &["--port", &port]).await;
    assert!(error.contains(&format!("port {port} is taken")), "{error}");
    assert!(error.contains("--port"), "{error}");
    assert!(!folder.path().join("data").exists(), "nothing was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stack_on_the_same_data_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let stack = Stack::start(folder.path(), &["--no-sample"]).await;
    let data = folder.path().join("data");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let error = failed_start(
        elsewhere.path(),
        &["--port", "0", "--data-dir", data.to_str().expect("UTF-8")],
    )
    .await;
    assert!(error.contains("in use by another"), "{error}");
    stack.graphql.data(COUNT, json!({})).await;
    stack.end(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongo_uri_is_used_instead_of_a_mongod_of_its_own() {
    let database = embedded_mongo::test_database().await;
    let folder = tempfile::tempdir().expect("a folder");
    // As for a member whose own name is known in a container alone.
    let uri = database.uri();
    let uri = uri.replace("replicaSet=rejoinder", "directConnection=true");
    let mut command = command(folder.path());
    command
        .args(["--mongo-uri", &uri])
        .env("MONGOD", "/nowhere/mongod");
    let stack = Stack::started(command).await;
    let posts = database.database().collection::<bson::Document>("posts");
    assert!(posts.count_documents(bson::doc! {}).await.expect("a count") > 0);
    assert!(!folder.path().join("data/mongo").exists());
    stack.end(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_signs_in_until_its_token_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = command(folder.path());
    command
        .args(["--no-sample", "--issuer-token-lifetime=2s"])
        .envs([("JWT_LEEWAY", "0s"), ("WEB_DIR", ".")]);
    let stack = Stack::started(command).await;
    let told = stack.token_service().await.expect("an issuer");
    let http = reqwest::Client::new();
    let query = json!({ "query": "{ __typename }" });
    let ask = |token: String| {
        let request = http.post(stack.graphql.url()).json(&query);
        let request = request.bearer_auth(token).send();
        async { request.await.expect("a response").status().as_u16() }
    };

    let token = || async {
        let request = http.post(&told).json(&json!({ "name": "Ada" }));
        let answer: Value = request
            .send()
            .await
            .expect("a response")
            .json()
            .await
            .expect("JSON");
        answer["access_token"].as_str().expect("a token").to_owned()
    };
    // On a slow machine, a token may have ended before it is used.
    eventually("a new token is accepted", || async {
        match ask(token().await).await {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    let old = token().await;
    eventually("an old token is refused", || async {
        match ask(old.clone()).await {
            401 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    assert_eq!(ask("not.a.token".to_owned()).await, 401);

    // Nobody but the gateway can say to a subgraph who asks.
    for subgraph in stack.subgraphs() {
        let response = http.post(&subgraph).json(&query).send().await;
        assert_eq!(response.expect("a response").status(), 403, "{subgraph}");
    }
    // Whoever wants to change what they wrote can sign in first.
    assert_eq!(stack.code_of_a_guests_edit().await, "UNAUTHENTICATED");
    stack.end(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_provider_gets_no_issuer_and_who_wants_no_secret_gets_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = json!({ "keys": [{
        "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }] });
    std::fs::write(folder.path().join("jwks.json"), keys.to_string()).expect("written");
    let mut command = command(folder.path());
    command.arg("--no-sample").envs([
        ("JWT_JWKS", "jwks.json"),
        ("SUBGRAPH_SECRET", ""),
        ("WEB_DIR", "."),
    ]);
    let stack = Stack::started(command).await;
    assert_eq!(stack.token_service().await, None);
    for subgraph in stack.subgraphs() {
        let answer = Graphql::new(subgraph)
            .ask("{ __typename }", json!({}))
            .await;
        assert_eq!(answer.body["data"]["__typename"], "Query");
    }
    // The subgraphs know nobody: everybody may change everything.
    assert_eq!(stack.code_of_a_guests_edit().await, Value::Null);
    stack.end(Signal::TERM).await;
}

impl Stack {
    /// Writes a post as a guest, changes it, and returns the code of the error; null if there is none.
    async fn code_of_a_guests_edit(&self) -> Value {
        let id = self.graphql.create_post("A guest's").await;
        let update =
            "mutation ($input: UpdatePostInput!) { updatePost(input: $input) { post { id } } }";
        let input = json!({ "input": { "id": id, "title": "Changed" } });
        let answer = self.graphql.ask(update, input).await;
        answer.body["errors"][0]["extensions"]["code"].clone()
    }

    /// Where the pages are told to get tokens.
    async fn token_service(&self) -> Option<String> {
        let url = self.graphql.url().replace("/graphql", "/sign-in.json");
        let response = reqwest::get(url).await.expect("a response");
        if response.status() == 204 {
            return None;
        }
        let told: Value = response.json().await.expect("JSON");
        Some(told["tokenUrl"].as_str().expect("a URL").to_owned())
    }

    /// The subgraphs' own addresses, as the gateway has them.
    fn subgraphs(&self) -> Vec<String> {
        let mut pids = self.processes.iter();
        let gateway = pids
            .find(|pid| is_called(**pid, "gateway"))
            .expect("a gateway");
        let settings = std::fs::read_to_string(format!("/proc/{gateway}/environ"));
        let settings = settings.expect("its settings");
        let addresses = settings
            .split('\0')
            .filter(|it| it.starts_with("SUBGRAPH_URL_"));
        let addresses: Vec<String> = addresses
            .filter_map(|it| Some(it.split_once('=')?.1.to_owned()))
            .collect();
        assert_eq!(addresses.len(), 2);
        addresses
    }

    async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command(folder);
        command.args(arguments);
        Self::started(command).await
    }

    async fn started(mut command: Command) -> Self {
        let mut child = command.args(["--port", "0"]).spawn().expect("the stack");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = timeout(TIME_LIMIT, output.next_line())
            .await
            .expect("a line in time")
            .expect("a line");
        let url = line
            .as_deref()
            .and_then(|line| line.strip_prefix("ready: "))
            .expect("ready:")
            .to_owned();
        let processes = descendants(child.id().expect("a running stack"));
        assert!(
            processes.len() >= 3,
            "three services, perhaps a mongod: {processes:?}"
        );
        Self {
            child,
            graphql: Graphql::new(format!("{url}graphql")),
            processes,
        }
    }

    /// Sends a signal, waits until the stack and all that it started is gone, and returns its exit
    /// code.
    async fn end(mut self, signal: Signal) -> Option<i32> {
        e2e::send_signal(self.child.id().expect("a running stack"), signal);
        let status = timeout(TIME_LIMIT, self.child.wait())
            .await
            .expect("its end in time")
            .expect("its end");
        eventually("nothing of it is left", || async {
            let left: Vec<String> = self
                .processes
                .iter()
                .filter_map(|pid| name_of(*pid))
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        })
        .await;
        status.code()
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("--no-web")
        .current_dir(folder)
        .env_remove("MONGO_URI")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("log")).expect("a log file"))
        .kill_on_drop(true);
    command
}

/// What a stack that cannot start says.
async fn failed_start(folder: &Path, arguments: &[&str]) -> String {
    let mut child = command(folder).args(arguments).spawn().expect("the stack");
    let status = timeout(TIME_LIMIT, child.wait())
        .await
        .expect("its end in time")
        .expect("its end");
    assert_eq!(status.code(), Some(1));
    std::fs::read_to_string(folder.join("log")).expect("its words")
}

/// Waits until the posts have so many comments in all, and returns the number of posts.
async fn counts(graphql: &Graphql, comments: u64) -> usize {
    eventually(&format!("the posts have {comments} comments"), || async {
        let answer = graphql.ask(COUNT, json!({})).await;
        let edges = answer.body["data"]["posts"]["edges"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let sum: u64 = edges
            .iter()
            .filter_map(|edge| edge["node"]["commentCount"].as_u64())
            .sum();
        if sum == comments {
            Ok(edges.len())
        } else {
            Err(answer.body.to_string())
        }
    })
    .await
}

/// All processes below this one.
fn descendants(ancestor: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.1)))
        .collect();
    let mut found = BTreeSet::new();
    let mut unseen = vec![ancestor];
    while let Some(parent) = unseen.pop() {
        let children = parents
            .iter()
            .filter(|(_, of)| *of == parent)
            .map(|(pid, _)| *pid);
        unseen.extend(children.filter(|pid| found.insert(*pid)));
    }
    found
}

/// The name of a running process; none when it has ended.
fn name_of(pid: u32) -> Option<String> {
    stat(pid).map(|(name, _)| name)
}

/// The name and the parent of a running process, by proc(5).
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    let is_zombie = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    (!is_zombie).then(|| {
        (
            before
                .split_once('(')
                .map_or("", |(_, name)| name)
                .to_owned(),
            parent,
        )
    })
}

/// Whether a process was started as this program, by its command line.
fn is_called(pid: u32, name: &str) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let file = String::from_utf8_lossy(program)
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    file == name || file.starts_with(&format!("{name}-"))
}
