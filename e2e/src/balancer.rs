//! A small TCP balancer: it gives each new connection to the ready server that has the fewest, and closes none itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// How often each server is asked whether it is ready.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A server that takes longer to answer, or to accept, is not ready.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// A running balancer. It ends, with all connections, when this is dropped.
pub struct Balancer {
    address: SocketAddr,
    servers: Arc<[Server]>,
    tasks: Vec<AbortHandle>,
}

struct Server {
    address: SocketAddr,
    is_ready: AtomicBool,
    connections: AtomicUsize,
}

impl Balancer {
    /// Listens on a free port, for servers that say at `/health/ready` whether they are.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(servers: impl IntoIterator<Item = SocketAddr>) -> io::Result<Self> {
        let server = |address| Server {
            address,
            is_ready: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        };
        let servers: Arc<[Server]> = servers.into_iter().map(server).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let looks = (0..servers.len()).map(|number| tokio::spawn(look(servers.clone(), number)));
        let mut tasks: Vec<AbortHandle> = looks.map(|look| look.abort_handle()).collect();
        tasks.push(tokio::spawn(accept(listener, servers.clone())).abort_handle());
        Ok(Self {
            address,
            servers,
            tasks,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections each server has now.
    pub fn connections(&self) -> Vec<usize> {
        let of = |server: &Server| server.connections.load(Ordering::Relaxed);
        self.servers.iter().map(of).collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn look(servers: Arc<[Server]>, number: usize) {
    let server = &servers[number];
    // A connection for each question: one that is kept says nothing of whether the server still accepts.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0);
    let Ok(client) = client.timeout(ANSWER_LIMIT).build() else {
        return;
    };
    let url = format!("http://{}/health/ready", server.address);
    loop {
        let answer = client.get(&url).send().await;
        let is_ready = answer.is_ok_and(|answer| answer.status().is_success());
        server.is_ready.store(is_ready, Ordering::Relaxed);
        sleep(LOOK_INTERVAL).await;
    }
}

async fn accept(listener: TcpListener, servers: Arc<[Server]>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((client, _)) => drop(connections.spawn(carry(client, servers.clone()))),
            Err(_) => sleep(LOOK_INTERVAL).await,
        }
    }
}

/// Connects a client, as soon as a server is ready, and carries bytes until both sides have closed.
async fn carry(mut client: TcpStream, servers: Arc<[Server]>) {
    loop {
        let ready = servers
            .iter()
            .filter(|it| it.is_ready.load(Ordering::Relaxed));
        let Some(server) = ready.min_by_key(|it| it.connections.load(Ordering::Relaxed)) else {
            sleep(LOOK_INTERVAL).await;
            continue;
        };
        let counted = Counted::new(&server.connections);
        match timeout(ANSWER_LIMIT, TcpStream::connect(server.address)).await {
            Ok(Ok(mut upstream)) => {
                // How it ended is for both sides to know.
                let _ = copy_bidirectional(&mut client, &mut upstream).await;
                return;
            }
            _ => server.is_ready.store(false, Ordering::Relaxed),
        }
        drop(counted);
    }
}

/// Counts a connection until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(connections: &'a AtomicUsize) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
