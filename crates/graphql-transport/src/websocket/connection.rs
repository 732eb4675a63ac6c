//! One client's connection, from `connection_init` to its close.

use std::{borrow::Cow, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue};
use socket_outlet::Outlet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::{
    close::Close,
    lean::LeanSocket,
    message::{ClientMessage, ServerMessage},
    metered,
    operations::{Operations, Output},
};
use crate::{
    client_key::ClientKey,
    code::{Code, Refusal},
    drain::LiveClient,
    event::Event,
    http::request_json,
    isolation,
    metrics::Transport,
    request::{Admitted, ClientContext, ClientSocket, NotAdmitted},
    service::{Service, Serving},
    turns::ClientTurns,
};

/// How often a connection that is about to close checks whether its last query is answered.
const DRAIN_CHECK: Duration = Duration::from_millis(50);
/// How long a client may take to answer a close.
const CLOSE_TIME_LIMIT: Duration = Duration::from_secs(2);

/// Bytes of `connection_init`'s payload: it stands for headers, and is read into a tree of values.
const INIT_BYTES_MAX: usize = 64 * 1024;

/// Why a connection ends.
enum End {
    /// We close it, and say why.
    Close(Close),
    /// The same, but what runs is delivered before: see [`ClientConnection::drain`].
    Drain(Close),
    /// The client closes it.
    Left,
    /// It is gone, or takes and sends nothing any more.
    Gone,
}

/// Credentials that the service checks, while everything else goes on.
struct Admission {
    asked_by: AskedBy,
    /// The headers that were checked, with the decision.
    decided: BoxFuture<'static, (Arc<HeaderMap>, Result<Admitted, NotAdmitted>)>,
}

/// The message that brought credentials.
#[derive(Clone, Copy)]
enum AskedBy {
    Init,
    Ping,
}

/// A client's WebSocket with the operations that run on it.
pub(super) struct ClientConnection<S> {
    service: Arc<S>,
    socket: LeanSocket,
    operations: Operations,
    /// Of the upgrade request, and what `connection_init` brought.
    headers: Arc<HeaderMap>,
    /// As whom the client is admitted.
    client: Arc<ClientSocket>,
    /// At most one at a time: a client that sends many makes the service check no more.
    admission: Option<Admission>,
    acknowledged: bool,
    /// Set with every message that comes; looked at when it is time for a ping.
    heard: bool,
    /// Pings of the client since our last one.
    pings: usize,
    key: ClientKey,
}

impl<S: Service> ClientConnection<S> {
    /// A connection whose WebSocket handshake is done.
    pub(super) fn new(
        service: Arc<S>,
        socket: LeanSocket,
        outlet: Option<Arc<Outlet>>,
        headers: HeaderMap,
        key: ClientKey,
        turns: ClientTurns,
    ) -> Box<Self> {
        Box::new(Self {
            operations: Operations::new(&service.serving().settings.websocket, turns),
            service,
            socket,
            headers: Arc::new(headers),
            client: Arc::new(ClientSocket::new(outlet)),
            admission: None,
            acknowledged: false,
            heard: true,
            pings: 0,
            key,
        })
    }

    /// Serves it to its end, if its client offered the subprotocol.
    pub(super) async fn run(mut self: Box<Self>, is_offered: bool) {
        let end = if !is_offered {
            End::Close(Close::SubprotocolNotAcceptable)
        } else if let Err(seconds) = self.service.admit_live_client(self.key) {
            End::Close(Close::TooManyNewClients(seconds))
        } else {
            let client = self.serving().live_client(Transport::WebSocket);
            let service = Arc::clone(&self.service);
            let ended = {
                // Pinned here: a move would be another place for all that it may ever hold.
                let work = pin!(self.until_end(&client));
                isolation::caught(&service.serving().metrics, work).await
            };
            match ended {
                Ok(End::Drain(close)) => Box::pin(self.drain(close)).await,
                Ok(end) => end,
                Err(_defect) => End::Close(Close::InternalError),
            }
        };
        self.client.close_outlet();
        match end {
            End::Close(close) | End::Drain(close) => {
                if let Some(code) = close.refused() {
                    // The client gets the close, whatever the service says.
                    let _ = self.service.refused(code, &self.headers, self.key);
                }
                match close {
                    Close::TooManyNewClients(_) => {
                        self.serving().metrics.refusal(Code::TooManyNewClients);
                    }
                    Close::TooBig => self.serving().metrics.refusal(Code::RequestTooLarge),
                    Close::TooManyBytes => {
                        self.serving().metrics.refusal(Code::TooManyRequestBytes);
                    }
                    _ => {}
                }
                self.serving().metrics.websocket_closed(close.code());
                self.close(&close).await;
            }
            End::Left => self.until_closed().await,
            End::Gone => {}
        }
    }

    fn serving(&self) -> &Serving {
        self.service.serving()
    }

    async fn until_end(&mut self, client: &LiveClient) -> End {
        match self.serve(client).await {
            Ok(()) => End::Drain(Close::Restarting),
            Err(end) => {
                if matches!(end, End::Drain(Close::Restarting)) {
                    client.leaves();
                }
                end
            }
        }
    }

    /// Reads messages and writes results until shutdown, and on until the client's turn comes.
    async fn serve(&mut self, client: &LiveClient) -> Result<(), End> {
        let limits = self.serving().settings.websocket.clone();
        let init_deadline = Instant::now() + limits.ws_init_timeout;
        let mut pings = interval_at(
            Instant::now() + limits.ws_ping_interval,
            limits.ws_ping_interval,
        );
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.socket.is_large() {
                // In a place of its own, too.
                Box::pin(self.socket.shrink()).await;
            }
            tokio::select! {
                // In a place of its own: a quiet connection would keep it.
                message = self.socket.next() => Box::pin(self.receive(message)).await?,
                Some(output) = self.operations.next() => self.deliver(output).await?,
                Some(decided) = decision(&mut self.admission) => self.admit(decided).await?,
                _ = pings.tick() => self.ping().await?,
                () = sleep_until(init_deadline), if !self.acknowledged && self.admission.is_none() => {
                    return Err(End::Close(Close::InitialisationTimeout));
                }
                () = client.turn() => return Ok(()),
            }
        }
    }

    /// Lets queries and mutations end before the close, for at most the grace period, or what is left of it. Subscriptions get no
    /// `complete`: for them the close is an interruption. Those whose client's token has ended say first where
    /// to resume. The client's messages are not read any more.
    async fn drain(&mut self, close: Close) -> End {
        let serving = self.serving();
        let now = Instant::now();
        let deadline = now + serving.settings.grace;
        let deadline = serving
            .drain
            .deadline()
            .map_or(deadline, |end| end.min(deadline));
        let grace = deadline.saturating_duration_since(now);
        // Nothing is begun directly from here on.
        self.client.close_outlet();
        if let Err(end) = self.finish_rest(grace).await {
            return end;
        }
        while self.is_owed_more() && Instant::now() < deadline {
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
        End::Close(close)
    }

    /// Whether something has to be delivered before a close.
    fn is_owed_more(&self) -> bool {
        match self.client.admitted().has_ended() {
            true => self.operations.len() > 0,
            false => self.operations.has_unanswered(),
        }
    }

    async fn receive(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        self.heard = true;
        match message {
            Some(Ok(Message::Text(text))) => match ClientMessage::read(&text) {
                Ok(message) => self.handle(message, &text).await,
                Err(reason) => {
                    tracing::debug!(reason, "a WebSocket message is not of the protocol");
                    Err(End::Close(Close::Invalid(reason)))
                }
            },
            Some(Ok(Message::Binary(_))) => {
                Err(End::Close(Close::Invalid("messages are text".to_owned())))
            }
            // Answered by the WebSocket itself, in a buffer that has no bound.
            Some(Ok(Message::Ping(_))) => self.count_ping(),
            // Of frames as they are, none is read.
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Close(_))) => Err(End::Left),
            None => Err(End::Gone),
            Some(Err(error)) => Err(end_of(error)),
        }
    }

    async fn handle(&mut self, message: ClientMessage<'_>, text: &Utf8Bytes) -> Result<(), End> {
        match message {
            ClientMessage::ConnectionInit(_) if self.acknowledged || self.admission.is_some() => {
                Err(End::Close(Close::TooManyInitialisationRequests))
            }
            ClientMessage::ConnectionInit(payload) => {
                let service = Arc::clone(&self.service);
                let takes = |name: &HeaderName| service.takes_from_init(name);
                let headers = self.headers_with(payload, "connection_init", takes)?;
                let headers = headers.map_or_else(|| Arc::clone(&self.headers), Arc::new);
                self.ask(AskedBy::Init, headers);
                Ok(())
            }
            ClientMessage::Ping(payload) => {
                self.count_ping()?;
                match self.renewed(payload)? {
                    Some(_) if self.admission.is_some() => {
                        self.not_renewed("another token is being checked").await
                    }
                    Some(headers) => {
                        self.ask(AskedBy::Ping, Arc::new(headers));
                        Ok(())
                    }
                    None => self.send(ServerMessage::Pong(payload).write()).await,
                }
            }
            ClientMessage::Pong => Ok(()),
            ClientMessage::Subscribe(..) if !self.acknowledged => {
                Err(End::Close(Close::Unauthorized))
            }
            ClientMessage::Subscribe(id, request) => {
                let request = AsRef::<Bytes>::as_ref(text).slice_ref(request);
                self.subscribe(id.into(), &request).await
            }
            ClientMessage::Complete(id) => {
                self.operations.stop(&id);
                Ok(())
            }
        }
    }

    async fn subscribe(&mut self, id: Arc<str>, request: &Bytes) -> Result<(), End> {
        // A gateway sends one with each operation.
        self.pings = self.pings.saturating_sub(1);
        if self.operations.contains(&id) {
            return Err(End::Close(Close::SubscriberExists(id.to_string())));
        }
        // The client connects again with a new token, and sends its operations there.
        if self.client.admitted().has_ended() {
            let why = "the token has expired: connect again with a new one".to_owned();
            return Err(End::Drain(Close::Forbidden(why)));
        }
        // So does one of a service that ends soon: nothing of the operation has begun, and it would be cut.
        if !self.serving().drain.begins_operations() {
            return Err(End::Drain(Close::Restarting));
        }
        let request = match request_json::read(request) {
            Ok(request) => request,
            Err(refusal) => return Err(End::Close(Close::Invalid(refusal.message))),
        };
        let operations_max = self.serving().settings.websocket.ws_operations_max;
        if self.operations.len() >= operations_max {
            let code = Code::TooManySubscriptions;
            let response = self.service.refused(code, &self.headers, self.key);
            let response = response.unwrap_or_else(|| {
                let message = format!(
                    "one connection may have {operations_max} operations running at a time"
                );
                Refusal::new(code, message).into()
            });
            if let Some(refused) = response.refused {
                self.serving().metrics.refusal(refused);
            }
            let failed = Event::failed(response);
            return self.send(ServerMessage::of(&id, &failed).write()).await;
        }
        let client = ClientContext {
            headers: Arc::clone(&self.headers),
            mutations_allowed: true,
            subscriptions_allowed: true,
            answers_deferred: true,
            key: self.key,
            socket: Some(Arc::clone(&self.client)),
            operation: Some(id.clone()),
            event_stream: None,
        };
        self.operations
            .start(Arc::clone(&self.service), id, request, client);
        Ok(())
    }

    /// The output's place is free for the next query once the client has taken this.
    async fn deliver(&mut self, output: Output) -> Result<(), End> {
        if let Some(event) = &output.event {
            if event.is_delivery() {
                self.serving().metrics.deliveries.inc();
            }
            self.send(ServerMessage::of(&output.id, event).write())
                .await?;
        }
        if output.is_complete {
            let id = Cow::Borrowed(&*output.id);
            self.send(ServerMessage::Complete(id).write()).await?;
        }
        Ok(())
    }

    /// The headers of a ping that brings a new token; `None` for any other ping.
    fn renewed(&self, payload: Option<&[u8]>) -> Result<Option<HeaderMap>, End> {
        if !self.acknowledged {
            return Ok(None);
        }
        self.headers_with(payload, "a ping", |name| self.service.takes_from_ping(name))
    }

    /// Has the service check credentials. [`Self::serve`] goes on meanwhile.
    fn ask(&mut self, asked_by: AskedBy, headers: Arc<HeaderMap>) {
        let (service, key) = (Arc::clone(&self.service), self.key);
        let decided = async move {
            let admitted = service.admit_socket(&headers, key).await;
            (headers, admitted)
        };
        self.admission = Some(Admission {
            asked_by,
            decided: Box::pin(decided),
        });
    }

    /// Acts on the service's decision.
    async fn admit(&mut self, decided: Decided) -> Result<(), End> {
        let Decided {
            asked_by,
            headers,
            admitted,
        } = decided;
        match (asked_by, admitted) {
            (AskedBy::Init, Ok(admitted)) => {
                self.headers = headers;
                self.client.admit(admitted);
                self.acknowledged = true;
                self.send(ServerMessage::ConnectionAck.write()).await
            }
            (AskedBy::Ping, Ok(admitted)) => self.renew(headers, admitted).await,
            (AskedBy::Ping, Err(NotAdmitted::Unavailable(reason))) => {
                self.not_renewed(&reason).await
            }
            (_, Err(refused)) => Err(End::Drain(refused.into())),
        }
    }

    /// Takes a new token of the same client, with which running subscriptions go on. The pong says for how
    /// long it is valid.
    async fn renew(&mut self, headers: Arc<HeaderMap>, admitted: Admitted) -> Result<(), End> {
        if admitted.subject != self.client.admitted().subject {
            let why = "the token has another subject: open another connection".to_owned();
            return Err(End::Drain(Close::Forbidden(why)));
        }
        let left = admitted.valid_until;
        let left = left.map(|until| until.saturating_duration_since(Instant::now()));
        let pong = serde_json::json!({
            "renewed": true,
            "validForMs": left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        });
        self.headers = headers;
        self.client.admit(admitted);
        self.pong(&pong).await
    }

    /// The token that was there before stays.
    async fn not_renewed(&mut self, reason: &str) -> Result<(), End> {
        self.pong(&serde_json::json!({ "renewed": false, "reason": reason }))
            .await
    }

    async fn pong(&mut self, payload: &serde_json::Value) -> Result<(), End> {
        let payload = payload.to_string();
        self.send(ServerMessage::Pong(Some(payload.as_bytes())).write())
            .await
    }

    /// The connection's headers with those that members of a payload stand for, where the service takes
    /// headers of such names; `None` if there is no such member. Clients that wrap them in a member
    /// `headers` are understood too.
    fn headers_with(
        &self,
        payload: Option<&[u8]>,
        message: &str,
        takes: impl Fn(&HeaderName) -> bool,
    ) -> Result<Option<HeaderMap>, End> {
        let Some(payload) = payload else {
            return Ok(None);
        };
        let members = match read_members(payload) {
            Ok(members) => members,
            // The payload of a ping is the client's own.
            Err(_) if self.acknowledged => return Ok(None),
            Err(what) => return Err(End::Close(Close::Invalid(format!("{message} {what}")))),
        };
        let nested = members
            .get("headers")
            .and_then(|headers| headers.as_object());
        let mut brought = HeaderMap::new();
        for (name, value) in members.iter().chain(nested.into_iter().flatten()) {
            let (Ok(name), Some(value)) = (HeaderName::try_from(name.as_str()), value.as_str())
            else {
                continue;
            };
            if !takes(&name) {
                continue;
            }
            let Ok(value) = HeaderValue::from_str(value) else {
                let why = format!("{name} is no header value");
                return Err(End::Close(Close::Forbidden(why)));
            };
            match brought.get(&name) {
                Some(other) if *other != value => {
                    let why = format!("{name} is there twice");
                    return Err(End::Close(Close::Forbidden(why)));
                }
                _ => brought.insert(name, value),
            };
        }
        if brought.is_empty() {
            return Ok(None);
        }
        let mut headers = (*self.headers).clone();
        for name in brought.keys() {
            headers.remove(name);
        }
        headers.extend(brought);
        Ok(Some(headers))
    }

    fn count_ping(&mut self) -> Result<(), End> {
        self.pings += 1;
        match self.pings > self.serving().settings.websocket.ws_pings_max {
            true => Err(End::Close(Close::TooManyPings)),
            false => Ok(()),
        }
    }

    async fn ping(&mut self) -> Result<(), End> {
        self.pings = 0;
        if !std::mem::replace(&mut self.heard, false) {
            return Err(End::Gone);
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    /// A client that takes nothing for too long is dropped: its place in the kernel's buffers and
    /// here is bounded, and so is its time.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        let limit = self.serving().settings.http.client_write_timeout;
        // An event that was begun directly has time of its own.
        if self.client.has_rest() {
            self.finish_rest(limit).await?;
        }
        match timeout(limit, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    /// Writes the rest of an event that was begun directly.
    async fn finish_rest(&mut self, limit: Duration) -> Result<(), End> {
        match timeout(limit, self.socket.flush()).await {
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
        let rest = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = timeout(CLOSE_TIME_LIMIT, rest).await;
    }
}

/// What the service has decided about credentials.
struct Decided {
    asked_by: AskedBy,
    /// Those with the credentials.
    headers: Arc<HeaderMap>,
    admitted: Result<Admitted, NotAdmitted>,
}

/// Waits for the decision about credentials; `None` if none are being checked. May be dropped at any time.
async fn decision(admission: &mut Option<Admission>) -> Option<Decided> {
    let Admission { asked_by, decided } = admission.as_mut()?;
    let asked_by = *asked_by;
    let (headers, admitted) = decided.await;
    *admission = None;
    Some(Decided {
        asked_by,
        headers,
        admitted,
    })
}

fn read_members(payload: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    if payload.len() > INIT_BYTES_MAX {
        return Err(format!("has a payload of at most {INIT_BYTES_MAX} bytes"));
    }
    serde_json::from_slice(payload).map_err(|_| "needs a JSON object".to_owned())
}

fn end_of(error: Error) -> End {
    match error {
        Error::Capacity(_) => End::Close(Close::TooBig),
        Error::Utf8(_) => End::Close(Close::Invalid("messages are UTF-8".to_owned())),
        Error::Io(error) if metered::is_full(&error) => End::Close(Close::TooManyBytes),
        _ => End::Gone,
    }
}
