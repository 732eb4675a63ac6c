//! Reports to the clients of a feed that changes cannot reach them, and that they can again.
//!
//! The feed notes what it knows about its upstream; what clients are told follows at a distance, so that an upstream that
//! comes and goes costs little:
//!
//! - An interruption of less than [`Distances::unreported_time`] is not told. A subgraph that restarts, or a connection that is
//!   replaced, is back by then, and nobody gains by a notice that is withdrawn at once.
//! - The end of an interruption is told at once, but not within [`Distances::pair_time`] after the last one: until then clients believe
//!   too little, not too much.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use graphql_transport::Status;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::event_ring::EventRing;

/// How far reports follow what is noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distances {
    /// An interruption that is shorter is not reported.
    unreported_time: Duration,
    /// The time between the ends of two interruptions that are reported, at least.
    pair_time: Duration,
}

pub(super) const DISTANCES: Distances = Distances {
    unreported_time: Duration::from_secs(1),
    pair_time: Duration::from_secs(5),
};

/// What a feed knows about its upstream. Clones share it.
#[derive(Clone)]
pub(super) struct UpstreamStatus(Arc<Noted>);

struct Noted {
    is_live: AtomicBool,
    changed: Notify,
}

impl UpstreamStatus {
    /// Nothing has come from it yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(Noted {
            is_live: AtomicBool::new(false),
            changed: Notify::new(),
        }))
    }

    pub(super) fn note(&self, status: Status) {
        let is_live = status == Status::Live;
        if self.0.is_live.swap(is_live, Relaxed) != is_live {
            self.0.changed.notify_one();
        }
    }

    pub(super) fn noted(&self) -> Status {
        match self.0.is_live.load(Relaxed) {
            true => Status::Live,
            false => Status::Interrupted,
        }
    }
}

/// Reports to the ring's readers what the feed notes. It never ends: it is to be polled beside the feed, and dropped.
pub(super) async fn report(
    upstream: UpstreamStatus,
    ring: Arc<EventRing>,
    distances: Distances,
) -> Infallible {
    let mut ended: Option<Instant> = None;
    loop {
        let noted = upstream.noted();
        let changed = upstream.0.changed.notified();
        // A first frame may have said it, too.
        if noted == ring.status() {
            changed.await;
            continue;
        }
        let distance = match (noted, ended) {
            (Status::Interrupted, _) => distances.unreported_time,
            (Status::Live, None) => Duration::ZERO,
            (Status::Live, Some(ended)) => distances.pair_time.saturating_sub(ended.elapsed()),
        };
        if timeout(distance, changed).await.is_ok() {
            continue;
        }
        ring.tell(noted);
        if noted == Status::Live {
            ended = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use graphql_transport::{Guarantee, Stands};
    use prometheus_client::metrics::gauge::Gauge;
    use tokio::task::{JoinHandle, yield_now};

    use super::*;
    use crate::subscriptions::event_ring::{
        AddressBytes, EventRing, RingBounds, RingReader, Shows, Taken,
    };

    const NEVER: Duration = Duration::from_secs(3_600);
    const AT_ONCE: Duration = Duration::ZERO;

    struct Reported {
        upstream: UpstreamStatus,
        reader: RingReader,
        reports: JoinHandle<Infallible>,
    }

    impl Reported {
        fn at(unreported_time: Duration, pair_time: Duration) -> Self {
            let (ring, reader) = ring();
            let upstream = UpstreamStatus::new();
            upstream.note(Status::Live);
            let distances = Distances {
                unreported_time,
                pair_time,
            };
            let reports = tokio::spawn(report(upstream.clone(), ring, distances));
            Self {
                upstream,
                reader,
                reports,
            }
        }

        /// What is told after this is noted.
        async fn told_after(&mut self, noted: Status) -> Option<Status> {
            self.upstream.note(noted);
            // A timer of no time ends with the next turn of the runtime.
            for _ in 0..100 {
                yield_now().await;
                tokio::time::sleep(AT_ONCE).await;
                if let Some(taken) = self.reader.try_next() {
                    match taken {
                        Taken::Status(status, _) => return Some(status),
                        _ => panic!("there are no events"),
                    }
                }
            }
            None
        }
    }

    impl Drop for Reported {
        fn drop(&mut self) {
            self.reports.abort();
        }
    }

    fn ring() -> (Arc<EventRing>, RingReader) {
        let bounds = RingBounds {
            bytes_max: 1_000,
            events_max: 10,
            address_bytes_max: 1_000,
            wait_max: Duration::ZERO,
        };
        let ring = EventRing::new(bounds, &Gauge::default(), AddressBytes::default());
        ring.stand(Stands {
            kept: Guarantee::AtLeastOnce,
            cursor: None,
            status: None,
        });
        let shows = Shows {
            cursors: true,
            status: true,
        };
        let (reader, _) = ring.join(shows);
        (ring, reader)
    }

    #[tokio::test]
    async fn a_short_interruption_is_not_told() {
        let mut reported = Reported::at(NEVER, AT_ONCE);
        for noted in [Status::Interrupted, Status::Live, Status::Interrupted] {
            assert_eq!(reported.told_after(noted).await, None);
        }
    }

    #[tokio::test]
    async fn each_interruption_is_told_once_and_so_is_its_end() {
        let mut reported = Reported::at(AT_ONCE, AT_ONCE);
        for _ in 0..3 {
            for noted in [Status::Interrupted, Status::Live] {
                assert_eq!(reported.told_after(noted).await, Some(noted));
                assert_eq!(reported.told_after(noted).await, None);
            }
        }
    }

    #[tokio::test]
    async fn the_end_of_an_interruption_that_follows_another_one_is_told_later() {
        let mut reported = Reported::at(AT_ONCE, NEVER);
        for noted in [Status::Interrupted, Status::Live, Status::Interrupted] {
            assert_eq!(reported.told_after(noted).await, Some(noted));
        }
        for noted in [Status::Live, Status::Interrupted, Status::Live] {
            assert_eq!(
                reported.told_after(noted).await,
                None,
                "it counts as interrupted"
            );
        }
    }

    #[test]
    fn a_feed_takes_little_more_memory() {
        let (ring, _reader) = ring();
        let reports = report(UpstreamStatus::new(), ring, DISTANCES);
        let bytes = size_of::<Noted>() + size_of_val(&reports);
        assert!(bytes <= 512, "{bytes} bytes for each feed");
    }
}
