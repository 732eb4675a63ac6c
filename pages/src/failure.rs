//! Why there is no page. The gateway takes each of these answers as a reason to send the plain `index.html` with status
//! 503; 504 tells it that the graph is slow, and after some of them it does not ask for a while.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// A crawler that meets this service itself may come back after so many seconds.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("5");

/// Why a page cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// As many pages as there may be are being rendered.
    #[error("too many pages are being rendered")]
    Busy,
    /// It was not rendered in time.
    #[error("the page was not rendered in time")]
    TooSlow,
    /// The graph cannot be reached, or its answer cannot be read.
    #[error("the graph cannot be reached: {0}")]
    Graph(String),
    /// The graph refuses, because it has too much to do.
    #[error("the graph has too much to do: {0}")]
    GraphBusy(String),
    /// `index.html` cannot be used.
    #[error("index.html cannot be used: {0}")]
    Template(String),
    /// What is to be sent is too large.
    #[error("the page has more than {0} bytes")]
    TooLarge(usize),
    /// A defect of this service.
    #[error("the page could not be rendered")]
    Defect,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Busy | Self::GraphBusy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
            Self::Graph(_) => StatusCode::BAD_GATEWAY,
            Self::Template(_) | Self::TooLarge(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Defect => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let headers = [
            (header::RETRY_AFTER, RETRY_AFTER_S),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (self.status(), headers, format!("{self}\n")).into_response()
    }
}
