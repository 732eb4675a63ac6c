//! The projection of comments into posts, killed at every point, paused, doubled, cut off from its
//! history: in the end it equals the comments.

use bson::oid::ObjectId;
use bson::{DateTime, Document, Timestamp, doc};
use e2e::{Graphql, Service, System, assert_projected, eventually, fail_commands, latest_of};
use embedded_mongo::{Options, ReplicaSet, rename_collection, test_database};
use mongodb::Database;
use serde_json::json;

use crate::PROGRAM;
use crate::writer::{at_least_written, write_comments};

const COMMENTS: usize = 100;
const PAUSE_AT: &str = "CHANGEFEED_PAUSE_AT";
const PAUSE_UNTIL: &str = "CHANGEFEED_PAUSE_UNTIL";
/// The names by which MongoDB knows the posts service's two clients.
const STREAMS: &str = "posts change streams";
const QUERIES: &str = "posts";
/// What a posts service logs when it begins to lead.
const LEADING: &str = "leading the projection";

#[tokio::test(flavor = "multi_thread")]
async fn posts_killed_at_any_point_of_a_batch_applies_each_change_once() {
    let mut system = System::start(PROGRAM).await;
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Killed at").await;
    let edited = graphql.create_comment(&post, "draft").await;
    assert_projected(&graphql, &post).await;

    for point in ["takeover", "event-read", "in-transaction", "after-commit"] {
        system.kill(Service::Posts).await;
        graphql
            .create_comment(&post, &format!("added before {point}"))
            .await;
        let deleted = graphql.create_comment(&post, "deleted soon").await;
        graphql
            .update_comment(&edited, &format!("edited before {point}"))
            .await;
        graphql.delete_comment(&deleted).await;

        system.run_with(Service::Posts, &[(PAUSE_AT, point)]).await;
        system
            .logged(Service::Posts, &format!("paused at {point}"))
            .await;
    }
    system.kill(Service::Posts).await;
    system.run(Service::Posts).await;

    assert_eq!(assert_projected(&graphql, &post).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_build_that_is_killed_goes_on_and_loses_nothing() {
    let test = test_database().await;
    let posts = insert_tutorial_posts(&test.database(), 450, 3).await;

    let mut system = System::new(PROGRAM, test.uri().to_owned());
    for point in ["mid-rebuild", "hand-over"] {
        system.run_with(Service::Posts, &[(PAUSE_AT, point)]).await;
        system
            .logged(Service::Posts, &format!("paused at {point}"))
            .await;
        insert_comment(&test.database(), posts[0], "in the middle of a build").await;
        insert_comment(&test.database(), posts[449], "in the middle of a build").await;
        system.kill(Service::Posts).await;
    }
    system.run_all().await;

    assert_eq!(
        assert_projected(system.graphql(), &posts[0].to_hex()).await,
        5
    );
    assert_eq!(
        assert_projected(system.graphql(), &posts[449].to_hex()).await,
        5
    );
    assert_eq!(total_count(system.graphql()).await, 450 * 3 + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_slept_through_its_lease_writes_nothing_when_it_wakes() {
    let mut system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql().clone(), system.database().await);
    let post = graphql.create_post("Contested").await;
    system.logged(Service::Posts, LEADING).await;
    let other = system.instance(Service::Posts, &[]).await;
    let writer = write_comments(&graphql, &post, COMMENTS);

    at_least_written(&database, COMMENTS / 4).await;
    system.pause(Service::Posts);
    other.logged(LEADING).await;
    at_least_written(&database, COMMENTS / 2).await;
    system.resume(Service::Posts);

    writer.await.expect("all comments are written");
    assert_eq!(assert_projected(&graphql, &post).await, COMMENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_slept_inside_its_transaction_commits_nothing_when_it_wakes() {
    let mut system = System::start(PROGRAM).await;
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Contested").await;
    // More than a post shows: a list that ran short would be computed anew, and hide a wrong count.
    for number in 0..25 {
        graphql
            .create_comment(&post, &format!("before {number}"))
            .await;
    }
    assert_projected(&graphql, &post).await;
    system.kill(Service::Posts).await;
    let folder = tempfile::tempdir().expect("a folder");
    let go_on = folder.path().join("go on");
    let until = go_on.to_str().expect("a path in UTF-8");
    let pause = [(PAUSE_AT, "in-transaction"), (PAUSE_UNTIL, until)];
    graphql
        .create_comment(&post, "in the open transaction")
        .await;
    system.run_with(Service::Posts, &pause).await;
    system
        .logged(Service::Posts, "paused at in-transaction")
        .await;
    system.pause(Service::Posts);

    let other = system.instance(Service::Posts, &[]).await;
    other.logged(LEADING).await;
    graphql.create_comment(&post, "while it sleeps").await;
    eventually("the other one has applied both", || async {
        match latest_of(&other.graphql(), &post).await? {
            (27, _) => Ok(()),
            (count, _) => Err(format!("{count} comments")),
        }
    })
    .await;
    std::fs::write(&go_on, "").expect("it may go on");
    system.resume(Service::Posts);
    eventually("it stands by", || async {
        match system
            .metric(Service::Posts, "changefeed_projection_leading")
            .await
        {
            0.0 => Ok(()),
            leading => Err(format!("it leads: {leading}")),
        }
    })
    .await;
    graphql.create_comment(&post, "after it woke").await;

    system.ready(Service::Posts).await;
    assert_eq!(assert_projected(&graphql, &post).await, 28);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_take_over_from_each_other_and_the_checkpoint_never_goes_back() {
    let mut system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql().clone(), system.database().await);
    let post = graphql.create_post("Handed over").await;
    let watch = tokio::spawn(watch_checkpoint(database.clone()));
    let mut other = system.instance(Service::Posts, &[]).await;
    let writer = write_comments(&graphql, &post, COMMENTS);

    at_least_written(&database, COMMENTS / 4).await;
    system.kill(Service::Posts).await;
    other.logged(LEADING).await;
    at_least_written(&database, COMMENTS / 2).await;
    system.run(Service::Posts).await;
    other.process().kill().await.expect("its end");
    system.logged(Service::Posts, LEADING).await;

    writer.await.expect("all comments are written");
    assert_eq!(assert_projected(&graphql, &post).await, COMMENTS);
    watch.abort();
    assert!(
        watch.await.is_err_and(|end| end.is_cancelled()),
        "the checkpoint went back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_and_a_renamed_collection_are_followed() {
    let system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql(), system.database().await);
    let post = graphql.create_post("Emptied").await;
    for lost in ["dropped", "renamed"] {
        graphql.create_comment(&post, "soon gone").await;
        assert_eq!(assert_projected(graphql, &post).await, 1);
        let comments = database.collection::<Document>("comments");
        if lost == "dropped" {
            comments.drop().await.expect("a drop");
        } else {
            rename_collection(&database, "comments", "comments_of_old")
                .await
                .expect("a rename");
        }
        assert_eq!(assert_projected(graphql, &post).await, 0, "{lost}");
    }
    graphql.create_comment(&post, "a new beginning").await;
    assert_eq!(assert_projected(graphql, &post).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_history_leads_to_a_rebuild() {
    let set = ReplicaSet::start(Options::default()).await.expect("a node");
    let system = System::start_on(PROGRAM, set.uri_for("lost")).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Rebuilt").await;
    graphql.create_comment(&post, "before").await;
    assert_projected(graphql, &post).await;

    let history_lost = doc! { "errorCode": 286 };
    fail_commands(&set, STREAMS, &["getMore"], history_lost, 1).await;
    graphql.create_comment(&post, "after").await;
    // The first build, and the one after the loss.
    eventually("a second build", || async {
        let builds = system
            .metric(Service::Posts, "changefeed_projection_rebuilds_total")
            .await;
        if builds == 2.0 {
            Ok(())
        } else {
            Err(format!("{builds} builds"))
        }
    })
    .await;
    assert_eq!(assert_projected(graphql, &post).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_reads_and_commits_are_tried_again() {
    let set = ReplicaSet::start(Options::default()).await.expect("a node");
    let system = System::start_on(PROGRAM, set.uri_for("failing")).await;
    let (graphql, database) = (system.graphql(), system.database().await);
    let post = graphql.create_post("Tried again").await;
    let writer = write_comments(graphql, &post, COMMENTS);

    // A cursor that is gone, a transaction that was aborted, a commit whose answer never came.
    for (written, app_name, command, failure) in [
        (COMMENTS / 4, STREAMS, "getMore", doc! { "errorCode": 43 }),
        (
            COMMENTS / 2,
            QUERIES,
            "commitTransaction",
            doc! { "errorCode": 251 },
        ),
        (
            COMMENTS * 3 / 4,
            QUERIES,
            "commitTransaction",
            doc! { "closeConnection": true },
        ),
    ] {
        at_least_written(&database, written).await;
        fail_commands(&set, app_name, &[command], failure, 3).await;
    }

    writer.await.expect("all comments are written");
    assert_eq!(assert_projected(graphql, &post).await, COMMENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_that_makes_no_sense_stops_nothing() {
    let system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql(), system.database().await);
    let post = graphql.create_post("Healthy").await;
    let comments = database.collection::<Document>("comments");
    let poison = [
        doc! { "postId": "no id", "text": "text", "createdAt": DateTime::now() },
        doc! { "postId": ObjectId::new(), "text": 1, "createdAt": "yesterday" },
        doc! { "postId": null },
        doc! {},
    ];
    comments.insert_many(poison).await.expect("poison");
    graphql.create_comment(&post, "after the poison").await;
    assert_eq!(assert_projected(graphql, &post).await, 1);
    comments
        .delete_many(doc! { "postId": null })
        .await
        .expect("a delete");
    graphql.create_comment(&post, "after its end").await;
    assert_eq!(assert_projected(graphql, &post).await, 2);
    let (_, latest) = latest_of(graphql, &post).await.expect("an answer");
    assert_eq!(latest[0]["text"], "after its end");
}

/// Posts with comments as the tutorial's services wrote them.
async fn insert_tutorial_posts(
    database: &Database,
    posts: usize,
    comments_each: usize,
) -> Vec<ObjectId> {
    let ids: Vec<ObjectId> = (0..posts).map(|_| ObjectId::new()).collect();
    let now = DateTime::now();
    let documents = ids
        .iter()
        .map(|id| doc! { "_id": id, "title": "T", "content": "C", "createdAt": now });
    database
        .collection::<Document>("posts")
        .insert_many(documents)
        .await
        .expect("posts");
    let comments = ids.iter().flat_map(|id| {
        let comment = move |number| doc! { "postId": id, "text": format!("comment {number}"), "createdAt": now };
        (0..comments_each).map(comment)
    });
    database
        .collection::<Document>("comments")
        .insert_many(comments)
        .await
        .expect("comments");
    ids
}

async fn insert_comment(database: &Database, post: ObjectId, text: &str) {
    let comment = doc! { "postId": post, "text": text, "createdAt": DateTime::now() };
    database
        .collection::<Document>("comments")
        .insert_one(comment)
        .await
        .expect("a comment");
}

/// The sum of all posts' counts, page by page.
async fn total_count(graphql: &Graphql) -> u64 {
    let query = "query($after: String) {
        posts(first: 100, after: $after) {
            edges { node { commentCount } }
            pageInfo { hasNextPage endCursor }
        }
    }";
    let (mut sum, mut after) = (0, json!(null));
    loop {
        let data = graphql.data(query, json!({ "after": after })).await;
        let edges = data["posts"]["edges"].as_array().expect("edges");
        sum += edges
            .iter()
            .filter_map(|edge| edge["node"]["commentCount"].as_u64())
            .sum::<u64>();
        if data["posts"]["pageInfo"]["hasNextPage"] != true {
            return sum;
        }
        after = data["posts"]["pageInfo"]["endCursor"].clone();
    }
}

/// Returns only when a checkpoint's position went back.
async fn watch_checkpoint(database: Database) {
    let checkpoints = database.collection::<Document>("changefeed_checkpoints");
    let mut last = Timestamp {
        time: 0,
        increment: 0,
    };
    loop {
        let checkpoint = checkpoints.find_one(doc! {}).await.ok().flatten();
        let position = checkpoint.and_then(|checkpoint| checkpoint.get_timestamp("position").ok());
        match position {
            Some(position) if position < last => return,
            Some(position) => last = position,
            None => {}
        }
        tokio::task::yield_now().await;
    }
}
