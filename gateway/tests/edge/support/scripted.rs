//! A subgraph that sends exactly the bytes of a script.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What happens to one request.
#[derive(Clone, Copy)]
pub enum Act {
    /// It gets this GraphQL response, and the connection stays.
    Answer(&'static str),
    /// The connection ends before any byte of an answer.
    Close,
    /// The connection ends after these bytes.
    Break(&'static str),
    /// Nothing comes after these bytes, for as long as the gateway waits.
    Stall(&'static str),
}

/// One act a request, in the order of the requests; the last one for all that come after it.
pub struct Scripted {
    address: SocketAddr,
    /// The heads of the requests.
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Scripted {
    pub async fn start(script: &'static [Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (requests, connections) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<AtomicUsize>::default(),
        );
        let (asked, opened) = (Arc::clone(&requests), Arc::clone(&connections));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(play(stream, script, Arc::clone(&asked)));
            }
        });
        Self {
            address,
            requests,
            connections,
            serving,
        }
    }

    /// The setting that puts it in the place of a subgraph.
    pub fn instead_of(&self, subgraph: &str) -> String {
        format!("--subgraph-url={subgraph}=http://{}/graphql", self.address)
    }

    pub fn url(&self) -> String {
        format!("http://{}/graphql", self.address)
    }

    pub fn requests(&self) -> usize {
        self.heads().len()
    }

    /// The heads of the requests, without their ends.
    pub fn heads(&self) -> Vec<String> {
        self.requests.lock().expect("not poisoned").clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn play(mut stream: TcpStream, script: &'static [Act], asked: Arc<Mutex<Vec<String>>>) {
    while let Some(head) = read_request(&mut stream).await {
        let number = {
            let mut asked = asked.lock().expect("not poisoned");
            asked.push(head);
            asked.len() - 1
        };
        let last = script.len() - 1;
        let bytes = match script[number.min(last)] {
            Act::Answer(body) => format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
            Act::Close => return,
            Act::Break(bytes) => {
                // The gateway may be gone already.
                let _ = stream.write_all(bytes.as_bytes()).await;
                return;
            }
            Act::Stall(bytes) => bytes.to_owned(),
        };
        if stream.write_all(bytes.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads a whole request, and returns its head; none when the connection has ended.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&request[..end]);
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .expect("the gateway tells the length");
        if request.len() == end + 4 + length {
            return Some(head.into_owned());
        }
    }
}
