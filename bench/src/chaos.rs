//! The randomised fault run of `e2e`, for as long as `--seconds` says.

use std::time::Duration;

use anyhow::ensure;

/// Options of `bench chaos`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How long faults are injected.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Decides which faults come when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run this many tasks that create, edit and delete comments at the same time.
    #[arg(long, default_value_t = 8)]
    writers: usize,
    /// Subscribers through the gateway, by `rejoinder-client`: the same number over each of its transports.
    #[arg(long, default_value_t = 20)]
    subscribers: usize,
    /// Subscribers that are bare WebSockets, half of them through the gateway.
    #[arg(long, default_value_t = 20)]
    sockets: usize,
    /// Instances of the posts service.
    #[arg(long, default_value_t = 2)]
    posts_instances: usize,
    /// Instances of the comments service.
    #[arg(long, default_value_t = 2)]
    comments_instances: usize,
    /// Gateways. One asks the first instance of each service; several are behind a balancer, and each asks all instances.
    #[arg(long, default_value_t = 1)]
    gateways: usize,
    /// Partitions of the projection, which the instances of posts share.
    #[arg(long, default_value_t = 1)]
    partitions: u32,
    /// Sign everybody in, with tokens of five seconds, and let a moderator hide and restore comments.
    #[arg(long)]
    identities: bool,
}

/// Runs it and prints what it found.
///
/// # Errors
/// When anything was lost, doubled or out of order, or the system did not come back.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let report = e2e::chaos::run(e2e::chaos::Options {
        program: std::env::current_exe()?,
        duration: Duration::from_secs(options.seconds),
        seed: options.seed,
        writers: options.writers,
        subscribers: options.subscribers,
        sockets: options.sockets,
        posts_instances: options.posts_instances,
        comments_instances: options.comments_instances,
        gateways: options.gateways,
        partitions: options.partitions,
        identities: options.identities,
    })
    .await?;
    println!("{report}");
    ensure!(
        report.is_clean(),
        "the run found faults: seed {}",
        options.seed
    );
    Ok(())
}
