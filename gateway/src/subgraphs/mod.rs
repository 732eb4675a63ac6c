//! Sends one request to one subgraph, over kept connections.
//!
//! It speaks HTTP/1.1 itself, on the request's own task: there is no connection task to wake, a
//! request is one write, and the body is read into the buffer that the executor keeps.
//! `docs/decisions/subgraph-client.md` says why.

mod download;
mod endpoint;
mod http_connection;
mod in_flight;
mod pending_requests;
mod places;
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
use graphql_transport::{
    ClientKey,
    signature::{SignatureHeaders, Signer},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::{
    config::SubgraphSettings,
    metrics::{OneSubgraphMetrics, SubgraphMetrics},
};
pub(crate) use download::download;
pub(crate) use endpoint::{Endpoint, without_user};
use http_connection::ResponseLimits;
pub use in_flight::SharedQuery;
use pending_requests::PendingRequests;
use places::{Place, Places};
use pool::Pool;
pub(crate) use stream::Stream;
pub use tls::Tls;

/// The start of a header line with credentials.
const AUTHORIZATION: &[u8] = b"authorization: ";

/// A subgraph and the connections to it.
pub struct Subgraph {
    name: String,
    url: String,
    /// With user information; must not be logged.
    full_url: String,
    /// The credentials in its address; `head` has them.
    authorization: Option<HeaderValue>,
    /// The request line and the headers that never change.
    head: Vec<u8>,
    /// The target of the request line.
    path: String,
    signer: Signer,
    timeout: Duration,
    limits: ResponseLimits,
    pool: Pool,
    in_flight: in_flight::InFlight,
    waiting: PendingRequests,
    places: Places,
    metrics: OneSubgraphMetrics,
}

/// For whom a request is sent.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The client that takes turns with others.
    pub client: ClientKey,
    /// The size of the operation's last answer; 0 if it is not known.
    pub answer_bytes: usize,
}

/// The HTTP response of a subgraph.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The HTTP status code, never a 1xx one.
    pub status: u16,
    /// The headers; empty unless the caller wanted them.
    pub headers: HeaderMap,
    /// The whole body, not yet checked to be JSON.
    pub body: Bytes,
}

/// Why a request got no response. Cloned for each query that shared the request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The connection could not be opened.
    #[error("the connection failed: {0}")]
    Connect(#[source] Arc<std::io::Error>),
    /// The server's certificate does not prove that it is the subgraph.
    #[error(
        "its certificate is not trusted: {0} (SUBGRAPH_CA_FILE can add certificate authorities)"
    )]
    Untrusted(rustls::CertificateError),
    /// The TLS handshake failed for another reason.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] Arc<std::io::Error>),
    /// The connection broke during the exchange.
    #[error("the connection broke: {0}")]
    Io(#[source] Arc<std::io::Error>),
    /// The subgraph closed the connection before it sent any byte of a response.
    #[error("the connection was closed before a response")]
    ClosedBeforeResponse,
    /// The response is not valid HTTP/1.1, or uses a part of it that was not requested.
    #[error("the response is not valid HTTP: {0}")]
    Protocol(&'static str),
    /// There was no whole response within the time limit.
    #[error("no response within {0:?}")]
    Timeout(Duration),
    /// The body is larger than this many bytes.
    #[error("the response is larger than {0} bytes")]
    TooLarge(usize),
    /// This many requests already run or wait, which is the limit. It was not sent.
    #[error("{0} requests already wait for it")]
    Overloaded(usize),
    /// For this long, the client or others had all places for requests that run at a time. It was not sent.
    #[error("it was not sent within {0:?}: too many other requests run")]
    NotSent(Duration),
}

impl FetchError {
    fn connect(error: std::io::Error) -> Self {
        Self::Connect(Arc::new(error))
    }

    fn io(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// The headers in the lines of a request's head.
fn headers_in(lines: &[u8]) -> HeaderMap {
    let lines = lines.split(|byte| *byte == b'\n');
    let headers = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        Some((name, value))
    });
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name, value);
    }
    map
}

impl Subgraph {
    /// A subgraph at `url` (`http://host:port/path`, or `https`). It connects when the first
    /// request is sent.
    ///
    /// # Errors
    /// In words, if there is no address or it is not a valid one.
    pub fn new(
        name: &str,
        url: &str,
        settings: &SubgraphSettings,
        tls: &Tls,
        metrics: &SubgraphMetrics,
    ) -> Result<Self, String> {
        if url.is_empty() {
            let key = crate::config::address_key(name);
            return Err(format!("it has no address: set SUBGRAPH_URL_{key}"));
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
        let running_max = settings.requests_running_max.min(settings.requests_max);
        let queued_max = settings.requests_max - running_max;
        Ok(Self {
            name: name.to_owned(),
            url: without_user(url),
            full_url: url.to_owned(),
            authorization: endpoint.authorization().cloned(),
            head,
            path: endpoint.path().to_owned(),
            signer: settings.secrets.signer(name),
            timeout: settings.timeout,
            limits: ResponseLimits {
                body_bytes_max: settings.body_bytes_max,
                overhead_bytes_max: settings.overhead_bytes_max,
            },
            in_flight: in_flight::InFlight::default(),
            waiting: PendingRequests::new(metrics.waiting(name)),
            places: Places::new(
                running_max,
                settings.requests_running_per_client_max,
                queued_max,
                metrics.queued(name),
            ),
            metrics: metrics.of(name),
            pool: Pool::new(endpoint, settings, tls),
        })
    }

    /// Its name in the supergraph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its GraphQL endpoint without user information, safe to log.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Signs the requests to it.
    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Its GraphQL endpoint with user information, never to be logged.
    pub(crate) fn full_url(&self) -> &str {
        &self.full_url
    }

    /// Sends one GraphQL request in the client's turn. `lines` are further headers, as lines of the request's head. A
    /// query is sent once more if its kept connection turns out to be closed before any byte of the
    /// response; a mutation never is.
    ///
    /// # Errors
    /// If there is no whole response within the limits.
    pub async fn send(
        &self,
        caller: Caller,
        body: &[u8],
        lines: &[u8],
        is_mutation: bool,
        want_headers: bool,
    ) -> Result<HttpResponse, FetchError> {
        let pending = self.waiting.enter();
        let _place = match self.places.try_take(caller.answer_bytes) {
            Some(place) => place,
            // Boxed because it is rare: the futures of all other requests stay small.
            None => Box::pin(self.wait_for_place(caller)).await?,
        };
        let mut head = self.signed_head(body, lines);
        let exchange = pin!(async {
            let mut connection = self.pool.take().await?;
            loop {
                let may_repeat = connection.was_used() && !is_mutation;
                let answer = connection
                    .exchange(&head, body, want_headers, self.limits)
                    .await;
                match answer {
                    // The new connection has not been used before, so there is no third attempt.
                    Err(FetchError::ClosedBeforeResponse) if may_repeat => {
                        connection = Box::pin(self.pool.connect()).await?;
                        // The subgraph may have accepted the signature before it closed, and does so once.
                        if self.signer.is_on() {
                            head = self.signed_head(body, lines);
                        }
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
            Ok(_) => pending.answered(),
            Err(_) => {
                self.metrics.failures.inc();
            }
        }
        answer
    }

    async fn wait_for_place(&self, caller: Caller) -> Result<Place<'_>, FetchError> {
        let place = self.places.take(caller.client, caller.answer_bytes);
        let place = tokio::time::timeout(self.timeout, place).await;
        let place = place.unwrap_or(Err(FetchError::NotSent(self.timeout)));
        place.inspect_err(|_| {
            self.metrics.failures.inc();
        })
    }

    /// For how long it has answered none of the requests sent to it; `None` if no request waits.
    pub fn unanswered(&self) -> Option<Duration> {
        self.waiting.unanswered()
    }

    /// The head of a request, signed where there is a secret.
    fn signed_head(&self, body: &[u8], lines: &[u8]) -> Vec<u8> {
        match self.signer.is_on() {
            true => self.request_head(body.len(), &self.signed(body, lines)),
            false => self.request_head(body.len(), lines),
        }
    }

    /// Adds the lines of a signature.
    fn signed(&self, body: &[u8], lines: &[u8]) -> Vec<u8> {
        let mut lines = lines.to_vec();
        let mut headers = headers_in(&lines);
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let signature = self
            .signer
            .sign(&Method::POST, &self.path, Some(body), &headers);
        for (name, value) in signature.iter().flat_map(SignatureHeaders::iter) {
            for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                lines.extend_from_slice(piece);
            }
        }
        lines
    }

    fn request_head(&self, body_bytes: usize, lines: &[u8]) -> Vec<u8> {
        let mut length = itoa::Buffer::new();
        let lines: Cow<'_, [u8]> = match self.authorization.is_some() {
            false => lines.into(),
            // The credentials in the subgraph's address win over those that a rule forwards.
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
