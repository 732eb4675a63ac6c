//! Kept connections to one subgraph, the most recently used first.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use super::{FetchError, connection::Connection};

/// More idle connections than these are closed.
const IDLE_MAX: usize = 512;

/// The idle connections to one host.
pub struct Pool {
    host: String,
    port: u16,
    connect_timeout: Duration,
    idle_timeout: Duration,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Pool {
    /// Nothing is connected yet.
    pub fn new(host: String, port: u16, connect_timeout: Duration, idle_timeout: Duration) -> Self {
        Self {
            host,
            port,
            connect_timeout,
            idle_timeout,
            idle: Mutex::default(),
        }
    }

    /// A kept connection that still looks open, or a new one.
    pub async fn take(&self) -> Result<Connection, FetchError> {
        while let Some((connection, since)) = self.pop() {
            if since.elapsed() > self.idle_timeout {
                // The last one used is too old, so all below it are.
                self.lock().clear();
                break;
            }
            if connection.looks_open() {
                return Ok(connection);
            }
        }
        self.connect().await
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<Connection, FetchError> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(self.connect_timeout, connect)
            .await
            .map_err(|_| FetchError::Timeout(self.connect_timeout))?
            .map_err(FetchError::connect)?;
        // A request is one write; waiting for more to send would only delay it.
        stream.set_nodelay(true).map_err(FetchError::connect)?;
        Ok(Connection::new(stream))
    }

    /// Keeps a connection for the next request, if it can be used again.
    pub fn put_back(&self, connection: Connection) {
        if !connection.can_be_kept() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < IDLE_MAX {
            idle.push((connection, Instant::now()));
        }
    }

    fn pop(&self) -> Option<(Connection, Instant)> {
        self.lock().pop()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
