//! A short randomised run: services and primaries are killed, stopped and paused while comments are
//! written; nothing is lost, doubled or out of order. `bench chaos` runs it for longer.

use std::time::Duration;

use e2e::chaos::{self, Options};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn a_short_randomised_run_loses_doubles_and_swaps_nothing() {
    run(false, 2, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_whose_clients_are_signed_in_and_moderated() {
    run(true, 2, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_with_a_projection_in_partitions() {
    run(false, 3, 4).await;
}

async fn run(identities: bool, posts_instances: usize, partitions: u32) {
    let report = chaos::run(Options {
        program: PROGRAM.into(),
        duration: Duration::from_secs(5),
        seed: 7,
        writers: 4,
        subscribers: 9,
        sockets: 6,
        posts_instances,
        partitions,
        identities,
    })
    .await
    .expect("the system comes back");
    eprintln!("{report}");
    assert!(report.is_clean(), "{report}");
    let faults: usize = report.faults.iter().map(|(_, count)| count).sum();
    assert!(faults > 0 && report.changes > 0, "{report}");
}
