//! `posts --doctor` names what is wrong with the database, and what to do.

use std::process::{Command, Output};

use bson::doc;
use subgraph::doctor::{self, Finding, Severity};

use crate::service::Posts;

async fn findings(posts: &Posts) -> Vec<Finding> {
    doctor::findings(&posts.database.database(), &posts::doctor::expected()).await
}

/// Waits until all that the service makes in the background is there.
async fn prepared() -> Posts {
    let posts = Posts::start().await;
    posts.ready().await;
    loop {
        let indexes = doctor::indexes(&posts.database.database(), "posts").await;
        if indexes.is_ok_and(|indexes| indexes.iter().any(|keys| keys == "text")) {
            return posts;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn about<'a>(findings: &'a [Finding], what: &str) -> Option<&'a Finding> {
    findings.iter().find(|finding| finding.what.contains(what))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_has_all_that_it_needs() {
    let posts = prepared().await;
    let findings = findings(&posts).await;
    for expected in posts::doctor::expected() {
        let name = expected.collection;
        let found = about(&findings, &format!("{name}:")).map(|finding| finding.severity);
        assert_eq!(found, Some(Severity::Fine), "{name}: {findings:#?}");
    }
    // An index that is made and not in the doctor's list would not be missed.
    let known = posts::doctor::expected();
    for name in ["posts", "deletedPosts", "moderationActs"] {
        let made = doctor::indexes(&posts.database.database(), name).await;
        let known = known.iter().find(|it| it.collection == name);
        let known: Vec<_> = known
            .expect("in the list")
            .indexes
            .iter()
            .map(|it| it.keys)
            .collect();
        assert_eq!(made.expect("indexes"), known, "{name}");
    }
    let database = posts.database.database();
    while posts::doctor::projection(&database).await.severity != Severity::Fine {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let posts = prepared().await;
    // The service would restore it all.
    let database = posts.stop().await;
    let database = database.database();
    let posts = database.collection::<bson::Document>("posts");
    let letters = database.collection("changefeed_dead_letters");
    posts
        .drop_index("createdAt_-1__id_-1")
        .await
        .expect("dropped");
    let off = doc! { "collMod": "comments", "changeStreamPreAndPostImages": { "enabled": false } };
    database.run_command(off).await.expect("off");
    letters.insert_one(doc! {}).await.expect("inserted");

    let findings = doctor::findings(&database, &posts::doctor::expected()).await;
    let severity = |what: &str| about(&findings, what).map(|finding| finding.severity);
    let attention = Some(Severity::Attention);
    assert_eq!(
        severity("no index by createdAt -1, _id -1"),
        attention,
        "{findings:#?}"
    );
    assert_eq!(
        severity("comments: pre-images are off"),
        Some(Severity::Broken),
        "{findings:#?}"
    );
    assert_eq!(
        severity("changefeed_dead_letters: 1 document"),
        attention,
        "{findings:#?}"
    );
    assert_eq!(
        posts::doctor::projection(&database).await.severity,
        Severity::Attention
    );
    let advised = findings
        .iter()
        .all(|finding| (finding.severity == Severity::Fine) == finding.advice.is_none());
    assert!(advised, "{findings:#?}");
}

async fn run_doctor(uri: &str) -> Output {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_posts"));
    doctor.env_clear().args(["--doctor", "--mongo-uri", uri]);
    let ran = tokio::task::spawn_blocking(move || doctor.output()).await;
    ran.expect("it ran").expect("it ran")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_exits_with_1_if_something_does_not_work() {
    let posts = prepared().await;
    let output = run_doctor(posts.database.uri()).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("ok         comments: pre-images on"),
        "{text}"
    );
    assert!(
        text.lines()
            .last()
            .is_some_and(|line| line.starts_with("0 broken, ")),
        "{text}"
    );

    let nobody = "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100";
    let output = run_doctor(nobody).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("broken     MongoDB does not answer"),
        "{text}"
    );
}
