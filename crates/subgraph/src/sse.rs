//! Server-sent events, one operation a connection: the "distinct connections mode" of
//! <https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>.

use std::convert::Infallible;
use std::time::Duration;

use async_graphql::{Executor, Request, Response};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response as HttpResponse};
use futures_util::{StreamExt, stream};

use crate::endpoint::{Endpoint, Execution};
use crate::error::CodedError;

/// A comment is sent after so long a silence, so that proxies keep the connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(12);

/// Runs the operation and sends each response as an event `next`, then `complete`. The latter has
/// data too, though it means nothing: a browser's `EventSource` drops events without any.
pub(crate) async fn answer<E: CodedError, X: Executor>(
    endpoint: Endpoint<E, X>,
    request: Request,
    read_only: bool,
) -> HttpResponse {
    let shutdown = endpoint.shutdown.clone();
    let events = match endpoint.execute_any(request, read_only).await {
        Execution::Answer(answer) => stream::once(answer)
            .map(|outcome| next(&outcome.response))
            .boxed(),
        Execution::Events(events) => events.map(|response| next(&response)).boxed(),
    };
    let events = events
        .take_until(async move { shutdown.cancelled().await })
        .chain(stream::iter([Event::default()
            .event("complete")
            .data("{}")]))
        .map(Ok::<_, Infallible>);
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL))
        .into_response()
}

fn next(response: &Response) -> Event {
    let event = Event::default().event("next");
    match serde_json::to_string(response) {
        Ok(json) => event.data(json),
        Err(error) => {
            tracing::error!(%error, "a response could not be written");
            event.data("{}")
        }
    }
}
