//! Serves the metrics pages of other services next to the gateway's own, at `/metrics/NAME`.
//!
//! A page in a browser can read one origin only, and a collector may reach only the gateway. Only
//! the configured addresses are read, and nothing of the client's request is sent to them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::sync::Mutex;

/// Time limit from the first byte sent to the last byte received.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// The largest page, in bytes.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A page is read at most once in this time.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// The start of `Content-Type` for the Prometheus text format and OpenMetrics.
const METRICS_TYPES: [&str; 2] = ["text/plain", "application/openmetrics-text"];

type HttpClient = Client<HttpConnector, Empty<Bytes>>;

/// A page's address, and the result of reading it last.
struct MetricsPage {
    url: Uri,
    last: Mutex<Option<(Instant, Reading)>>,
}

/// A page's type and text, or the reason, for operators, why it cannot be read.
type Reading = Result<(HeaderValue, Bytes), String>;

struct MetricsPages {
    client: HttpClient,
    pages: HashMap<String, MetricsPage>,
}

/// The route `/metrics/NAME` for each `NAME=URL`.
///
/// # Errors
/// If a pair is malformed, or a name is used twice.
pub fn routes(pairs: &[String]) -> anyhow::Result<Router> {
    let mut pages = HashMap::new();
    for pair in pairs {
        let (name, url) = parse(pair).with_context(|| format!("METRICS_PAGES: {pair:?}"))?;
        let page = MetricsPage {
            url,
            last: Mutex::default(),
        };
        ensure!(
            pages.insert(name.clone(), page).is_none(),
            "METRICS_PAGES: the name {name} is used twice"
        );
    }
    if pages.is_empty() {
        return Ok(Router::new());
    }
    let client = Client::builder(TokioExecutor::new()).build_http();
    Ok(Router::new()
        .route("/metrics/{name}", get(serve))
        .with_state(Arc::new(MetricsPages { client, pages })))
}

/// All mistakes in the setting, where [`routes`] ends at the first one.
pub(crate) fn mistakes(pairs: &[String]) -> Vec<String> {
    let each = pairs.iter().filter_map(|pair| {
        let error = parse(pair).err()?;
        Some(format!("METRICS_PAGES: {pair:?}: {error:#}"))
    });
    let mut mistakes: Vec<String> = each.collect();
    if mistakes.is_empty() {
        mistakes.extend(routes(pairs).err().map(|error| format!("{error:#}")));
    }
    mistakes
}

fn parse(pair: &str) -> anyhow::Result<(String, Uri)> {
    let (name, url) = pair.trim().split_once('=').context("it is not NAME=URL")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.chars().all(is_plain),
        "a name may have only letters, digits, `-` and `_`"
    );
    let url: Uri = url.parse().context("the URL cannot be read")?;
    ensure!(
        url.scheme_str() == Some("http") && url.host().is_some(),
        "the URL must have the form http://host/path"
    );
    Ok((name.to_owned(), url))
}

async fn serve(State(pages): State<Arc<MetricsPages>>, Path(name): Path<String>) -> Response {
    let Some(page) = pages.pages.get(&name) else {
        return text(
            StatusCode::NOT_FOUND,
            "there is no metrics page of this name".to_owned(),
        );
    };
    match page.read(&pages.client, &name).await {
        Ok((content_type, body)) => (
            [
                (header::CONTENT_TYPE, content_type),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                (
                    header::X_CONTENT_TYPE_OPTIONS,
                    HeaderValue::from_static("nosniff"),
                ),
            ],
            body,
        )
            .into_response(),
        Err(reason) => text(
            StatusCode::BAD_GATEWAY,
            format!("the metrics of {name} cannot be read: {reason}"),
        ),
    }
}

fn text(status: StatusCode, text: String) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], text + "\n").into_response()
}

impl MetricsPage {
    /// The last result if it is fresh; otherwise the page is read. Concurrent requests wait for
    /// that one reading, and a failure is kept as long as a success.
    async fn read(&self, client: &HttpClient, name: &str) -> Reading {
        let mut last = self.last.lock().await;
        if let Some((at, reading)) = &*last
            && at.elapsed() < KEPT_FOR
        {
            return reading.clone();
        }
        let reading = tokio::time::timeout(TIME_LIMIT, fetch(client, &self.url))
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "no whole response within {} s",
                    TIME_LIMIT.as_secs()
                ))
            });
        if let Err(reason) = &reading {
            tracing::warn!(page = name, reason, "a metrics page cannot be read");
        }
        *last = Some((Instant::now(), reading.clone()));
        reading
    }
}

async fn fetch(client: &HttpClient, url: &Uri) -> Reading {
    let response = client
        .get(url.clone())
        .await
        .map_err(|error| match error.is_connect() {
            true => "no connection".to_owned(),
            false => "the connection broke".to_owned(),
        })?;
    if response.status() != StatusCode::OK {
        return Err(format!(
            "it answered with status {}",
            response.status().as_u16()
        ));
    }
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .filter(|value| {
            METRICS_TYPES
                .iter()
                .any(|prefix| value.as_bytes().starts_with(prefix.as_bytes()))
        })
        .cloned()
        .ok_or("its response is not a metrics page")?;
    let body = Limited::new(response.into_body(), PAGE_BYTES_MAX);
    match body.collect().await {
        Ok(body) => Ok((content_type, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(format!("it is larger than {PAGE_BYTES_MAX} bytes"))
        }
        Err(_) => Err("the connection broke".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_that_names_no_page_is_refused_at_the_start() {
        for pair in [
            "posts",
            "=http://host/metrics",
            "a/b=http://host/metrics",
            "posts=/metrics",
            "posts=https://host/metrics",
            "posts=file:///etc/passwd",
        ] {
            assert!(routes(&[pair.to_owned()]).is_err(), "{pair}");
        }
        let twice = ["posts=http://a/", "posts=http://b/"].map(str::to_owned);
        assert!(routes(&twice).is_err());
        assert!(routes(&["posts=http://host:4001/metrics".to_owned()]).is_ok());
    }
}
