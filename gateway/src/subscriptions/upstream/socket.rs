//! One WebSocket to a subgraph, which carries many subscriptions by graphql-transport-ws.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use graphql_transport::{
    Signer,
    client::{self, ConnectError},
    websocket::{ClientMessage, ServerMessage, is_about_a_message},
};
use http::{HeaderMap, Method, header};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, Utf8Bytes, protocol::CloseFrame},
};

use super::{
    UpstreamError, UpstreamMessage, errors_response, is_final,
    placement::Witness,
    quarantine::{Loss, OperationKey, Quarantine},
    socket_pool::{Command, SubscriptionId},
    uncompleted_events::MessageSender,
};
use crate::subgraphs::{Endpoint, Stream, Tls};

/// Time limit for connecting, the handshake and `connection_ack` together.
const CONNECT_TIME_LIMIT: Duration = Duration::from_secs(8);
/// A subgraph that accepts no bytes for this long is lost.
const WRITE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// A socket without subscriptions stays open this long for the next one.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// The largest number of operations to suspect when a socket closes. Beyond it, the oldest are
/// assumed to have been read.
const UNREAD_MAX: usize = 1024;

const NOT_OF_THE_PROTOCOL: UpstreamError =
    UpstreamError::Protocol("a message that is not of graphql-transport-ws");

type Socket = WebSocketStream<Stream>;

/// What a socket is opened with.
pub(super) struct SocketOptions {
    pub endpoint: Endpoint,
    /// The one of the addresses that the endpoint's name stands for.
    pub address: Option<SocketAddr>,
    pub tls: Tls,
    pub signer: Signer,
    pub headers: HeaderMap,
    pub keep_alive: Duration,
    /// The largest message that the subgraph may send, in bytes.
    pub message_bytes_max: usize,
    /// The largest number of pings that the subgraph may send between two of ours.
    pub pings_max: usize,
    pub quarantine: Arc<Quarantine>,
    /// Whether it carries one operation only, one that may have closed another socket.
    pub is_alone: bool,
    /// Learns whether the address accepts it.
    pub witness: Option<Witness>,
}

/// One WebSocket to a subgraph.
pub(super) struct UpstreamSocket {
    socket: Socket,
    subscriptions: BTreeMap<SubscriptionId, MessageSender>,
    /// Operations in the order sent, which the subgraph may not have read yet. They stay when their
    /// clients leave.
    unread: VecDeque<(SubscriptionId, OperationKey)>,
    /// The operation, if the socket carries only one.
    only: Option<OperationKey>,
    quarantine: Arc<Quarantine>,
    is_alone: bool,
    /// Whether the subgraph closed it. A socket that is only silent was not closed because of an
    /// operation.
    is_ended_by_subgraph: bool,
    /// The code and reason of the subgraph's close frame.
    close: Option<(u16, Utf8Bytes)>,
    next_id: SubscriptionId,
    /// Whether anything was received since our last ping.
    heard: bool,
    /// Pings of the subgraph since our last one was written.
    pings: usize,
    pings_max: usize,
    idle_since: Instant,
}

impl UpstreamSocket {
    /// Connects and executes commands until the socket closes; then it closes the channel of each
    /// subscription.
    pub(super) async fn run(
        options: SocketOptions,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let connected = connect(&options).await;
        if let Some(witness) = &options.witness {
            // Once, however many operations wait for it.
            witness.report(connected.as_ref().map(drop));
        }
        let (end, socket) = match connected {
            Ok(socket) => {
                let mut upstream = Self {
                    socket,
                    subscriptions: BTreeMap::new(),
                    unread: VecDeque::new(),
                    only: None,
                    quarantine: options.quarantine,
                    is_alone: options.is_alone,
                    is_ended_by_subgraph: false,
                    close: None,
                    next_id: 1,
                    heard: true,
                    pings: 0,
                    pings_max: options.pings_max,
                    idle_since: Instant::now(),
                };
                let end = upstream.serve(&mut commands, options.keep_alive).await;
                upstream.name_suspects();
                (end, Some(upstream.socket))
            }
            Err(error) => (error, None),
        };
        commands.close();
        while let Some(command) = commands.recv().await {
            if let Command::Subscribe { opened, .. } = command {
                // An error here means that the caller no longer waits.
                let _ = opened.send(Err(end.clone()));
            }
        }
        // Last, because a subgraph that reads nothing delays it, and nothing waits for it any more.
        if let Some(mut socket) = socket {
            let _ = timeout(WRITE_TIME_LIMIT, socket.close(None)).await;
        }
    }

    async fn serve(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        keep_alive: Duration,
    ) -> UpstreamError {
        let mut ticks = interval_at(Instant::now() + keep_alive, keep_alive);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                message = self.socket.next() => match message {
                    Some(Ok(message)) => self.receive(message).await,
                    Some(Err(_)) | None => Err(self.ended()),
                },
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => Err(UpstreamError::Lost),
                },
                _ = ticks.tick() => self.tick().await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn ended(&mut self) -> UpstreamError {
        self.is_ended_by_subgraph = true;
        UpstreamError::Lost
    }

    async fn obey(&mut self, command: Command) -> Result<(), UpstreamError> {
        match command {
            // Its feed is gone.
            Command::Subscribe { opened, .. } if opened.is_closed() => Ok(()),
            Command::Subscribe {
                key,
                request,
                messages,
                opened,
            } => {
                let id = self.next_id;
                self.next_id += 1;
                self.subscriptions.insert(id, messages);
                self.unread.push_back((id, key));
                if self.unread.len() > UNREAD_MAX {
                    self.unread.pop_front();
                }
                self.only = self.is_alone.then_some(key);
                let subscribe = ClientMessage::Subscribe(Cow::Owned(id.to_string()), &request);
                let mut sent = self.write(subscribe.write()).await;
                if sent.is_ok() {
                    // The pong shows that the subgraph has read the operation and did not close the
                    // socket.
                    let ping = Message::Ping(Bytes::copy_from_slice(&id.to_be_bytes()));
                    sent = self.write(ping).await;
                }
                let answer = sent.clone().map(|()| id);
                if opened.send(answer).is_err() {
                    return self.unsubscribe(id).await;
                }
                sent
            }
            Command::Unsubscribe(id) => self.unsubscribe(id).await,
        }
    }

    /// Records that the subgraph has read this operation, and all those sent before it.
    fn has_read(&mut self, id: SubscriptionId) {
        while let Some((first, key)) = self.unread.front().copied() {
            if first > id {
                return;
            }
            self.unread.pop_front();
            self.quarantine.absolve(key);
            if let Some(messages) = self.subscriptions.get(&first) {
                // If the channel is full of events, they show the same.
                let _ = messages.try_send(UpstreamMessage::Accepted);
            }
        }
    }

    /// Reports to the quarantine the operations that may have closed the socket: those sent last.
    /// There are none if the subgraph is shutting down, or reached a limit of its own.
    fn name_suspects(&mut self) {
        if !self.is_ended_by_subgraph {
            return;
        }
        let close = self.close.take();
        if close
            .as_ref()
            .is_some_and(|(code, _)| !is_about_a_message(*code))
        {
            return;
        }
        if self.unread.is_empty() && close.is_some() {
            // The only operation on the socket, even if the subgraph had accepted it before.
            self.unread.extend(self.only.map(|key| (0, key)));
        }
        let is_sole_suspect = self.unread.len() == 1;
        for (_, key) in self.unread.drain(..) {
            let loss = Loss {
                close: close
                    .as_ref()
                    .map(|(code, reason)| (*code, reason.as_str())),
                was_alone: self.is_alone,
                is_sole_suspect,
            };
            self.quarantine.suspect(key, loss);
        }
    }

    async fn unsubscribe(&mut self, id: SubscriptionId) -> Result<(), UpstreamError> {
        if self.subscriptions.remove(&id).is_none() {
            return Ok(());
        }
        self.idle_since = Instant::now();
        let complete = ClientMessage::Complete(Cow::Owned(id.to_string()));
        self.write(complete.write()).await
    }

    async fn receive(&mut self, message: Message) -> Result<(), UpstreamError> {
        self.heard = true;
        match message {
            Message::Text(text) => self.read(text).await,
            Message::Pong(id) => {
                // Pongs to keep-alive pings are empty.
                if let Ok(id) = <[u8; 8]>::try_from(&id[..]) {
                    self.has_read(SubscriptionId::from_be_bytes(id));
                }
                Ok(())
            }
            Message::Close(frame) => {
                self.close = frame.map(|CloseFrame { code, reason }| (code.into(), reason));
                Err(self.ended())
            }
            Message::Ping(_) => {
                self.pings += 1;
                match self.pings > self.pings_max {
                    true => Err(UpstreamError::Protocol("too many pings")),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    async fn read(&mut self, text: Utf8Bytes) -> Result<(), UpstreamError> {
        let message = ServerMessage::read(&text).map_err(|_| NOT_OF_THE_PROTOCOL)?;
        let (id, message) = match message {
            Some(ServerMessage::Next(id, response)) => {
                let response = match response {
                    // It may stand for a missing payload; then it is not a part of the text.
                    b"null" => Bytes::from_static(b"null"),
                    response => AsRef::<Bytes>::as_ref(&text).slice_ref(response),
                };
                (id, UpstreamMessage::Next(response))
            }
            Some(ServerMessage::Error(id, errors)) => {
                (id, UpstreamMessage::Errors(errors_response(errors)))
            }
            Some(ServerMessage::Complete(id)) => (id, UpstreamMessage::Complete),
            Some(ServerMessage::Ping) => return self.write(ClientMessage::Pong.write()).await,
            _ => return Ok(()),
        };
        let Ok(id) = id.parse::<SubscriptionId>() else {
            return Ok(());
        };
        if self.unread.front().is_some_and(|(first, _)| *first <= id) {
            self.has_read(id);
        }
        let Some(messages) = self.subscriptions.get(&id) else {
            return Ok(());
        };
        let is_over = !matches!(message, UpstreamMessage::Next(_));
        let taken = messages.try_send(message).is_ok();
        if is_over {
            self.subscriptions.remove(&id);
            self.idle_since = Instant::now();
        } else if !taken {
            // Its feed is too slow, or gone. Dropping its channel makes a slow feed subscribe
            // again.
            return self.unsubscribe(id).await;
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), UpstreamError> {
        let is_idle = self.subscriptions.is_empty()
            && (self.is_alone || self.idle_since.elapsed() >= IDLE_TIME);
        if is_idle || !std::mem::replace(&mut self.heard, false) {
            return Err(UpstreamError::Lost);
        }
        self.write(Message::Ping(Bytes::new())).await?;
        self.pings = 0;
        Ok(())
    }

    async fn write(&mut self, message: Message) -> Result<(), UpstreamError> {
        match timeout(WRITE_TIME_LIMIT, client::send(&mut self.socket, message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.ended()),
            Err(_) => Err(UpstreamError::Timeout),
        }
    }
}

/// Connects, upgrades to a WebSocket and waits for `connection_ack`.
async fn connect(options: &SocketOptions) -> Result<Socket, UpstreamError> {
    let SocketOptions {
        endpoint,
        signer,
        message_bytes_max,
        ..
    } = options;
    let failed = |error: &dyn std::fmt::Display| UpstreamError::Connect(error.to_string().into());
    let deadline = Instant::now() + CONNECT_TIME_LIMIT;
    let mut request = client::upgrade_request(&endpoint.socket_url(), options.headers.clone())
        .map_err(|error| failed(&error))?;
    if let Some(authorization) = endpoint.authorization() {
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    let signature = signer.sign(&Method::GET, endpoint.path(), None, request.headers());
    if let Some(signature) = signature {
        signature.add_to(request.headers_mut());
    }
    let stream = endpoint
        .connect_to(options.address, &options.tls, CONNECT_TIME_LIMIT)
        .await
        .map_err(UpstreamError::Unreachable)?;
    let connected = client::connect(stream, request, *message_bytes_max, deadline).await;
    connected.map_err(|error| match error {
        ConnectError::WebSocket(Error::Http(answer)) => match is_final(answer.status()) {
            true => UpstreamError::NoWebSocket(answer.status()),
            false => UpstreamError::Unavailable(answer.status()),
        },
        ConnectError::WebSocket(error) => failed(&error),
        ConnectError::Closed { code, reason } => UpstreamError::Closed {
            code,
            reason: reason.into(),
        },
        ConnectError::Protocol(_) => NOT_OF_THE_PROTOCOL,
        ConnectError::Ended => UpstreamError::Lost,
        ConnectError::Timeout => UpstreamError::Timeout,
    })
}
