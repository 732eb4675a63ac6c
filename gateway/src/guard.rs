//! Runs the pipeline so that nothing that a request does ends more than itself.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

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
    let work = AssertUnwindSafe(pipeline::run(gateway, request, client)).catch_unwind();
    let limit = gateway.config().http.request_timeout;
    let outcome = match tokio::time::timeout(limit, work).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => {
            gateway.metrics().panics.inc();
            tracing::error!("a request met a defect: answered as an internal error");
            refusal(RequestError::new(
                Code::InternalServerError,
                "internal error",
            ))
        }
        Err(_) => refusal(RequestError::new(
            Code::RequestTimeout,
            format!("the request took longer than {limit:?}"),
        )),
    };
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

fn refusal(error: RequestError) -> Outcome {
    Outcome::Single(error.into_response())
}
