//! The same file once more: what was imported before stays as people have left it.

use bson::doc;
use import::tally::Skip;

use crate::case::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_changes_nothing() {
    let case = Case::new().await;
    case.import(WORDPRESS).await;
    let before = case.fields("comments", comment(GARDEN, "103")).await;
    let tally = case.import(WORDPRESS).await;
    assert_eq!(counts(&tally), [0, 0, 0, 0]);
    assert_eq!(tally.skipped(Skip::Imported), 6);
    assert_eq!(
        case.fields("comments", comment(GARDEN, "103")).await,
        before
    );
    assert_eq!(case.count("posts").await, 2);
    assert_eq!(case.count("comments").await, 3);
    assert_eq!(case.count("moderatedComments").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_edited_and_deleted_stays_so() {
    let case = Case::new().await;
    case.import(WORDPRESS).await;
    let (edited, deleted) = (comment(GARDEN, "101"), comment(GARDEN, "103"));
    let comments = case.collection("comments");
    let edit = doc! { "$set": { "text": "Edited" } };
    comments
        .update_one(doc! { "_id": edited }, edit)
        .await
        .expect("edited");
    comments
        .delete_one(doc! { "_id": deleted })
        .await
        .expect("deleted");
    case.collection("moderatedComments")
        .delete_many(doc! {})
        .await
        .expect("deleted");
    // The other program has other texts, statuses and dates by now.
    let later = WORDPRESS
        .replace("2024-05-04", "2024-06-04")
        .replace("[0]]>", "[1]]>");
    let later = later.replace("[trash]", "[1]");
    let tally = case.import(later).await;
    assert_eq!(
        counts(&tally),
        [0, 1, 0, 0],
        "the one that came from the trash"
    );
    let text = case.find("comments", edited).await.expect("there");
    assert_eq!(text.get_str("text").expect("there"), "Edited");
    assert!(case.find("comments", deleted).await.is_none());
    assert_eq!(case.count("moderatedComments").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_post_gets_no_new_comments() {
    let case = Case::new().await;
    case.import(export_of(&comment_xml(1, 0, "a"))).await;
    for name in ["posts", "comments"] {
        case.collection(name)
            .delete_many(doc! {})
            .await
            .expect("deleted");
    }
    let both = comment_xml(1, 0, "a") + &comment_xml(2, 0, "b");
    let tally = case.import(export_of(&both)).await;
    assert_eq!(counts(&tally), [0, 0, 0, 0]);
    assert_eq!(skipped(&tally), [(Skip::Imported, 2), (Skip::PostGone, 1)]);
    assert_eq!(case.count("comments").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moved_to_moderation_does_not_come_back() {
    let case = Case::new().await;
    case.import(export_of(&comment_xml(1, 0, "a"))).await;
    let id = comment(SITE, "1");
    case.collection("comments")
        .delete_one(doc! { "_id": id })
        .await
        .expect("moved");
    let hidden = doc! { "_id": id, "postId": post(SITE, "1"), "state": "HIDDEN" };
    case.collection("moderatedComments")
        .insert_one(hidden)
        .await
        .expect("moved");
    // Even if somebody has dropped what imports remember.
    case.collection("importedDocuments")
        .drop()
        .await
        .expect("dropped");
    let tally = case.import(export_of(&comment_xml(1, 0, "a"))).await;
    assert_eq!(skipped(&tally), [(Skip::Imported, 2)]);
    assert_eq!(case.count("comments").await, 0);
    assert_eq!(case.count("importedDocuments").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_write_everything_once() {
    let case = Case::new().await;
    let comments: String = (1..=1_200).map(|id| comment_xml(id, id / 2, "a")).collect();
    let path = case.write(export_of(&comments));
    let (one, other) = tokio::join!(
        run(&case.database, &path, &[]),
        run(&case.database, &path, &[])
    );
    let mut written = [0; 4];
    for (outcome, tally) in [one, other] {
        outcome.expect("imported");
        for (sum, count) in written.iter_mut().zip(counts(&tally)) {
            *sum += count;
        }
    }
    assert_eq!(written, [1, 1_200, 1_199, 0]);
    assert_eq!(case.count("comments").await, 1_200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing() {
    let case = Case::new().await;
    let path = case.write(WORDPRESS);
    let path = path.to_str().expect("UTF-8");
    // It needs no database either.
    let uri = "--mongo-uri=mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=1";
    let config = clap::Parser::parse_from(["import", path, uri, "--dry-run"]);
    let tally = std::sync::Arc::new(import::Tally::default());
    let interrupted = tokio_util::sync::CancellationToken::new();
    import::run(config, tally.clone(), interrupted)
        .await
        .expect("read");
    assert_eq!(counts(&tally), [2, 3, 2, 1]);
    assert_eq!(case.count("posts").await, 0);
    assert_eq!(case.count("importedDocuments").await, 0);
}

/// Another writer is in the way: the batch is written once it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_meets_a_transaction_is_written_after_it() {
    let case = Case::new().await;
    case.import(export_of("")).await;
    let database = case.database.database();
    let profiled = database.run_command(doc! { "profile": 2 }).await;
    profiled.expect("profiled");
    let client = case.database.client();
    let mut session = client.start_session().await.expect("a session");
    session.start_transaction().await.expect("begun");
    let imported = case.collection("importedDocuments");
    let locked = doc! { "_id": comment(SITE, "1") };
    let lock = imported.insert_one(locked).session(&mut session);
    lock.await.expect("locked");
    let content = export_of(&comment_xml(1, 0, "a"));
    let import = case.import(content);
    let unlock = async {
        // 112 is a write conflict.
        let profile = case.collection("system.profile");
        while profile
            .count_documents(doc! { "errCode": 112 })
            .await
            .expect("read")
            == 0
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(case.count("comments").await, 0);
        session.abort_transaction().await.expect("unlocked");
    };
    let (tally, ()) = tokio::join!(import, unlock);
    assert_eq!(counts(&tally), [0, 1, 0, 0]);
    assert_eq!(case.count("comments").await, 1);
}

/// Also when all of the file is read, and nothing of it is written yet.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_never_says_that_it_is_done() {
    let case = Case::new().await;
    let path = case.write(WORDPRESS);
    let path = path.to_str().expect("UTF-8");
    let arguments = ["import", path, "--mongo-uri", case.database.uri()];
    let config: import::Config = clap::Parser::parse_from(arguments);
    let interrupted = tokio_util::sync::CancellationToken::new();
    interrupted.cancel();
    let outcome = import::run(config, std::sync::Arc::default(), interrupted).await;
    assert!(
        matches!(outcome, Err(import::ImportError::Interrupted)),
        "{outcome:?}"
    );
    assert_eq!(case.count("posts").await, 0);
}
