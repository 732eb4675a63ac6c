//! Whose processor time a phase took, and how long threads that could run waited for a processor.
//!
//! Services, MongoDB and both kinds of clients share the machine: what honest clients wait for is in part
//! the time that the attackers' own program takes, which a service cannot bound.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use stack::ServiceProcess;

use crate::process::cpu_time;
use crate::services::Services;

/// The name of the threads that attack.
pub const ATTACKERS: &str = "attackers";

/// Processor time and waits so far.
pub struct Processors {
    at: Instant,
    parties: Vec<(&'static str, Times)>,
}

#[derive(Clone, Copy, Default)]
struct Times {
    ran: Duration,
    /// For a processor, of all threads together.
    waited: Duration,
}

impl Processors {
    /// Now.
    ///
    /// # Errors
    /// When a process has ended.
    pub async fn of(services: &[&ServiceProcess; 3], subgraphs: &Services) -> anyhow::Result<Self> {
        let mut parties = Vec::new();
        for service in services {
            let name = service.service().name();
            let pid = service.pid().with_context(|| format!("{name} has ended"))?;
            parties.push((name, of_process(pid)?));
        }
        parties.push(("mongod", of_process(subgraphs.mongod().await?)?));
        let own = of_process(std::process::id())?;
        let attackers = of_threads(std::process::id(), |name| name == ATTACKERS)?;
        let honest = Times {
            ran: own.ran.saturating_sub(attackers.ran),
            waited: own.waited.saturating_sub(attackers.waited),
        };
        parties.push(("honest clients", honest));
        parties.push((ATTACKERS, attackers));
        Ok(Self {
            at: Instant::now(),
            parties,
        })
    }

    /// One line about what was taken since.
    pub fn since(&self, before: &Self) -> String {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let share = |now: Duration, then: Duration| {
            100.0 * now.saturating_sub(then).as_secs_f64() / seconds
        };
        let parties = self.parties.iter().zip(&before.parties);
        let parties = parties.map(|((name, now), (_, then))| {
            format!(
                "{name} {:.0} % (waited {:.0} %)",
                share(now.ran, then.ran),
                share(now.waited, then.waited)
            )
        });
        parties.collect::<Vec<_>>().join(", ")
    }
}

fn of_process(pid: u32) -> anyhow::Result<Times> {
    // The time of threads that have ended is part of the process's, and of no file of a thread.
    let ran = cpu_time(pid)?;
    let waited = of_threads(pid, |_| true)?.waited;
    Ok(Times { ran, waited })
}

/// The sum over the threads that there are, from `/proc/<pid>/task/<tid>/schedstat`: nanoseconds on a
/// processor, nanoseconds in a queue for one.
fn of_threads(pid: u32, is_meant: impl Fn(&str) -> bool) -> anyhow::Result<Times> {
    let tasks: PathBuf = Path::new("/proc").join(pid.to_string()).join("task");
    let mut times = Times::default();
    for task in std::fs::read_dir(&tasks)? {
        let folder = task?.path();
        // A thread may end meanwhile.
        let Ok(name) = std::fs::read_to_string(folder.join("comm")) else {
            continue;
        };
        let Ok(numbers) = std::fs::read_to_string(folder.join("schedstat")) else {
            continue;
        };
        if !is_meant(name.trim_end()) {
            continue;
        }
        let mut numbers = numbers.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(ran)), Some(Ok(waited))) = (numbers.next(), numbers.next()) else {
            anyhow::bail!("the kernel does not count run queues (CONFIG_SCHED_INFO)");
        };
        times.ran += Duration::from_nanos(ran);
        times.waited += Duration::from_nanos(waited);
    }
    Ok(times)
}
