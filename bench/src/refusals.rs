//! How soon a subgraph refuses each hostile request.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use subgraph::hostile::{self, Hostile};

use crate::load::{HttpConnection, graphql_body};
use crate::services::Services;

/// A refusal takes less.
const GOAL: Duration = Duration::from_millis(10);

/// Options of `bench refusals`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Times that each request is sent; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The slowest requests of each subgraph that are printed.
    #[arg(long, default_value_t = 5)]
    shown: usize,
}

/// Sends each hostile request to both subgraphs, one at a time, and prints the slowest refusals.
///
/// # Errors
/// When a refusal takes longer than the goal, has another code than it should, or a service does not start.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let services = Services::start().await?;
    let mut is_met = true;
    for (name, address) in [
        ("posts", services.posts.address()),
        ("comments", services.comments.address()),
    ] {
        let mut connection = HttpConnection::open(address).await?;
        let mut refusals = Vec::new();
        for hostile in hostile::requests() {
            let took = refusal(&mut connection, &hostile, options.rounds).await?;
            refusals.push((took, hostile));
        }
        refusals.sort_by_key(|(took, _)| std::cmp::Reverse(*took));
        println!(
            "{name}: {} hostile requests; the slowest refusals:",
            refusals.len()
        );
        for (took, hostile) in refusals.iter().take(options.shown) {
            let milliseconds = took.as_secs_f64() * 1_000.0;
            println!(
                "  {milliseconds:>8.2} ms  {:<30} {}",
                hostile.code, hostile.name
            );
        }
        is_met &= refusals.first().is_none_or(|(took, _)| *took < GOAL);
    }
    println!("goal: each below {} ms", GOAL.as_millis());
    ensure!(is_met, "a goal is missed");
    Ok(())
}

/// The median time of a request's refusal.
async fn refusal(
    connection: &mut HttpConnection,
    hostile: &Hostile,
    rounds: usize,
) -> anyhow::Result<Duration> {
    let body = graphql_body(&hostile.query, hostile.variables.clone());
    let mut times = Vec::new();
    for _ in 0..rounds.max(1) {
        let began = Instant::now();
        let answer = connection.post(body.clone()).await?;
        times.push(began.elapsed());
        let answer: Value = serde_json::from_slice(&answer)?;
        let code = &answer["errors"][0]["extensions"]["code"];
        ensure!(code == hostile.code, "{}: {answer}", hostile.name);
    }
    times.sort();
    times.get(times.len() / 2).copied().context("no rounds")
}
