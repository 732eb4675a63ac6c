//! GraphiQL for a browser that opens `/graphql`, in development.

use std::sync::Arc;

use axum::response::Response;
use graphql_transport::http::accept;
use http::{HeaderValue, header, request::Parts};

use super::pages;
use crate::gateway::Gateway;

/// A page that loads GraphiQL from a CDN, used if there is no built one.
const FROM_CDN: &str = include_str!("graphiql.html");

/// The placeholder in the page for the nonce of its own scripts.
const NONCE: &str = "{nonce}";

/// Whether a GET is answered with GraphiQL: in development, for a browser. A `query` in the address is what
/// GraphiQL then shows. An address with a persisted operation is answered.
pub fn is_asked_for(gateway: &Gateway, parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    let is_persisted = query.split('&').any(|parameter| {
        ["documentId=", "extensions="]
            .iter()
            .any(|name| parameter.starts_with(name))
    });
    gateway.config().service.development && !is_persisted && accept::prefers_html(&parts.headers)
}

/// The built page in `WEB_DIR`, or else the one from the CDN.
pub async fn page(gateway: &Arc<Gateway>) -> Response {
    if let Some(folder) = &gateway.config().web_dir {
        match tokio::fs::read_to_string(folder.join("graphiql.html")).await {
            Ok(page) => return pages::page(page, gateway.config()),
            Err(error) => {
                tracing::debug!(%error, "there is no built GraphiQL page, serving the one from a CDN")
            }
        }
    }
    from_cdn(gateway)
}

fn from_cdn(gateway: &Gateway) -> Response {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let page = FROM_CDN.replace(NONCE, &nonce);
    let mut response = pages::page(page, gateway.config());
    if let Ok(policy) = HeaderValue::try_from(policy(&nonce)) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// The page's Content-Security-Policy: it allows the page's own scripts and what they import, but
/// no injected script. Browsers that support `strict-dynamic` ignore the sources after it. The
/// editor writes style elements, and starts its workers from blobs.
fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; \
         script-src 'nonce-{nonce}' 'strict-dynamic' https://esm.sh data:; \
         style-src 'unsafe-inline' https://esm.sh; font-src https://esm.sh data:; \
         img-src 'self' data:; connect-src 'self' https://esm.sh; \
         worker-src 'self' blob: https://esm.sh; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    )
}
