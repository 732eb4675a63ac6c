//! One request to one subgraph, over kept connections.
//!
//! HTTP/1.1 by our own hand, on the request's own task: no connection task to wake, one write for
//! the request, the body read into the buffer that the executor keeps. Decision page:
//! `docs/decisions/subgraph-client.md`.

mod endpoint;
mod http_connection;
mod in_flight;
mod pending_requests;
mod pool;
mod stream;
mod tls;

use std::{
    borrow::Cow,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    config::SubgraphSettings,
    metrics::{OneSubgraphMetrics, SubgraphMetrics},
};
pub(crate) use endpoint::{Endpoint, without_user};
use http_connection::AnswerLimits;
pub use in_flight::SharedQuery;
use pending_requests::PendingRequests;
use pool::Pool;
pub(crate) use stream::Stream;
pub use tls::Tls;

/// How a line with credentials begins.
const AUTHORIZATION: &[u8] = b"authorization: ";

/// A subgraph and the connections to it.
pub struct Subgraph {
    name: String,
    url: String,
    /// With user information.
    full_url: String,
    /// Whether `head` has an `Authorization` header.
    is_authorized: bool,
    /// The request line and the headers that never change.
    head: Vec<u8>,
    timeout: Duration,
    limits: AnswerLimits,
    pool: Pool,
    in_flight: in_flight::InFlight,
    waiting: PendingRequests,
    metrics: OneSubgraphMetrics,
}

/// A subgraph's answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, if they were wanted.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer. A clone tells those who shared the request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[source] Arc<std::io::Error>),
    /// The other side's certificate does not prove that it is the subgraph.
    #[error("its certificate is not trusted: {0} (SUBGRAPH_CA_FILE names further authorities)")]
    Untrusted(rustls::CertificateError),
    /// The other side does not speak TLS, or not as we do.
    #[error("no TLS: {0}")]
    Tls(#[source] Arc<std::io::Error>),
    /// The connection broke on the way.
    #[error("the connection broke: {0}")]
    Io(#[source] Arc<std::io::Error>),
    /// The subgraph closed the connection before any byte of an answer.
    #[error("the connection was closed before an answer")]
    ClosedBeforeAnswer,
    /// What came is not HTTP/1.1, or a part of it that was not asked for.
    #[error("the answer is not HTTP: {0}")]
    Protocol(&'static str),
    /// The time limit passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The body is larger than allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// As many requests wait for the subgraph as may.
    #[error("{0} requests wait for it already")]
    Overloaded(usize),
}

impl FetchError {
    fn connect(error: std::io::Error) -> Self {
        Self::Connect(Arc::new(error))
    }

    fn io(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl Subgraph {
    /// A subgraph at `url` (`http://host:port/path`, or `https`). Nothing is connected
    /// yet.
    pub fn new(
        name: &str,
        url: &str,
        settings: &SubgraphSettings,
        tls: &Tls,
        metrics: &SubgraphMetrics,
    ) -> Result<Self, String> {
        if url.is_empty() {
            let key = crate::config::address_key(name);
            return Err(format!(
                "it has no address; SUBGRAPH_URL_{key} can give it one"
            ));
        }
        let endpoint = Endpoint::parse(url)?;
        let mut head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             accept: application/graphql-response+json, application/json\r\n\
             accept-encoding: identity\r\n",
            endpoint.path(),
            endpoint.authority(),
        )
        .into_bytes();
        if let Some(authorization) = endpoint.authorization() {
            let value = authorization.as_bytes();
            head.extend_from_slice(&[AUTHORIZATION, value, b"\r\n"].concat());
        }
        Ok(Self {
            name: name.to_owned(),
            url: without_user(url),
            full_url: url.to_owned(),
            is_authorized: endpoint.authorization().is_some(),
            head,
            timeout: settings.timeout,
            limits: AnswerLimits {
                body_bytes_max: settings.body_bytes_max,
                overhead_bytes_max: settings.overhead_bytes_max,
            },
            in_flight: in_flight::InFlight::default(),
            waiting: PendingRequests::new(metrics.waiting(name), settings.requests_max),
            metrics: metrics.of(name),
            pool: Pool::new(endpoint, settings, tls),
        })
    }

    /// Its name in the supergraph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its GraphQL endpoint as it may be shown: without user information.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its GraphQL endpoint with user information, never to be logged.
    pub(crate) fn full_url(&self) -> &str {
        &self.full_url
    }

    /// Sends one GraphQL request; `lines` are headers as lines of the head. A query whose kept connection turns out to be closed before any
    /// byte of the answer is sent once more; a mutation never is.
    ///
    /// # Errors
    /// When there is no whole answer within the limits.
    pub async fn send(
        &self,
        body: &[u8],
        lines: &[u8],
        is_mutation: bool,
        want_headers: bool,
    ) -> Result<HttpAnswer, FetchError> {
        let place = self.waiting.enter().inspect_err(|_| {
            self.metrics.failures.inc();
        })?;
        let head = self.request_head(body.len(), lines);
        let exchange = pin!(async {
            let mut connection = self.pool.take().await?;
            loop {
                let may_repeat = connection.was_used() && !is_mutation;
                let answer = connection
                    .exchange(&head, body, want_headers, self.limits)
                    .await;
                match answer {
                    // A new one was not used: there is no third time.
                    Err(FetchError::ClosedBeforeAnswer) if may_repeat => {
                        connection = Box::pin(self.pool.connect()).await?;
                    }
                    Err(error) => return Err(error),
                    Ok(answer) => {
                        self.pool.put_back(connection);
                        return Ok(answer);
                    }
                }
            }
        });
        let began = Instant::now();
        let answer = tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(FetchError::Timeout(self.timeout)));
        self.metrics.latency.observe(began.elapsed().as_secs_f64());
        match &answer {
            Ok(_) => place.answered(),
            Err(_) => {
                self.metrics.failures.inc();
            }
        }
        answer
    }

    /// For how long requests have been sent to it and none was answered; none where all were.
    pub fn unanswered(&self) -> Option<Duration> {
        self.waiting.unanswered()
    }

    fn request_head(&self, body_bytes: usize, lines: &[u8]) -> Vec<u8> {
        let mut length = itoa::Buffer::new();
        let lines: Cow<'_, [u8]> = match self.is_authorized {
            false => lines.into(),
            // The address' own wins over what a rule forwards of the client's.
            true => {
                let lines = lines.split_inclusive(|byte| *byte == b'\n');
                let others = lines.filter(|line| !line.starts_with(AUTHORIZATION));
                others.collect::<Vec<_>>().concat().into()
            }
        };
        [
            &self.head[..],
            &lines,
            b"content-length: ",
            length.format(body_bytes).as_bytes(),
            b"\r\n\r\n",
        ]
        .concat()
    }
}
