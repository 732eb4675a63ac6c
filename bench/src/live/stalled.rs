//! A tenth of the clients stop reading: whether the others notice, what it takes of the server's memory, and what the
//! stalled ones are told.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep};

use super::contest::{Contestant, Server, clients, until_live};
use super::crowd::Crowd;
use super::upstream::Upstream;
use super::{Options, Transport};
use crate::load::percentile;
use crate::process::Memory;
use crate::report::{Goals, median};

const CLIENTS: usize = 1_000;
const STALLED: usize = 100;
/// Large events, because the kernel keeps up to 4 MB for a client on this machine's own network.
const BYTES: usize = 16 << 10;
const PER_SECOND: f64 = 10.0;
const WARM_UP_EVENTS: u64 = 20;
/// Enough to fill what the kernel keeps and the gateway's buffer, and for its time limits.
const EVENTS: u64 = 600;
/// The kernel's room at a client that stops reading: small, for the same reason.
const RECEIVE_BUFFER: usize = 4 << 10;
const ROUNDS: usize = 2;
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
const LAST_LIMIT: Duration = Duration::from_secs(60);
/// Stalled clients read what was kept for them within this time, once they read again.
const END_LIMIT: Duration = Duration::from_secs(60);

/// The others' p99 beside the stalled ones, over the p99 of all without any, in the medians.
const P99_RATIO_MAX: f64 = 1.25;
/// What a ratio of small numbers says nothing about.
const P99_NOISE_MS: f64 = 2.0;
/// The default of `SUBSCRIPTION_BUFFER_BYTES`, and for each stalled client the rest of an event, twice while it grows.
const MEMORY_BOUND: u64 = (4 << 20) + (STALLED * BYTES * 2) as u64;

struct Measurement {
    p99_ms: f64,
    /// The server's memory at its highest, above that before the events.
    growth: u64,
    ends: BTreeMap<String, u64>,
}

/// Prints both kinds of rounds in turns, and judges them.
///
/// # Errors
/// When a client that reads misses an event.
pub async fn run(
    contestant: &Contestant,
    transport: Transport,
    options: &Options,
    goals: &mut Goals,
) -> anyhow::Result<()> {
    println!(
        "\n{transport}: {STALLED} of {CLIENTS} clients stop reading, {EVENTS} events of {BYTES} bytes"
    );
    println!(
        "{:>8} {:>8} {:>12}  ends",
        "stalled", "p99 ms", "growth MiB"
    );
    let mut upstream = Upstream::start(BYTES).await?;
    let [mut without, mut with] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (stalled, rounds) in [(0, &mut without), (STALLED, &mut with)] {
            let it = measure(contestant, &mut upstream, transport, stalled, options).await?;
            println!(
                "{stalled:>8} {:>8.2} {:>12.1}  {:?}",
                it.p99_ms,
                Memory::mib(it.growth),
                it.ends
            );
            rounds.push(it);
        }
    }
    let p99 = |rounds: &[Measurement]| median(rounds.iter().map(|it| it.p99_ms));
    let (p99_without, p99_with) = (p99(&without), p99(&with));
    goals.judge(
        p99_with <= (p99_without * P99_RATIO_MAX).max(p99_without + P99_NOISE_MS),
        format!(
            "the others' p99 {p99_with:.2} ms, {p99_without:.2} without stalled clients \
             (goal: {P99_RATIO_MAX} of it, or {P99_NOISE_MS} ms more)"
        ),
    );
    let most = |rounds: &[Measurement]| rounds.iter().map(|it| it.growth).max().unwrap_or(0);
    let growth = most(&with).saturating_sub(most(&without));
    goals.judge(
        growth <= MEMORY_BOUND,
        format!(
            "{:.1} MiB more than without stalled clients (goal: {:.1})",
            Memory::mib(growth),
            Memory::mib(MEMORY_BOUND)
        ),
    );
    let told = with.iter().map(|it| {
        let told = it.ends.get("SUBSCRIPTION_LAGGED");
        told.copied().unwrap_or(0)
    });
    let told = told.min().unwrap_or(0);
    goals.judge(
        told == STALLED as u64,
        format!("{told} stalled clients were told SUBSCRIPTION_LAGGED (goal: {STALLED})"),
    );
    Ok(())
}

async fn measure(
    contestant: &Contestant,
    upstream: &mut Upstream,
    transport: Transport,
    stalled: usize,
    options: &Options,
) -> anyhow::Result<Measurement> {
    upstream.restart();
    let server = Server::start(contestant, upstream).await?;
    let mut clients = clients(server.address, transport, options);
    clients.text_length = BYTES;
    let mut crowd = Crowd::start(&clients, options.processes.into())?;
    crowd.connect(CLIENTS - STALLED).await?;
    until_live(&mut crowd, upstream).await?;
    clients.receive_buffer = (stalled > 0).then_some(RECEIVE_BUFFER);
    let mut others = Crowd::start(&clients, 1)?;
    others.connect(STALLED).await?;
    until_live(&mut others, upstream).await?;
    upstream.send_many(WARM_UP_EVENTS, PER_SECOND).await?;
    let first = upstream.next();
    ensure!(crowd.has_got(first, LAST_LIMIT).await?, "events are late");
    ensure!(others.has_got(first, LAST_LIMIT).await?, "events are late");
    if stalled > 0 {
        others.stall(stalled).await?;
    }

    let before = server.memory()?;
    let mut highest = before;
    {
        let mut events = std::pin::pin!(upstream.send_many(EVENTS, PER_SECOND));
        loop {
            tokio::select! {
                sent = &mut events => break sent?,
                () = sleep(MEMORY_INTERVAL) => highest = highest.max(server.memory()?),
            }
        }
    }
    let next = upstream.next();
    ensure!(crowd.has_got(next, LAST_LIMIT).await?, "events are late");
    let delays = crowd.delays_us(first, next).await?;
    let expected = CLIENTS - STALLED;
    let is_whole = delays.iter().all(|event| event.len() == expected);
    ensure!(
        delays.len() as u64 == EVENTS && is_whole,
        "clients that read missed an event"
    );
    let mut delays: Vec<u32> = delays.into_iter().flatten().collect();
    delays.sort_unstable();

    let mut ends = BTreeMap::new();
    if stalled > 0 {
        others.wake().await?;
        let woken = Instant::now();
        while woken.elapsed() < END_LIMIT {
            ends = others.ends().await.context("the stalled clients")?;
            if ends.values().sum::<u64>() == stalled as u64 {
                break;
            }
            sleep(MEMORY_INTERVAL).await;
        }
    }
    Ok(Measurement {
        p99_ms: percentile(&delays, 0.99) / 1_000.0,
        growth: highest - before,
        ends,
    })
}
