//! A server that gives supergraphs, in all the ways that servers answer.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::eventually;

/// How it answers from now on.
#[derive(Clone)]
pub enum Act {
    /// With this text and its entity tag; with 304 if the request has that tag.
    Text(String),
    /// With this status, these header lines and this text.
    Other(u16, &'static str, String),
    /// With half of this text, and then the connection ends.
    Half(String),
    /// Likewise, but without saying how long the text is.
    HalfWithoutLength(String),
    /// With a body that does not end, in chunks.
    Endless,
    /// With nothing, for as long as the gateway waits.
    Silence,
    /// By sending to another address.
    Redirect(String),
    /// As Uplink: the supergraph by its id, or that it is unchanged.
    Uplink {
        id: &'static str,
        sdl: String,
        pause: f64,
    },
    /// As Uplink: an error.
    UplinkError {
        code: &'static str,
        message: String,
        pause: f64,
    },
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: String,
    /// The status that it was answered with; 0 if it was not.
    pub status: u16,
}

struct State {
    act: Act,
    requests: Vec<Request>,
}

pub struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: Option<JoinHandle<()>>,
}

impl Registry {
    pub async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Vec::new();
        let mut registry = Self {
            address,
            state: Arc::new(Mutex::new(State { act, requests })),
            serving: None,
        };
        registry.serve(listener);
        registry
    }

    fn serve(&mut self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        self.serving = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // One that is not finished ends with the test.
                tokio::spawn(answer(stream, Arc::clone(&state)));
            }
        }));
    }

    /// Refuses connections from now on.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // Its listener is closed with it.
            let _ = serving.await;
        }
    }

    pub async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await;
        self.serve(listener.expect("its address is free"));
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn acts(&self, act: Act) {
        self.lock().act = act;
    }

    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// Waits until so many more requests have been answered, and returns these.
    pub async fn more_requests(&self, count: usize) -> Vec<Request> {
        let before = self.requests().len();
        eventually("more requests come", || async {
            self.requests().len() >= before + count
        })
        .await;
        self.requests().split_off(before)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some((head, body)) = read(&mut stream).await else {
        return;
    };
    let act = state.lock().expect("not poisoned").act.clone();
    let (status, bytes) = bytes_of(&act, &head, &body);
    let request = Request { head, body, status };
    state.lock().expect("not poisoned").requests.push(request);
    // The gateway may close the connection in the middle of what it does not want.
    if stream.write_all(&bytes).await.is_err() {
        return;
    }
    match act {
        Act::Silence => std::future::pending().await,
        Act::Endless => {
            let chunk = format!("10000\r\n{}\r\n", "#".repeat(0x10000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        }
        _ => {
            let _ = stream.shutdown().await;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                header(head, "content-length").map_or(0, |it| it.parse().expect("a number"));
            if body.len() >= length {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// The value of a header in the head of a request.
pub fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
    Some(values.next()?.1)
}

pub fn etag(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let hex: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{hex}\"")
}

fn bytes_of(act: &Act, head: &str, body: &str) -> (u16, Vec<u8>) {
    let whole = |status: u16, lines: &str, text: &str| {
        let length = text.len();
        let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n{lines}\r\n");
        (status, [head.as_bytes(), text.as_bytes()].concat())
    };
    match act {
        Act::Text(text) => {
            let etag = etag(text);
            let lines = format!("etag: {etag}\r\n");
            if header(head, "if-none-match") == Some(&etag) {
                let bytes = format!("HTTP/1.1 304 Not Modified\r\n{lines}\r\n");
                return (304, bytes.into_bytes());
            }
            whole(200, &lines, text)
        }
        Act::Other(status, lines, text) => whole(*status, lines, text),
        Act::Half(text) => {
            let (status, mut bytes) = whole(200, "", text);
            bytes.truncate(bytes.len() - text.len() / 2);
            (status, bytes)
        }
        Act::HalfWithoutLength(text) => {
            let half = &text[..text.len() / 2];
            (200, format!("HTTP/1.1 200 OK\r\n\r\n{half}").into_bytes())
        }
        Act::Endless => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            (200, head.as_bytes().to_vec())
        }
        Act::Silence => (0, Vec::new()),
        Act::Redirect(url) => whole(302, &format!("location: {url}\r\n"), ""),
        Act::Uplink { id, sdl, pause } => {
            let asked: Value = serde_json::from_str(body).expect("JSON");
            let config = match asked["variables"]["ifAfterId"].as_str() == Some(id) {
                true => json!({"__typename": "Unchanged", "id": id, "minDelaySeconds": pause}),
                false => json!({
                    "__typename": "RouterConfigResult",
                    "id": id,
                    "supergraphSDL": sdl,
                    "minDelaySeconds": pause,
                }),
            };
            uplink(&config, whole)
        }
        Act::UplinkError {
            code,
            message,
            pause,
        } => {
            let config = json!({
                "__typename": "FetchError",
                "code": code,
                "message": message,
                "minDelaySeconds": pause,
            });
            uplink(&config, whole)
        }
    }
}

fn uplink(config: &Value, whole: impl Fn(u16, &str, &str) -> (u16, Vec<u8>)) -> (u16, Vec<u8>) {
    let answer = json!({"data": {"routerConfig": config}}).to_string();
    whole(200, "content-type: application/json\r\n", &answer)
}
