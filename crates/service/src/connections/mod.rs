//! The open connections: how many there may be, and which one is closed to make room for a new one.
//!
//! Above the limit, a connection that has sent no request yet is closed first, so that clients that connect
//! and send nothing cannot keep others out. The next are those that are idle between two requests. One whose
//! request is being answered, or that became a WebSocket, stays open.

mod activity;
mod taking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::Metrics;
pub(crate) use activity::{Activity, Tracked};

/// File descriptors that are left for everything else: the database, other services, files.
const DESCRIPTORS_RESERVED: u64 = 256;
/// How often all connections, or all of a client, are looked through for one that waits between two requests.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How many connections there may be, and how long one may be silent.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Open connections in all.
    pub max: usize,
    /// Open connections of one client address; of an IPv6 address the network counts (64 bits).
    pub per_address_max: usize,
    /// Time for the first request of a connection, from its begin to the end of the request's head.
    pub first_request: Duration,
}

impl ConnectionLimits {
    /// These limits, lowered to what the process's file descriptors allow. Raises the soft limit of
    /// descriptors to the hard one first.
    pub(crate) fn within_descriptors(mut self) -> Self {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
        if let Some(descriptors) = limit.current {
            let most = descriptors.saturating_sub(DESCRIPTORS_RESERVED);
            let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
            if most < self.max {
                tracing::warn!(
                    descriptors,
                    connections_max = most,
                    "the limit of open files allows fewer connections than CONNECTIONS_MAX"
                );
                self.max = most;
            }
        }
        self.per_address_max = self.per_address_max.min(self.max);
        self
    }
}

/// All open connections of a server. Clones share them.
#[derive(Clone)]
pub(crate) struct Connections {
    limits: ConnectionLimits,
    open: Arc<Mutex<Open>>,
    metrics: ConnectionMetrics,
}

#[derive(Clone, Default)]
struct ConnectionMetrics {
    open: Gauge,
    refused: Counter,
    evicted: Counter,
    silent: Counter,
    stalled: Counter,
    large_heads: Counter,
}

/// Trees, because they give memory back when a crowd has left.
struct Open {
    by_number: BTreeMap<u64, OpenConnection>,
    /// The clients with a connection, by their [`network`].
    addresses: BTreeMap<IpAddr, Client>,
    /// Numbers in the order of their begin; some of them have sent a request since, or are closed.
    silent: VecDeque<u64>,
    next_number: u64,
    /// When all connections were last searched for one to close.
    looked: Option<Instant>,
}

#[derive(Default)]
struct Client {
    /// Its connections, in the order of their begin.
    numbers: BTreeSet<u64>,
    /// When they were last looked through for one of this client's. Each has a time of its own: one that always
    /// asks for more than it may have keeps no look from others.
    looked: Option<Instant>,
}

struct OpenConnection {
    address: IpAddr,
    activity: Arc<Activity>,
}

/// Permits one connection to be open. It counts as closed when this is dropped.
pub(crate) struct ConnectionPermit {
    connections: Connections,
    number: u64,
    pub activity: Arc<Activity>,
}

impl Connections {
    /// Without `metrics` nothing is counted.
    pub fn new(limits: ConnectionLimits, metrics: Option<&Metrics>) -> Self {
        let open = Open {
            by_number: BTreeMap::new(),
            addresses: BTreeMap::new(),
            silent: VecDeque::new(),
            next_number: 0,
            looked: None,
        };
        Self {
            limits,
            open: Arc::new(Mutex::new(open)),
            metrics: metrics.map(ConnectionMetrics::register).unwrap_or_default(),
        }
    }

    /// A permit for a new connection from `address`; none when too many are open, and none of them can be
    /// closed for it.
    pub fn admit(&self, address: IpAddr) -> Option<ConnectionPermit> {
        let address = network(address);
        let mut open = self.lock();
        let of_address = open
            .addresses
            .get(&address)
            .map_or(0, |client| client.numbers.len());
        let is_full = open.by_number.len() >= self.limits.max;
        let victim = if of_address >= self.limits.per_address_max {
            Some(open.first_to_close(Some(address)))
        } else if is_full {
            Some(open.first_to_close(None))
        } else {
            None
        };
        match victim {
            Some(None) => {
                self.metrics.refused.inc();
                return None;
            }
            Some(Some(number)) => {
                self.metrics.evicted.inc();
                open.remove(number);
            }
            None => {}
        }
        let permit = self.issue_permit(&mut open, address);
        self.metrics.open.set(open.len());
        Some(permit)
    }

    fn issue_permit(&self, open: &mut Open, address: IpAddr) -> ConnectionPermit {
        let activity = Arc::<Activity>::default();
        let number = open.next_number;
        open.next_number += 1;
        open.silent.push_back(number);
        let client = open.addresses.entry(address).or_default();
        client.numbers.insert(number);
        open.by_number.insert(
            number,
            OpenConnection {
                address,
                activity: Arc::clone(&activity),
            },
        );
        ConnectionPermit {
            connections: self.clone(),
            number,
            activity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Counts a connection that ended because the head of a request was too large.
    pub fn head_was_too_large(&self) {
        self.connections.metrics.large_heads.inc();
    }

    /// Runs the connection to its end; `None` when it sent no request in time.
    pub async fn run<C: Future>(&self, connection: C) -> Option<C::Output> {
        let mut connection = pin!(connection);
        let first_request = self.connections.limits.first_request;
        let mut first_request = Some(Box::pin(tokio::time::sleep(first_request)));
        poll_fn(|context| {
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(Some(ended));
            }
            if !self.activity.is_silent() {
                first_request = None;
            }
            let time = first_request.as_mut().map(|it| it.as_mut().poll(context));
            if time.is_none_or(|time| time.is_pending()) {
                return Poll::Pending;
            }
            self.connections.metrics.silent.inc();
            Poll::Ready(None)
        })
        .await
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.remove(self.number);
        self.connections.metrics.open.set(open.len());
        if self.activity.is_stalled() {
            self.connections.metrics.stalled.inc();
        }
    }
}

impl Open {
    fn len(&self) -> i64 {
        i64::try_from(self.by_number.len()).unwrap_or(i64::MAX)
    }

    /// Takes a connection out, and has it closed. Nothing happens if it is out already.
    fn remove(&mut self, number: u64) {
        let Some(connection) = self.by_number.remove(&number) else {
            return;
        };
        connection.activity.close();
        if let Some(client) = self.addresses.get_mut(&connection.address) {
            client.numbers.remove(&number);
            if client.numbers.is_empty() {
                self.addresses.remove(&connection.address);
            }
        }
        self.forget_closed();
    }

    /// The connection of a client, or of all, that is closed to make room, if any may be: the oldest silent
    /// one, or the one that has waited for its next request for the longest.
    fn first_to_close(&mut self, of: Option<IpAddr>) -> Option<u64> {
        self.forget_closed();
        let open = &self.by_number;
        match of {
            Some(address) => {
                let Client { numbers, looked } = self.addresses.get_mut(&address)?;
                oldest_silent(open, numbers.iter())
                    .or_else(|| longest_idle(open, numbers.iter(), looked))
            }
            None => oldest_silent(open, self.silent.iter())
                .or_else(|| longest_idle(open, open.keys(), &mut self.looked)),
        }
    }

    /// Drops the numbers at the front that are silent no more, so that the queue stays about as long as
    /// there are connections.
    fn forget_closed(&mut self) {
        let is_silent = |number: &u64, open: &BTreeMap<u64, OpenConnection>| {
            open.get(number).is_some_and(|it| it.activity.is_silent())
        };
        while let Some(number) = self.silent.front()
            && !is_silent(number, &self.by_number)
        {
            self.silent.pop_front();
        }
        if self.silent.len() > 2 * self.by_number.len() + 16 {
            let open = &self.by_number;
            self.silent.retain(|number| is_silent(number, open));
        }
    }
}

/// The first of these that has sent no request yet.
fn oldest_silent<'n>(
    open: &BTreeMap<u64, OpenConnection>,
    mut numbers: impl Iterator<Item = &'n u64>,
) -> Option<u64> {
    let is_silent = |number: &&u64| open.get(number).is_some_and(|it| it.activity.is_silent());
    numbers.find(is_silent).copied()
}

/// The one among these that has waited for its next request for the longest; none where they were `looked`
/// through just now.
fn longest_idle<'n>(
    open: &BTreeMap<u64, OpenConnection>,
    numbers: impl Iterator<Item = &'n u64>,
    looked: &mut Option<Instant>,
) -> Option<u64> {
    let now = Instant::now();
    if looked.is_some_and(|at| now < at + LOOK_INTERVAL) {
        return None;
    }
    *looked = Some(now);
    let connections = numbers.filter_map(|number| Some((*number, &open.get(number)?.activity)));
    let idle = connections.filter(|(_, activity)| activity.is_idle());
    let longest = idle.min_by_key(|(_, activity)| activity.last_request());
    longest.map(|(number, _)| number)
}

/// What counts as one client's address: of an IPv6 address the network (64 bits), as a client has all of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(network.into())
        }
        address => address,
    }
}

impl ConnectionMetrics {
    fn register(metrics: &Metrics) -> Self {
        Self {
            open: metrics.register(
                "connections_open",
                "Open client connections, WebSockets included",
                Gauge::default(),
            ),
            refused: metrics.register(
                "connections_refused",
                "Connections that were refused: CONNECTIONS_MAX or CONNECTIONS_PER_ADDRESS_MAX was reached by connections that work",
                Counter::default(),
            ),
            evicted: metrics.register(
                "connections_evicted",
                "Connections without a running request that were closed in favour of a new one",
                Counter::default(),
            ),
            silent: metrics.register(
                "connections_silent",
                "Connections that were closed because they sent no request within FIRST_REQUEST_TIMEOUT",
                Counter::default(),
            ),
            stalled: metrics.register(
                "connections_stalled",
                "Connections that were closed because their client took nothing, or too little, of what was written to it",
                Counter::default(),
            ),
            large_heads: metrics.register(
                "connections_large_heads",
                "Connections that were closed because the head of a request was larger than REQUEST_HEAD_BYTES_MAX",
                Counter::default(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn connections(max: usize, per_address_max: usize) -> Connections {
        let limits = ConnectionLimits {
            max,
            per_address_max,
            first_request: Duration::from_secs(10),
        };
        Connections::new(limits, None)
    }

    fn is_closed(permit: &ConnectionPermit) -> bool {
        permit.activity.is_closed()
    }

    #[tokio::test]
    async fn the_oldest_silent_connection_gives_its_place_away() {
        let connections = connections(3, 3);
        let permits: Vec<ConnectionPermit> =
            (0..3).filter_map(|_| connections.admit(HERE)).collect();
        let running = permits[0].activity.begin();
        let newcomer = connections.admit(HERE).expect("a permit");
        assert!(!is_closed(&permits[0]) && is_closed(&permits[1]) && !is_closed(&permits[2]));
        assert!(!is_closed(&newcomer));
        drop(running);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_work_are_kept_and_a_new_one_is_refused() {
        let connections = connections(2, 2);
        let permits: Vec<ConnectionPermit> =
            (0..2).filter_map(|_| connections.admit(HERE)).collect();
        let running: Vec<_> = permits
            .iter()
            .map(|permit| permit.activity.begin())
            .collect();
        assert!(connections.admit(HERE).is_none());
        assert!(!permits.iter().any(is_closed));
        assert_eq!(connections.metrics.refused.get(), 1);
        drop(running);
        assert!(connections.admit(HERE).is_none(), "it has just looked");
        tokio::time::advance(LOOK_INTERVAL).await;
        assert!(connections.admit(HERE).is_some(), "both wait for a request");
        assert_eq!(permits.iter().filter(|permit| is_closed(permit)).count(), 1);
    }

    #[tokio::test]
    async fn an_address_with_too_many_connections_takes_none_of_another() {
        let connections = connections(4, 2);
        let others: Vec<ConnectionPermit> =
            (0..2).filter_map(|_| connections.admit(THERE)).collect();
        let _running: Vec<_> = (0..2)
            .filter_map(|_| connections.admit(HERE))
            .map(|permit| (permit.activity.begin(), permit))
            .collect();
        assert!(connections.admit(HERE).is_none());
        assert!(!others.iter().any(is_closed));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_beyond_its_limit_keeps_no_place_from_another() {
        let connections = connections(2, 1);
        let working = connections.admit(HERE).expect("a permit");
        let _running = working.activity.begin();
        let idle = connections.admit(THERE).expect("a permit");
        drop(idle.activity.begin());
        assert!(connections.admit(HERE).is_none(), "its own one works");
        let third = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
        assert!(connections.admit(third).is_some(), "another one waits");
        assert!(is_closed(&idle) && !is_closed(&working));
    }

    #[tokio::test]
    async fn a_client_has_a_network_of_version_6_and_one_address_of_version_4() {
        let connections = connections(8, 1);
        let mut permits = Vec::new();
        for (address, is_of_another) in [
            ("2001:db8::1", true),
            ("2001:db8::2:1", false),
            ("2001:db8:0:1::1", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
        ] {
            let permit = connections.admit(address.parse().expect("an address"));
            assert_eq!(permit.is_some(), is_of_another, "{address}");
            permits.extend(permit.map(|permit| (permit.activity.begin(), permit)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_lost_after_its_time() {
        let connections = connections(2, 2);
        let silent = connections.admit(HERE).expect("a permit");
        let heard = connections.admit(HERE).expect("a permit");
        drop(heard.activity.begin());
        assert_eq!(silent.run(pending::<()>()).await, None);
        let an_hour = Duration::from_secs(3_600);
        let ended = tokio::time::timeout(an_hour, heard.run(pending::<()>()));
        assert!(ended.await.is_err());
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_ends_even_before_it_runs() {
        let connections = connections(2, 2);
        for closed_first in [true, false] {
            let permit = connections.admit(HERE).expect("a permit");
            let activity = Arc::clone(&permit.activity);
            if closed_first {
                activity.close();
            }
            let task = tokio::spawn(async move { permit.run(pending::<()>()).await });
            activity.runs_in(task.abort_handle());
            activity.close();
            assert!(task.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!(connections.metrics.open.get(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded_by_the_open_connections() {
        let connections = connections(10, 10);
        let first = connections.admit(HERE).expect("a permit");
        for _ in 0..1_000 {
            drop(connections.admit(HERE).expect("a permit"));
        }
        let open = connections.lock();
        assert!(open.silent.len() <= 32, "{}", open.silent.len());
        drop(open);
        drop(first);
        assert!(connections.lock().addresses.is_empty());
    }
}
