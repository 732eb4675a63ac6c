//! A replica set of three nodes changes its primary while comments are written: the posts and the
//! subscribers have each comment once, in order.

use e2e::{System, assert_projected, comments_of, eventually};
use embedded_mongo::{Options, ReplicaSet};

use crate::PROGRAM;
use crate::writer::{Subscriber, texts, write_comments};

const COMMENTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_step_down_and_a_killed_primary_lose_nothing() {
    let mut set = ReplicaSet::start(Options {
        nodes: 3,
        ..Options::default()
    })
    .await
    .expect("three nodes");
    let system = System::start_on(PROGRAM, set.uri_for("failover")).await;
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Moving").await;
    let mut subscriber = Subscriber::start(&graphql, &post).await;
    let before = comments_of(&graphql, &post).await.expect("an answer").len();
    let writer = write_comments(&graphql, &post, COMMENTS);

    subscriber.read_until(COMMENTS / 4).await;
    set.step_down_primary().await.expect("another primary");
    subscriber.read_until(COMMENTS / 2).await;
    let killed = set.kill_primary().await.expect("a primary to kill");
    subscriber.read_until(COMMENTS * 3 / 4).await;
    set.restart_node(killed).await.expect("the node comes back");

    writer.await.expect("all comments are written");
    subscriber.read_until(COMMENTS).await;
    assert_eq!(
        subscriber.received(),
        texts(COMMENTS),
        "each once, in order"
    );
    assert_eq!(assert_projected(&graphql, &post).await, before + COMMENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_slept_through_an_election_and_a_lease_loses_nothing() {
    let mut set = ReplicaSet::start(Options {
        nodes: 3,
        ..Options::default()
    })
    .await
    .expect("three nodes");
    let system = System::start_on(PROGRAM, set.uri_for("sleeper")).await;
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Moving").await;
    let mut subscriber = Subscriber::start(&graphql, &post).await;
    let before = comments_of(&graphql, &post).await.expect("an answer").len();
    let writer = write_comments(&graphql, &post, COMMENTS);

    subscriber.read_until(COMMENTS / 4).await;
    let sleeper = set.primary().await.expect("a primary");
    set.pause_node(sleeper);
    // An election takes longer than the lease of a second.
    eventually("another one is elected", || async {
        match set.primary().await {
            Ok(primary) if primary != sleeper => Ok(()),
            Ok(_) => Err("the old one answers".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    set.resume_node(sleeper);

    writer.await.expect("all comments are written");
    subscriber.read_until(COMMENTS).await;
    assert_eq!(
        subscriber.received(),
        texts(COMMENTS),
        "each once, in order"
    );
    assert_eq!(assert_projected(&graphql, &post).await, before + COMMENTS);
}
