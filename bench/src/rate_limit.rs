//! The rate limit's table: its memory for each client, and the time of a check.

use std::{
    hash::{BuildHasher, RandomState},
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use gateway::rate_limit::{Excess, Rate, Table};

use crate::{process, report::Goals};

/// Memory of a million clients.
const BYTES_GOAL: u64 = 100_000_000;
/// Time of one check.
const CHECK_GOAL: Duration = Duration::from_nanos(500);

/// Options of `bench rate-limit`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Clients that have used up a part of their limit.
    #[arg(long, default_value_t = 1_000_000)]
    clients: usize,
    /// Checks of each thread.
    #[arg(long, default_value_t = 3_000_000)]
    checks: usize,
    /// Threads that check at the same time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// A table, with what the gateway does for each check around it.
struct Limits {
    table: Table,
    hasher: RandomState,
    rate: Rate,
    began: Instant,
}

impl Limits {
    /// Charges 1 to a client, as a request does: hash, time and table.
    fn check(&self, client: usize) -> Result<(), Excess> {
        // Of the length of a subject with its issuer.
        let subject = ("https://issuer.example/realms/main", [client as u64; 4]);
        let key = self.hasher.hash_one(subject);
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let charge = |full_at| self.rate.charge(full_at, now, 1, 1);
        self.table.update(key, now, charge).map(|_| ())
    }
}

/// Prints the memory and the times.
///
/// # Errors
/// When a goal is missed, or the memory of this process cannot be read.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let clients = options.clients.max(1);
    let before = process::memory(std::process::id())?.resident;
    let limits = Limits {
        table: Table::new(clients),
        hasher: RandomState::new(),
        rate: Rate::read("1000/1h/1000000").map_err(anyhow::Error::msg)?,
        began: Instant::now(),
    };
    let filling = Instant::now();
    for client in 0..clients {
        black_box(limits.check(client)).ok();
    }
    let filled = filling.elapsed();
    let bytes = process::memory(std::process::id())?
        .resident
        .saturating_sub(before);
    println!(
        "{clients} clients, first check of each: {} ns",
        filled.as_nanos() / clients as u128
    );
    let mut goals = Goals::default();
    let most = BYTES_GOAL * clients as u64 / 1_000_000;
    goals.judge(
        bytes <= most.max(BYTES_GOAL / 1_000),
        format!(
            "memory: {bytes} bytes, {} for each client",
            bytes / clients as u64
        ),
    );
    let spread = time(options, |thread, number| {
        // Neighbours are far apart: each check is of a client that no cache has.
        let client = number.wrapping_mul(0x9e37_79b9).wrapping_add(thread) % clients;
        limits.check(client)
    });
    let one = time(options, |_, _| limits.check(0));
    for (what, each) in [("clients at random", spread), ("one client for all", one)] {
        let line = format!(
            "{} threads, {what}: {} ns for each check",
            options.threads,
            each.as_nanos()
        );
        goals.judge(each <= CHECK_GOAL, line);
    }
    goals.met()
}

/// The time of one check on its thread, with all threads at work.
fn time<R>(options: &Options, check: impl Fn(usize, usize) -> R + Sync) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for thread in 0..options.threads {
            let check = &check;
            scope.spawn(move || {
                for number in 0..options.checks {
                    black_box(check(thread, number));
                }
            });
        }
    });
    let checks = u32::try_from(options.checks.max(1)).unwrap_or(u32::MAX);
    began.elapsed() / checks
}
