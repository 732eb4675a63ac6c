//! Removes prepared operations that are no longer requested.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::gateway::Gateway;

/// How often the cache is checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Checks the cache of the served graph until shutdown.
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
            // Off the event loop, because each one frees thousands of allocations. The task needs
            // no waiting for.
            drop(tokio::task::spawn_blocking(move || drop(forgotten)));
        }
    }
}
