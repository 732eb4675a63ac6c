//! GraphiQL for a browser that opens `/graphql`, in development.

use std::sync::Arc;

use axum::response::{Html, IntoResponse, Response};
use graphql_transport::http::accept;
use http::request::Parts;

use crate::{gateway::Gateway, web};

/// A page that loads GraphiQL from a CDN, where no built one is there.
const FROM_CDN: &str = include_str!("graphiql.html");

/// Whether this GET wants the page: a browser's, without an operation of its own, in development.
pub fn is_asked_for(gateway: &Gateway, parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    let has_operation = query
        .split('&')
        .any(|parameter| parameter.starts_with("query=") || parameter.starts_with("extensions="));
    gateway.config().development && !has_operation && accept::prefers_html(&parts.headers)
}

/// The built page of `WEB_DIR`, or else the one from the CDN.
pub async fn page(gateway: &Arc<Gateway>) -> Response {
    if let Some(folder) = &gateway.config().web_dir {
        match tokio::fs::read_to_string(folder.join("graphiql.html")).await {
            Ok(page) => return web::page(page),
            Err(error) => tracing::debug!(%error, "no built GraphiQL: the page comes from a CDN"),
        }
    }
    Html(FROM_CDN).into_response()
}
