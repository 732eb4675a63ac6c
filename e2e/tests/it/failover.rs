//! A replica set of three nodes changes its primary while comments are written: the posts and the
//! subscribers have each comment once, in order.

use e2e::{System, eventually};
use embedded_mongo::{Options, ReplicaSet};

use crate::PROGRAM;
use crate::writer::Traffic;

const COMMENTS: usize = 200;

async fn three_nodes() -> ReplicaSet {
    let options = Options::default().nodes(3);
    ReplicaSet::start(options).await.expect("three nodes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_down_and_a_killed_primary_lose_nothing() {
    let mut set = three_nodes().await;
    let system = System::start_on(PROGRAM, set.uri_for("failover")).await;
    let mut traffic = Traffic::start(system.graphql(), COMMENTS).await;

    traffic.subscriber.read_until(COMMENTS / 4).await;
    set.step_down_primary().await.expect("another primary");
    traffic.subscriber.read_until(COMMENTS / 2).await;
    let killed = set.kill_primary().await.expect("a primary to kill");
    traffic.subscriber.read_until(COMMENTS * 3 / 4).await;
    set.restart_node(killed).await.expect("the node comes back");

    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_slept_through_an_election_and_a_lease_loses_nothing() {
    let mut set = three_nodes().await;
    let system = System::start_on(PROGRAM, set.uri_for("sleeper")).await;
    let mut traffic = Traffic::start(system.graphql(), COMMENTS).await;

    traffic.subscriber.read_until(COMMENTS / 4).await;
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

    traffic.end().await;
}
