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

const NEEDS_PAGES: &str =
    "PAGES_URL needs WEB_DIR, whose pages are served when the page service fails";

const STATISTICS: &str = "/stats.html";

/// The embed's script, which other sites' pages name.
const EMBED: &str = "/embed.js";

/// So begin the paths of the scripts that it loads.
const EMBED_PARTS: &str = "/assets/embed-";

/// Scripts beside the pages keep their names when they change: other sites' pages name them in their HTML. A browser
/// may use its copy for five minutes.
const NAMED_SCRIPT_CACHE: &str = "public, max-age=300";

/// When to ask again for what could not be rendered.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("5");

/// What makes an answer shorter or leaves it out.
const CONDITIONS: [HeaderName; 6] = [
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
];

/// What such requests are made from.
const VALIDATORS: [HeaderName; 3] = [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES];

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
    ensure!(service.is_none() || config.web_dir.is_some(), NEEDS_PAGES);
    Ok(match &config.web_dir {
        Some(folder) => pages(folder, service, policy).merge(sign_in::route(token_service)),
        None if config.service.development => {
            Router::new().route("/", get(|| async { Redirect::temporary("/graphql") }))
        }
        None => Router::new(),
    })
}

/// All mistakes in the settings, where [`routes`] ends at the first one.
pub(crate) fn mistakes(config: &Config) -> Vec<String> {
    let token_service = TokenService::of(config).err();
    let mut mistakes: Vec<String> = token_service
        .map(|error| format!("{error:#}"))
        .into_iter()
        .chain(PageService::mistakes(&config.pages))
        .collect();
    let is_set = config.pages.pages_url.as_deref();
    if is_set.is_some_and(|url| !url.trim().is_empty()) && config.web_dir.is_none() {
        mistakes.push(NEEDS_PAGES.to_owned());
    }
    mistakes
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
        return forwarded.unwrap_or_else(|status| not_rendered(status.into_response()));
    }
    // It is a file of the folder, too: `index.html`.
    if path == "/" {
        return differs_by_accept(match accept::accepts_html(request.headers()) {
            true => rendered(&service, site.index, request).await,
            false => of_folder(site.index, request).await,
        });
    }
    of_folder(site.files, request).await
}

/// What has no file: a view of the page `index.html`, from the page service if there is one.
async fn view(index: ServeFile, service: Option<Arc<PageService>>, request: Request) -> Response {
    if !has_views_form(&request) {
        return StatusCode::NOT_FOUND.into_response();
    }
    // Programs that make previews of links accept everything.
    let is_rendered = accept::accepts_html(request.headers());
    differs_by_accept(match service.filter(|_| is_rendered) {
        Some(service) => rendered(&service, index, request).await,
        None if accept::prefers_html(request.headers()) => of_folder(index, request).await,
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

/// The answer of the page service. Without it, the page that shows the view by its script, with a status that tells
/// crawlers to come again: 404 and 200 would say something of the view, which nobody knows.
async fn rendered(service: &Arc<PageService>, index: ServeFile, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let status = match service.forward(&parts).await {
        Ok(response) => return response,
        Err(status) => status,
    };
    // An answer of 304 or a part of the page would say that a view that somebody has is still right.
    for name in CONDITIONS {
        parts.headers.remove(name);
    }
    let mut response = of_folder(index, Request::from_parts(parts, body)).await;
    *response.status_mut() = status;
    for name in VALIDATORS {
        response.headers_mut().remove(name);
    }
    not_rendered(response)
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

/// Nobody may keep it, and a crawler may come back after a while.
fn not_rendered(mut response: Response) -> Response {
    let is_unavailable = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_unavailable {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_S);
    }
    response
}

/// For shared caches: who accepts no HTML gets something else.
fn differs_by_accept(mut response: Response) -> Response {
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().append(header::VARY, accept);
    response
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
    let shared = is_shared(path);
    let mut response = next.run(request).await;
    let status = response.status();
    // An answer of 304 renews the copy that a browser has, with its headers.
    let cached = status.is_success() || status == StatusCode::NOT_MODIFIED;
    let cache = match (cached, hashed, script) {
        (true, true, _) => "public, max-age=31536000, immutable",
        (true, false, true) => NAMED_SCRIPT_CACHE,
        _ => "no-cache",
    };
    if shared {
        share(&mut response);
    }
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static(cache));
    // Without it, a shared cache might serve a compressed form to a client that cannot read it.
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept-encoding"));
    protect(&mut response, &policy);
    response
}

/// Whether other sites' pages load it: the embed's script, and the scripts that it loads.
fn is_shared(path: &str) -> bool {
    let part = path.strip_prefix(EMBED_PARTS);
    path == EMBED || part.is_some_and(|name| name.ends_with(".js") && !name.contains('/'))
}

/// Lets the pages of every origin load a script as a module, which browsers fetch with CORS. What it may ask of the
/// graph, `CORS_ORIGINS` decides. The embed is the same for everybody: requests without cookies may read it.
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
