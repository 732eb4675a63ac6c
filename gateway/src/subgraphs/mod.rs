//! Sends one request to one subgraph, over kept connections.
//!
//! It speaks HTTP/1.1 itself, on the request's own task: there is no connection task to wake, a
//! request is one write, and the body is read into the buffer that the executor keeps.
//! `docs/decisions/subgraph-client.md` says why.

mod address_list;
mod attempt;
mod balancer;
mod breaker;
mod download;
mod endpoint;
mod http_connection;
mod in_flight;
mod instance;
mod names;
mod origin;
mod pending_requests;
mod places;
mod pool;
mod probe;
mod retries;
mod retry_elsewhere;
mod stream;
mod tls;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use graphql_transport::{ClientKey, signature::Signer};
use http::HeaderMap;
use tokio::time::Instant;

use crate::{
    config::SubgraphSettings,
    metrics::{OneSubgraphMetrics, OneTrafficMetrics, SubgraphMetrics},
};
pub(crate) use address_list::listed_addresses;
use attempt::{Addresses, Outgoing};
pub(crate) use balancer::Balancer;
use breaker::Breaker;
pub(crate) use download::{Wanted, download};
pub(crate) use endpoint::{Endpoint, without_user};
use http_connection::ResponseLimits;
pub use in_flight::SharedQuery;
use instance::Rank;
pub(crate) use instance::{Instance, Outcome, Turn};
use origin::Origin;
use pending_requests::PendingRequests;
use places::{Place, Places};
use pool::Pool;
use retries::Retries;
pub(crate) use stream::Stream;
pub use tls::Tls;

/// The start of a header line with credentials.
const AUTHORIZATION: &[u8] = b"authorization: ";
/// The start of the first line, where the body is not JSON.
pub(crate) const CONTENT_TYPE: &[u8] = b"content-type: ";

/// A subgraph and the connections to it.
pub struct Subgraph {
    name: String,
    url: String,
    /// With user information; must not be logged.
    full_url: String,
    signer: Signer,
    timeout: Duration,
    limits: ResponseLimits,
    addresses: Arc<Addresses>,
    in_flight: in_flight::InFlight,
    waiting: PendingRequests,
    places: Places,
    retries: Retries,
    breaker: Arc<Breaker>,
    metrics: OneSubgraphMetrics,
    traffic: OneTrafficMetrics,
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
    /// When to come again, of an answer with 502, 503 or 504 that says so in a way that is understood.
    pub retry_after: Option<Duration>,
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
    /// The connection was closed before any byte of the request was sent: the subgraph has not taken it.
    #[error("the connection was closed before the request was sent")]
    ClosedBeforeRequest,
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
    /// The subgraph counts as unavailable. It was not sent.
    #[error(
        "it was not sent: the subgraph has failed many times, and has not answered a probe since"
    )]
    Unavailable,
}

impl FetchError {
    fn connect(error: std::io::Error) -> Self {
        Self::Connect(Arc::new(error))
    }

    fn io(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// Parses the addresses of a subgraph.
///
/// # Errors
/// In words, if there is none, or one is malformed.
pub(crate) fn endpoints(name: &str, urls: &[&str]) -> Result<Vec<Endpoint>, String> {
    if urls.is_empty() {
        let key = crate::config::address_key(name);
        return Err(format!("it has no address: set SUBGRAPH_URL_{key}"));
    }
    address_list::parse(urls)
}

impl Subgraph {
    /// A subgraph at these addresses (`http://host:port/path`, or `https`). It connects when the first request is sent.
    ///
    /// # Errors
    /// In words, if there is no address or one is not valid.
    pub fn new(
        name: &str,
        urls: &[&str],
        settings: &SubgraphSettings,
        tls: &Tls,
        metrics: &SubgraphMetrics,
    ) -> Result<Self, String> {
        let endpoints = endpoints(name, urls)?;
        let signer = settings.secrets.signer(name);
        let accept_encoding = settings.accept_encoding.to_string();
        let mut origins: Vec<_> = endpoints
            .into_iter()
            .map(|endpoint| Origin::new(endpoint, &accept_encoding, &signer))
            .collect();
        let addresses =
            match origins.pop_if(|origin| urls.len() == 1 && origin.endpoint.ip().is_some()) {
                Some(origin) => {
                    let pool = Pool::new(origin.endpoint.clone(), None, settings, tls);
                    Addresses::One(Box::new((origin, pool)))
                }
                None => Addresses::Several(Balancer::new(name, origins, settings, tls, metrics)),
            };
        let running_max = settings.requests_running_max.min(settings.requests_max);
        let queued_max = settings.requests_max - running_max;
        let shown: Vec<String> = urls.iter().map(|url| without_user(url)).collect();
        let traffic = metrics.traffic(name);
        Ok(Self {
            name: name.to_owned(),
            url: shown.join(", "),
            full_url: urls.join(", "),
            signer,
            timeout: settings.timeout,
            limits: ResponseLimits {
                body_bytes_max: settings.body_bytes_max,
                overhead_bytes_max: settings.overhead_bytes_max,
                may_be_encoded: settings.accept_encoding.is_any(),
            },
            in_flight: in_flight::InFlight::default(),
            waiting: PendingRequests::new(metrics.waiting(name)),
            places: Places::new(
                running_max,
                settings.requests_running_per_client_max,
                queued_max,
                metrics.queued(name),
            ),
            retries: Retries::new(&settings.retries),
            breaker: Breaker::new(name, &settings.breaker, traffic.clone()),
            metrics: metrics.of(name),
            traffic,
            addresses: Arc::new(addresses),
        })
    }

    /// Its name in the supergraph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its addresses without user information, safe to log.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Signs the requests to it.
    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Its addresses with user information, never to be logged.
    pub(crate) fn full_url(&self) -> &str {
        &self.full_url
    }

    /// Sends one GraphQL request in the client's turn. `lines` are further headers, as lines of the request's head. A
    /// query is sent once more if its kept connection turns out to be closed before any byte of the
    /// response, or elsewhere if the subgraph has several addresses; and again later if the subgraph could not take it,
    /// within a budget ([`retries`]). A mutation is sent again only if it was not taken.
    ///
    /// # Errors
    /// If there is no whole response within the limits, or the subgraph counts as unavailable ([`breaker`]).
    pub async fn send(
        &self,
        caller: Caller,
        body: &[u8],
        lines: &[u8],
        is_mutation: bool,
        want_headers: bool,
    ) -> Result<HttpResponse, FetchError> {
        self.check_available()?;
        let pending = self.waiting.enter();
        let _place = match self.places.try_take(caller.answer_bytes) {
            Some(place) => place,
            // Boxed because it is rare: the futures of all other requests stay small.
            None => Box::pin(self.wait_for_place(caller)).await?,
        };
        let outgoing = Outgoing {
            body,
            lines,
            is_mutation,
            want_headers,
            limits: self.limits,
        };
        let began = Instant::now();
        let deadline = began + self.timeout;
        self.retries.sent();
        let mut tried = Vec::new();
        let mut answer = self.attempt(&outgoing, deadline, &mut tried).await;
        if !is_mutation && self.retries.is_worth_one(&answer) {
            answer = Box::pin(self.send_again(&outgoing, answer, tried, deadline)).await;
        }
        self.metrics.latency.observe(began.elapsed().as_secs_f64());
        match &answer {
            Ok(_) => pending.answered(),
            Err(_) => {
                self.metrics.failures.inc();
            }
        }
        answer
    }

    fn check_available(&self) -> Result<(), FetchError> {
        self.breaker.check().inspect_err(|_| {
            self.metrics.failures.inc();
        })
    }

    /// Whether it counts as unavailable, and gets no requests.
    pub fn is_unavailable(&self) -> bool {
        self.breaker.is_open()
    }

    async fn wait_for_place(&self, caller: Caller) -> Result<Place<'_>, FetchError> {
        let place = self.places.take(caller.client, caller.answer_bytes);
        let place = tokio::time::timeout(self.timeout, place).await;
        let place = place.unwrap_or(Err(FetchError::NotSent(self.timeout)));
        let place = place.inspect_err(|_| {
            self.metrics.failures.inc();
        })?;
        // It may have become unavailable meanwhile.
        self.check_available()?;
        Ok(place)
    }

    /// For how long it has answered none of the requests sent to it; `None` if no request waits.
    pub fn unanswered(&self) -> Option<Duration> {
        self.waiting.unanswered()
    }

    /// Whether it has addresses that are up, and neither among `tried` nor this one.
    pub(crate) fn has_others_up(&self, tried: &[Arc<Instance>], instance: &Arc<Instance>) -> bool {
        let known = self.balancer().map(|balancer| balancer.known());
        let is_other = |other: &Arc<Instance>| {
            let is_tried = tried.iter().any(|it| Arc::ptr_eq(it, other));
            !Arc::ptr_eq(other, instance) && !is_tried && !other.is_down()
        };
        known.is_some_and(|known| known.iter().any(is_other))
    }

    /// Whether it has addresses that are not among `tried`. If none of these is up, its names are resolved before.
    pub(crate) async fn finds_others(&self, tried: &[Arc<Instance>]) -> bool {
        let Some(balancer) = self.balancer() else {
            return false;
        };
        let (rank, others) = balancer.candidates(tried);
        if rank != Rank::Down && !others.is_empty() {
            return true;
        }
        balancer.resolve_after_failure().await;
        !balancer.candidates(tried).1.is_empty()
    }

    /// The balancer of its addresses; `None` if it has one only.
    pub(crate) fn balancer(&self) -> Option<&Arc<Balancer>> {
        match &*self.addresses {
            Addresses::One(_) => None,
            Addresses::Several(balancer) => Some(balancer),
        }
    }
}
