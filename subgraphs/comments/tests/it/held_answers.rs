//! A relay between the service and the database, which can hold back what the server answers to the stream of comments.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use embedded_mongo::ReplicaSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// The relay. It ends with the test.
pub struct HeldAnswers {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Questions of the stream of comments for more.
    asked: AtomicUsize,
    /// Answers to them that are held back.
    waiting: AtomicUsize,
    /// Those that may pass.
    released: AtomicUsize,
    holds: AtomicBool,
    changed: Notify,
}

impl HeldAnswers {
    /// Starts it before a replica set of one node. It holds nothing back yet.
    pub async fn before(set: &ReplicaSet) -> Self {
        let uri = set.uri();
        let server = uri.trim_start_matches("mongodb://");
        let server = server.split('/').next().expect("a host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::<Shared>::default();
        let of_all = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // The server ends before the service does.
                let Ok(server) = TcpStream::connect(&server).await else {
                    return;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let of_comments = Arc::<AtomicBool>::default();
                let up = up(of_all.clone(), from_client, to_server, of_comments.clone());
                tokio::spawn(up);
                tokio::spawn(down(of_all.clone(), from_server, to_client, of_comments));
            }
        });
        Self { address, shared }
    }

    /// A connection string that leads through it, with a database.
    pub fn uri_for(&self, database: &str) -> String {
        format!(
            "mongodb://{}/{database}?directConnection=true",
            self.address
        )
    }

    /// Holds answers back from now on.
    pub fn hold(&self) {
        self.shared.holds.store(true, Ordering::SeqCst);
    }

    /// How many answers are held back.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// How often the stream of comments has asked for more.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Lets one answer pass.
    pub fn release_one(&self) {
        self.shared.released.fetch_add(1, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }

    /// Lets all answers pass.
    pub fn release_all(&self) {
        self.shared.holds.store(false, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }
}

async fn up(
    shared: Arc<Shared>,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    of_comments: Arc<AtomicBool>,
) {
    // What the message of a `getMore` has, as BSON: the name of its collection.
    const COLLECTION: &[u8] = b"\x02collection\0\x09\0\0\0comments\0";
    while let Some(message) = message(&mut from).await {
        let has = |bytes: &[u8]| message.windows(bytes.len()).any(|part| part == bytes);
        let asks = has(b"getMore\0") && has(COLLECTION);
        of_comments.store(asks, Ordering::SeqCst);
        shared.asked.fetch_add(usize::from(asks), Ordering::SeqCst);
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

async fn down(
    shared: Arc<Shared>,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    of_comments: Arc<AtomicBool>,
) {
    while let Some(message) = message(&mut from).await {
        if of_comments.load(Ordering::SeqCst) {
            shared.let_pass().await;
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

impl Shared {
    async fn let_pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        loop {
            let changed = self.changed.notified();
            let take = |released: usize| released.checked_sub(1);
            if !self.holds.load(Ordering::SeqCst)
                || self
                    .released
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                    .is_ok()
            {
                break;
            }
            changed.await;
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A message of the wire protocol: it begins with its length.
async fn message(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await.ok()?;
    let mut message = vec![0; usize::try_from(u32::from_le_bytes(length)).ok()?];
    message[..4].copy_from_slice(&length);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}
