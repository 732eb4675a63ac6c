//! The memory of all three services: its peak, and how much of it is returned.

use anyhow::Context;
use stack::ServiceProcess;

use crate::process::{Memory, memory};
use crate::report::Goals;

const PEAK_MIB_MAX: f64 = 300.0;
const AFTER_RATIO_MAX: f64 = 1.2;

/// The memory of posts, comments and the gateway.
pub struct Memories([Memory; 3]);

impl Memories {
    /// Now.
    ///
    /// # Errors
    /// When a service has ended.
    pub fn of(services: &[&ServiceProcess; 3]) -> anyhow::Result<Self> {
        let of = |service: &ServiceProcess| -> anyhow::Result<Memory> {
            let name = service.service().name();
            let pid = service.pid().with_context(|| format!("{name} has ended"))?;
            memory(pid).with_context(|| format!("reading the memory of {name}"))
        };
        let [posts, comments, gateway] = services;
        Ok(Self([of(posts)?, of(comments)?, of(gateway)?]))
    }
}

/// Judges each service by its memory before, at its highest, and some time after the attacks.
pub fn judge(
    goals: &mut Goals,
    services: &[&ServiceProcess; 3],
    before: &Memories,
    peak: &Memories,
    after: &Memories,
) {
    println!("memory (resident MiB):");
    for (index, service) in services.iter().enumerate() {
        let before = Memory::mib(before.0[index].resident);
        let peak = Memory::mib(peak.0[index].peak);
        let after = Memory::mib(after.0[index].resident);
        let ratio = after / before;
        goals.judge(
            peak < PEAK_MIB_MAX && ratio < AFTER_RATIO_MAX,
            format!(
                "{:<9} before {before:.0}, at its highest {peak:.0} (goal: below {PEAK_MIB_MAX}), after {after:.0}, \
                 {ratio:.2} times of before (goal: below {AFTER_RATIO_MAX})",
                service.service().name()
            ),
        );
    }
}
