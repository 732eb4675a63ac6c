//! The open WebSockets to subgraphs: one for each (address, headers), shared by its subscriptions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::{mpsc, oneshot};

use super::{
    Ends, Messages, UpstreamError, UpstreamMessage, WAITING_EVENTS_MAX, connection::Connection,
    request_json,
};
use crate::{subgraphs::Tls, subscriptions::resume::UpstreamOperation};

/// From the wish to subscribe to the subgraph's being told.
const OPEN_TIME_LIMIT: Duration = Duration::from_secs(10);

/// The connection's number for a subscription.
pub(super) type SubscriptionId = u64;

/// What feeds want of a connection.
pub(super) enum Command {
    Subscribe {
        /// A GraphQL request's JSON.
        request: Vec<u8>,
        messages: mpsc::Sender<UpstreamMessage>,
        opened: oneshot::Sender<Result<SubscriptionId, UpstreamError>>,
    },
    Unsubscribe(SubscriptionId),
}

type Commands = mpsc::UnboundedSender<Command>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct ConnectionKey {
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The open connections.
pub(super) struct Sockets {
    connections: Mutex<HashMap<ConnectionKey, Commands>>,
    keep_alive: Duration,
    tls: Tls,
}

/// Ends a subscription at its subgraph when dropped.
pub(super) struct Unsubscribe {
    commands: Commands,
    id: SubscriptionId,
}

impl Drop for Unsubscribe {
    fn drop(&mut self) {
        // A connection that is gone has ended it already.
        let _ = self.commands.send(Command::Unsubscribe(self.id));
    }
}

impl Sockets {
    pub(super) fn new(keep_alive: Duration, tls: &Tls) -> Self {
        Self {
            connections: Mutex::default(),
            keep_alive,
            tls: tls.clone(),
        }
    }

    pub(super) async fn open(
        &self,
        url: &str,
        operation: UpstreamOperation<'_>,
        headers: HeaderMap,
    ) -> Result<Messages, UpstreamError> {
        let (messages, receiver) = mpsc::channel(WAITING_EVENTS_MAX);
        let (opened, answer) = oneshot::channel();
        let request = request_json(&operation);
        let commands = self.connection(
            url,
            headers,
            Command::Subscribe {
                request,
                messages,
                opened,
            },
        );
        let id = tokio::time::timeout(OPEN_TIME_LIMIT, answer)
            .await
            .map_err(|_| UpstreamError::Timeout)?
            .map_err(|_| UpstreamError::Lost)??;
        let ends = Ends::OnSocket(Unsubscribe { commands, id });
        Ok(Messages {
            receiver,
            _ends_when_dropped: ends,
        })
    }

    /// Gives the command to the connection for this address and these headers, which is opened if it
    /// is not there or no longer there.
    fn connection(&self, url: &str, mut headers: HeaderMap, command: Command) -> Commands {
        // Ids of one client's request have no place on a connection that many share.
        for name in ["x-request-id", "traceparent", "tracestate"] {
            headers.remove(name);
        }
        let pairs = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let key = ConnectionKey {
            url: url.to_owned(),
            headers: pairs,
        };
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let command = match connections.get(&key) {
            Some(commands) => match commands.send(command) {
                Ok(()) => return commands.clone(),
                Err(returned) => returned.0,
            },
            None => command,
        };
        connections.retain(|_, commands| !commands.is_closed());
        let (commands, receiver) = mpsc::unbounded_channel();
        // It cannot fail: the receiver is here.
        let _ = commands.send(command);
        tokio::spawn(Connection::run(
            Arc::from(url),
            self.tls.clone(),
            headers,
            receiver,
            self.keep_alive,
        ));
        connections.insert(key, commands.clone());
        commands
    }
}
