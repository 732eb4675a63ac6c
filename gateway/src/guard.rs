//! Runs the pipeline so that nothing that a request does ends more than itself.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use crate::{
    error::{Code, RequestError},
    gateway::Gateway,
    metrics::Transport,
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
    let outcome = contained(limit, pipeline::run(gateway, request, client)).await;
    let outcome = outcome.unwrap_or_else(|error| {
        if error.code == Code::InternalServerError {
            gateway.metrics().panics.inc();
        }
        Outcome::Single(error.into_response())
    });
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

async fn contained<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, RequestError> {
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_panic)) => {
            // The panic itself, with its place, has been written by the panic hook.
            tracing::error!("a request met a defect: answered as an internal error");
            Err(RequestError::new(
                Code::InternalServerError,
                "internal error",
            ))
        }
        Err(_) => Err(RequestError::new(
            Code::RequestTimeout,
            format!("the request took longer than {limit:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_tells_nothing() {
        let work = async { panic!("secret") };
        let error = contained::<()>(Duration::from_secs(1), work)
            .await
            .expect_err("a refusal");
        assert_eq!(
            error,
            RequestError::new(Code::InternalServerError, "internal error")
        );
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        let error = contained::<()>(Duration::from_millis(1), std::future::pending()).await;
        assert_eq!(error.expect_err("a refusal").code, Code::RequestTimeout);
    }
}
