//! CORS: the other origins whose pages may read answers.

use http::Method;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders};

use super::origin;
use crate::settings::Settings;

/// How long a browser may remember a preflight's answer, in seconds.
const PREFLIGHT_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(2 * 60 * 60);

/// The layer; none where no origin is allowed.
pub(super) fn layer(settings: &Settings) -> Option<CorsLayer> {
    let config = &settings.http;
    if config.cors_origins.iter().all(String::is_empty) {
        return None;
    }
    let everyone = config.cors_origins.iter().any(|origin| origin == "*");
    let origins = if everyone {
        AllowOrigin::any()
    } else {
        let config = config.clone();
        AllowOrigin::predicate(move |origin, _| {
            origin
                .to_str()
                .is_ok_and(|origin| origin::is_allowed(origin, &config))
        })
    };
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::list(
            settings.exposed_headers.iter().cloned(),
        ))
        .max_age(PREFLIGHT_MAX_AGE);
    // A wildcard with credentials is forbidden by the Fetch standard.
    Some(if config.cors_credentials && !everyone {
        layer.allow_credentials(true)
    } else {
        layer
    })
}
