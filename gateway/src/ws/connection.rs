//! One client's connection, from `connection_init` to its close.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::{
    message::{self, ClientMessage, Close},
    operations::{Operations, Output},
};
use crate::{
    error::{Code, RequestError},
    gateway::Gateway,
    guard,
    http::request_json,
    request::ClientContext,
    subscriptions::Event,
};

/// How often a connection that winds up looks whether its last query has been answered.
const DRAIN_CHECK: Duration = Duration::from_millis(50);
/// How long a client may take to answer a close.
const CLOSE_TIME_LIMIT: Duration = Duration::from_secs(2);

/// Why a connection ends.
enum End {
    /// We close it, and say why.
    Close(Close),
    /// The client closes it.
    Left,
    /// It is gone, or as good as gone.
    Gone,
}

/// Goes on, or ends the connection.
type Step = Result<(), End>;

/// One client's connection.
pub struct Connection {
    gateway: Arc<Gateway>,
    socket: WebSocket,
    operations: Operations,
    /// Of the upgrade request, and what `connection_init` brought.
    headers: Arc<HeaderMap>,
    acknowledged: bool,
    /// Set with every message that comes; looked at when it is time for a ping.
    heard: bool,
}

impl Connection {
    /// A connection whose WebSocket handshake is done.
    pub fn new(gateway: Arc<Gateway>, socket: WebSocket, headers: HeaderMap) -> Self {
        Self {
            gateway,
            socket,
            operations: Operations::default(),
            headers: Arc::new(headers),
            acknowledged: false,
            heard: true,
        }
    }

    /// Serves it to its end.
    pub async fn run(mut self) {
        let end = if self.socket.protocol().is_none() {
            End::Close(Close::SubprotocolNotAcceptable)
        } else {
            let gateway = Arc::clone(&self.gateway);
            match guard::caught(gateway.metrics(), self.serve()).await {
                Ok(Ok(())) => self.drain().await,
                Ok(Err(end)) => end,
                Err(_defect) => End::Close(Close::InternalError),
            }
        };
        match end {
            End::Close(close) => {
                if matches!(close, Close::TooBig) {
                    self.gateway.metrics().refusal(Code::RequestTooLarge);
                }
                self.close(&close).await;
            }
            End::Left => self.until_closed().await,
            End::Gone => {}
        }
    }

    /// Until the shutdown.
    async fn serve(&mut self) -> Step {
        let limits = self.gateway.config().websocket.clone();
        let shutdown = self.gateway.shutdown().clone();
        let init_deadline = Instant::now() + limits.ws_init_timeout;
        let mut pings = interval_at(
            Instant::now() + limits.ws_ping_interval,
            limits.ws_ping_interval,
        );
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.socket.recv() => self.receive(message).await?,
                Some(output) = self.operations.next() => self.deliver(output).await?,
                _ = pings.tick() => self.ping().await?,
                () = sleep_until(init_deadline), if !self.acknowledged => {
                    return Err(End::Close(Close::InitialisationTimeout));
                }
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// Lets queries and mutations end, and asks the client to come back for the rest. Subscriptions
    /// get no `complete`: for them the close is an interruption.
    async fn drain(&mut self) -> End {
        let deadline = Instant::now() + self.gateway.config().service.grace();
        while self.operations.has_unanswered() && Instant::now() < deadline {
            match timeout(DRAIN_CHECK, self.operations.next()).await {
                Ok(Some(output)) => {
                    if let Err(end) = self.deliver(output).await {
                        return end;
                    }
                }
                Ok(None) => break,
                Err(_) => {}
            }
        }
        End::Close(Close::Restarting)
    }

    async fn receive(&mut self, message: Option<Result<Message, axum::Error>>) -> Step {
        self.heard = true;
        match message {
            Some(Ok(Message::Text(text))) => match ClientMessage::read(&text) {
                Ok(message) => self.handle(message).await,
                Err(reason) => {
                    tracing::debug!(reason, "a WebSocket message is not of the protocol");
                    Err(End::Close(Close::Invalid(reason)))
                }
            },
            Some(Ok(Message::Binary(_))) => {
                Err(End::Close(Close::Invalid("messages are text".to_owned())))
            }
            // Answered by the WebSocket itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_))) => Err(End::Left),
            None => Err(End::Gone),
            Some(Err(error)) => Err(end_of(error)),
        }
    }

    async fn handle(&mut self, message: ClientMessage) -> Step {
        match message {
            ClientMessage::ConnectionInit(_) if self.acknowledged => {
                Err(End::Close(Close::TooManyInitialisationRequests))
            }
            ClientMessage::ConnectionInit(payload) => {
                self.take_headers(payload.as_ref())?;
                self.acknowledged = true;
                self.send(message::connection_ack()).await
            }
            ClientMessage::Ping(payload) => self.send(message::pong(payload.as_ref())).await,
            ClientMessage::Pong => Ok(()),
            ClientMessage::Subscribe { .. } if !self.acknowledged => {
                Err(End::Close(Close::Unauthorized))
            }
            ClientMessage::Subscribe { id, request } => self.subscribe(id, &request).await,
            ClientMessage::Complete { id } => {
                self.operations.stop(&id);
                Ok(())
            }
        }
    }

    async fn subscribe(&mut self, id: String, request: &Bytes) -> Step {
        if self.operations.contains(&id) {
            return Err(End::Close(Close::SubscriberExists(id)));
        }
        let request = match request_json::read(request) {
            Ok(request) => request,
            Err(error) => {
                let reason = error.errors.first().map(|error| error.message.clone());
                return Err(End::Close(Close::Invalid(reason.unwrap_or_default())));
            }
        };
        let operations_max = self.gateway.config().websocket.ws_operations_max;
        if self.operations.len() >= operations_max {
            self.gateway.metrics().refusal(Code::TooManySubscriptions);
            let error = RequestError::new(
                Code::TooManySubscriptions,
                format!("one connection may have {operations_max} operations running at a time"),
            );
            return self.send(message::event(&id, &Event::failed(error))).await;
        }
        let client = ClientContext {
            headers: Arc::clone(&self.headers),
            mutations_allowed: true,
            subscriptions_allowed: true,
            key: Default::default(),
        };
        self.operations
            .start(Arc::clone(&self.gateway), id, request, client);
        Ok(())
    }

    async fn deliver(&mut self, output: Output) -> Step {
        match output.event {
            Some(event) => {
                self.gateway.metrics().deliveries.inc();
                self.send(message::event(&output.id, &event)).await
            }
            None => self.send(message::complete(&output.id)).await,
        }
    }

    /// Members of `connection_init`'s payload stand for headers of the same name, where a rule
    /// forwards such headers: browsers cannot set headers on a WebSocket. Clients that wrap them in
    /// a member `headers` are understood too.
    fn take_headers(&mut self, payload: Option<&Bytes>) -> Step {
        let Some(payload) = payload else {
            return Ok(());
        };
        let Ok(members) =
            serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(payload)
        else {
            return Err(End::Close(Close::Invalid(
                "connection_init needs a JSON object".to_owned(),
            )));
        };
        let nested = members
            .get("headers")
            .and_then(|headers| headers.as_object());
        let settings = self.gateway.graph_settings();
        let mut headers = (*self.headers).clone();
        for (name, value) in members.iter().chain(nested.into_iter().flatten()) {
            let (Ok(name), Some(value)) = (HeaderName::try_from(name.as_str()), value.as_str())
            else {
                continue;
            };
            if !settings.header_rules.forwards(&name) {
                continue;
            }
            match HeaderValue::from_str(value) {
                Ok(value) => {
                    headers.insert(name, value);
                }
                Err(_) => {
                    let why = format!("{name} is no header value");
                    return Err(End::Close(Close::Forbidden(why)));
                }
            }
        }
        self.headers = Arc::new(headers);
        Ok(())
    }

    async fn ping(&mut self) -> Step {
        if !std::mem::replace(&mut self.heard, false) {
            return Err(End::Gone);
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    /// A client that takes nothing for too long is dropped: its place in the kernel's buffers and
    /// here is bounded, and so is its time.
    async fn send(&mut self, message: Message) -> Step {
        let limit = self.gateway.config().http.client_write_timeout;
        match timeout(limit, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    /// Sends the close and waits a moment for the client's own, so that the reason arrives before
    /// the socket goes.
    async fn close(&mut self, close: &Close) {
        if self.send(close.frame()).await.is_ok() {
            self.until_closed().await;
        }
    }

    /// Reads to the end: the WebSocket's own answer to a close is written on the way.
    async fn until_closed(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        let _ = timeout(CLOSE_TIME_LIMIT, rest).await;
    }
}

fn end_of(error: axum::Error) -> End {
    use tokio_tungstenite::tungstenite::Error;
    let error = error.into_inner();
    match error.downcast_ref::<Error>() {
        Some(Error::Capacity(_)) => End::Close(Close::TooBig),
        Some(Error::Utf8(_)) => End::Close(Close::Invalid("messages are UTF-8".to_owned())),
        _ => End::Gone,
    }
}
