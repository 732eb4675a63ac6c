//! Keeps N HTTP/1.1 connections busy for a bounded time or count and checks every answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// When a load ends. Requests under way are finished and counted.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Elapsed(Duration),
    /// After this many requests.
    Count(usize),
}

/// What every answer must be, beside status 200.
#[derive(Clone, Debug)]
pub enum Expect {
    /// The whole body.
    Same(Bytes),
    /// These bytes somewhere in the answer, and no `"errors"` member.
    Contains(&'static str),
}

/// One load on one server.
#[derive(Clone, Debug)]
pub struct Load {
    pub address: SocketAddr,
    /// Connections, each with one request under way at a time.
    pub connections: usize,
    /// Bodies of `POST /graphql`, sent in turn over all connections.
    pub bodies: Arc<Vec<Bytes>>,
    /// The value of `Authorization` on every request.
    pub authorization: Option<Arc<str>>,
    /// What every answer must be.
    pub expect: Expect,
    pub until: Until,
}

/// What a load measured.
#[derive(Debug)]
pub struct LoadReport {
    /// How many requests were answered, all of them as expected.
    pub requests: usize,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Each request's time in microseconds, sorted.
    latencies_us: Vec<u32>,
}

impl LoadReport {
    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency in milliseconds below which `share` (0 to 1) of the answers came.
    pub fn latency_ms(&self, share: f64) -> f64 {
        percentile(&self.latencies_us, share) / 1_000.0
    }
}

/// The value below which `share` (0 to 1) of sorted `values` lie; 0 for none.
pub fn percentile(values: &[u32], share: f64) -> f64 {
    let last = values.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    values.get(index).copied().map_or(0.0, f64::from)
}

impl Load {
    /// Runs the load.
    ///
    /// # Errors
    /// When a connection breaks or an answer is not what was expected: a benchmark of wrong answers
    /// says nothing.
    pub async fn run(self) -> anyhow::Result<LoadReport> {
        let started = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let mut connections = JoinSet::new();
        for _ in 0..self.connections {
            connections.spawn(keep_busy(self.clone(), next.clone(), started));
        }
        let mut latencies_us = Vec::new();
        while let Some(result) = connections.join_next().await {
            latencies_us.extend(result??);
        }
        let elapsed = started.elapsed();
        latencies_us.sort_unstable();
        Ok(LoadReport {
            requests: latencies_us.len(),
            elapsed,
            latencies_us,
        })
    }
}

async fn keep_busy(
    load: Load,
    next: Arc<AtomicUsize>,
    started: Instant,
) -> anyhow::Result<Vec<u32>> {
    let mut connection = HttpConnection::open(load.address).await?;
    connection.authorization.clone_from(&load.authorization);
    let mut latencies_us = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        match load.until {
            Until::Elapsed(limit) if started.elapsed() >= limit => break,
            Until::Count(limit) if index >= limit => break,
            Until::Elapsed(_) | Until::Count(_) => {}
        }
        let body = load.bodies[index % load.bodies.len()].clone();
        let sent = Instant::now();
        let answer = connection.post(body).await?;
        latencies_us.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        check(&load.expect, &answer)?;
    }
    Ok(latencies_us)
}

fn check(expect: &Expect, answer: &[u8]) -> anyhow::Result<()> {
    let right = match expect {
        Expect::Same(bytes) => answer == bytes,
        Expect::Contains(part) => {
            let text = std::str::from_utf8(answer).context("an answer is not UTF-8")?;
            text.contains(part) && !text.contains("\"errors\"")
        }
    };
    if !right {
        bail!(
            "unexpected answer: {}",
            String::from_utf8_lossy(&answer[..answer.len().min(400)])
        );
    }
    Ok(())
}

/// One keep-alive connection that posts GraphQL requests.
pub struct HttpConnection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    /// The value of `Authorization` on every request.
    pub authorization: Option<Arc<str>>,
}

impl HttpConnection {
    /// Connects with TCP_NODELAY.
    ///
    /// # Errors
    /// When the server does not accept.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host: address.to_string(),
            authorization: None,
        })
    }

    /// Whether the service says that it is ready.
    pub async fn is_ready(&mut self) -> bool {
        let request = Request::get("/health/ready")
            .header(header::HOST, &self.host)
            .body(Full::default());
        let Ok(request) = request else { return false };
        let response = self.sender.send_request(request).await;
        response.is_ok_and(|response| response.status() == StatusCode::OK)
    }

    /// Posts one GraphQL request and returns the answer's body.
    ///
    /// # Errors
    /// When the connection breaks or the status is not 200.
    pub async fn post(&mut self, body: Bytes) -> anyhow::Result<Bytes> {
        let mut request = Request::post("/graphql")
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, &**authorization);
        }
        let request = request.body(Full::new(body))?;
        // The connection takes the next request a moment after the last answer's end.
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK {
            bail!(
                "status {status}: {}",
                String::from_utf8_lossy(&answer[..answer.len().min(400)])
            );
        }
        Ok(answer)
    }
}

/// The body of a GraphQL request.
pub fn graphql_body(query: &str, variables: serde_json::Value) -> Bytes {
    serde_json::json!({ "query": query, "variables": variables })
        .to_string()
        .into()
}
