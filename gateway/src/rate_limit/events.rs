//! Charges each event of a subscription to its client, and ends the subscription above the limit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use graphql_transport::Event;

use super::{Account, RateLimits};
use crate::error::RequestError;

/// What charges the events of one client's subscription.
pub struct EventMeter {
    pub limits: Arc<RateLimits>,
    pub account: Account,
    /// The estimated cost of one event, at least 1.
    pub cost: u64,
    /// Whether the next event has been charged: the first one, or one that could not be written directly.
    pub is_next_paid: AtomicBool,
}

impl EventMeter {
    /// Whether events above the limit end the subscription, and are not only counted.
    pub(crate) fn is_enforced(&self) -> bool {
        self.limits.is_enforced
    }

    /// Charges one event.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the time after which the client can start again and get this event.
    pub(crate) fn charge(&self) -> Result<(), RequestError> {
        match self.is_next_paid.swap(false, Relaxed) {
            true => Ok(()),
            false => self.limits.event(&self.account, self.cost),
        }
    }

    /// Charges one event if the limit allows it. Otherwise nothing is said or counted yet: that is left to
    /// [`EventMeter::charge`].
    pub(crate) fn may_pass(&self) -> bool {
        match self.is_enforced() {
            true => {
                self.is_next_paid.swap(false, Relaxed)
                    || self.limits.try_event(&self.account, self.cost)
            }
            false => self.charge().is_ok(),
        }
    }

    /// The event that was charged last did not reach the client: the charge is for the next attempt.
    pub(crate) fn keep_for_next(&self) {
        self.is_next_paid.store(true, Relaxed);
    }
}

/// The end of a subscription above the limit: `RATE_LIMITED` with the cursor of the last event that was delivered. The
/// event that was too much comes after that cursor. Without a cursor, the error says that events may be missing in a next
/// subscription, so that the client reads again.
pub(crate) fn ended(mut refusal: RequestError, cursor: Option<&str>) -> Event {
    if let Some(error) = refusal.errors.first_mut() {
        error.message.push_str(match cursor {
            Some(_) => ", after the cursor",
            None => ", and read again: events may be missing",
        });
    }
    Event::failed(refusal.resumed_after(cursor))
}
