//! How long a batch waits for more changes: hardly, while they are rare; longer, the more of them come.
//!
//! Each transaction costs the server as much as several changes do. A wait in proportion to the rate of the changes keeps
//! the number of transactions about the same at any rate, and delays nobody while there is little to save.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ProjectorSettings;

use super::board::Of;
use super::partition::Part;

/// How much each change a second adds to the wait: 20 ms at 200 changes a second.
const WAIT_PER_CHANGE_A_SECOND: f64 = 100e-6;
/// The rate follows the changes of about so many seconds.
const MEMORY_SECONDS: f64 = 1.0;
/// A first event older than this says that there is a backlog.
const BEHIND: Duration = Duration::from_secs(1);

/// How many changes a second come, as those of the last seconds tell.
#[derive(Debug)]
pub(crate) struct Rate {
    /// The changes so far, each of which counts the less the longer it is ago.
    weight: f64,
    at: Instant,
}

impl Rate {
    pub fn new(now: Instant) -> Self {
        Self {
            weight: 0.0,
            at: now,
        }
    }

    /// So many changes have come now.
    pub fn add(&mut self, changes: usize, now: Instant) {
        self.weight = self.weight_at(now) + changes as f64;
        self.at = now;
    }

    fn per_second(&self, now: Instant) -> f64 {
        self.weight_at(now) / MEMORY_SECONDS
    }

    fn weight_at(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.weight * (-since / MEMORY_SECONDS).exp()
    }
}

/// How long one batch waits after its first change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Linger {
    pub wait: Duration,
    /// Whether a reader who waits at a barrier ends it.
    pub yields: bool,
}

impl Linger {
    /// The wait of a batch whose first change is so old.
    ///
    /// The answers of the server come with pauses between them that are longer than the few milliseconds of everyday: a
    /// backlog would be cut at each. Readers who wait for its end wait less when its batches are whole.
    pub fn new(age: Option<Duration>, rate: &Rate, settings: &ProjectorSettings) -> Self {
        Self::at(Instant::now(), age, rate, settings)
    }

    fn at(now: Instant, age: Option<Duration>, rate: &Rate, settings: &ProjectorSettings) -> Self {
        let longest = settings.batch_linger_max.max(settings.batch_linger);
        if age.is_some_and(|age| age > BEHIND) {
            return Self {
                wait: settings.batch_linger_behind.max(longest),
                yields: false,
            };
        }
        let wait = Duration::from_secs_f64(rate.per_second(now) * WAIT_PER_CHANGE_A_SECOND);
        Self {
            wait: wait.clamp(settings.batch_linger, longest),
            yields: true,
        }
    }
}

/// The readers who wait at a barrier in this process, each with what it waits for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers(watch::Sender<Vec<Of>>);

/// One of them, until it is dropped.
pub(crate) struct WaitingReader {
    readers: watch::Sender<Vec<Of>>,
    of: Of,
}

/// Those who wait for one partition.
pub(crate) struct PartReaders {
    readers: watch::Sender<Vec<Of>>,
    number: u32,
    count: u32,
}

impl Readers {
    /// One more waits.
    pub fn enter(&self, of: Of) -> WaitingReader {
        self.0.send_modify(|waiting| waiting.push(of));
        WaitingReader {
            readers: self.0.clone(),
            of,
        }
    }

    pub fn of(&self, part: &Part) -> PartReaders {
        PartReaders {
            readers: self.0.clone(),
            number: part.number,
            count: part.set.count,
        }
    }
}

impl PartReaders {
    /// Returns as soon as somebody waits.
    pub async fn any(&self) {
        let waits = |of: &Of| of.includes(self.number, self.count);
        let mut readers = self.readers.subscribe();
        // It cannot fail: the sender is here.
        let _ = readers.wait_for(|waiting| waiting.iter().any(waits)).await;
    }
}

impl Drop for WaitingReader {
    fn drop(&mut self) {
        self.readers.send_modify(|waiting| {
            if let Some(place) = waiting.iter().position(|of| *of == self.of) {
                waiting.swap_remove(place);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_at(changes_a_second: u32) -> Duration {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        for _ in 0..10 * changes_a_second {
            now += Duration::from_secs(1) / changes_a_second;
            rate.add(1, now);
        }
        let level = Some(Duration::ZERO);
        let linger = Linger::at(now, level, &rate, &ProjectorSettings::default());
        assert!(linger.yields);
        linger.wait
    }

    #[test]
    fn it_waits_longer_the_more_changes_come() {
        assert_eq!(wait_at(1), Duration::from_millis(2));
        assert_eq!(wait_at(200).as_millis(), 20);
        assert_eq!(wait_at(2_000), Duration::from_millis(50));
    }

    #[test]
    fn the_rush_of_a_moment_is_forgotten() {
        let now = Instant::now();
        let mut rate = Rate::new(now);
        rate.add(1_000, now);
        let later = now + Duration::from_secs(6);
        let linger = Linger::at(later, None, &rate, &ProjectorSettings::default());
        assert_eq!(linger.wait.as_millis(), 2);
    }

    #[test]
    fn a_backlog_is_not_cut_for_readers() {
        let (now, old) = (Instant::now(), Some(Duration::from_secs(2)));
        let linger = Linger::at(now, old, &Rate::new(now), &ProjectorSettings::default());
        let whole = Linger {
            wait: Duration::from_millis(250),
            yields: false,
        };
        assert_eq!(linger, whole);
    }
}
