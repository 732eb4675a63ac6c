//! Injects random faults: several run at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use stack::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;

/// What the nemesis can do.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL to a service, which is started again a little later.
    KillService,
    /// SIGTERM to a service, which is started again.
    StopService,
    /// SIGSTOP to a service, SIGCONT later: sometimes after its lease has run out.
    PauseService,
    /// SIGKILL to the primary, which is started again.
    KillPrimary,
    /// SIGSTOP to the primary, SIGCONT later: sometimes after another one was elected.
    PausePrimary,
    /// The primary steps down.
    StepDown,
}

impl Fault {
    const OF_SERVICES: [(Self, &'static str); 3] = [
        (Self::KillService, "killed"),
        (Self::StopService, "stopped"),
        (Self::PauseService, "paused"),
    ];
    const OF_PRIMARIES: [(Self, &'static str); 3] = [
        (Self::KillPrimary, "primary killed"),
        (Self::PausePrimary, "primary paused"),
        (Self::StepDown, "primary stepped down"),
    ];
}

/// Injects faults for `duration` and returns how many of each, with all of them healed.
///
/// # Errors
/// When something cannot be started again.
pub async fn run(
    fleet: &Arc<Fleet>,
    seed: u64,
    duration: Duration,
) -> anyhow::Result<Vec<(String, usize)>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let end = Instant::now() + duration;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut running = JoinSet::new();
    // The pauses are the run's rhythm; nothing waits for a condition here.
    while Instant::now() < end {
        sleep(Duration::from_millis(random.u64(300..1_800))).await;
        // Services are harmed more often than the primary, whose elections take seconds.
        let instance = random.usize(0..fleet.instances.len());
        let kind = random.usize(0..3);
        let (fault, name) = if random.u32(0..8) < 6 {
            let (fault, name) = Fault::OF_SERVICES[kind];
            let service = fleet.instances[instance].service().name();
            (fault, format!("{service} {name}"))
        } else {
            let (fault, name) = Fault::OF_PRIMARIES[kind];
            (fault, name.to_owned())
        };
        *counts.entry(name).or_default() += 1;
        let recovery = Duration::from_millis(random.u64(100..2_500));
        // One pause in four outlasts a lease.
        let pause = if random.u32(0..4) == 0 {
            Duration::from_secs(12)
        } else {
            recovery
        };
        let fleet = fleet.clone();
        running.spawn(async move { inject(&fleet, fault, instance, recovery, pause).await });
    }
    while let Some(result) = running.join_next().await {
        result??;
    }
    Ok(counts.into_iter().collect())
}

/// The faults last for a time drawn before: what the system does meanwhile is what the run is about.
async fn inject(
    fleet: &Fleet,
    fault: Fault,
    instance: usize,
    recovery: Duration,
    pause: Duration,
) -> anyhow::Result<()> {
    match fault {
        Fault::KillService | Fault::StopService | Fault::PauseService => {
            let instance = &fleet.instances[instance];
            // Held until the instance runs again: two faults of one instance come one by one.
            let mut slot = instance.process.lock().await;
            let process = slot.as_mut().context("an unlocked instance runs")?;
            match fault {
                Fault::PauseService => {
                    process.signal(Signal::STOP);
                    sleep(pause).await;
                    process.signal(Signal::CONT);
                    return Ok(());
                }
                Fault::StopService => process.stop().await?,
                _ => process.kill().await?,
            }
            *slot = None;
            sleep(recovery).await;
            fleet.restart(instance, &mut slot).await
        }
        Fault::KillPrimary => {
            let mut mongo = fleet.mongo.lock().await;
            let node = mongo.kill_primary().await?;
            sleep(recovery).await;
            mongo.restart_node(node).await?;
            mongo.primary().await?;
            Ok(())
        }
        Fault::PausePrimary => {
            let mut mongo = fleet.mongo.lock().await;
            let node = mongo.primary().await?;
            mongo.pause_node(node);
            sleep(pause).await;
            mongo.resume_node(node);
            mongo.primary().await?;
            Ok(())
        }
        Fault::StepDown => {
            fleet.mongo.lock().await.step_down_primary().await?;
            Ok(())
        }
    }
}
