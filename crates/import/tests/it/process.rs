//! The program: what it prints, its exit codes, and an interruption.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bson::doc;
use rustix::process::{Pid, Signal, kill_process};

use crate::case::*;

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_import"));
    command.args(arguments).env_remove("MONGO_URI");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn output(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output());
    output.await.expect("no panic").expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_it_did() {
    let case = Case::new().await;
    let path = case.write(WORDPRESS);
    let path = path.to_str().expect("UTF-8");
    let arguments = [path, "--mongo-uri", case.database.uri()];
    let done = output(program(&arguments)).await;
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let told = text(&done.stdout);
    assert!(
        told.starts_with("imported:\nposts: 2\ncomments: 3, of which 2 replies\nheld for a moderator: 1\nskipped: 9\n"),
        "{told}"
    );
    assert!(told.contains("\n  1 spam\n"), "{told}");

    let damaged = case.write(&WORDPRESS[..WORDPRESS.len() / 2]);
    let damaged = damaged.to_str().expect("UTF-8");
    let done = output(program(&[damaged, "--mongo-uri", case.database.uri()])).await;
    assert_eq!(done.status.code(), Some(3));
    assert!(text(&done.stderr).contains("the file ends inside"));

    for nonsense in [
        &[path, "--pending=perhaps"][..],
        &[path, "--site="],
        &[],
        &[path, path],
    ] {
        let done = output(program(nonsense)).await;
        assert_eq!(done.status.code(), Some(2), "{nonsense:?}");
    }
    let nowhere = "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=50";
    let done = output(program(&[path, "--mongo-uri", nowhere])).await;
    assert_eq!(done.status.code(), Some(1));
    let told = text(&done.stderr);
    assert!(told.contains("MongoDB does not answer"), "{told}");
    assert!(told.contains("run it again"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_goes_on_where_it_stopped() {
    const COUNT: u32 = 20_000;
    let case = Case::new().await;
    let comments: String = (1..=COUNT).map(|id| comment_xml(id, id / 2, "a")).collect();
    let path = case.write(export_of(&comments));
    let path_text = path.to_str().expect("UTF-8");
    let mut command = program(&[path_text, "--mongo-uri", case.database.uri()]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it runs");
    let pid = Pid::from_child(&child);
    let begun = async {
        while case.count("comments").await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun)
        .await
        .expect("it begins");
    kill_process(pid, Signal::INT).expect("it runs");
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let ended = ended.await.expect("no panic").expect("it ends");
    assert_eq!(ended.status.code(), Some(130), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("run it again"));

    // What is remembered is what was written.
    let written = case.count("comments").await;
    assert!((1..u64::from(COUNT)).contains(&written), "{written}");
    assert_eq!(case.count("importedDocuments").await, written + 1);
    assert!(text(&ended.stdout).contains(&format!("comments: {written}, ")));
    // What was deleted meanwhile stays so.
    let deleted = doc! { "_id": comment(SITE, "1") };
    let comments = case.collection("comments");
    let deletion = comments.delete_one(deleted).await.expect("deleted");
    assert_eq!(deletion.deleted_count, 1);
    let (outcome, tally) = run(&case.database, &path, &[]).await;
    outcome.expect("imported");
    assert_eq!(counts(&tally)[1], u64::from(COUNT) - written);
    assert_eq!(case.count("comments").await, u64::from(COUNT) - 1);
}
