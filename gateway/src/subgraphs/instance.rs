//! One of several addresses of a subgraph: its connections, its load, and whether it is up.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

use rustix::io::Errno;

use super::{FetchError, origin::Origin, pending_requests::now, pool::Pool};
use crate::metrics::AddressMetrics;

/// An address is ejected after so many answers in a row that fail, or say that a server behind it is down.
const FAILURES_MAX: u32 = 5;
/// An address leaves after so many answers in a row that close connections, though it has kept some before.
const CLOSES_MIN: u32 = 2;
/// For how long an address that leaves is avoided, in milliseconds; at most twice as long.
const LEAVING_MS: u64 = 1_000;

/// The mean pause before the first probe of an address that is down.
const PROBE_PAUSE: Duration = Duration::from_millis(100);
/// The same for one that is up and down all the time.
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(10);
/// An address that is down again within this time, in milliseconds, is probed later than the time before.
const FLAPPING_MS: u64 = 60_000;

/// One address of a subgraph that has several.
pub(crate) struct Instance {
    pub(super) origin: Arc<Origin>,
    pub(super) address: SocketAddr,
    /// Identifies it among the subgraph's addresses, in every gateway; safe to show.
    label: Arc<str>,
    pub(super) pool: Pool,
    /// How often it was found to be down or up again: odd while it is down.
    turns: AtomicU64,
    is_probed: AtomicBool,
    /// Whether a probe finds out now whether it hangs.
    is_suspected: AtomicBool,
    /// Since when its name does not stand for it any more.
    absent_since: Mutex<Option<Instant>>,
    /// In milliseconds as [`now`]; 0 if it has never been down.
    restored_at: AtomicU64,
    /// The mean pause before the first probe after the last ejection, in milliseconds.
    probe_pause_ms: AtomicU64,
    /// Whether it is used only while no other address of its name is up.
    is_reserve: AtomicBool,
    /// Answers in a row that failed.
    failures: AtomicU32,
    /// Answers in a row after which the connection was not kept.
    closes: AtomicU32,
    has_kept: AtomicBool,
    /// In milliseconds as [`now`]; 0 if it does not leave.
    leaving_until: AtomicU64,
    metrics: Arc<AddressMetrics>,
}

/// How well an address suits a new request, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Up,
    /// It closes its connections, or its name does not stand for it any more: it is probably about to stop.
    Leaving,
    /// Of the other address family of a name.
    Reserve,
    Down,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered {
        status: u16,
        is_kept: bool,
    },
    /// It has accepted a subscription.
    Accepted,
    /// It says nothing about the address: a kept connection was closed, the answer was too large, or this process lacks
    /// something.
    Unknown,
    /// No connection could be opened.
    Unreachable,
    /// There was no whole answer.
    Failed,
    /// It answered neither a request nor a probe.
    Hung,
}

/// When an attempt began: what an address did before it was down, or down and up again, says nothing about now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn(u64);

impl Turn {
    /// Whether the attempt was made although the address was down.
    pub(super) fn was_down(self) -> bool {
        self.0 % 2 == 1
    }
}

impl Outcome {
    /// The outcome of an attempt to connect.
    pub(crate) fn of_connecting(error: &FetchError) -> Self {
        match error {
            FetchError::Connect(error) => {
                match error.raw_os_error().map(Errno::from_raw_os_error) {
                    // There is no file or memory left here.
                    Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        Self::Unknown
                    }
                    // All local ports may be in use; or there is no such network here at all.
                    Some(Errno::ADDRNOTAVAIL) => Self::Failed,
                    _ => Self::Unreachable,
                }
            }
            _ => Self::Unreachable,
        }
    }

    pub(super) fn of_error(error: &FetchError, was_used: bool) -> Self {
        match error {
            FetchError::ClosedBeforeRequest => Self::Unknown,
            FetchError::ClosedBeforeResponse if was_used => Self::Unknown,
            FetchError::TooLarge(_) => Self::Unknown,
            _ => Self::Failed,
        }
    }
}

/// What an outcome means for its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stay,
    /// It cannot serve.
    Eject,
    /// It serves badly: it is ejected if enough others are left.
    EjectIfOthers,
    /// It is up again.
    Restore,
}

/// Counts a request at its address until it is dropped.
pub(super) struct Running<'i>(&'i Instance);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.metrics.running.dec();
    }
}

impl Instance {
    pub(super) fn new(
        origin: Arc<Origin>,
        address: SocketAddr,
        label: &str,
        pool: Pool,
        metrics: Arc<AddressMetrics>,
    ) -> Self {
        metrics.up.set(1);
        Self {
            origin,
            address,
            label: label.into(),
            pool,
            turns: AtomicU64::new(0),
            is_probed: AtomicBool::new(false),
            is_suspected: AtomicBool::new(false),
            absent_since: Mutex::default(),
            restored_at: AtomicU64::new(0),
            probe_pause_ms: AtomicU64::new(0),
            is_reserve: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            closes: AtomicU32::new(0),
            has_kept: AtomicBool::new(false),
            leaving_until: AtomicU64::new(0),
            metrics,
        }
    }

    /// Its host and port, with the IP address that a name stands for.
    pub(crate) fn label(&self) -> &Arc<str> {
        &self.label
    }

    pub(crate) fn endpoint(&self) -> &super::Endpoint {
        &self.origin.endpoint
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn metrics(&self) -> &Arc<AddressMetrics> {
        &self.metrics
    }

    /// The requests that run there, also those of an earlier supergraph.
    pub(super) fn load(&self) -> i64 {
        self.metrics.running.get()
    }

    pub(super) fn run(&self) -> Running<'_> {
        self.metrics.running.inc();
        Running(self)
    }

    /// For an attempt that begins now.
    pub(crate) fn turn(&self) -> Turn {
        Turn(self.turns.load(SeqCst))
    }

    pub(super) fn is_down(&self) -> bool {
        self.turn().was_down()
    }

    /// Notes whether its name stands for it. Returns for how long it does not.
    pub(super) fn set_absent(&self, is_absent: bool) -> Duration {
        let since = self.absent_since.lock();
        let mut since = since.unwrap_or_else(PoisonError::into_inner);
        match is_absent {
            true => since.get_or_insert_with(Instant::now).elapsed(),
            false => {
                *since = None;
                Duration::ZERO
            }
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        let since = self.absent_since.lock();
        since.unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the caller has to find out whether it hangs, and to call [`Self::end_suspicion`].
    pub(super) fn begin_suspicion(&self) -> bool {
        !self.is_down() && !self.is_suspected.swap(true, SeqCst)
    }

    pub(super) fn end_suspicion(&self) {
        self.is_suspected.store(false, SeqCst);
    }

    pub(super) fn set_reserve(&self, is_reserve: bool) {
        self.is_reserve.store(is_reserve, Relaxed);
    }

    pub(super) fn rank(&self) -> Rank {
        if self.is_down() {
            return Rank::Down;
        }
        if self.is_reserve.load(Relaxed) {
            return Rank::Reserve;
        }
        if self.is_absent() {
            return Rank::Leaving;
        }
        match self.leaving_until.load(Relaxed) {
            0 => Rank::Up,
            until if now() < until => Rank::Leaving,
            _ => Rank::Up,
        }
    }

    /// Takes the outcome of an attempt into account.
    pub(super) fn heed(&self, outcome: Outcome, began: Turn) -> Verdict {
        if began != self.turn() {
            return Verdict::Stay;
        }
        match outcome {
            Outcome::Unknown => Verdict::Stay,
            Outcome::Unreachable => Verdict::Eject,
            Outcome::Hung => Verdict::EjectIfOthers,
            // Only these come from what stands before a server that is down.
            Outcome::Failed
            | Outcome::Answered {
                status: 502..=504, ..
            } => match self.failures.fetch_add(1, Relaxed) + 1 {
                FAILURES_MAX.. => Verdict::EjectIfOthers,
                _ => Verdict::Stay,
            },
            Outcome::Answered { is_kept, .. } => {
                self.heed_close(!is_kept);
                self.heed_success(began)
            }
            Outcome::Accepted => self.heed_success(began),
        }
    }

    fn heed_success(&self, began: Turn) -> Verdict {
        reset(&self.failures);
        match began.was_down() {
            true => Verdict::Restore,
            false => Verdict::Stay,
        }
    }

    /// A server that is about to stop closes each connection after its answer, and soon refuses new ones.
    fn heed_close(&self, closes: bool) {
        if !closes {
            reset(&self.closes);
            if self.leaving_until.load(Relaxed) != 0 {
                self.leaving_until.store(0, Relaxed);
            }
            if !self.has_kept.load(Relaxed) {
                self.has_kept.store(true, Relaxed);
            }
            return;
        }
        let closes = self.closes.fetch_add(1, Relaxed) + 1;
        if closes >= CLOSES_MIN && self.has_kept.load(Relaxed) {
            let until = now() + LEAVING_MS + fastrand::u64(..LEAVING_MS);
            self.leaving_until.store(until, Relaxed);
        }
    }

    /// Marks it as down after an attempt that began at `began`. Returns false if it was down since.
    pub(super) fn eject(&self, began: Turn) -> bool {
        if began.was_down() || !self.turn_after(began) {
            return false;
        }
        self.metrics.up.set(0);
        self.metrics.ejections.inc();
        self.pool.clear();
        let restored_at = self.restored_at.load(Relaxed);
        let is_flapping = restored_at != 0 && now() < restored_at + FLAPPING_MS;
        let pause = match is_flapping {
            true => PROBE_PAUSE_MAX.min(self.probe_pause() * 2),
            false => PROBE_PAUSE,
        };
        self.probe_pause_ms.store(pause.as_millis() as u64, Relaxed);
        true
    }

    pub(super) fn probe_pause(&self) -> Duration {
        Duration::from_millis(self.probe_pause_ms.load(Relaxed))
    }

    /// Whether it has to be probed, by the caller from now on.
    pub(super) fn begin_probes(&self) -> bool {
        self.is_down() && !self.is_probed.swap(true, SeqCst)
    }

    /// Ends the probes. Returns false if it is down again.
    pub(super) fn end_probes(&self) -> bool {
        self.is_probed.store(false, SeqCst);
        !self.begin_probes()
    }

    /// Marks it as up after an attempt that began at `began`. Returns false if it was up since.
    pub(super) fn restore(&self, began: Turn) -> bool {
        if !began.was_down() {
            return false;
        }
        reset(&self.failures);
        reset(&self.closes);
        self.leaving_until.store(0, Relaxed);
        if !self.turn_after(began) {
            return false;
        }
        self.metrics.up.set(1);
        self.restored_at.store(now(), Relaxed);
        true
    }

    fn turn_after(&self, turn: Turn) -> bool {
        let next = self
            .turns
            .compare_exchange(turn.0, turn.0 + 1, SeqCst, SeqCst);
        next.is_ok()
    }
}

/// Written only when it changes: all requests read it.
fn reset(count: &AtomicU32) {
    if count.load(Relaxed) != 0 {
        count.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use graphql_transport::signature::Signer;

    use super::*;
    use crate::{
        config::SubgraphSettings,
        metrics::SubgraphMetrics,
        subgraphs::{Endpoint, Tls},
    };

    fn instance() -> Instance {
        let endpoint = Endpoint::parse("http://127.0.0.1:4001/graphql").expect("an address");
        let address = endpoint.ip().expect("an IP address");
        let (settings, tls) = (SubgraphSettings::default(), Tls::default());
        let pool = Pool::new(endpoint.clone(), Some(address), &settings, &tls);
        let metrics = SubgraphMetrics::default().address("posts", "127.0.0.1:4001");
        let origin = Arc::new(Origin::new(endpoint, "identity", &Signer::default()));
        Instance::new(origin, address, "127.0.0.1:4001", pool, Arc::new(metrics))
    }

    fn answered(status: u16, is_kept: bool) -> Outcome {
        Outcome::Answered { status, is_kept }
    }

    #[test]
    fn one_that_closes_its_connections_is_avoided_if_it_has_kept_some_before() {
        let always_closes = instance();
        for _ in 0..10 {
            always_closes.heed(answered(200, false), always_closes.turn());
        }
        assert_eq!(always_closes.rank(), Rank::Up);
        let stops = instance();
        stops.heed(answered(200, true), stops.turn());
        // One alone may have served as many requests as its server allows.
        stops.heed(answered(200, false), stops.turn());
        assert_eq!(stops.rank(), Rank::Up);
        stops.heed(answered(200, false), stops.turn());
        assert_eq!(stops.rank(), Rank::Leaving);
        stops.heed(answered(200, true), stops.turn());
        assert_eq!(stops.rank(), Rank::Up);
    }

    #[test]
    fn failures_count_in_a_row() {
        let instance = instance();
        for _ in 0..3 {
            for _ in 1..FAILURES_MAX {
                assert_eq!(
                    instance.heed(Outcome::Failed, instance.turn()),
                    Verdict::Stay
                );
            }
            assert_eq!(
                instance.heed(Outcome::Unknown, instance.turn()),
                Verdict::Stay
            );
            // 500 is an answer: the resolver of one field may fail so.
            assert_eq!(
                instance.heed(answered(500, true), instance.turn()),
                Verdict::Stay
            );
        }
        for _ in 1..FAILURES_MAX {
            assert_eq!(
                instance.heed(answered(503, true), instance.turn()),
                Verdict::Stay
            );
        }
        assert_eq!(
            instance.heed(Outcome::Failed, instance.turn()),
            Verdict::EjectIfOthers
        );
    }

    #[test]
    fn an_attempt_that_began_earlier_says_nothing_about_now() {
        let instance = instance();
        let up = instance.turn();
        assert_eq!(instance.heed(Outcome::Unreachable, up), Verdict::Eject);
        assert!(instance.eject(up) && !instance.eject(up));
        assert_eq!(instance.rank(), Rank::Down);
        assert_eq!(instance.heed(answered(200, true), up), Verdict::Stay);
        let down = instance.turn();
        assert_eq!(instance.heed(answered(200, true), down), Verdict::Restore);
        assert!(instance.restore(down) && !instance.restore(down));
        assert_eq!(instance.rank(), Rank::Up);
        for earlier in [up, down] {
            for _ in 0..FAILURES_MAX {
                assert_eq!(instance.heed(Outcome::Failed, earlier), Verdict::Stay);
            }
            assert_eq!(instance.heed(Outcome::Unreachable, earlier), Verdict::Stay);
            assert!(!instance.eject(earlier));
        }
    }

    #[test]
    fn what_this_process_lacks_is_no_failure_of_an_address() {
        let outcome = |errno: Errno| {
            let error = std::io::Error::from_raw_os_error(errno.raw_os_error());
            Outcome::of_connecting(&FetchError::connect(error))
        };
        assert_eq!(outcome(Errno::MFILE), Outcome::Unknown);
        assert_eq!(outcome(Errno::ADDRNOTAVAIL), Outcome::Failed);
        assert_eq!(outcome(Errno::CONNREFUSED), Outcome::Unreachable);
    }

    #[test]
    fn one_that_is_up_and_down_all_the_time_is_probed_later_each_time() {
        let instance = instance();
        let pauses = [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
        for pause in pauses {
            assert!(instance.eject(instance.turn()));
            assert_eq!(instance.probe_pause().as_millis(), pause);
            instance.restore(instance.turn());
        }
    }

    #[test]
    fn one_task_probes_an_address() {
        let instance = instance();
        assert!(!instance.begin_probes(), "it is up");
        instance.eject(instance.turn());
        assert!(instance.begin_probes() && !instance.begin_probes());
        assert!(!instance.end_probes(), "it is still down");
        instance.restore(instance.turn());
        assert!(instance.end_probes());
    }
}
