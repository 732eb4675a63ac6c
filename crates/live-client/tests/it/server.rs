//! A server of subscriptions that does what a test says, over all three transports on one port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// What is done with each subscription; the first one has number 1.
type Answer = Box<dyn Fn(usize, &Served) + Send + Sync>;

/// One subscription, from the server's side.
#[derive(Clone)]
pub struct Served {
    pub request: Value,
    /// The request's head, as it came.
    pub head: String,
    commands: mpsc::UnboundedSender<Command>,
    over: watch::Receiver<bool>,
}

enum Command {
    Next(String, Option<String>),
    Fail(Value),
    Complete,
    Close(u16),
    Cut,
    Raw(Vec<u8>),
}

impl Served {
    /// A message.
    pub fn next(&self, message: Value) {
        let id = message["extensions"]["cursor"].as_str().map(str::to_owned);
        self.command(Command::Next(message.to_string(), id));
    }

    /// Errors that end it.
    pub fn fail(&self, code: &str, mut extensions: Value) {
        extensions["code"] = code.into();
        self.command(Command::Fail(
            json!([{ "message": code, "extensions": extensions }]),
        ));
    }

    pub fn complete(&self) {
        self.command(Command::Complete);
    }

    /// Closes a WebSocket with this code.
    pub fn close(&self, code: u16) {
        self.command(Command::Close(code));
    }

    /// Breaks the connection, after what was sent before.
    pub fn cut(&self) {
        self.command(Command::Cut);
    }

    /// Sends bytes as they are; over a WebSocket as a text.
    pub fn raw(&self, bytes: impl Into<Vec<u8>>) {
        self.command(Command::Raw(bytes.into()));
    }

    /// `delivery.after` of the request.
    pub fn after(&self) -> Option<&str> {
        self.request["extensions"]["delivery"]["after"].as_str()
    }

    /// Waits until the client has ended it.
    pub async fn is_over(&self) {
        let mut over = self.over.clone();
        // Its sender is gone with the connection.
        let _ = over.wait_for(|over| *over).await;
    }

    fn command(&self, command: Command) {
        // The client may have left.
        let _ = self.commands.send(command);
    }
}

pub struct FakeServer {
    pub address: SocketAddr,
    subscriptions: watch::Sender<Vec<Served>>,
    answer: Mutex<Arc<Answer>>,
    task: Mutex<Option<AbortHandle>>,
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().expect("no panic").take() {
            task.abort();
        }
    }
}

impl FakeServer {
    pub async fn start(answer: impl Fn(usize, &Served) + Send + Sync + 'static) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Arc::new(Self {
            address: listener.local_addr().expect("its address"),
            subscriptions: watch::Sender::default(),
            answer: Mutex::new(Arc::new(Box::new(answer))),
            task: Mutex::default(),
        });
        // The connections hold the server weakly, and so end with it.
        let weak = Arc::downgrade(&server);
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let weak = weak.clone();
                tokio::spawn(async move {
                    let Some(server) = weak.upgrade() else { return };
                    let mut start = [0];
                    let is_socket =
                        matches!(stream.peek(&mut start).await, Ok(1)) && start == *b"G";
                    match is_socket {
                        true => server.speak(stream).await,
                        false => server.stream(stream).await,
                    }
                });
            }
        };
        *server.task.lock().expect("no panic") = Some(tokio::spawn(accept).abort_handle());
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}/graphql", self.address)
    }

    /// Waits for a subscription; the first one has number 1.
    pub async fn asked(&self, number: usize) -> Served {
        let mut subscriptions = self.subscriptions.subscribe();
        let found = subscriptions.wait_for(|it| it.len() >= number).await;
        found.expect("the server")[number - 1].clone()
    }

    /// The cursors that were sent, one for each subscription so far.
    pub fn afters(&self) -> Vec<Option<String>> {
        let subscriptions = self.subscriptions.borrow();
        let after = |served: &Served| served.after().map(str::to_owned);
        subscriptions.iter().map(after).collect()
    }

    fn serve(
        &self,
        request: Value,
        head: String,
    ) -> (mpsc::UnboundedReceiver<Command>, watch::Sender<bool>) {
        let (commands, received) = mpsc::unbounded_channel();
        let (over, is_over) = watch::channel(false);
        let served = Served {
            request,
            head,
            commands,
            over: is_over,
        };
        self.subscriptions.send_modify(|it| it.push(served.clone()));
        let number = self.subscriptions.borrow().len();
        let answer = Arc::clone(&self.answer.lock().expect("no panic"));
        answer(number, &served);
        (received, over)
    }

    /// A WebSocket with one subscription.
    pub async fn speak<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) {
        let mut head = String::new();
        #[expect(clippy::result_large_err, reason = "the error is the library's type")]
        let accept = |request: &Request, mut response: Response| {
            head = format!("{:?}", request.headers());
            let protocol = request.headers()["sec-websocket-protocol"].clone();
            let name = "sec-websocket-protocol";
            response.headers_mut().insert(name, protocol);
            Ok(response)
        };
        let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, accept).await else {
            return;
        };
        let mut running: Option<(mpsc::UnboundedReceiver<Command>, watch::Sender<bool>)> = None;
        loop {
            let command = async {
                match &mut running {
                    Some((commands, _)) => commands.recv().await,
                    None => std::future::pending().await,
                }
            };
            let sent = tokio::select! {
                command = command => match command {
                    Some(Command::Next(json, _)) => format!(r#"{{"id":"1","type":"next","payload":{json}}}"#),
                    Some(Command::Fail(errors)) => json!({ "id": "1", "type": "error", "payload": errors }).to_string(),
                    Some(Command::Complete) => json!({ "id": "1", "type": "complete" }).to_string(),
                    Some(Command::Raw(bytes)) => String::from_utf8(bytes).expect("a text"),
                    Some(Command::Close(code)) => {
                        let frame = CloseFrame { code: code.into(), reason: "as told".into() };
                        let _ = socket.close(Some(frame)).await;
                        continue;
                    }
                    Some(Command::Cut) | None => return,
                },
                message = socket.next() => {
                    let Some(Ok(message)) = message else {
                        if let Some((_, over)) = &running { let _ = over.send(true); }
                        return;
                    };
                    let Message::Text(text) = message else { continue };
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    match message["type"].as_str() {
                        Some("connection_init") => json!({ "type": "connection_ack" }).to_string(),
                        Some("ping") if head.contains("no-pongs") => continue,
                        Some("ping") => json!({ "type": "pong" }).to_string(),
                        Some("subscribe") => {
                            running = Some(self.serve(message["payload"].clone(), head.clone()));
                            continue;
                        }
                        _ => continue,
                    }
                }
            };
            if socket.send(Message::text(sent)).await.is_err() {
                return;
            }
        }
    }

    /// A POST request, whose answer has no length.
    pub async fn stream<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) {
        let Some((head, request)) = read_request(&mut stream).await else {
            return;
        };
        let is_multipart = head.contains("multipart/mixed");
        let content_type = match is_multipart {
            true => "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0",
            false => "text/event-stream",
        };
        let (mut commands, over) = self.serve(request, head);
        let mut has_head = false;
        loop {
            let mut byte = [0];
            let command = tokio::select! {
                command = commands.recv() => command,
                read = stream.read(&mut byte) => {
                    if matches!(read, Ok(0) | Err(_)) {
                        let _ = over.send(true);
                    }
                    return;
                }
            };
            let Some(command) = command else { return };
            let mut bytes = match (command, is_multipart) {
                (Command::Next(json, _), true) => part(&format!(r#"{{"payload":{json}}}"#)),
                (Command::Next(json, id), false) => {
                    let id = id.map(|it| format!("id: {it}\n")).unwrap_or_default();
                    format!("event: next\n{id}data: {json}\n\n").into_bytes()
                }
                (Command::Fail(errors), true) => {
                    let failed = part(&json!({ "payload": null, "errors": errors }).to_string());
                    [failed, b"--\r\n".to_vec()].concat()
                }
                (Command::Fail(errors), false) => {
                    let failed = json!({ "errors": errors });
                    format!("event: next\ndata: {failed}\n\nevent: complete\n\n").into_bytes()
                }
                (Command::Complete, true) => b"--\r\n".to_vec(),
                (Command::Complete, false) => b"event: complete\ndata:\n\n".to_vec(),
                (Command::Raw(bytes), _) => bytes,
                (Command::Cut | Command::Close(_), _) => return,
            };
            // A raw answer may have a head of its own.
            if !std::mem::replace(&mut has_head, true) && !bytes.starts_with(b"HTTP") {
                let open = if is_multipart {
                    "\r\n--graphql"
                } else {
                    ":\n\n"
                };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\n{open}");
                bytes = [head.into_bytes(), bytes].concat();
            }
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if let Ok(request) = serde_json::from_str(body) {
            return Some((head.to_owned(), request));
        }
    }
}

fn part(json: &str) -> Vec<u8> {
    format!("\r\ncontent-type: application/json\r\n\r\n{json}\r\n--graphql").into_bytes()
}

/// The first frame of a server that keeps what it is asked for.
pub fn frame(cursor: &str) -> Value {
    let delivery = json!({ "version": 1, "asked": "AT_LEAST_ONCE", "kept": "AT_LEAST_ONCE" });
    json!({ "data": null, "extensions": { "delivery": delivery, "cursor": cursor } })
}

/// One that keeps no cursors.
pub fn best_effort() -> Value {
    let delivery = json!({ "version": 1, "asked": "AT_LEAST_ONCE", "kept": "BEST_EFFORT" });
    json!({ "data": null, "extensions": { "delivery": delivery } })
}

/// An event of a server that keeps the contract.
pub fn event(number: u64) -> Value {
    json!({ "data": { "ticks": { "number": number } }, "extensions": { "cursor": format!("c{number}") } })
}

/// An event, or the news of missing ones, that has errors and no data.
pub fn failed(code: &str, cursor: Option<&str>) -> Value {
    let errors = json!([{ "message": code, "extensions": { "code": code } }]);
    match cursor {
        Some(cursor) => {
            json!({ "data": null, "errors": errors, "extensions": { "cursor": cursor } })
        }
        None => json!({ "data": null, "errors": errors }),
    }
}

/// Keeps the contract: so many events, of which each subscription gets those after its cursor, at most `most`, and
/// then is cut.
pub fn log(count: u64, most: u64) -> impl Fn(usize, &Served) + Send + Sync + 'static {
    move |_, served| {
        let after = served
            .after()
            .map_or(0, |it| it[1..].parse().expect("a number"));
        served.next(frame(&format!("c{after}")));
        for number in (after + 1..=count).take(usize::try_from(most).expect("few")) {
            served.next(event(number));
        }
        if after + most < count {
            served.cut();
        }
    }
}
