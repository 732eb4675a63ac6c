//! Forwards requests for views of the pages to the service that renders them (`PAGES_URL`).
//!
//! Its answers are public and the same for everybody: nothing that tells who asks is sent to it, and of its answer only
//! what a page needs is passed on. Whatever it does (it is gone, hangs, fails, sends too much), the request is answered
//! without it, so each way to fail is a `None` here. An answer is read whole before it is passed on, and counts against
//! `PAGES_IN_FLIGHT_MAX` until the client has taken it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{body::Body, extract::ConnectInfo, response::Response};
use bytes::Bytes;
use graphql_transport::{ClientKey, PerClient};
use http::{HeaderName, HeaderValue, Uri, header, request::Parts, uri::PathAndQuery};
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

/// One client has this part of `PAGES_IN_FLIGHT_MAX`, but at least one.
const CLIENT_PART: usize = 4;
/// After so many failures by time in a row, the service is not asked for [`PAUSE`].
const SILENT_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(5);
/// The address of a view is shorter.
const ADDRESS_BYTES_MAX: usize = 2_048;

/// The host that the client asked. The service has no other way to know it.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
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
    room: Arc<Semaphore>,
    client_room: PerClient<Semaphore>,
    client_room_max: usize,
    silence: Mutex<Silence>,
    forwards: Family<ByOutcome, Counter>,
}

/// A path with `*` for any one part.
#[derive(Debug, PartialEq, Eq)]
struct Pattern(Vec<Option<String>>);

/// How often in a row the service has not answered in time.
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
    /// It did not answer in time.
    TooSlow,
    /// It answered with an error of its own.
    Failed,
    /// Its answer was too large.
    TooLarge,
    /// It was not asked: too many answers are waited for or not taken.
    Busy,
    /// It was not asked, because it has not answered in time before.
    Paused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: Outcome,
}

/// Room for one answer, until dropped.
struct Room {
    _all: OwnedSemaphorePermit,
    _of_client: OwnedSemaphorePermit,
}

/// The bytes of an answer. Whoever holds a part of them holds their room.
struct Held {
    bytes: Bytes,
    _room: Room,
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
            room: Arc::new(Semaphore::new(config.pages_in_flight_max)),
            client_room: PerClient::default(),
            client_room_max: (config.pages_in_flight_max / CLIENT_PART).max(1),
            silence: Mutex::default(),
            forwards: metrics.register(
                "gateway_page_forwards",
                "Requests for pages that PAGES_URL was to answer, by outcome; all but the answered ones got index.html or 503",
                Family::default(),
            ),
        }))
    }

    /// Whether this is one of the paths that it answers beside the views.
    pub(super) fn has_path(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| pattern.fits(path))
    }

    /// Its answer, unless it fails.
    pub(super) async fn forward(&self, request: &Parts) -> Option<Response> {
        let began = Instant::now();
        let outcome = match self.room_for(request, began) {
            Ok(room) => {
                let fetch = tokio::time::timeout(self.time_limit, self.fetch(request, room));
                let fetched = fetch.await.unwrap_or(Err(Outcome::TooSlow));
                self.note(fetched.as_ref().err().copied());
                fetched
            }
            Err(outcome) => Err(outcome),
        };
        let named = outcome.as_ref().err().copied().unwrap_or(Outcome::Answered);
        let counted = ByOutcome { outcome: named };
        self.forwards.get_or_create(&counted).inc();
        // A crowd is counted, and not worth a line for each.
        if !matches!(named, Outcome::Answered | Outcome::Paused | Outcome::Busy) {
            let (reason, elapsed_ms) = (format!("{named:?}"), began.elapsed().as_millis());
            tracing::warn!(
                reason,
                elapsed_ms,
                "the page service did not answer a request"
            );
        }
        outcome.ok()
    }

    fn room_for(&self, request: &Parts, now: Instant) -> Result<Room, Outcome> {
        if self.silence().paused_until.is_some_and(|until| now < until) {
            return Err(Outcome::Paused);
        }
        let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
        let client = peer.map_or_else(ClientKey::default, |peer| ClientKey::of(peer.0.ip()));
        let own = || Semaphore::new(self.client_room_max);
        let own = self.client_room.of(client, own).try_acquire_owned();
        let all = Arc::clone(&self.room).try_acquire_owned();
        match (all, own) {
            (Ok(all), Ok(of_client)) => Ok(Room {
                _all: all,
                _of_client: of_client,
            }),
            _ => Err(Outcome::Busy),
        }
    }

    async fn fetch(&self, request: &Parts, room: Room) -> Result<Response, Outcome> {
        let asked = self.request(request).ok_or(Outcome::Failed)?;
        let answer = self.client.request(asked).await;
        let (head, body) = answer.map_err(|_| Outcome::Unreachable)?.into_parts();
        if head.status.is_server_error() {
            return Err(Outcome::Failed);
        }
        let body = Limited::new(body, self.bytes_max).collect().await;
        let bytes = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => Outcome::TooLarge,
            false => Outcome::Unreachable,
        })?;
        let held = Held {
            bytes: bytes.to_bytes(),
            _room: room,
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
    fn request(&self, request: &Parts) -> Option<http::Request<Empty<Bytes>>> {
        let address = request.uri.path_and_query().map(PathAndQuery::as_str)?;
        if address.len() > ADDRESS_BYTES_MAX {
            return None;
        }
        let uri = Uri::builder()
            .scheme(self.base.scheme_str()?)
            .authority(self.base.authority()?.as_str())
            .path_and_query(address);
        let mut sent = http::Request::get(uri.build().ok()?);
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
        sent.body(Empty::new()).ok()
    }

    /// Counts failures by time, and begins a pause.
    fn note(&self, failure: Option<Outcome>) {
        let mut silence = self.silence();
        if failure != Some(Outcome::TooSlow) {
            *silence = Silence::default();
            return;
        }
        silence.failures = silence.failures.saturating_add(1);
        if silence.failures >= SILENT_MAX {
            silence.paused_until = Some(Instant::now() + PAUSE);
        }
    }

    fn silence(&self) -> std::sync::MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is a path of this host, and not `//another.example`.
fn is_path(location: &HeaderValue) -> bool {
    let bytes = location.as_bytes();
    bytes.first() == Some(&b'/') && !matches!(bytes.get(1), Some(b'/' | b'\\'))
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
            ("/\\evil.example", false),
            ("https://evil.example/", false),
            ("", false),
        ] {
            assert_eq!(is_path(&HeaderValue::from_static(location)), expected);
        }
    }
}
