//! The open WebSockets to subgraphs, by (address, headers), shared by their subscriptions.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};

use super::{
    Ends, Messages, UpstreamError, UpstreamMessage, WAITING_EVENTS_MAX,
    connection::{Connection, Terms},
    quarantine::{OperationKey, Quarantine},
};
use crate::{config::SubscriptionConfig, metrics::GatewayMetrics, subgraphs::Tls};

/// From the wish to subscribe until the subgraph has been sent the operation.
const OPEN_TIME_LIMIT: Duration = Duration::from_secs(10);
/// For this long after a subscription may have ended a shared socket, new ones share another socket
/// than those that the subgraph has taken.
const CAREFUL_TIME: Duration = Duration::from_secs(60);
/// Sockets with one operation each to one subgraph. Where more are needed at a time, operations wait for a
/// later attempt.
const ALONE_MAX: usize = 64;

/// The connection's number for a subscription.
pub(super) type SubscriptionId = u64;

/// What feeds want of a connection.
pub(super) enum Command {
    Subscribe {
        key: OperationKey,
        /// A GraphQL request's JSON.
        request: Vec<u8>,
        messages: mpsc::Sender<UpstreamMessage>,
        opened: oneshot::Sender<Result<SubscriptionId, UpstreamError>>,
    },
    Unsubscribe(SubscriptionId),
}

type Commands = mpsc::UnboundedSender<Command>;

/// One subscription's request.
pub(super) struct Opening {
    pub key: OperationKey,
    /// A GraphQL request's JSON.
    pub request: Vec<u8>,
    pub headers: HeaderMap,
    /// Whether the subgraph has taken this operation before.
    pub is_proven: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct ConnectionKey {
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A shared connection.
#[derive(Clone)]
struct Line {
    commands: Commands,
    /// Operations on it, and on their way to it.
    load: Arc<AtomicUsize>,
}

/// A place on a line, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The shared connections for one key.
#[derive(Default)]
struct Lines {
    shared: Vec<Line>,
    /// For operations that the subgraph has not taken yet, while `careful_until` lasts.
    probation: Vec<Line>,
    careful_until: Option<Instant>,
}

impl Lines {
    fn are_of_use(&self) -> bool {
        let mut lines = self.shared.iter().chain(&self.probation);
        lines.any(|line| !line.commands.is_closed()) || self.is_careful()
    }

    fn is_careful(&self) -> bool {
        self.careful_until
            .is_some_and(|until| until > Instant::now())
    }

    fn for_operation(&mut self, is_proven: bool) -> &mut Vec<Line> {
        if self.is_careful() && !is_proven {
            &mut self.probation
        } else {
            &mut self.shared
        }
    }
}

/// Permits for sockets with one operation each, [`ALONE_MAX`] for each address: a subgraph that needs
/// many of them leaves those of the others alone.
#[derive(Default)]
struct Alone(Mutex<HashMap<String, Arc<Semaphore>>>);

impl Alone {
    fn try_take(&self, url: &str) -> Option<OwnedSemaphorePermit> {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.retain(|_, permits| permits.available_permits() < ALONE_MAX);
        let permits = addresses.entry(url.to_owned());
        let permits = permits.or_insert_with(|| Arc::new(Semaphore::new(ALONE_MAX)));
        Arc::clone(permits).try_acquire_owned().ok()
    }
}

/// The open connections.
pub(super) struct Sockets {
    connections: Mutex<HashMap<ConnectionKey, Lines>>,
    quarantine: Arc<Quarantine>,
    operations_max: usize,
    alone: Alone,
    open: Gauge,
    keep_alive: Duration,
    tls: Tls,
}

/// Ends a subscription at its subgraph when dropped.
pub(super) struct Unsubscribe {
    line: Line,
    id: SubscriptionId,
    /// Given back after the command to end it, so that a line is never fuller than it may be.
    _place: Place,
}

impl Drop for Unsubscribe {
    fn drop(&mut self) {
        // A connection that is gone has ended it already.
        let end = Command::Unsubscribe(self.id);
        let _ = self.line.commands.send(end);
    }
}

impl Sockets {
    pub(super) fn new(
        config: &SubscriptionConfig,
        tls: &Tls,
        quarantine: Arc<Quarantine>,
        metrics: &GatewayMetrics,
    ) -> Self {
        Self {
            connections: Mutex::default(),
            quarantine,
            operations_max: config.subscription_socket_operations_max,
            alone: Alone::default(),
            open: metrics.upstream_sockets.clone(),
            keep_alive: config.subscription_keep_alive,
            tls: tls.clone(),
        }
    }

    pub(super) async fn open(
        &self,
        url: &str,
        opening: Opening,
    ) -> Result<Messages, UpstreamError> {
        let (messages, receiver) = mpsc::channel(WAITING_EVENTS_MAX);
        let (opened, answer) = oneshot::channel();
        let (line, place) = self.line(url, opening, messages, opened)?;
        let id = tokio::time::timeout(OPEN_TIME_LIMIT, answer)
            .await
            .map_err(|_| UpstreamError::Timeout)?
            .map_err(|_| UpstreamError::Lost)??;
        let ends = Ends::OnSocket(Unsubscribe {
            line,
            id,
            _place: place,
        });
        Ok(Messages {
            receiver,
            _ends_when_dropped: ends,
        })
    }

    /// Hands the operation to a connection for its address and headers that has room for it; one is
    /// opened if there is none. An operation in quarantine gets a connection of its own.
    fn line(
        &self,
        url: &str,
        opening: Opening,
        messages: mpsc::Sender<UpstreamMessage>,
        opened: oneshot::Sender<Result<SubscriptionId, UpstreamError>>,
    ) -> Result<(Line, Place), UpstreamError> {
        let Opening {
            key,
            request,
            mut headers,
            is_proven,
        } = opening;
        let is_alone = self.quarantine.check(key)?;
        // Ids of one client's request have no place on a connection that many share.
        for name in ["x-request-id", "traceparent", "tracestate"] {
            headers.remove(name);
        }
        let connection_key = ConnectionKey {
            url: url.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
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
        if !connections.contains_key(&connection_key) {
            connections.retain(|_, lines| lines.are_of_use());
        }
        let lines = connections.entry(connection_key).or_default();
        if is_alone {
            lines.careful_until = Some(Instant::now() + CAREFUL_TIME);
            let line = self.begin(url, headers, command, true)?;
            let place = Place::take(&line.load);
            return Ok((line, place));
        }
        let lines = lines.for_operation(is_proven);
        lines.retain(|line| !line.commands.is_closed());
        let has_room = |line: &&Line| line.load.load(Ordering::Relaxed) < self.operations_max;
        let mut command = command;
        for line in lines.iter().filter(has_room) {
            let place = Place::take(&line.load);
            match line.commands.send(command) {
                Ok(()) => return Ok((line.clone(), place)),
                Err(returned) => command = returned.0,
            }
        }
        let line = self.begin(url, headers, command, false)?;
        let place = Place::take(&line.load);
        lines.push(line.clone());
        Ok((line, place))
    }

    /// Opens a connection with `command` as its first.
    fn begin(
        &self,
        url: &str,
        headers: HeaderMap,
        command: Command,
        is_alone: bool,
    ) -> Result<Line, UpstreamError> {
        let permit = match is_alone {
            true => {
                let permit = self.alone.try_take(url);
                Some(permit.ok_or(UpstreamError::Busy)?)
            }
            false => None,
        };
        let (commands, receiver) = mpsc::unbounded_channel();
        // It cannot fail: the receiver is here.
        let _ = commands.send(command);
        let terms = Terms {
            url: Arc::from(url),
            tls: self.tls.clone(),
            headers,
            keep_alive: self.keep_alive,
            quarantine: Arc::clone(&self.quarantine),
            is_alone,
        };
        let open = self.open.clone();
        tokio::spawn(async move {
            let _held_until_closed = (permit, graphql_transport::GaugeGuard::new(&open));
            Connection::run(terms, receiver).await;
        });
        Ok(Line {
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
        let alone = Alone::default();
        let taken = (0..ALONE_MAX).map(|_| alone.try_take("http://a/"));
        let mut taken: Vec<_> = taken.collect::<Option<_>>().expect("permits");
        assert!(alone.try_take("http://a/").is_none());
        assert!(alone.try_take("http://b/").is_some());
        taken.pop();
        assert!(alone.try_take("http://a/").is_some());
        assert_eq!(alone.0.lock().expect("not poisoned").len(), 1);
    }
}
