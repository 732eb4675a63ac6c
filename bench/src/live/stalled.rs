//! A tenth of the clients stop reading: whether the others notice, what it takes of the server's memory, and what the
//! stalled ones are told.
//!
//! On a shared machine, a p99 differs from the next one by more than stalled clients could add. So each round with them is
//! between two without, whose ratio says what is noise.

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
/// Enough to fill what the kernel keeps and the gateway's buffer. They end before the gateway closes the connection of a
/// client that has taken nothing for 30 seconds (`CLIENT_WRITE_TIMEOUT`): such a client can be told nothing any more.
const EVENTS: u64 = 400;
/// Small, so that it is full soon after what the kernel keeps.
const BUFFER_BYTES: u64 = 1 << 20;
/// The kernel's room at a client that stops reading: small, for the same reason.
const RECEIVE_BUFFER: usize = 4 << 10;
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
const LAST_LIMIT: Duration = Duration::from_secs(60);
/// Stalled clients read what was kept for them within this time, once they read again.
const END_LIMIT: Duration = Duration::from_secs(60);

/// The others' p99 beside the stalled ones, over that without any, in the median; or the ratio of two runs without.
const P99_RATIO_MAX: f64 = 1.25;
/// What a ratio of small numbers says nothing about.
const P99_NOISE_MS: f64 = 2.0;
/// The buffer, and for each stalled client the rest of an event, twice while it grows.
const MEMORY_BOUND: u64 = BUFFER_BYTES + (STALLED * BYTES * 2) as u64;

struct Measurement {
    p99_ms: f64,
    /// The server's memory at its highest, above that before the events.
    growth: u64,
    ends: BTreeMap<String, u64>,
}

/// What stalled clients changed in one round.
struct Round {
    /// Without stalled clients, before and after.
    without: [Measurement; 2],
    with: Measurement,
}

impl Round {
    /// The others' p99, over that of all without stalled clients.
    fn ratio(&self) -> f64 {
        self.with.p99_ms / self.p99_without_ms()
    }

    /// The ratio of two runs that differ in nothing.
    fn noise(&self) -> f64 {
        let [before, after] = self.without.each_ref().map(|it| it.p99_ms);
        before.max(after) / before.min(after)
    }

    fn p99_without_ms(&self) -> f64 {
        let [before, after] = self.without.each_ref().map(|it| it.p99_ms);
        before.midpoint(after)
    }

    /// The server's memory above that without stalled clients.
    fn more_memory(&self) -> u64 {
        let without = self.without.iter().map(|it| it.growth).max();
        self.with.growth.saturating_sub(without.unwrap_or(0))
    }
}

/// Prints all rounds, and judges them.
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
    let contestant = contestant.with_setting(&format!("SUBSCRIPTION_BUFFER_BYTES={BUFFER_BYTES}"));
    let mut upstream = Upstream::start(BYTES).await?;
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let mut measured = Vec::new();
        for stalled in [0, STALLED, 0] {
            let it = measure(&contestant, &mut upstream, transport, stalled, options).await?;
            println!(
                "{stalled:>8} {:>8.2} {:>12.1}  {:?}",
                it.p99_ms,
                Memory::mib(it.growth),
                it.ends
            );
            measured.push(it);
        }
        let [before, with, after] = <[_; 3]>::try_from(measured)
            .ok()
            .context("three measurements")?;
        rounds.push(Round {
            without: [before, after],
            with,
        });
    }
    judge(&rounds, goals);
    Ok(())
}

fn judge(rounds: &[Round], goals: &mut Goals) {
    let of_all = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    let (ratio, noise) = (of_all(Round::ratio), of_all(Round::noise));
    let (p99, without) = (of_all(|it| it.with.p99_ms), of_all(Round::p99_without_ms));
    goals.judge(
        ratio <= noise.max(P99_RATIO_MAX) || p99 <= without + P99_NOISE_MS,
        format!(
            "the others' p99 {ratio:.2} of that without stalled clients; two runs without differ by {noise:.2} \
             (goal: {P99_RATIO_MAX}, or as little as those, or {P99_NOISE_MS} ms more)"
        ),
    );
    let growth = rounds.iter().map(Round::more_memory).max().unwrap_or(0);
    goals.judge(
        growth <= MEMORY_BOUND,
        format!(
            "{:.1} MiB more than without stalled clients (goal: {:.1})",
            Memory::mib(growth),
            Memory::mib(MEMORY_BOUND)
        ),
    );
    let told = |it: &Round| it.with.ends.get("SUBSCRIPTION_LAGGED").copied();
    let told = rounds.iter().map(|it| told(it).unwrap_or(0)).min();
    let told = told.unwrap_or(0);
    goals.judge(
        told == STALLED as u64,
        format!("{told} stalled clients were told SUBSCRIPTION_LAGGED (goal: {STALLED})"),
    );
}

async fn measure(
    contestant: &Contestant,
    upstream: &mut Upstream,
    transport: Transport,
    stalled: usize,
    options: &Options,
) -> anyhow::Result<Measurement> {
    let server = Server::start(contestant, upstream).await?;
    let mut clients = clients(server.address, transport, options);
    clients.text_length = BYTES;
    let mut crowd = Crowd::connected(&clients, options.processes, CLIENTS - STALLED).await?;
    until_live(&mut crowd, upstream).await?;
    clients.receive_buffer = (stalled > 0).then_some(RECEIVE_BUFFER);
    let mut others = Crowd::connected(&clients, 1, STALLED).await?;
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
