//! Serves a folder of built web pages: compressed where they are, cached by their names.

use std::path::Path;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, header};
use tower_http::services::ServeDir;

use crate::config::Config;

/// Files below here have a hash of their content in their name.
const HASHED: &str = "/assets/";

/// Pages load nothing from other hosts. GraphiQL's editor writes style elements, and its style sheet
/// holds its fonts.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
    connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// The pages at `/`, if there are any; in development without them, the way to GraphiQL.
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
    let files = ServeDir::new(folder)
        .precompressed_br()
        .precompressed_gzip();
    Router::new()
        .fallback_service(files)
        .layer(middleware::from_fn(add_headers))
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
    // Without it, a cache between would give what one client can read to another.
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept-encoding"));
    protect(&mut response);
    response
}

/// One page outside the folder's own paths.
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
