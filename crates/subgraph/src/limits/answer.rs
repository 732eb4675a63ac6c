//! Limits while a request runs: the bytes of its answer's long texts, and how many large requests run at
//! the same time.
//!
//! An answer is in memory several times before it is sent: as documents, as values, as JSON. So what the
//! largest requests need together is bounded by letting them wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::context::DataContext;
use async_graphql::{Request, ServerError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{LimitError, Limits};

/// Requests that cost no more run without waiting for their turn.
const SMALL_COST_MAX: u64 = 5_000;

/// What is left of a request's answer, in bytes of long texts.
pub(crate) struct AnswerBytes {
    max: usize,
    left: AtomicUsize,
}

/// Gives a request its limit of answer bytes.
pub(crate) fn limit(request: &mut Request, limits: &Limits) {
    let max = limits.settings.answer_bytes_max;
    request.data.insert(AnswerBytes {
        max,
        left: AtomicUsize::new(max),
    });
}

/// Counts a long text, or a list of them, that goes into the answer of `context`'s request. Resolvers of
/// fields that are a [`super::FieldCost::Leaf`] call it; without a limit it counts nothing.
///
/// # Errors
/// With `MAX_COST_EXCEEDED` when the answer has become too large.
pub fn count_bytes<'c>(context: &impl DataContext<'c>, bytes: usize) -> async_graphql::Result<()> {
    Counter::of(context).count(bytes)
}

/// Counts the texts of one request's answer: [`count_bytes`] for many of them.
pub(crate) struct Counter<'c>(Option<&'c AnswerBytes>);

impl<'c> Counter<'c> {
    /// Of `context`'s request. Without a limit it counts nothing.
    pub(crate) fn of(context: &impl DataContext<'c>) -> Self {
        Self(context.data_opt())
    }

    /// Counts `bytes` more.
    ///
    /// # Errors
    /// With `MAX_COST_EXCEEDED` when the answer has become too large.
    pub(crate) fn count(&self, bytes: usize) -> async_graphql::Result<()> {
        let Some(answer) = self.0 else {
            return Ok(());
        };
        let relaxed = Ordering::Relaxed;
        let enough = answer
            .left
            .fetch_update(relaxed, relaxed, |left| left.checked_sub(bytes));
        if enough.is_ok() {
            return Ok(());
        }
        let ServerError {
            message,
            extensions,
            ..
        } = LimitError::AnswerBytes { max: answer.max }.into();
        Err(async_graphql::Error {
            message,
            source: None,
            extensions,
        })
    }
}

/// The turns of large requests, in the order in which they came.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    running: Arc<Semaphore>,
    max: u32,
}

/// Held while a large request runs and its answer is written.
pub(crate) struct Turn(
    #[expect(dead_code, reason = "its end is what matters")] Option<OwnedSemaphorePermit>,
);

impl Turns {
    pub(crate) fn new(limits: &Limits) -> Self {
        let max = u32::try_from(limits.settings.running_cost_max).unwrap_or(u32::MAX);
        let max = max.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self {
            running: Arc::new(Semaphore::new(max as usize)),
            max,
        }
    }

    /// Waits until a request of this cost may run. A small one does not wait; one that costs more than may
    /// run at the same time runs alone.
    pub(crate) async fn take(&self, cost: u64) -> Turn {
        if cost <= SMALL_COST_MAX {
            return Turn(None);
        }
        let permits = u32::try_from(cost).unwrap_or(u32::MAX).min(self.max);
        // It is never closed.
        Turn(
            Arc::clone(&self.running)
                .acquire_many_owned(permits)
                .await
                .ok(),
        )
    }
}
