//! Forwards requests for views of the pages to the service that renders them (`PAGES_URL`).
//!
//! Its answers are public and the same for everybody: nothing that tells who asks is sent to it, and of its answer only
//! what a page needs is passed on. Whatever it does (it is gone, hangs, fails, sends too much), the request is answered
//! without it, so each way to fail is a status here.
//!
//! An answer is read whole before it is passed on, in a task of its own: a client that leaves keeps its place in
//! `PAGES_IN_FLIGHT_MAX` for as long as the service works for it. What clients have not taken yet has a bound in bytes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{body::Body, extract::ConnectInfo, response::Response};
use bytes::Bytes;
use graphql_transport::{ClientKey, PerClient};
use http::{HeaderName, HeaderValue, StatusCode, Uri, header, request::Parts, uri::PathAndQuery};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family},
};
use service::Metrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::PagesConfig;

/// One client has this part of what there is for all: a few of the pages that the service renders at once, so that
/// several clients fit.
const CLIENT_PART: usize = 16;
/// Answers that are not taken have at most the bytes of this part of `PAGES_IN_FLIGHT_MAX` largest ones.
const UNTAKEN_PART: usize = 2;
/// The unit in which these bytes are counted.
const UNTAKEN_UNIT: usize = 1_024;
/// After so many failures by time in a row, the service is not asked for views for [`PAUSE`].
const SILENT_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(5);
/// The address of a view is shorter.
const ADDRESS_BYTES_MAX: usize = 2_048;

/// The host that the client asked. The service has no other way to know it.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// A request as it is sent.
type Asked = http::Request<Empty<Bytes>>;

/// What is sent of a request's headers.
const SENT: [HeaderName; 3] = [
    header::ACCEPT_ENCODING,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
];
/// What is passed on of an answer's headers.
const PASSED_ON: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::ETAG,
    header::LAST_MODIFIED,
];

/// The service that renders pages.
pub(super) struct PageService {
    client: Client<HttpConnector, Empty<Bytes>>,
    /// `http` and the host.
    base: Uri,
    /// Paths that it answers beside the views.
    paths: Vec<Pattern>,
    time_limit: Duration,
    bytes_max: usize,
    /// One for each answer that is waited for.
    places: Shares,
    /// One for each [`UNTAKEN_UNIT`] of an answer.
    untaken: Shares,
    silence: Mutex<Silence>,
    forwards: Family<ByOutcome, Counter>,
}

/// A path with `*` for any one part.
#[derive(Debug, PartialEq, Eq)]
struct Pattern(Vec<Option<String>>);

/// What there is for all clients, of which each has a part.
struct Shares {
    all: Arc<Semaphore>,
    clients: PerClient<Semaphore>,
    client_max: usize,
}

/// A part of it, until dropped.
struct Share {
    _all: OwnedSemaphorePermit,
    _of_client: OwnedSemaphorePermit,
}

/// A request that is being forwarded, until dropped.
struct Forward {
    asked: Asked,
    client: ClientKey,
    /// A path has no plain page, so whoever asks for it may as well wait: there is no pause for it. Nor does its answer
    /// end one, as that of `robots.txt` says nothing of views.
    is_view: bool,
    _place: Share,
}

/// How often the service has not answered in time since its last answer.
#[derive(Default)]
struct Silence {
    failures: u32,
    paused_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    /// It answered.
    Answered,
    /// It cannot be reached, or broke off.
    Unreachable,
    /// It did not answer in time, or said that the graph did not.
    TooSlow,
    /// It answered with an error of its own.
    Failed,
    /// Its answer was too large.
    TooLarge,
    /// The client, or all of them, had not taken too many answers yet.
    Untaken,
    /// It was not asked: too many answers are waited for.
    Busy,
    /// It was not asked, because it has not answered in time before.
    Paused,
    /// It was not asked: the address is longer than that of any view.
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: Outcome,
}

/// The bytes of an answer. Whoever holds a part of them holds their share.
struct Held {
    bytes: Bytes,
    _untaken: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl PageService {
    /// The one of `PAGES_URL`, if that is set.
    ///
    /// # Errors
    /// If a setting is malformed.
    pub(super) fn of(config: &PagesConfig, metrics: &Metrics) -> anyhow::Result<Option<Self>> {
        let url = config.pages_url.as_deref().map(str::trim);
        let Some(url) = url.filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let base = base(url).context("PAGES_URL")?;
        let paths = config.pages_paths.iter().map(|path| Pattern::read(path));
        let paths = paths
            .collect::<anyhow::Result<_>>()
            .context("PAGES_PATHS")?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Some(Self {
            client,
            base,
            paths,
            time_limit: config.pages_timeout,
            bytes_max: config.pages_bytes_max,
            places: Shares::new(config.pages_in_flight_max, 1),
            untaken: Shares::untaken(config),
            silence: Mutex::default(),
            forwards: metrics.register(
                "gateway_page_forwards",
                "Requests for pages that PAGES_URL was to answer, by outcome; all but the answered ones got status 503, or 414",
                Family::default(),
            ),
        }))
    }

    /// All mistakes in the settings, where [`PageService::of`] ends at the first one.
    pub(super) fn mistakes(config: &PagesConfig) -> Vec<String> {
        let url = config.pages_url.as_deref().map(str::trim);
        let Some(url) = url.filter(|url| !url.is_empty()) else {
            return Vec::new();
        };
        let url = base(url).context("PAGES_URL").err();
        let paths = config.pages_paths.iter().map(|path| Pattern::read(path));
        let paths = paths.filter_map(|read| read.context("PAGES_PATHS").err());
        let all = url.into_iter().chain(paths);
        all.map(|error| format!("{error:#}")).collect()
    }

    /// Whether this is one of the paths that it answers beside the views.
    pub(super) fn has_path(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| pattern.fits(path))
    }

    /// Its answer, or else the status of what the client gets without it.
    pub(super) async fn forward(self: &Arc<Self>, request: &Parts) -> Result<Response, StatusCode> {
        let answer = match self.begin(request) {
            // The service may render although the client has left, so the place is held until it has answered.
            Ok(forward) => {
                let service = Arc::clone(self);
                let answering = tokio::spawn(async move { service.answer(forward).await });
                answering.await.unwrap_or(Err(Outcome::Failed))
            }
            Err(outcome) => {
                self.count(outcome);
                Err(outcome)
            }
        };
        answer.map_err(Outcome::status)
    }

    /// The request as it is sent, with a place for its answer.
    fn begin(&self, request: &Parts) -> Result<Forward, Outcome> {
        let asked = self.request(request)?;
        let is_view = !self.has_path(request.uri.path());
        let is_paused = |until| Instant::now() < until;
        if is_view && self.silence().paused_until.is_some_and(is_paused) {
            return Err(Outcome::Paused);
        }
        let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
        let client = peer.map_or_else(ClientKey::default, |peer| ClientKey::of(peer.0.ip()));
        let place = self.places.take(client, 1).ok_or(Outcome::Busy)?;
        Ok(Forward {
            asked,
            client,
            is_view,
            _place: place,
        })
    }

    async fn answer(&self, forward: Forward) -> Result<Response, Outcome> {
        let Forward { asked, client, .. } = forward;
        let began = Instant::now();
        let fetched = tokio::time::timeout(self.time_limit, self.fetch(asked, client)).await;
        let answer = fetched.unwrap_or(Err(Outcome::TooSlow));
        let outcome = answer.as_ref().err().copied().unwrap_or(Outcome::Answered);
        self.count(outcome);
        if forward.is_view {
            self.note(outcome);
        }
        // A crowd is counted, and not worth a line for each.
        if !matches!(outcome, Outcome::Answered | Outcome::Untaken) {
            let (reason, elapsed_ms) = (format!("{outcome:?}"), began.elapsed().as_millis());
            tracing::warn!(
                reason,
                elapsed_ms,
                "the page service did not answer a request"
            );
        }
        answer
    }

    async fn fetch(&self, asked: Asked, client: ClientKey) -> Result<Response, Outcome> {
        let answer = self.client.request(asked).await;
        let (head, body) = answer.map_err(|_| Outcome::Unreachable)?.into_parts();
        if head.status == StatusCode::GATEWAY_TIMEOUT {
            return Err(Outcome::TooSlow);
        }
        if head.status.is_server_error() {
            return Err(Outcome::Failed);
        }
        let body = Limited::new(body, self.bytes_max).collect().await;
        let bytes = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => Outcome::TooLarge,
            false => Outcome::Unreachable,
        })?;
        let bytes = bytes.to_bytes();
        let units = bytes.len().div_ceil(UNTAKEN_UNIT);
        let untaken = self.untaken.take(client, units).ok_or(Outcome::Untaken)?;
        let held = Held {
            bytes,
            _untaken: untaken,
        };
        let mut response = Response::new(Body::from(Bytes::from_owner(held)));
        *response.status_mut() = head.status;
        let headers = response.headers_mut();
        for name in PASSED_ON {
            if let Some(value) = head.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        // It may not send a browser to another host.
        let location = head.headers.get(header::LOCATION);
        if let Some(path) = location.filter(|location| is_path(location)) {
            headers.insert(header::LOCATION, path.clone());
        }
        Ok(response)
    }

    /// The request as it is sent. A HEAD is sent as a GET: the server leaves out the body of its answer.
    fn request(&self, request: &Parts) -> Result<Asked, Outcome> {
        let address = request
            .uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str);
        if address.len() > ADDRESS_BYTES_MAX {
            return Err(Outcome::TooLong);
        }
        let mut uri = self.base.clone().into_parts();
        uri.path_and_query = address.parse().ok();
        let uri = Uri::from_parts(uri).map_err(|_| Outcome::Failed)?;
        let mut sent = http::Request::get(uri);
        for name in SENT {
            for value in request.headers.get_all(&name) {
                sent = sent.header(&name, value);
            }
        }
        let authority = request.uri.authority();
        let host = match authority {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => request.headers.get(header::HOST).cloned(),
        };
        if let Some(host) = host {
            sent = sent.header(FORWARDED_HOST, host);
        }
        sent.body(Empty::new()).map_err(|_| Outcome::Failed)
    }

    fn count(&self, outcome: Outcome) {
        self.forwards.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Failures by time begin a pause, and an answer ends it; all else says nothing of the service's speed.
    fn note(&self, outcome: Outcome) {
        let mut silence = self.silence();
        match outcome {
            Outcome::Answered => *silence = Silence::default(),
            Outcome::TooSlow => {
                silence.failures = silence.failures.saturating_add(1);
                if silence.failures >= SILENT_MAX {
                    silence.paused_until = Some(Instant::now() + PAUSE);
                }
            }
            _ => {}
        }
    }

    fn silence(&self) -> std::sync::MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    fn status(self) -> StatusCode {
        match self {
            Self::TooLong => StatusCode::URI_TOO_LONG,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Shares {
    /// A client has [`CLIENT_PART`] of it, but at least `client_min`.
    fn new(all: usize, client_min: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            clients: PerClient::default(),
            client_max: (all / CLIENT_PART).max(client_min),
        }
    }

    /// For the bytes of answers, of which a client may have one in any case.
    fn untaken(config: &PagesConfig) -> Self {
        let answer = config.pages_bytes_max.div_ceil(UNTAKEN_UNIT);
        let answers = (config.pages_in_flight_max / UNTAKEN_PART).max(1);
        let all = answer.saturating_mul(answers).min(Semaphore::MAX_PERMITS);
        Self::new(all, answer.min(all))
    }

    fn take(&self, client: ClientKey, permits: usize) -> Option<Share> {
        let permits = u32::try_from(permits).ok()?;
        let of_client = self
            .clients
            .of(client, || Semaphore::new(self.client_max))
            .try_acquire_many_owned(permits);
        let all = Arc::clone(&self.all).try_acquire_many_owned(permits);
        Some(Share {
            _all: all.ok()?,
            _of_client: of_client.ok()?,
        })
    }
}

/// Whether it is a path of this host, and not `//another.example`. Browsers leave out tabs, and read `/\` as `//`.
fn is_path(location: &HeaderValue) -> bool {
    let bytes = location.as_bytes();
    let is_other = matches!(bytes.get(1), Some(b'/' | b'\\'));
    bytes.first() == Some(&b'/') && !is_other && bytes.iter().all(|byte| *byte > b' ')
}

fn base(url: &str) -> anyhow::Result<Uri> {
    let base: Uri = url.parse().context("it is not an address")?;
    ensure!(
        base.scheme_str() == Some("http") && base.host().is_some(),
        "it has to be of the form http://host:port"
    );
    ensure!(
        base.path() == "/" && base.query().is_none(),
        "it may not have a path: requests are forwarded with their own"
    );
    Ok(base)
}

impl Pattern {
    fn read(path: &str) -> anyhow::Result<Self> {
        let path = path.trim();
        let rest = path.strip_prefix('/');
        let rest = rest.with_context(|| format!("{path:?} does not begin with a slash"))?;
        ensure!(!rest.contains(['?', '#']), "{path:?} has more than a path");
        let parts = rest.split('/').map(|part| match part {
            "*" => Ok(None),
            part if part.contains('*') => {
                anyhow::bail!("{path:?}: `*` stands for a whole part")
            }
            part => Ok(Some(part.to_owned())),
        });
        Ok(Self(parts.collect::<anyhow::Result<_>>()?))
    }

    fn fits(&self, path: &str) -> bool {
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        let fits = self.0.iter().all(|wanted| match (wanted, parts.next()) {
            (Some(wanted), Some(part)) => wanted == part,
            (None, Some(part)) => !part.is_empty(),
            (_, None) => false,
        });
        fits && parts.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_part() {
        let pattern = Pattern::read("/posts/*/feed.atom").expect("a pattern");
        assert!(pattern.fits("/posts/1/feed.atom"));
        for path in [
            "/posts//feed.atom",
            "/posts/feed.atom",
            "/posts/1/2/feed.atom",
            "/posts/1/feed.atom/",
            "/posts/1",
            "/",
            "",
        ] {
            assert!(!pattern.fits(path), "{path}");
        }
        let robots = Pattern::read(" /robots.txt ").expect("a pattern");
        assert!(robots.fits("/robots.txt") && !robots.fits("/robots.txt/"));
        for path in ["", "robots.txt", "/a*", "/a?b"] {
            assert!(Pattern::read(path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_address_is_that_of_a_host() {
        for url in ["http://127.0.0.1:4004", "http://pages:4004/"] {
            assert!(base(url).is_ok(), "{url}");
        }
        for url in [
            "pages:4004",
            "https://pages",
            "/pages",
            "http://pages/path",
            "http://pages/?query",
        ] {
            assert!(base(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_location_stays_on_the_host() {
        for (location, expected) in [
            ("/posts/1", true),
            ("/", true),
            ("//evil.example", false),
            ("/\t/evil.example", false),
            ("/posts/1 2", false),
            ("/\\evil.example", false),
            ("https://evil.example/", false),
            ("", false),
        ] {
            assert_eq!(is_path(&HeaderValue::from_static(location)), expected);
        }
    }
}
