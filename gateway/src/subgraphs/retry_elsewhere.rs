//! Sends a request to one of several addresses, and to another one if that is safe.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    FetchError, HttpResponse, Outgoing,
    balancer::Balancer,
    http_connection::{HttpConnection, is_broken},
    instance::{Instance, Outcome, Rank},
};

/// So often a request is sent while it is certain that it was not taken.
const ATTEMPTS_MAX: u32 = 16;
/// How often a query is sent again after it may have been taken.
const REPEATS_MAX: u32 = 1;

/// What an attempt ended with, without an answer.
struct Failure {
    error: FetchError,
    /// Whether the connection had served another request before.
    was_used: bool,
    /// Whether it is certain that the address has not taken the request.
    is_untaken: bool,
}

impl Failure {
    fn unreachable(error: FetchError) -> Self {
        Self {
            error,
            was_used: false,
            is_untaken: true,
        }
    }

    fn outcome(&self) -> Outcome {
        match (&self.error, self.is_untaken) {
            (FetchError::ClosedBeforeRequest, _) | (_, false) => {
                Outcome::of_error(&self.error, self.was_used)
            }
            (_, true) => Outcome::Unreachable,
        }
    }
}

impl Balancer {
    /// Sends a request, within `time_limit` in all.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        outgoing: &Outgoing<'_>,
        time_limit: Duration,
    ) -> Result<HttpResponse, FetchError> {
        let deadline = Instant::now() + time_limit;
        let mut tried: Vec<Arc<Instance>> = Vec::new();
        let (mut attempts, mut repeats) = (0, 0);
        loop {
            let chosen = timeout_at(deadline, self.choose(&tried, time_limit)).await;
            let (rank, instance) = chosen.unwrap_or(Err(FetchError::Timeout(time_limit)))?;
            attempts += 1;
            // Another kept connection may be closed as well.
            let is_fresh = attempts > 1;
            let attempt = timeout_at(deadline, attempt(&instance, outgoing, is_fresh)).await;
            let attempt = attempt.unwrap_or(Err(Failure {
                error: FetchError::Timeout(time_limit),
                was_used: false,
                is_untaken: false,
            }));
            let failure = match attempt {
                Ok((answer, is_kept)) => {
                    let status = answer.status;
                    let outcome = Outcome::Answered { status, is_kept };
                    self.report(&instance, outcome, rank == Rank::Down);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            self.report(&instance, failure.outcome(), false);
            let may_repeat = match failure.is_untaken {
                true => attempts < ATTEMPTS_MAX,
                false => {
                    repeats += 1;
                    !outgoing.is_mutation && repeats <= REPEATS_MAX && is_broken(&failure.error)
                }
            };
            tried.push(instance);
            let (rank, others) = self.candidates(&tried);
            match others.is_empty() || rank == Rank::Down {
                // No other is up, and this one may only have closed an idle connection.
                true if failure.was_used => {
                    tried.pop();
                }
                true if others.is_empty() => return Err(failure.error),
                _ => {}
            }
            if !may_repeat {
                return Err(failure.error);
            }
            self.metrics.sent_again(&self.subgraph);
        }
    }

    /// An address to try next.
    async fn choose(
        self: &Arc<Self>,
        tried: &[Arc<Instance>],
        time_limit: Duration,
    ) -> Result<(Rank, Arc<Instance>), FetchError> {
        self.keep_resolved();
        if let Some(chosen) = self.pick(tried) {
            if chosen.1.pool.has_idle() {
                return Ok(chosen);
            }
            // A connection has to be opened: its name may stand for another address by now.
            self.resolve_again().await;
            if self.is_known(&chosen.1) {
                return Ok(chosen);
            }
        } else if tried.is_empty() {
            let time_limit = self.settings.connect_timeout.min(time_limit);
            self.until_known(time_limit).await;
        }
        self.pick(tried).ok_or_else(|| self.nowhere())
    }
}

/// Sends a request to one address. Returns also whether the connection is kept.
async fn attempt(
    instance: &Instance,
    outgoing: &Outgoing<'_>,
    is_fresh: bool,
) -> Result<(HttpResponse, bool), Failure> {
    let _running = instance.run();
    let idle = match is_fresh {
        true => None,
        false => instance.pool.take_idle(),
    };
    let mut connection: HttpConnection = match idle {
        Some(connection) => connection,
        None => instance
            .pool
            .connect()
            .await
            .map_err(Failure::unreachable)?,
    };
    let was_used = connection.was_used();
    let head = instance.origin.signed_head(outgoing.body, outgoing.lines);
    let answer = connection
        .exchange(&head, outgoing.body, outgoing.want_headers, outgoing.limits)
        .await;
    match answer {
        Ok(answer) => {
            let is_kept = connection.can_be_kept();
            instance.pool.put_back(connection);
            Ok((answer, is_kept))
        }
        Err(error) => Err(Failure {
            is_untaken: matches!(error, FetchError::ClosedBeforeRequest),
            was_used,
            error,
        }),
    }
}
