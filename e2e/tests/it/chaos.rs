//! A short randomised run: services and primaries are killed, stopped and paused while comments are
//! written; nothing is lost, doubled or out of order. `bench chaos` runs it for longer.

use std::time::Duration;

use e2e::chaos::{self, Options};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn a_short_randomised_run_loses_doubles_and_swaps_nothing() {
    run(options()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_whose_clients_are_signed_in_and_moderated() {
    run(Options {
        identities: true,
        ..options()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_with_a_projection_in_partitions() {
    run(Options {
        posts_instances: 3,
        partitions: 4,
        ..options()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_with_several_instances_of_everything() {
    run(Options {
        posts_instances: 3,
        comments_instances: 3,
        gateways: 2,
        partitions: 4,
        ..options()
    })
    .await;
}

fn options() -> Options {
    Options {
        program: PROGRAM.into(),
        duration: Duration::from_secs(5),
        seed: 7,
        writers: 4,
        subscribers: 9,
        sockets: 6,
        posts_instances: 2,
        comments_instances: 2,
        gateways: 1,
        partitions: 1,
        identities: false,
    }
}

async fn run(options: Options) {
    let report = chaos::run(options).await.expect("the system comes back");
    eprintln!("{report}");
    assert!(report.is_clean(), "{report}");
    let faults: usize = report.faults.iter().map(|(_, count)| count).sum();
    assert!(faults > 0 && report.changes > 0, "{report}");
}
