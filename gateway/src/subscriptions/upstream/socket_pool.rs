//! The open WebSockets to subgraphs. Subscriptions at the same address with the same headers share them. A
//! client with many subscriptions gets WebSockets of its own, because a subgraph sends the events
//! of one WebSocket one after another.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use graphql_transport::{ClientKey, GaugeGuard};
use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};

use super::{
    Ends, Messages, UpstreamError,
    placement::Place,
    quarantine::{OperationKey, Quarantine},
    socket::{SocketOptions, UpstreamSocket},
    uncompleted_events::{MessageSender, UncompletedEvents},
};
use crate::{
    config::SubscriptionConfig,
    graph::{Settings, SubgraphAddress},
    metrics::GatewayMetrics,
    subgraphs::Tls,
};

/// Time limit from the command to subscribe until the operation has been sent.
const OPEN_TIME_LIMIT: Duration = Duration::from_secs(10);
/// For this long after an operation may have closed a shared socket, operations that the subgraph
/// has not accepted yet use other sockets than those it has accepted.
const CAREFUL_TIME: Duration = Duration::from_secs(60);

/// How often a socket is pinged. A ping that is not answered until the next one is due has found a silent subgraph: so it is
/// lost within two of these times.
fn ping_every(config: &SubscriptionConfig) -> Duration {
    let within = config.subscription_upstream_silence_max / 2;
    // A timer of no time at all would panic.
    let often = within.min(config.subscription_keep_alive);
    often.max(Duration::from_millis(1))
}

/// A subscription's number on its socket, from 1.
pub(super) type SubscriptionId = u64;

/// A command to a socket.
pub(super) enum Command {
    Subscribe {
        key: OperationKey,
        /// The JSON of a GraphQL request.
        request: Vec<u8>,
        messages: MessageSender,
        opened: oneshot::Sender<Result<SubscriptionId, UpstreamError>>,
    },
    Unsubscribe(SubscriptionId),
}

type Commands = mpsc::UnboundedSender<Command>;

/// A request to subscribe.
pub(super) struct Opening {
    pub key: OperationKey,
    /// The JSON of a GraphQL request.
    pub request: Vec<u8>,
    pub headers: HeaderMap,
    /// The address of the client that started the subscription.
    pub client: ClientKey,
    /// Whether the subgraph has accepted this operation before.
    pub is_proven: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct SocketKey {
    /// The subgraph's addresses, with their credentials.
    url: String,
    /// The one of them to which the sockets go.
    address: Arc<str>,
    /// The subgraph for which its upgrade is signed, if it is: two subgraphs may have one address.
    key_id: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The only client on these sockets, if it has too many subscriptions to share with others.
    client: Option<ClientKey>,
}

/// The handle of an open socket.
#[derive(Clone)]
struct SharedSocket {
    commands: Commands,
    /// The number of operations on it, including those about to be sent.
    load: Arc<AtomicUsize>,
}

/// Counts one operation on a socket until it is dropped.
struct OperationSlot(Arc<AtomicUsize>);

impl OperationSlot {
    fn take(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for OperationSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The shared sockets of one key.
#[derive(Default)]
struct SharedSockets {
    shared: Vec<SharedSocket>,
    /// For operations that the subgraph has not accepted yet, until `careful_until`.
    probation: Vec<SharedSocket>,
    careful_until: Option<Instant>,
}

impl SharedSockets {
    fn are_of_use(&self) -> bool {
        let mut sockets = self.shared.iter().chain(&self.probation);
        sockets.any(|socket| !socket.commands.is_closed()) || self.is_careful()
    }

    fn is_careful(&self) -> bool {
        self.careful_until
            .is_some_and(|until| until > Instant::now())
    }

    fn for_operation(&mut self, is_proven: bool) -> &mut Vec<SharedSocket> {
        if self.is_careful() && !is_proven {
            &mut self.probation
        } else {
            &mut self.shared
        }
    }
}

/// Permits for sockets that carry one operation, `max` for each address, so that one subgraph
/// cannot use up those of others. Without a permit, an operation waits for a later attempt.
struct UnsharedPermits {
    max: usize,
    addresses: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl UnsharedPermits {
    fn new(max: usize) -> Self {
        Self {
            max: max.min(Semaphore::MAX_PERMITS),
            addresses: Mutex::default(),
        }
    }

    fn try_take(&self, url: &str) -> Option<OwnedSemaphorePermit> {
        let addresses = self.addresses.lock();
        let mut addresses = addresses.unwrap_or_else(PoisonError::into_inner);
        addresses.retain(|_, permits| permits.available_permits() < self.max);
        let permits = addresses.entry(url.to_owned());
        let permits = permits.or_insert_with(|| Arc::new(Semaphore::new(self.max)));
        Arc::clone(permits).try_acquire_owned().ok()
    }
}

/// The open sockets to all subgraphs, and what they are opened with.
pub(super) struct SocketPool {
    connections: Mutex<HashMap<SocketKey, SharedSockets>>,
    quarantine: Arc<Quarantine>,
    operations_max: usize,
    shared_of_client_max: usize,
    alone: UnsharedPermits,
    waiting: Arc<UncompletedEvents>,
    open: Gauge,
    open_alone: Gauge,
    keep_alive: Duration,
    message_bytes_max: usize,
    pings_max: usize,
    tls: Tls,
}

/// Ends a subscription at its subgraph when it is dropped.
pub(super) struct Unsubscribe {
    socket: SharedSocket,
    id: SubscriptionId,
    /// Dropped after the command is sent, so that a socket never exceeds its limit.
    _slot: OperationSlot,
}

impl Drop for Unsubscribe {
    fn drop(&mut self) {
        // An error means that the socket is closed, and the subscription has ended with it.
        let end = Command::Unsubscribe(self.id);
        let _ = self.socket.commands.send(end);
    }
}

impl SocketPool {
    pub(super) fn new(
        config: &SubscriptionConfig,
        settings: &Settings,
        quarantine: Arc<Quarantine>,
        waiting: Arc<UncompletedEvents>,
        metrics: &GatewayMetrics,
    ) -> Self {
        Self {
            connections: Mutex::default(),
            quarantine,
            operations_max: config.subscription_socket_operations_max,
            shared_of_client_max: config.subscription_shared_sockets_address_max,
            alone: UnsharedPermits::new(config.subscription_alone_sockets_max),
            waiting,
            open: metrics.upstream_sockets.clone(),
            open_alone: metrics.upstream_alone_sockets.clone(),
            keep_alive: ping_every(config),
            message_bytes_max: config.subscription_event_bytes_max,
            pings_max: config.subscription_socket_pings_max,
            tls: settings.tls.clone(),
        }
    }

    pub(super) async fn open(
        &self,
        address: SubgraphAddress<'_>,
        place: &Place,
        opening: Opening,
    ) -> Result<Messages, UpstreamError> {
        let (messages, receiver) = self.waiting.channel(opening.client);
        let (opened, answer) = oneshot::channel();
        let (socket, slot) = self.socket(address, place, opening, messages, opened)?;
        let id = tokio::time::timeout(OPEN_TIME_LIMIT, answer)
            .await
            .map_err(|_| UpstreamError::Timeout)?
            .map_err(|_| UpstreamError::Lost)??;
        let ends = Ends::OnSocket(Unsubscribe {
            socket,
            id,
            _slot: slot,
        });
        Ok(Messages::new(receiver, ends))
    }

    /// Sends the operation to a socket for its address and headers that has room, or opens one. An
    /// operation in quarantine gets a socket of its own.
    fn socket(
        &self,
        address: SubgraphAddress<'_>,
        place: &Place,
        opening: Opening,
        messages: MessageSender,
        opened: oneshot::Sender<Result<SubscriptionId, UpstreamError>>,
    ) -> Result<(SharedSocket, OperationSlot), UpstreamError> {
        let Opening {
            key,
            request,
            mut headers,
            client,
            is_proven,
        } = opening;
        let has_many = messages.of_client() > self.shared_of_client_max;
        let is_alone = self.quarantine.check(key)?;
        // The ids of one client's request do not belong on a socket that many clients share.
        for name in ["x-request-id", "traceparent", "tracestate"] {
            headers.remove(name);
        }
        let socket_key = SocketKey {
            url: address.full_url.to_owned(),
            address: Arc::clone(&place.label),
            key_id: address.signer.key_id().map(str::to_owned),
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            client: has_many.then_some(client),
        };
        let command = Command::Subscribe {
            key,
            request,
            messages,
            opened,
        };
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !connections.contains_key(&socket_key) {
            connections.retain(|_, sockets| sockets.are_of_use());
        }
        let sockets = connections.entry(socket_key).or_default();
        if is_alone {
            sockets.careful_until = Some(Instant::now() + CAREFUL_TIME);
            let socket = self.begin(address, place, headers, command, true)?;
            let slot = OperationSlot::take(&socket.load);
            return Ok((socket, slot));
        }
        let sockets = sockets.for_operation(is_proven);
        sockets.retain(|socket| !socket.commands.is_closed());
        let has_room =
            |socket: &&SharedSocket| socket.load.load(Ordering::Relaxed) < self.operations_max;
        let mut command = command;
        for socket in sockets.iter().filter(has_room) {
            let slot = OperationSlot::take(&socket.load);
            match socket.commands.send(command) {
                Ok(()) => return Ok((socket.clone(), slot)),
                Err(returned) => command = returned.0,
            }
        }
        let socket = self.begin(address, place, headers, command, false)?;
        let slot = OperationSlot::take(&socket.load);
        sockets.push(socket.clone());
        Ok((socket, slot))
    }

    /// Opens a socket whose first command is `command`.
    fn begin(
        &self,
        address: SubgraphAddress<'_>,
        place: &Place,
        headers: HeaderMap,
        command: Command,
        is_alone: bool,
    ) -> Result<SharedSocket, UpstreamError> {
        let permit = match is_alone {
            true => {
                let permit = self.alone.try_take(address.full_url);
                Some(permit.ok_or(UpstreamError::Busy)?)
            }
            false => None,
        };
        let (commands, receiver) = mpsc::unbounded_channel();
        // It cannot fail: the receiver is here.
        let _ = commands.send(command);
        let options = SocketOptions {
            endpoint: place.endpoint.clone(),
            address: place.address,
            tls: self.tls.clone(),
            signer: address.signer.clone(),
            headers,
            keep_alive: self.keep_alive,
            message_bytes_max: self.message_bytes_max,
            pings_max: self.pings_max,
            quarantine: Arc::clone(&self.quarantine),
            is_alone,
            witness: place.witness.clone(),
        };
        let open = GaugeGuard::new(&self.open);
        let open_alone = is_alone.then(|| GaugeGuard::new(&self.open_alone));
        tokio::spawn(async move {
            let _held_until_closed = (permit, open, open_alone);
            UpstreamSocket::run(options, receiver).await;
        });
        Ok(SharedSocket {
            commands,
            load: Arc::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subgraph_that_takes_all_permits_leaves_those_of_another() {
        let alone = UnsharedPermits::new(3);
        let taken = (0..3).map(|_| alone.try_take("http://a/"));
        let mut taken: Vec<_> = taken.collect::<Option<_>>().expect("permits");
        assert!(alone.try_take("http://a/").is_none());
        assert!(alone.try_take("http://b/").is_some());
        taken.pop();
        assert!(alone.try_take("http://a/").is_some());
        assert_eq!(alone.addresses.lock().expect("not poisoned").len(), 1);
    }
}
