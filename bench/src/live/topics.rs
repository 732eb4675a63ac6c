//! A topic with one reader, alone and among thousands of such topics: whether it costs the same.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::contest::{Contestant, Server, clients};
use super::crowd::Crowd;
use super::upstream::Upstream;
use super::{Options, Transport};
use crate::report::{Goals, median};

const TOPICS: usize = 10_000;
const READ: &str = "read";
const PER_SECOND: u32 = 1_000;
const EVENTS: u64 = 10_000;
const ROUNDS: usize = 3;
/// After the last connection, so that nothing of it is left.
const REST: Duration = Duration::from_secs(2);
const LIVE_PAUSE: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(60);
/// Among many topics, of alone: the same, but for noise.
const RATIO_MAX: f64 = 1.15;

/// Prints both, and judges them.
///
/// # Errors
/// When the reader misses an event, or a topic is not subscribed to.
pub async fn run(
    contestant: &Contestant,
    transport: Transport,
    options: &Options,
    goals: &mut Goals,
) -> anyhow::Result<()> {
    // As many subscriptions at the subgraph as topics.
    let contestant = contestant.with_setting("SUBSCRIPTION_UPSTREAM_MAX=20000");
    println!(
        "\n{transport}: us of CPU for each event of a topic with one reader, {EVENTS} events at {PER_SECOND} a second"
    );
    let mut upstream = Upstream::start(options.bytes).await?;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let mut costs_us = [0.0; 2];
        for (topics, cost_us) in [1, TOPICS].into_iter().zip(&mut costs_us) {
            *cost_us = measure(&contestant, &mut upstream, transport, topics, options).await?;
            println!("{topics:>8} topics {cost_us:>8.1}");
        }
        let [alone, among] = costs_us;
        ratios.push(among / alone);
    }
    let ratio = median(ratios.into_iter());
    goals.judge(
        ratio <= RATIO_MAX,
        format!("among {TOPICS} topics {ratio:.2} of alone (goal: {RATIO_MAX})"),
    );
    Ok(())
}

/// The processor time for each event of one topic, without what the clients take that wait.
async fn measure(
    contestant: &Contestant,
    upstream: &mut Upstream,
    transport: Transport,
    topics: usize,
    options: &Options,
) -> anyhow::Result<f64> {
    let server = Server::start(contestant, upstream).await?;
    let mut clients = clients(server.address, transport, options);
    clients.variables = json!({ "topic": "{process}-{client}" }).to_string();
    let waiting = Crowd::connected(&clients, options.processes, topics - 1).await?;
    clients.variables = json!({ "topic": READ }).to_string();
    let mut reader = Crowd::connected(&clients, 1, 1).await?;
    let started = Instant::now();
    loop {
        upstream.send(READ).await?;
        let is_live = reader.has_got(upstream.next(), LIVE_PAUSE).await?;
        if is_live && upstream.subscriptions() >= topics {
            break;
        }
        ensure!(
            started.elapsed() < LIMIT,
            "{} of {topics} topics have a subscription",
            upstream.subscriptions()
        );
        sleep(LIVE_PAUSE).await;
    }
    sleep(REST).await;

    let mut ticks = interval(Duration::from_secs(1) / PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (began, before) = (Instant::now(), server.cpu_time()?);
    for _ in 0..EVENTS {
        ticks.tick().await;
        upstream.send(READ).await?;
    }
    ensure!(
        reader.has_got(upstream.next(), LIMIT).await?,
        "events are late"
    );
    let (took, cpu) = (began.elapsed(), server.cpu_time()? - before);
    let before = server.cpu_time()?;
    sleep(took).await;
    let idle = server.cpu_time()? - before;
    drop(waiting);
    Ok(cpu.saturating_sub(idle).as_secs_f64() * 1e6 / EVENTS as f64)
}
