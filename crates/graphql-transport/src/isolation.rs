//! Runs each request with a deadline, panic isolation and counters: what it does ends itself alone.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};

use crate::{
    code::{Code, Refusal},
    metrics::{Transport, TransportMetrics},
    request::{ClientContext, GraphqlRequest},
    response::GraphqlResponse,
    service::{Outcome, Service, Serving},
};

/// Answers one request within the time limit, counts it, and turns a panic into an internal error. A
/// deferred one is counted by [`deferred`].
pub(crate) async fn answer<S: Service>(
    service: &Arc<S>,
    transport: Transport,
    request: GraphqlRequest,
    client: ClientContext,
) -> Outcome {
    let began = Instant::now();
    let serving = service.serving();
    // Pinned where they are: each move of a future is a copy of all that it may ever hold.
    let work = pin!(service.answer(request, client));
    let work = pin!(caught(&serving.metrics, work));
    let outcome = in_time(serving.settings.http.request_timeout, work).await;
    let outcome = outcome.unwrap_or_else(|refusal| Outcome::Single(refusal.into()));
    match &outcome {
        Outcome::Single(response) => {
            let metrics = &serving.metrics;
            metrics.answered(transport, response.refused, began.elapsed());
        }
        Outcome::Stream(_) => serving.metrics.subscribed(transport),
        Outcome::Deferred(_) => {}
    }
    outcome
}

/// Runs what a service deferred, as [`answer`] would have. Its time begins now; that of the counters
/// when the request `began`.
pub(crate) async fn deferred(
    serving: &Serving,
    transport: Transport,
    began: Instant,
    work: BoxFuture<'static, GraphqlResponse>,
) -> GraphqlResponse {
    let work = caught(&serving.metrics, work);
    let answer = in_time(serving.settings.http.request_timeout, work).await;
    let response = answer.unwrap_or_else(GraphqlResponse::from);
    let metrics = &serving.metrics;
    metrics.answered(transport, response.refused, began.elapsed());
    response
}

/// Turns a panic into an internal error, and counts it.
///
/// # Errors
/// `INTERNAL_SERVER_ERROR`.
pub(crate) async fn caught<T>(
    metrics: &TransportMetrics,
    work: impl Future<Output = T>,
) -> Result<T, Refusal> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        metrics.panics.inc();
        // The panic itself, with its place, has been written by the panic hook.
        tracing::error!("a request met a defect: answered as an internal error");
        Refusal::new(Code::InternalServerError, "internal error")
    })
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Refusal::new(
            Code::RequestTimeout,
            format!("the request took longer than {limit:?}"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_tells_nothing() {
        let metrics = TransportMetrics::register(&mut Registry::default(), "test");
        let error = caught::<()>(&metrics, async { panic!("secret") })
            .await
            .expect_err("a refusal");
        assert_eq!(
            error,
            Refusal::new(Code::InternalServerError, "internal error")
        );
        assert_eq!(metrics.panics.get(), 1);
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        let error = in_time::<()>(Duration::from_millis(1), std::future::pending()).await;
        assert_eq!(error.expect_err("a refusal").code, Code::RequestTimeout);
    }
}
