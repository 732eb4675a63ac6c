//! The page service: renders the live page's views as HTML that needs no JavaScript, feeds, a sitemap and `robots.txt`,
//! from the graph.
//!
//! It is a client of the gateway's GraphQL endpoint like any other: it has no database, no secret and no rights. The
//! gateway forwards the views that browsers and crawlers ask for (`PAGES_URL`), and answers with status 503 and the plain
//! `index.html` when this service fails. So everything here may refuse: what it cannot render in time and within its limits is
//! answered with 502, 503 or 504.
//!
//! | file | has |
//! |---|---|
//! | [`address`] | which page an address asks for |
//! | [`origin`] | the scheme and host in absolute links |
//! | [`kept`] | rendered pages that are kept for some seconds; one rendering for equal requests; the limits |
//! | [`render`] | from an address to a rendered page |
//! | [`graph`] | the questions to the graph, and the answers; `queries.graphql` and the live page's `start.graphql` |
//! | `prose` | the links and the Markdown of readers' texts, which `markdown` parses |
//! | [`view`], `head` | HTML templates: the body, and what search engines and link previews read |
//! | `template` | the built `index.html`, in which the HTML is put |
//! | [`feed`], [`sitemap`] | XML |
//! | [`text`] | texts of people, made fit for a line and for XML |
//! | `coding` | compressed forms of a page |
//! | [`rendered`] | a rendered page as an HTTP response |
//! | [`failure`], [`config`], `metrics` | why there is no page, the settings, what is counted |
//!
//! To add a page: a variant of [`address::Page`], its query in `queries.graphql`, its rendering in [`render`].

pub mod address;
mod coding;
pub mod config;
pub mod failure;
pub mod feed;
pub mod graph;
mod head;
pub mod kept;
mod metrics;
pub mod origin;
mod prose;
pub mod render;
pub mod rendered;
pub mod sitemap;
mod template;
pub mod text;
pub mod view;

use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use service::{Health, Lifecycle, Metrics};
use tokio::net::TcpListener;

use crate::address::Asked;
use crate::kept::{Kept, Key};
use crate::origin::Origins;
use crate::render::Renderer;

pub use config::Config;

/// The port when `PORT` names none. The stack's development issuer has the one before it.
pub const DEFAULT_PORT: u16 = 4004;

/// What it answers beside the views: the gateway's `PAGES_PATHS`.
pub const PATHS: [&str; 4] = [
    "/feed.atom",
    "/posts/*/feed.atom",
    "/robots.txt",
    "/sitemap.xml",
];

/// Runs the service as a process, to its exit code.
pub fn main() -> ExitCode {
    service::start(
        "pages",
        DEFAULT_PORT,
        |config: &Config| &config.service,
        run,
    )
}

/// What all requests share.
struct Pages {
    origins: Origins,
    kept: Kept,
    renderer: Arc<Renderer>,
}

/// Serves on `listener` until shutdown.
///
/// # Errors
/// If a setting is malformed.
pub async fn run(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let (health, metrics) = (Health::default(), Metrics::new("pages"));
    let renderer = Arc::new(Renderer::new(&config)?);
    let checked = Arc::clone(&renderer);
    health.register("index.html", move || {
        let renderer = Arc::clone(&checked);
        async move { renderer.check_template().await }
    });
    let origins = Origins::new(config.public_url.as_deref())?;
    if !origins.are_known() {
        tracing::warn!(
            "PUBLIC_URL is not set: pages have no canonical links, and robots.txt does not name the sitemap"
        );
    }
    let pages = Arc::new(Pages {
        origins,
        kept: Kept::new(&config, &metrics),
        renderer,
    });
    let operations = service::operations_routes(
        &config.service,
        &health,
        &metrics,
        Router::new(),
        &lifecycle,
    )
    .await?;
    let router = Router::new()
        .fallback(get(answer))
        .with_state(pages)
        .merge(operations);
    let tracer = service::start_traces(&config.service, "pages", &metrics, &lifecycle)?;
    service::serve_traced(
        listener,
        router,
        &tracer,
        &lifecycle,
        &config.service,
        &metrics,
    )
    .await
}

async fn answer(State(pages): State<Arc<Pages>>, request: Request) -> Response {
    let page = match address::asked(request.uri()) {
        Asked::Page(page) => page,
        Asked::Moved(path) => return moved(&path),
    };
    let Some(origin) = pages.origins.of(request.headers()) else {
        return (StatusCode::BAD_REQUEST, "a request needs one valid Host\n").into_response();
    };
    let (renderer, key) = (Arc::clone(&pages.renderer), Key { page, origin });
    let wanted = key.clone();
    let rendering = move || async move { renderer.render(&wanted.page, &wanted.origin).await };
    match pages.kept.get(key, rendering).await {
        Ok(rendered) => rendered.respond(request.headers()),
        Err(failure) => failure.into_response(),
    }
}

/// `path` has only characters that a header may have.
fn moved(path: &str) -> Response {
    match HeaderValue::from_str(path) {
        Ok(path) => (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, path)]).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}
