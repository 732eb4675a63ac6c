//! Runs each request with a deadline, panic isolation and counters: a defect harms that request alone.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};

use crate::{
    client_key::ClientKey,
    code::{Code, Refusal},
    in_flight::{Full, Share},
    metrics::{Transport, TransportMetrics},
    request::{ClientContext, GraphqlRequest},
    response::GraphqlResponse,
    service::{Outcome, Service, Serving},
};

/// An answer of no more bytes is not counted.
pub(crate) const COUNTED_BYTES_MIN: usize = 64 * 1024;

/// Answers one request within the time limit, counts it, and turns a panic into an internal error. A
/// deferred one is counted by [`deferred`].
pub(crate) async fn answer<S: Service>(
    service: &Arc<S>,
    transport: Transport,
    request: GraphqlRequest,
    client: ClientContext,
) -> Outcome {
    let (began, key) = (Instant::now(), client.key);
    let serving = service.serving();
    // Pinned where they are: each move of a future is a copy of all that it may ever hold.
    let work = pin!(service.answer(request, client));
    let work = pin!(caught(&serving.metrics, work));
    let outcome = in_time(serving.settings.http.request_timeout, work).await;
    let outcome = match outcome {
        Ok(Outcome::Single(response)) => Outcome::Single(counted(serving, key, response)),
        Ok(outcome) => outcome,
        Err(refusal) => Outcome::Single(refusal.into()),
    };
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
    client: ClientKey,
    began: Instant,
    work: BoxFuture<'static, GraphqlResponse>,
) -> GraphqlResponse {
    let work = caught(&serving.metrics, work);
    let answer = in_time(serving.settings.http.request_timeout, work).await;
    let response = answer.unwrap_or_else(GraphqlResponse::from);
    let response = counted(serving, client, response);
    let metrics = &serving.metrics;
    metrics.answered(transport, response.refused, began.elapsed());
    response
}

/// Counts a large answer until the last of its bytes has gone. One that finds no room is thrown away:
/// the operation has run.
fn counted(serving: &Serving, client: ClientKey, response: GraphqlResponse) -> GraphqlResponse {
    match untaken(serving, client, response.body) {
        Ok(body) => GraphqlResponse { body, ..response },
        Err(Full) => {
            let refusal = Refusal::new(
                Code::TooManyAnswerBytes,
                "the operation has run, but too many answers have not been taken, of this client or \
                 of all",
            );
            GraphqlResponse {
                headers: response.headers,
                ..refusal.into()
            }
        }
    }
}

/// Counts the bytes of an answer until they are taken; a small one is not counted.
///
/// # Errors
/// [`Full`] where too many answers have not been taken.
pub(crate) fn untaken(serving: &Serving, client: ClientKey, bytes: Bytes) -> Result<Bytes, Full> {
    if bytes.len() < COUNTED_BYTES_MIN {
        return Ok(bytes);
    }
    let mut share = serving.answers.share(client);
    share.grow_to(bytes.len())?;
    Ok(Bytes::from_owner(Untaken {
        bytes,
        _share: share,
    }))
}

/// An answer that is counted. Whoever holds a part of it holds it.
struct Untaken {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Untaken {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
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
        tracing::error!("a request panicked and was answered as an internal error");
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

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::settings::{HttpSettings, Settings};

    #[test]
    fn answers_that_nobody_takes_have_a_bound() {
        let metrics = Arc::new(TransportMetrics::register(&mut Registry::default(), "test"));
        let http = HttpSettings {
            answers_bytes_per_client_max: 2 * COUNTED_BYTES_MIN,
            ..HttpSettings::default()
        };
        let settings = Settings {
            http,
            ..Settings::default()
        };
        let serving = Serving::new(settings, Arc::clone(&metrics), CancellationToken::new());
        let answer = |client: [u8; 4], length| {
            let response = GraphqlResponse::executed(Bytes::from(vec![b' '; length]));
            counted(&serving, ClientKey::of(client.into()), response)
        };
        let (one, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let first = answer(one, COUNTED_BYTES_MIN);
        // A slice of it is as good as the whole.
        let part = answer(one, COUNTED_BYTES_MIN).body.slice(..1);
        let refused = answer(one, COUNTED_BYTES_MIN).refused;
        assert_eq!(refused, Some(Code::TooManyAnswerBytes.into()));
        assert_eq!(answer(one, COUNTED_BYTES_MIN - 1).refused, None);
        assert_eq!(answer(other, COUNTED_BYTES_MIN).refused, None);
        drop(first);
        assert_eq!(answer(one, COUNTED_BYTES_MIN).refused, None);
        drop(part);
        assert_eq!(metrics.untaken_answer_bytes.get(), 0);
        // A single one is answered whatever the bound is.
        assert_eq!(answer(one, 10 * COUNTED_BYTES_MIN).refused, None);
    }

    #[test]
    fn what_would_find_no_room_is_not_executed() {
        let metrics = Arc::new(TransportMetrics::register(&mut Registry::default(), "test"));
        let http = HttpSettings {
            answers_bytes_per_client_max: 2 * COUNTED_BYTES_MIN,
            ..HttpSettings::default()
        };
        let settings = Settings {
            http,
            ..Settings::default()
        };
        let serving = Serving::new(settings, Arc::clone(&metrics), CancellationToken::new());
        let client = ClientKey::of([10, 0, 0, 1].into());
        let room = |bytes| serving.room_for_answer(client, bytes);
        let first = room(10 * COUNTED_BYTES_MIN).expect("a single one always fits");
        let refusal = room(COUNTED_BYTES_MIN).err().expect("a refusal");
        assert_eq!(refusal.code, Code::TooManyAnswerBytes);
        assert!(room(COUNTED_BYTES_MIN - 1).is_ok_and(|room| room.is_none()));
        let other = ClientKey::of([10, 0, 0, 2].into());
        assert!(serving.room_for_answer(other, COUNTED_BYTES_MIN).is_ok());
        drop(first);
        assert!(room(COUNTED_BYTES_MIN).is_ok());
        assert_eq!(metrics.untaken_answer_bytes.get(), 0);
    }

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
