//! What every attack needs: its own address, connections from there, and requests that are counted.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::link::Link;
use super::{Tally, Target};

/// Longer than any request may take at the gateway.
const ANSWER_TIME_LIMIT: Duration = Duration::from_secs(70);
/// The pause after a refusal or the end of a connection: as a client would that wants to come back.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes at both ends of an answer in which an error's code is looked for.
const END_BYTES: usize = 8 * 1024;
const CODE: &str = "\"code\":\"";

/// The clients of one attack.
#[derive(Clone)]
pub(super) struct Attacker {
    pub(super) target: Arc<Target>,
    /// The address that its connections come from.
    pub(super) from: Ipv4Addr,
    pub(super) divisor: usize,
    pub(super) tally: Arc<Tally>,
    pub(super) link: Arc<Link>,
}

impl Attacker {
    /// How many clients there are where the whole attack has `all`.
    pub(super) fn share_of(&self, all: usize) -> usize {
        all.div_ceil(self.divisor)
    }

    /// Runs `count` clients, each again and again after a pause.
    pub(super) async fn keep_up<F, Fut>(&self, count: usize, client: F)
    where
        F: Fn(Self, usize) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let mut clients = JoinSet::new();
        for number in 0..count {
            let (attacker, client) = (self.clone(), client.clone());
            clients.spawn(async move {
                loop {
                    client(attacker.clone(), number).await;
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        while clients.join_next().await.is_some() {}
    }

    /// Asks with `document`'s documents, each once and in their order, until `count` are asked.
    pub(super) async fn ask_each<F>(&self, connections: usize, count: usize, document: F)
    where
        F: Fn(&Self, usize) -> String + Clone + Send + Sync + 'static,
    {
        let next = Arc::new(AtomicUsize::new(0));
        let client = move |attacker: Self, _| {
            let (next, document) = (Arc::clone(&next), document.clone());
            async move {
                let http = attacker.http();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return std::future::pending().await;
                    }
                    let body = json!({ "query": document(&attacker, number) });
                    attacker.ask(&http, body.to_string()).await;
                }
            }
        };
        self.keep_up(self.share_of(connections), client).await;
    }

    /// A connection to the gateway.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        self.connect_by(self.socket()?).await
    }

    /// A connection whose kernel keeps only this many bytes that were not read yet.
    pub(super) async fn connect_to_read_slowly(&self, bytes: u32) -> io::Result<TcpStream> {
        let socket = self.socket()?;
        socket.set_recv_buffer_size(bytes)?;
        self.connect_by(socket).await
    }

    fn socket(&self) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(IpAddr::V4(self.from), 0))?;
        Ok(socket)
    }

    async fn connect_by(&self, socket: TcpSocket) -> io::Result<TcpStream> {
        let stream = socket.connect(self.target.gateway).await;
        if stream.is_err() {
            self.tally.answered("no connection");
        }
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// An HTTP client with a pool of its own.
    ///
    /// # Panics
    /// When the settings are impossible, which they are not.
    pub(super) fn http(&self) -> reqwest::Client {
        reqwest::Client::builder()
            .local_address(IpAddr::V4(self.from))
            .timeout(ANSWER_TIME_LIMIT)
            .build()
            .expect("an HTTP client")
    }

    pub(super) fn post(&self, http: &reqwest::Client, body: String) -> reqwest::RequestBuilder {
        http.post(format!("http://{}/graphql", self.target.gateway))
            .header("content-type", "application/json")
            .body(body)
    }

    /// Sends a body, reads the whole answer, and counts it by its code.
    pub(super) async fn ask(&self, http: &reqwest::Client, body: String) {
        self.tally.requested(1);
        self.link.carry(body.len()).await;
        let answer = read(self.post(http, body)).await;
        self.tally.answered(&answer.unwrap_or_else(kind_of_failure));
    }

    /// A watched post, in turn.
    pub(super) fn watched(&self, number: usize) -> &str {
        &self.target.posts[number % self.target.posts.len()]
    }
}

/// The code of an answer, which is read to its end and not kept.
async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<String> {
    let mut response = request.send().await?;
    let status = response.status();
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    while let Some(chunk) = response.chunk().await? {
        if head.len() < END_BYTES {
            head.extend_from_slice(&chunk);
            head.truncate(END_BYTES);
        }
        tail.extend_from_slice(&chunk[chunk.len().saturating_sub(END_BYTES)..]);
        tail.drain(..tail.len().saturating_sub(END_BYTES));
    }
    let code = code_in(&String::from_utf8_lossy(&head))
        .or_else(|| code_in(&String::from_utf8_lossy(&tail)));
    Ok(match code {
        Some(code) => code,
        None if status.is_success() => "answered".to_owned(),
        None => format!("status {}", status.as_u16()),
    })
}

/// The first error code in a text of JSON.
pub(super) fn code_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(CODE)?;
    let (code, _) = rest.split_once('"')?;
    Some(code.to_owned())
}

pub(super) fn kind_of_failure(error: reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "connection ended"
    };
    kind.to_owned()
}
