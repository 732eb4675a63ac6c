//! When each live client is closed at a shutdown: one after the other, over most of the grace period.
//!
//! Clients that are all closed at once come back at once, to the instances that are left. So each WebSocket and each event
//! stream is served until its turn comes.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::metrics::GaugeGuard;

/// The share of the grace period in which turns come: the rest is for the last clients to close.
const TURNS_SHARE: f64 = 0.8;
/// The share of the grace period in which WebSockets begin operations: each has at least the rest of it to end.
const BEGUN_SHARE: f64 = 0.5;
/// A few clients are no crowd: nobody waits longer than this between two of them.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The live clients of a process, and their end. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    shutdown: CancellationToken,
    grace: Duration,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    live: AtomicU32,
    turns: AtomicU32,
    begun: OnceLock<Begun>,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    at: Instant,
    /// Between two clients.
    pause: Duration,
}

/// A live client, until dropped.
pub(crate) struct LiveClient {
    drain: Drain,
    /// When it is closed, once that is known.
    turn: OnceLock<Instant>,
    /// It came after the shutdown had begun.
    is_late: bool,
    drained: Counter,
    _counted: GaugeGuard,
}

impl Drain {
    pub(crate) fn new(shutdown: CancellationToken, grace: Duration) -> Self {
        Self {
            shutdown,
            grace,
            shared: Arc::default(),
        }
    }

    /// A client from now on. `drained` counts it when its turn comes.
    pub(crate) fn client(&self, counted: GaugeGuard, drained: Counter) -> LiveClient {
        self.shared.live.fetch_add(1, Ordering::Relaxed);
        LiveClient {
            is_late: self.shutdown.is_cancelled(),
            drain: self.clone(),
            turn: OnceLock::new(),
            drained,
            _counted: counted,
        }
    }

    /// The end of the grace period, if a shutdown has begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.shutdown
            .is_cancelled()
            .then(|| self.begun().at + self.grace)
    }

    /// Whether an operation that begins now has enough time to end.
    pub(crate) fn begins_operations(&self) -> bool {
        !self.shutdown.is_cancelled() || self.begun().at.elapsed() < self.grace.mul_f64(BEGUN_SHARE)
    }

    fn begun(&self) -> Begun {
        *self.shared.begun.get_or_init(|| {
            let clients = self.shared.live.load(Ordering::Relaxed).max(1);
            let pause = self.grace.mul_f64(TURNS_SHARE) / clients;
            Begun {
                at: Instant::now(),
                pause: pause.min(PAUSE_MAX),
            }
        })
    }

    fn next_turn(&self) -> Instant {
        let begun = self.begun();
        let turn = self.shared.turns.fetch_add(1, Ordering::Relaxed);
        begun.at + begun.pause * turn
    }
}

impl LiveClient {
    /// Waits for the shutdown, and then for the client's turn. May be dropped and called again.
    pub(crate) async fn turn(&self) {
        self.drain.shutdown.cancelled().await;
        if !self.is_late {
            let turn = *self.turn.get_or_init(|| self.drain.next_turn());
            // In a place of its own: a quiet client would keep it.
            Box::pin(sleep_until(turn)).await;
        }
        self.leaves();
    }

    /// Counts it as drained, also before its turn.
    pub(crate) fn leaves(&self) {
        self.drained.inc();
    }
}

impl Drop for LiveClient {
    fn drop(&mut self) {
        self.drain.shared.live.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    struct Crowd {
        drain: Drain,
        drained: Counter,
        live: Gauge,
    }

    impl Crowd {
        fn new(grace: Duration) -> Self {
            Self {
                drain: Drain::new(CancellationToken::new(), grace),
                drained: Counter::default(),
                live: Gauge::default(),
            }
        }

        fn client(&self) -> LiveClient {
            let counted = GaugeGuard::new(&self.live);
            self.drain.client(counted, self.drained.clone())
        }

        /// How long after the shutdown the turn of each of so many clients comes.
        async fn turns(&self, clients: u64) -> Vec<Duration> {
            let clients: Vec<_> = (0..clients).map(|_| self.client()).collect();
            self.drain.shutdown.cancel();
            let began = Instant::now();
            let turns = clients.iter().map(|client| async {
                client.turn().await;
                began.elapsed()
            });
            join_all(turns).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_closed_evenly_over_the_grace_period() {
        let grace = Duration::from_secs(10);
        let crowd = Crowd::new(grace);
        let mut turns = crowd.turns(1_000).await;
        turns.sort();
        let (first, last) = (turns[0], turns[999]);
        assert!(first < Duration::from_millis(10), "{first:?}");
        assert!(
            last > grace.mul_f64(0.79) && last <= grace.mul_f64(0.8),
            "{last:?}"
        );
        // As many in each second, but for the one in which a timer's tick falls.
        for second in 0..8 {
            let is_in = |turn: &&Duration| turn.as_secs() == second;
            let count = turns.iter().filter(is_in).count();
            assert!((124..=126).contains(&count), "{count} in second {second}");
        }
        assert_eq!((crowd.drained.get(), crowd.live.get()), (1_000, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_begins_only_where_half_of_the_grace_period_is_left_for_it() {
        let crowd = Crowd::new(Duration::from_secs(10));
        assert!(crowd.drain.begins_operations());
        crowd.drain.shutdown.cancel();
        assert!(crowd.drain.begins_operations());
        tokio::time::sleep(Duration::from_millis(4_900)).await;
        assert!(crowd.drain.begins_operations());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!crowd.drain.begins_operations());
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_clients_keep_nobody_waiting() {
        let turns = Crowd::new(Duration::from_secs(3_600)).turns(3).await;
        assert!(
            turns
                .iter()
                .all(|turn| *turn <= 2 * PAUSE_MAX + PAUSE_MAX / 10),
            "{turns:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_grace_period_all_are_closed_at_once() {
        let turns = Crowd::new(Duration::ZERO).turns(1_000).await;
        assert!(turns.iter().all(Duration::is_zero));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_asks_again_keeps_its_turn_and_one_that_is_late_has_none() {
        let crowd = Crowd::new(Duration::from_secs(10));
        let clients = [crowd.client(), crowd.client()];
        crowd.drain.shutdown.cancel();
        let began = Instant::now();
        clients[0].turn().await;
        for _ in 0..5 {
            // As a connection does when something else happens first.
            let dropped = tokio::time::timeout(Duration::from_millis(10), clients[1].turn());
            assert!(dropped.await.is_err());
        }
        crowd.client().turn().await;
        assert_eq!(began.elapsed().as_millis(), 50);
        clients[1].turn().await;
        assert_eq!(began.elapsed(), PAUSE_MAX);
        assert_eq!(
            crowd.drain.deadline(),
            Some(began + Duration::from_secs(10))
        );
    }
}
