//! Charges each event of a subscription to its client, and ends the subscription above the limit.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use graphql_transport::{Event, EventStream, TransportMetrics};

use super::{Account, RateLimits};
use crate::error::{Code, RequestError};

/// What charges the events of one client's subscription.
pub struct EventMeter {
    pub limits: Arc<RateLimits>,
    pub account: Account,
    /// The estimated cost of one event, at least 1.
    pub cost: u64,
    /// Whether the next event, the first one, has been charged.
    pub is_next_paid: bool,
}

struct Metered {
    events: EventStream,
    meter: EventMeter,
    /// Where the last event that was delivered stands, or the start, if that is known.
    cursor: Option<Arc<str>>,
    metrics: Arc<TransportMetrics>,
}

impl EventMeter {
    /// Whether events above the limit end the subscription, and are not only counted.
    pub(crate) fn is_enforced(&self) -> bool {
        self.limits.is_enforced
    }

    /// The events as long as the client's limit allows them; then `RATE_LIMITED` with the cursor of the last one that was
    /// delivered. The event that was too much comes after that cursor. Without a cursor, the error says that events may be
    /// missing in a next subscription, so that the client reads again.
    pub(crate) fn end(
        self,
        events: EventStream,
        cursor: Option<Arc<str>>,
        metrics: Arc<TransportMetrics>,
    ) -> EventStream {
        let metered = Metered {
            events,
            meter: self,
            cursor,
            metrics,
        };
        stream::unfold(Some(metered), next).boxed()
    }
}

async fn next(metered: Option<Metered>) -> Option<(Event, Option<Metered>)> {
    let mut metered = metered?;
    let event = metered.events.next().await?;
    let cursor = match &event {
        Event::Next { cursor, .. } => cursor,
        Event::Status(_) => return Some((event, Some(metered))),
        Event::Failed { .. } => return Some((event, None)),
    };
    let EventMeter {
        limits,
        account,
        cost,
        is_next_paid,
    } = &mut metered.meter;
    if !std::mem::take(is_next_paid)
        && let Err(refusal) = limits.event(account, *cost)
    {
        metered.metrics.refusal(Code::RateLimited);
        return Some((ended(refusal, metered.cursor.as_deref()), None));
    }
    if cursor.is_some() {
        metered.cursor.clone_from(cursor);
    }
    Some((event, Some(metered)))
}

fn ended(mut refusal: RequestError, cursor: Option<&str>) -> Event {
    if let Some(error) = refusal.errors.first_mut() {
        error.message.push_str(match cursor {
            Some(_) => ", after the cursor",
            None => ", and read again: events may be missing",
        });
    }
    Event::failed(refusal.resumed_after(cursor))
}
