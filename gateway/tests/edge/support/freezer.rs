//! Stands between the gateway and a subgraph, and can hang as a process that is stopped: connections stay, and new ones
//! are accepted, but no byte passes.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

pub struct Freezer {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
    is_frozen: watch::Sender<bool>,
    answers: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Freezer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let target = Arc::<OnceLock<SocketAddr>>::default();
        let is_frozen = watch::Sender::new(false);
        let answers = Arc::<AtomicUsize>::default();
        let (behind, frozen) = (Arc::clone(&target), is_frozen.subscribe());
        let passed = Arc::clone(&answers);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = *behind.get().expect("there is a subgraph");
                tokio::spawn(relay(client, target, frozen.clone(), Arc::clone(&passed)));
            }
        });
        Self {
            address,
            target,
            is_frozen,
            answers,
            serving,
        }
    }

    /// The gateway's setting that puts this in front of the subgraph.
    pub fn instead_of(&self, subgraph: &str) -> String {
        format!("--subgraph-url={subgraph}=http://{}/graphql", self.address)
    }

    /// The subgraph's address, before anything connects.
    pub fn stands_before(&self, target: SocketAddr) {
        self.target.set(target).expect("only once");
    }

    /// How often the subgraph has sent something.
    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    pub fn freeze(&self) {
        self.is_frozen.send_replace(true);
    }

    pub fn thaw(&self) {
        self.is_frozen.send_replace(false);
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    frozen: watch::Receiver<bool>,
    answers: Arc<AtomicUsize>,
) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (client, server) = (client.into_split(), server.into_split());
    tokio::join!(
        copy(client.0, server.1, frozen.clone(), Arc::default()),
        copy(server.0, client.1, frozen, answers),
    );
}

/// Returns when either side has left.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
    passed: Arc<AtomicUsize>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes) = from.read(&mut buffer).await {
        let is_over = frozen.wait_for(|is_frozen| !is_frozen).await.is_err();
        if is_over || bytes == 0 || to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
        passed.fetch_add(1, Ordering::SeqCst);
    }
}
