//! Serves a folder of built web pages, with their compressed forms and cache headers.

use std::path::Path;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use graphql_transport::http::accept;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tower::{ServiceExt, service_fn};
use tower_http::services::{ServeDir, ServeFile};

use crate::config::Config;

/// Files below this path have a hash of their content in their name, so they never change.
const HASHED: &str = "/assets/";

/// Pages may not load anything from other hosts. GraphiQL's editor writes style elements, and draws
/// with `data:` images.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// The pages at `/`, if there are any; without them, in development, a redirect to GraphiQL.
pub fn routes(config: &Config) -> Router {
    match &config.web_dir {
        Some(folder) => pages(folder),
        None if config.service.development => {
            Router::new().route("/", get(|| async { Redirect::temporary("/graphql") }))
        }
        None => Router::new(),
    }
}

fn pages(folder: &Path) -> Router {
    let index = ServeFile::new(folder.join("index.html"))
        .precompressed_br()
        .precompressed_gzip();
    let files = ServeDir::new(folder)
        .precompressed_br()
        .precompressed_gzip()
        .fallback(service_fn(move |request: Request| {
            let index = index.clone();
            async move {
                match opens_a_view(&request) {
                    true => index
                        .oneshot(request)
                        .await
                        .map(IntoResponse::into_response),
                    false => Ok(StatusCode::NOT_FOUND.into_response()),
                }
            }
        }));
    Router::new()
        .fallback_service(files)
        .layer(middleware::from_fn(add_headers))
}

/// Whether a browser asks for a view of the page `index.html` by an address of its own (`/posts/1`). An address
/// with a dot in its end names a file.
fn opens_a_view(request: &Request) -> bool {
    let path = request.uri().path();
    let end = path.rsplit('/').next().unwrap_or_default();
    matches!(*request.method(), Method::GET | Method::HEAD)
        && accept::prefers_html(request.headers())
        && !path.starts_with(HASHED)
        && !end.contains('.')
}

async fn add_headers(request: Request, next: Next) -> Response {
    let hashed = request.uri().path().starts_with(HASHED);
    let mut response = next.run(request).await;
    let cached = hashed && response.status().is_success();
    let cache = if cached {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    // Without it, a shared cache might serve a compressed form to a client that cannot read it.
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept-encoding"));
    protect(&mut response);
    response
}

/// A single page, such as GraphiQL, with the headers of the others.
pub fn page(html: String) -> Response {
    let mut response = Html(html).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    protect(&mut response);
    response
}

fn protect(response: &mut Response) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
}
