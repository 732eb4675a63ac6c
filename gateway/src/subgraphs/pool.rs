//! The pool of idle connections to one address of a subgraph. The most recently used one is taken first.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{FetchError, endpoint::Endpoint, http_connection::HttpConnection, tls::Tls};
use crate::config::SubgraphSettings;

/// The largest number of idle connections to one subgraph; further ones are closed.
const IDLE_MAX: usize = 512;

/// The idle connections to one subgraph's address.
pub struct Pool {
    endpoint: Endpoint,
    /// The one to connect to, of those that the endpoint's host stands for; `None` for any of them.
    address: Option<SocketAddr>,
    tls: Tls,
    connect_timeout: Duration,
    idle_timeout: Duration,
    idle_max: AtomicUsize,
    /// With the time of their last use; the oldest at the front.
    idle: Mutex<VecDeque<(HttpConnection, Instant)>>,
}

impl Pool {
    /// An empty pool. It connects when a request needs it.
    pub fn new(
        endpoint: Endpoint,
        address: Option<SocketAddr>,
        settings: &SubgraphSettings,
        tls: &Tls,
    ) -> Self {
        Self {
            endpoint,
            address,
            tls: tls.clone(),
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
            idle_max: AtomicUsize::new(IDLE_MAX),
            idle: Mutex::default(),
        }
    }

    /// Shares the largest number of idle connections with the pools of the subgraph's other addresses.
    pub fn is_one_of(&self, pools: usize) {
        let idle_max = (IDLE_MAX / pools.max(1)).max(1);
        self.idle_max.store(idle_max, Ordering::Relaxed);
    }

    /// Takes an idle connection that still looks open, or opens a new one.
    pub async fn take(&self) -> Result<HttpConnection, FetchError> {
        match self.take_idle() {
            Some(connection) => Ok(connection),
            // Boxed because connecting is rare: the futures of all other requests stay small.
            None => Box::pin(self.connect()).await,
        }
    }

    /// Takes an idle connection that still looks open.
    pub fn take_idle(&self) -> Option<HttpConnection> {
        while let Some((mut connection, since)) = self.pop() {
            if since.elapsed() > self.idle_timeout {
                // The most recently used one is too old, so all others are.
                self.clear();
                return None;
            }
            if connection.looks_open() {
                return Some(connection);
            }
        }
        None
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        let idle = std::mem::take(&mut *self.lock());
        // Closed outside the lock.
        drop(idle);
    }

    /// Opens a new connection within the connect timeout.
    pub async fn connect(&self) -> Result<HttpConnection, FetchError> {
        let (address, limit) = (self.address, self.connect_timeout);
        let stream = self.endpoint.connect_to(address, &self.tls, limit);
        Ok(HttpConnection::new(stream.await?))
    }

    /// Keeps a connection for the next request, if it can be used again.
    pub fn put_back(&self, connection: HttpConnection) {
        if !connection.can_be_kept() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.lock();
        // Connections that a burst has left are never taken while fewer suffice: they are closed
        // from the other end, one at a time.
        let is_stale =
            |(_, since): &(HttpConnection, Instant)| now.duration_since(*since) > self.idle_timeout;
        let stale = match idle.front().is_some_and(is_stale) {
            true => idle.pop_front(),
            false => None,
        };
        if idle.len() < self.idle_max.load(Ordering::Relaxed) {
            idle.push_back((connection, now));
        }
        drop(idle);
        // Closed outside the lock.
        drop(stale);
    }

    fn pop(&self) -> Option<(HttpConnection, Instant)> {
        self.lock().pop_back()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(HttpConnection, Instant)>> {
        self.idle
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
