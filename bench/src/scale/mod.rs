//! The tables of `docs/scaling.md` in one run: the projection by posts and partitions, the takeover after a kill, clients
//! that come back, what a page costs, how sockets spread over instances, and what an instance of each role costs.
//!
//! What other benchmarks measure is measured by them. Each part ends by itself; all together take about a quarter of an
//! hour as a release build.

mod failover;
mod roles;
mod sockets;

use std::time::Duration;

use crate::{changefeed, newest};

/// Options of `bench scale`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only these parts: projection, failover, returning, pages, sockets, roles.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Changes in a backlog of the projection.
    #[arg(long, default_value_t = 100_000)]
    changes: usize,
    /// Numbers of posts that the backlogs go over.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000, 50_000])]
    posts: Vec<usize>,
    /// Numbers of partitions of the projection that are compared.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4])]
    partitions: Vec<u32>,
    /// Rounds of each figure.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of load for each figure that needs load.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The part of the returning clients and of what they missed, for a quick run.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Sockets that are spread, each with a topic of its own.
    #[arg(long, default_value_t = 300)]
    sockets: usize,
}

/// Measures each part and prints its table.
///
/// # Errors
/// When something does not start, or does not do what is measured.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let wanted =
        |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let changefeed = changefeed::Options {
        changes: options.changes,
        rounds: options.rounds,
        only: Vec::new(),
        partitions: options.partitions.clone(),
        posts: options.posts.clone(),
        scale: options.scale,
    };
    let only = |name: &str| changefeed::Options {
        only: vec![name.to_owned()],
        ..changefeed.clone()
    };
    let seconds = Duration::from_secs(options.seconds);
    if wanted("projection") {
        changefeed::run(only("distinct")).await?;
    }
    if wanted("failover") {
        failover::run(&options.partitions, options.rounds).await?;
    }
    if wanted("returning") {
        changefeed::run(only("returning")).await?;
    }
    if wanted("pages") {
        println!();
        newest::run_from_database(options.seconds, options.rounds).await?;
    }
    if wanted("sockets") {
        sockets::run(options.sockets).await?;
    }
    if wanted("roles") {
        roles::run(seconds).await?;
    }
    Ok(())
}
