//! How much processor time the jobs of one client may take while processors are scarce.

use std::time::{Duration, Instant};

/// The processor time that a client may take at once, before it has to pause: some twenty usual documents.
const BURST: Duration = Duration::from_millis(100);

/// Processors are scarce when jobs have waited for one for this fraction of the time that they ran.
const SCARCE_RATIO: f64 = 0.25;

/// What a job adds to the sums of [`Scarcity`] fades by this factor with each further job.
const FADING: f64 = 0.75;

/// The part of the processors that the jobs of one client may take while processors are scarce.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// A number of processors, such as 0.1.
    processors: f64,
}

impl Share {
    /// So many percent, 1 to 100, of all `processors`.
    pub fn of(percent: u8, processors: usize) -> Self {
        let percent = f64::from(percent.clamp(1, 100));
        Self {
            processors: processors as f64 * percent / 100.0,
        }
    }

    /// For how long a client pays for so much processor time.
    fn price(self, time: Duration) -> Duration {
        time.div_f64(self.processors)
    }
}

/// The processor time that one client has used: a leaky bucket, as a point in time (GCRA).
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// When it has paid for everything.
    paid_at: Option<Instant>,
}

impl Account {
    /// Adds a job that ran for `time`. A client never has to pause for more than the burst and its last job.
    pub fn charge(&mut self, time: Duration, share: Share, now: Instant) {
        let since = self.paid_at.map_or(now, |paid_at| paid_at.max(now));
        let since = since.min(now + share.price(BURST));
        self.paid_at = Some(since + share.price(time));
    }

    /// For how long the client has to pause; zero if it need not.
    pub fn pause(&self, share: Share, now: Instant) -> Duration {
        let unpaid = self
            .paid_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        unpaid.saturating_sub(share.price(BURST))
    }

    /// Whether it holds nothing any more.
    pub fn is_paid(&self, now: Instant) -> bool {
        self.paid_at.is_none_or(|at| at <= now)
    }
}

/// What a job took of the processors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// The time on a processor.
    pub ran: Duration,
    /// The rest of its time: it could run, but other threads had the processors.
    pub waited: Duration,
}

/// Whether the jobs that ended last had to wait for a processor. Other threads do so, too, then: those of this
/// process that answer requests, and those of other processes.
#[derive(Debug, Default)]
pub struct Scarcity {
    ran: f64,
    waited: f64,
}

impl Scarcity {
    /// Adds a job.
    pub fn add(&mut self, used: Used) {
        self.ran = self.ran * FADING + used.ran.as_secs_f64();
        self.waited = self.waited * FADING + used.waited.as_secs_f64();
    }

    /// Whether processors are scarce.
    pub fn holds(&self) -> bool {
        self.waited > self.ran * SCARCE_RATIO
    }
}

/// Measures what this thread takes of the processors.
pub struct Stopwatch {
    began: Instant,
    had_run: Duration,
}

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
            had_run: time_of_thread(),
        }
    }

    /// What was taken since the start. To be called on the same thread.
    pub fn stop(self) -> Used {
        let elapsed = self.began.elapsed();
        let ran = time_of_thread().saturating_sub(self.had_run);
        // Where threads have no clock, every job seems to run all the time.
        let ran = if ran.is_zero() { elapsed } else { ran };
        Used {
            ran,
            waited: elapsed.saturating_sub(ran),
        }
    }
}

/// The processor time of this thread so far; zero where the system does not count it.
fn time_of_thread() -> Duration {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(time).unwrap_or_default()
    }
    #[cfg(not(target_os = "linux"))]
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn who_has_used_its_burst_pauses_in_proportion_to_its_jobs() {
        // A tenth of a processor.
        let share = Share::of(5, 2);
        let now = Instant::now();
        let mut account = Account::default();
        assert!(account.is_paid(now));
        account.charge(BURST, share, now);
        assert_eq!(account.pause(share, now), Duration::ZERO);
        assert!(!account.is_paid(now));
        account.charge(20 * MS, share, now);
        assert_eq!(account.pause(share, now), 200 * MS);
        assert_eq!(account.pause(share, now + 150 * MS), 50 * MS);
        assert_eq!(account.pause(share, now + 300 * MS), Duration::ZERO);
        assert!(account.is_paid(now + 1_200 * MS));
    }

    #[test]
    fn debts_of_idle_times_are_forgotten() {
        let share = Share::of(5, 2);
        let now = Instant::now();
        let mut account = Account::default();
        // Nobody had to pause, as there were processors for everybody.
        for _ in 0..1_000 {
            account.charge(20 * MS, share, now);
        }
        assert_eq!(account.pause(share, now), 200 * MS);
    }

    #[test]
    fn processors_are_scarce_while_jobs_wait_for_them() {
        let mut scarcity = Scarcity::default();
        let mut add = |ran, waited| {
            scarcity.add(Used { ran, waited });
            scarcity.holds()
        };
        assert!(!add(10 * MS, MS));
        assert!(add(10 * MS, 20 * MS));
        // One job that was lucky.
        assert!(add(MS, Duration::ZERO));
        assert!(
            !(0..10)
                .map(|_| add(10 * MS, Duration::ZERO))
                .last()
                .expect("one")
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_sleeps_does_not_run() {
        let watch = Stopwatch::start();
        std::thread::sleep(20 * MS);
        let used = watch.stop();
        assert!(used.ran < used.waited, "{used:?}");
        assert!(used.waited >= 10 * MS, "{used:?}");
    }
}
