//! Runs the pipeline so that nothing that a request does ends more than itself.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use crate::{
    error::{Code, RequestError},
    gateway::Gateway,
    metrics::{GatewayMetrics, Transport},
    pipeline::{self, Outcome},
    request::{ClientContext, GraphqlRequest},
};

/// Answers one request within the time limit, counts it, and turns a panic into an internal error.
pub async fn answer(
    gateway: &Arc<Gateway>,
    transport: Transport,
    request: GraphqlRequest,
    client: ClientContext,
) -> Outcome {
    let began = Instant::now();
    let limit = gateway.config().http.request_timeout;
    // Pinned where they are: each move of a future is a copy of all that it may ever hold.
    let work = pin!(pipeline::run(gateway, request, client));
    let work = pin!(caught(gateway.metrics(), work));
    let outcome = in_time(limit, work).await;
    let outcome = outcome.unwrap_or_else(|error| Outcome::Single(error.into_response()));
    match &outcome {
        Outcome::Single(response) => {
            gateway
                .metrics()
                .answered(transport, response.refused, began.elapsed());
        }
        Outcome::Stream(_) => gateway.metrics().subscribed(transport),
    }
    outcome
}

/// Turns a panic into an internal error, and counts it.
///
/// # Errors
/// `INTERNAL_SERVER_ERROR`.
pub(crate) async fn caught<T>(
    metrics: &GatewayMetrics,
    work: impl Future<Output = T>,
) -> Result<T, RequestError> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        metrics.panics.inc();
        // The panic itself, with its place, has been written by the panic hook.
        tracing::error!("a request met a defect: answered as an internal error");
        RequestError::new(Code::InternalServerError, "internal error")
    })
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(RequestError::new(
            Code::RequestTimeout,
            format!("the request took longer than {limit:?}"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_tells_nothing() {
        let metrics = GatewayMetrics::register(&service::Metrics::new("test"));
        let error = caught::<()>(&metrics, async { panic!("secret") })
            .await
            .expect_err("a refusal");
        assert_eq!(
            error,
            RequestError::new(Code::InternalServerError, "internal error")
        );
        assert_eq!(metrics.panics.get(), 1);
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        let error = in_time::<()>(Duration::from_millis(1), std::future::pending()).await;
        assert_eq!(error.expect_err("a refusal").code, Code::RequestTimeout);
    }
}
