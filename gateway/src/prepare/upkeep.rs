//! Forgets prepared operations that nobody asks for any more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::gateway::Gateway;

/// How often the cache is looked through.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks through the cache of the graph that is served, until the shutdown.
///
/// # Errors
/// Never.
pub async fn run(gateway: Arc<Gateway>) -> anyhow::Result<()> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = gateway.shutdown().cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let Some(serving) = gateway.served() else {
            continue;
        };
        let forgotten = serving.prepared.forget_unused(Instant::now());
        if !forgotten.is_empty() {
            // Thousands of allocations each: off the event loop. It ends by itself.
            drop(tokio::task::spawn_blocking(move || drop(forgotten)));
        }
    }
}
