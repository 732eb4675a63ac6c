//! Sends spans to the receiver by OTLP over HTTP.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>. Each batch has a connection of its own: there is one every
//! few seconds, and a receiver that was restarted or moved is found again.

use std::io::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::TraceMetrics;
use crate::encode;
use crate::queue::{Chunk, Queue};
use crate::settings::{Endpoint, TraceSettings};
use crate::span::{Shared, Tracer};

/// How often a batch is sent before it is dropped.
const ATTEMPTS_MAX: u32 = 4;
/// The pause before the second attempt; it doubles before each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that a receiver may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The largest answer of a receiver that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Sends what a [`Tracer`] has recorded.
pub struct Exporter {
    queue: Arc<Queue>,
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    headers: HeaderMap,
    timeout: Duration,
    delay: Duration,
    /// The resource and the scope of all spans, encoded.
    resource: Vec<u8>,
    scope: Vec<u8>,
}

/// Why a batch was not taken.
enum Failure {
    /// It may be taken later, after this time if the receiver says so.
    Later(String, Option<Duration>),
    /// It never will be.
    Never(String),
}

impl Exporter {
    /// The tracer of a program, and what sends its spans; no exporter if no traces are made.
    ///
    /// # Errors
    /// If a header is malformed, or the certificate authorities cannot be read.
    pub fn new(
        settings: &TraceSettings,
        program: &str,
        version: &str,
        metrics: TraceMetrics,
    ) -> anyhow::Result<(Tracer, Option<Self>)> {
        let Some(endpoint) = settings.endpoint() else {
            return Ok((Tracer::off(), None));
        };
        let queue = Arc::new(Queue::new(settings.traces_bytes_max, metrics));
        let shared = Shared {
            sampler: settings.sampler(),
            queue: Arc::clone(&queue),
        };
        let mut resource = Vec::new();
        for (name, value) in settings.resource(program, version) {
            encode::attribute(&mut resource, 1, &name, encode::Value::Text(&value));
        }
        let mut scope = Vec::new();
        encode::bytes(&mut scope, 1, b"rejoinder");
        encode::bytes(&mut scope, 2, version.as_bytes());
        let exporter = Self {
            queue,
            tls: endpoint.is_tls.then(|| connector(settings)).transpose()?,
            endpoint,
            headers: settings.headers()?,
            timeout: settings.timeout(),
            delay: settings.delay(),
            resource,
            scope,
        };
        Ok((Tracer::new(shared), Some(exporter)))
    }

    /// Sends spans until `end`, and then what is left, until a batch is not taken. Whoever does not want to wait for a slow
    /// receiver drops the future.
    pub async fn run(self, end: CancellationToken) {
        let mut has_failed = false;
        loop {
            let chunk = tokio::select! {
                chunk = self.queue.next(self.delay) => chunk,
                () = end.cancelled() => break,
            };
            if let Some(chunk) = chunk {
                has_failed = !self.send(chunk, &end, has_failed).await;
            }
        }
        while let Some(chunk) = self.queue.take() {
            if !self.send(chunk, &end, has_failed).await {
                return;
            }
        }
    }

    /// Returns whether the receiver takes spans. That it does not is logged once until it does.
    async fn send(&self, chunk: Chunk, end: &CancellationToken, has_failed: bool) -> bool {
        let metrics = &self.queue.metrics;
        let sending = Sending {
            queue: &self.queue,
            spans: chunk.spans,
        };
        let bytes = Bytes::from(chunk.bytes);
        let (mut attempt, mut pause) = (1, PAUSE);
        loop {
            let exchange = tokio::time::timeout(self.timeout, self.exchange(bytes.clone()));
            let failure = match exchange.await {
                Ok(Ok(rejected)) => {
                    let rejected = rejected.min(sending.spans);
                    metrics.refused.inc_by(rejected);
                    metrics.sent.inc_by(sending.spans - rejected);
                    sending.finish();
                    if has_failed {
                        tracing::info!("the receiver of traces takes spans again");
                    }
                    return true;
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Later(format!("no answer within {:?}", self.timeout), None),
            };
            match failure {
                Failure::Never(error) => {
                    metrics.refused.inc_by(sending.spans);
                    if !has_failed {
                        tracing::warn!(
                            error,
                            spans = sending.spans,
                            "the receiver of traces refuses spans, and they are dropped until it takes some"
                        );
                    }
                    sending.finish();
                    return false;
                }
                Failure::Later(error, _) if attempt >= ATTEMPTS_MAX || end.is_cancelled() => {
                    if !has_failed {
                        let endpoint = self.endpoint.authority();
                        tracing::warn!(
                            error,
                            endpoint,
                            "spans could not be sent, and are dropped until they can be"
                        );
                    }
                    return false;
                }
                Failure::Later(_, asked) => {
                    let random = pause.mul_f64(0.5 + fastrand::f64());
                    let pausing = tokio::time::sleep(asked.unwrap_or(random).min(PAUSE_MAX));
                    tokio::select! {
                        () = pausing => {}
                        () = end.cancelled() => {}
                    }
                    attempt += 1;
                    pause *= 2;
                }
            }
        }
    }

    /// Sends a batch once. Returns how many spans of it the receiver has refused.
    async fn exchange(&self, spans: Bytes) -> Result<u64, Failure> {
        let later = |error: Error| Failure::Later(error.to_string(), None);
        let address = (self.endpoint.host.as_str(), self.endpoint.port);
        let stream = TcpStream::connect(address).await.map_err(later)?;
        match &self.tls {
            None => self.exchange_over(stream, spans).await,
            Some(connector) => {
                let name = ServerName::try_from(self.endpoint.host.clone());
                let name = name.map_err(|error| Failure::Later(error.to_string(), None))?;
                let stream = connector.connect(name, stream).await.map_err(later)?;
                self.exchange_over(stream, spans).await
            }
        }
    }

    async fn exchange_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        spans: Bytes,
    ) -> Result<u64, Failure> {
        let later = |error: hyper::Error| Failure::Later(error.to_string(), None);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(later)?;
        let exchange = async {
            let answer = sender
                .send_request(self.request(spans))
                .await
                .map_err(later)?;
            let (parts, body) = answer.into_parts();
            if parts.status.is_success() {
                // What it says is of use only if all of it comes.
                let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                return Ok(encode::rejected(&body));
            }
            let error = format!("status {}", parts.status.as_u16());
            Err(match parts.status {
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => Failure::Later(error, retry_after(&parts.headers)),
                _ => Failure::Never(error),
            })
        };
        // The connection is polled here, so that it ends with this future.
        tokio::pin!(connection);
        tokio::pin!(exchange);
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
                outcome = &mut exchange => return outcome,
                _ = &mut connection, if is_open => is_open = false,
            }
        }
    }

    fn request(
        &self,
        spans: Bytes,
    ) -> Request<impl hyper::body::Body<Data = Bytes, Error = Error> + Send + use<>> {
        let head = encode::request_head(&self.resource, &self.scope, spans.len());
        let length = head.len() + spans.len();
        let frames = [Bytes::from(head), spans].map(|bytes| Ok::<_, Error>(Frame::data(bytes)));
        let mut request = Request::new(StreamBody::new(stream::iter(frames)));
        *request.method_mut() = http::Method::POST;
        if let Ok(path) = self.endpoint.path.parse() {
            *request.uri_mut() = path;
        }
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("rejoinder"));
        if let Ok(host) = HeaderValue::from_str(&self.endpoint.authority()) {
            headers.insert(header::HOST, host);
        }
        request
    }
}

/// A chunk that is being sent. Dropped before it is done, its spans count as not sent, and its memory is free.
struct Sending<'q> {
    queue: &'q Queue,
    spans: u64,
}

impl Sending<'_> {
    fn finish(mut self) {
        self.spans = 0;
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.queue.metrics.unsent.inc_by(self.spans);
        self.queue.release();
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

pub(crate) fn connector(settings: &TraceSettings) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    match settings
        .otel_exporter_otlp_certificate
        .as_ref()
        .filter(|it| !it.as_os_str().is_empty())
    {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let context = || format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {}", path.display());
            let certificates = CertificateDer::pem_file_iter(path).with_context(context)?;
            for certificate in certificates {
                roots
                    .add(certificate.with_context(context)?)
                    .with_context(context)?;
            }
            anyhow::ensure!(!roots.is_empty(), "{}: it has no certificate", context());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
