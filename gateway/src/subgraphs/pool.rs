//! The pool of idle connections to one subgraph. The most recently used one is taken first.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{FetchError, endpoint::Endpoint, http_connection::HttpConnection, tls::Tls};
use crate::config::SubgraphSettings;

/// The largest number of idle connections; further ones are closed.
const IDLE_MAX: usize = 512;

/// The idle connections to one subgraph's address.
pub struct Pool {
    endpoint: Endpoint,
    tls: Tls,
    connect_timeout: Duration,
    idle_timeout: Duration,
    /// With the time of their last use; the oldest at the front.
    idle: Mutex<VecDeque<(HttpConnection, Instant)>>,
}

impl Pool {
    /// An empty pool. It connects when a request needs it.
    pub fn new(endpoint: Endpoint, settings: &SubgraphSettings, tls: &Tls) -> Self {
        Self {
            endpoint,
            tls: tls.clone(),
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
            idle: Mutex::default(),
        }
    }

    /// Takes an idle connection that still looks open, or opens a new one.
    pub async fn take(&self) -> Result<HttpConnection, FetchError> {
        while let Some((mut connection, since)) = self.pop() {
            if since.elapsed() > self.idle_timeout {
                // The most recently used one is too old, so all others are.
                let stale = std::mem::take(&mut *self.lock());
                drop(stale);
                break;
            }
            if connection.looks_open() {
                return Ok(connection);
            }
        }
        // Boxed because connecting is rare: the futures of all other requests stay small.
        Box::pin(self.connect()).await
    }

    /// Opens a new connection within the connect timeout.
    pub async fn connect(&self) -> Result<HttpConnection, FetchError> {
        let stream = self.endpoint.connect(&self.tls, self.connect_timeout);
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
        if idle.len() < IDLE_MAX {
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
