//! Serves a folder of built web pages, with their compressed forms and cache headers. Views come from the page service,
//! if there is one.

use std::{convert::Infallible, path::Path, sync::Arc};

use anyhow::ensure;
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use graphql_transport::http::accept;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use service::Metrics;
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_http::services::{ServeDir, ServeFile};

use super::{
    page_service::PageService,
    sign_in::{self, TokenService},
};
use crate::config::Config;

/// Files below this path have a hash of their content in their name, so they never change.
const HASHED: &str = "/assets/";

const STATISTICS: &str = "/stats.html";

/// Scripts beside the pages keep their names when they change: other sites' pages name them in their HTML. A browser
/// may use its copy for five minutes.
const NAMED_SCRIPT_CACHE: &str = "public, max-age=300";

/// The Content-Security-Policy of the pages: they may not load anything from other hosts, and connect to none but the
/// token service. GraphiQL's editor writes style elements, and draws with `data:` images.
#[derive(Clone)]
struct PagePolicy(HeaderValue);

impl PagePolicy {
    fn with(service: Option<&TokenService>) -> Self {
        let token_service = TokenService::policy_source(service);
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
             font-src 'self'; connect-src 'self'{token_service}; worker-src 'self'; manifest-src 'self'; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        );
        let nothing = HeaderValue::from_static("default-src 'none'");
        Self(policy.try_into().unwrap_or(nothing))
    }
}

/// The pages at `/`, if there are any; without them, in development, a redirect to GraphiQL.
///
/// # Errors
/// If `WEB_SIGN_IN_URL` or a setting of the page service is malformed, or there is a page service without pages.
pub fn routes(config: &Config, metrics: &Metrics) -> anyhow::Result<Router> {
    let token_service = TokenService::of(config)?;
    let policy = PagePolicy::with(token_service.as_ref());
    let service = PageService::of(&config.pages, metrics)?;
    ensure!(
        service.is_none() || config.web_dir.is_some(),
        "PAGES_URL needs WEB_DIR, whose pages are served when the page service fails"
    );
    Ok(match &config.web_dir {
        Some(folder) => pages(folder, service, policy).merge(sign_in::route(token_service)),
        None if config.service.development => {
            Router::new().route("/", get(|| async { Redirect::temporary("/graphql") }))
        }
        None => Router::new(),
    })
}

/// What answers requests for pages.
#[derive(Clone)]
struct Site {
    /// The files, and views by their addresses.
    files: ServeDir<BoxCloneSyncService<Request, Response, Infallible>>,
    index: ServeFile,
    service: Option<Arc<PageService>>,
}

fn pages(folder: &Path, service: Option<PageService>, policy: PagePolicy) -> Router {
    let index = ServeFile::new(folder.join("index.html"))
        .precompressed_br()
        .precompressed_gzip();
    let service = service.map(Arc::new);
    let views = (index.clone(), service.clone());
    let views = service_fn(move |request: Request| {
        let (index, service) = views.clone();
        async move { Ok(view(index, service, request).await) }
    });
    let site = Site {
        files: ServeDir::new(folder)
            .precompressed_br()
            .precompressed_gzip()
            .fallback(BoxCloneSyncService::new(views)),
        index,
        service,
    };
    Router::new()
        .fallback(answer)
        .with_state(site)
        .layer(middleware::from_fn_with_state(policy, add_headers))
}

/// The statistics page on the port for operators, where it finds `/metrics` at its own origin; nothing without that port.
///
/// # Errors
/// If `WEB_SIGN_IN_URL` is malformed.
pub fn for_operators(config: &Config) -> anyhow::Result<Router> {
    let (Some(folder), Some(_)) = (&config.web_dir, config.service.operations_port) else {
        return Ok(Router::new());
    };
    let file = |name: &str| {
        ServeFile::new(folder.join(name))
            .precompressed_br()
            .precompressed_gzip()
    };
    let assets = ServeDir::new(folder.join("assets"))
        .precompressed_br()
        .precompressed_gzip();
    let policy = PagePolicy::with(TokenService::of(config)?.as_ref());
    Ok(Router::new()
        .route("/", get(|| async { Redirect::temporary(STATISTICS) }))
        .route_service(STATISTICS, file("stats.html"))
        .route_service("/favicon.svg", file("favicon.svg"))
        .nest_service("/assets", assets)
        .layer(middleware::from_fn_with_state(policy, add_headers)))
}

/// A path of the page service, the page at `/`, or a file.
async fn answer(State(site): State<Site>, request: Request) -> Response {
    let Some(service) = site.service.filter(|_| only_reads(&request)) else {
        return of_folder(site.files, request).await;
    };
    let path = request.uri().path();
    if service.has_path(path) {
        let forwarded = service.forward(&request.into_parts().0).await;
        return forwarded.unwrap_or_else(|| unavailable().into_response());
    }
    // It is a file of the folder, too: `index.html`.
    if path == "/" && accept::accepts_html(request.headers()) {
        return match forwarded(&service, request).await {
            Ok(response) => response,
            Err(request) => of_folder(site.index, request).await,
        };
    }
    of_folder(site.files, request).await
}

/// What has no file: a view of the page `index.html`, from the page service if there is one.
async fn view(index: ServeFile, service: Option<Arc<PageService>>, request: Request) -> Response {
    let opens = opens_a_view(&request);
    // Programs that make previews of links accept everything.
    let is_view = opens || has_views_form(&request) && accept::accepts_html(request.headers());
    let request = match service.filter(|_| is_view) {
        Some(service) => match forwarded(&service, request).await {
            Ok(response) => return response,
            Err(request) => request,
        },
        None => request,
    };
    match opens {
        true => of_folder(index, request).await,
        false => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The answer of the page service, or else the request.
async fn forwarded(service: &PageService, request: Request) -> Result<Response, Request> {
    let (parts, body) = request.into_parts();
    let response = service.forward(&parts).await;
    response.ok_or_else(|| Request::from_parts(parts, body))
}

/// From a file, or from a folder of files.
async fn of_folder<Files, Body>(files: Files, request: Request) -> Response
where
    Files: tower::Service<Request, Response = http::Response<Body>, Error = Infallible>,
    http::Response<Body>: IntoResponse,
{
    match files.oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}

/// A crawler may come back after a while; a 404 would say that there is no such feed.
fn unavailable() -> impl IntoResponse {
    let retry_after = [(header::RETRY_AFTER, "5")];
    (StatusCode::SERVICE_UNAVAILABLE, retry_after)
}

/// Whether a browser asks for a view of the page `index.html` by an address of its own (`/posts/1`).
fn opens_a_view(request: &Request) -> bool {
    has_views_form(request) && accept::prefers_html(request.headers())
}

/// Whether it may be the address of a view. One with a dot in its end names a file.
fn has_views_form(request: &Request) -> bool {
    let path = request.uri().path();
    let end = path.rsplit('/').next().unwrap_or_default();
    only_reads(request) && !path.starts_with(HASHED) && !end.contains('.')
}

fn only_reads(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

async fn add_headers(State(policy): State<PagePolicy>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (hashed, script) = (path.starts_with(HASHED), path.ends_with(".js"));
    let mut response = next.run(request).await;
    let status = response.status();
    // An answer of 304 renews the copy that a browser has, with its headers.
    let cached = status.is_success() || status == StatusCode::NOT_MODIFIED;
    let cache = match (cached, hashed, script) {
        (true, true, _) => "public, max-age=31536000, immutable",
        (true, false, true) => NAMED_SCRIPT_CACHE,
        _ => "no-cache",
    };
    if script {
        share(&mut response);
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    // Without it, a shared cache might serve a compressed form to a client that cannot read it.
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept-encoding"));
    protect(&mut response, &policy);
    response
}

/// Lets the pages of every origin load a script as a module, which browsers fetch with CORS. What it may ask of the
/// graph, `CORS_ORIGINS` decides. A script is the same for everybody: requests without cookies may read it.
fn share(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "cross-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A single page, such as GraphiQL, with the headers of the others.
pub fn page(html: String, config: &Config) -> Response {
    let mut response = Html(html).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    // A malformed setting has ended the process at its start.
    let token_service = TokenService::of(config).unwrap_or_default();
    protect(&mut response, &PagePolicy::with(token_service.as_ref()));
    response
}

fn protect(response: &mut Response, policy: &PagePolicy) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.0.clone());
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
