//! One client of a feed.

use std::sync::Arc;

use graphql_transport::{ClientKey, Code as TransportCode, Event, GaugeGuard, TransportMetrics};

use super::{FeedKey, SubscriptionHub};
use crate::{
    error::{Code, RequestError},
    rate_limit::events::{self, EventMeter},
    sparse::ShrinkIfSparse,
    subscriptions::{
        clients::ClientId,
        event_ring::{RingReader, Shows, Taken},
        fan_out::{DirectClient, FanOut},
    },
};

/// How a client gets its events.
pub struct ClientWay {
    /// The way around its connection's task, if it has one.
    pub direct: Option<Arc<DirectClient>>,
    /// What it pays for them, if there is a rate limit.
    pub charge: Option<Charge>,
    /// What it gets in addition to them.
    pub shows: Shows,
}

/// Charges events to a client.
pub struct Charge {
    pub meter: Arc<EventMeter>,
    /// Where the client's events start, if that is known.
    pub start: Option<Arc<str>>,
    pub metrics: Arc<TransportMetrics>,
}

/// One client of a feed.
pub struct FeedMember {
    /// None while a group reads for it.
    pub reader: Option<RingReader>,
    pub way: ClientWay,
    /// The cursor of the last event that came by here, or the one that they follow.
    pub cursor: Option<Arc<str>>,
    pub fan_out: Arc<FanOut>,
    /// Whether the client's stream was polled.
    pub has_begun: bool,
    pub seat: Seat,
    pub(super) _counted: GaugeGuard,
}

impl FeedMember {
    /// The next event that the client's connection has to write. Those that a group writes do not come by here.
    async fn next(&mut self) -> Taken {
        if let (false, Some(direct)) = (
            std::mem::replace(&mut self.has_begun, true),
            &self.way.direct,
        ) {
            // Whatever of the response comes before the events has to be written first.
            direct.got(None);
        }
        loop {
            let Some(mut reader) = self.reader.take() else {
                return Taken::Closed;
            };
            let Some(direct) = &self.way.direct else {
                return self.reader.insert(reader).next().await;
            };
            if let Some(taken) = reader.try_next() {
                self.reader = Some(reader);
                return taken;
            }
            self.reader = match self.fan_out.enter(reader, direct) {
                Ok(membership) => Some(membership.until_returned().await),
                Err(reader) => {
                    let reader = self.reader.insert(reader);
                    tokio::select! {
                        biased;
                        taken = reader.next() => return taken,
                        () = direct.until_flushed() => self.reader.take(),
                    }
                }
            };
        }
    }

    fn got(&mut self, cursor: Option<&Arc<str>>) {
        if let Some(direct) = &self.way.direct {
            direct.got(cursor);
        }
        if let Some(cursor) = cursor {
            self.cursor = Some(Arc::clone(cursor));
        }
    }

    /// The cursor of the last event that the client has got. It gets no more.
    fn withdraw(&self) -> Option<Arc<str>> {
        let direct = self.way.direct.as_ref();
        let last = direct.and_then(|direct| direct.withdraw());
        last.or_else(|| self.cursor.clone())
    }

    /// The error that ends the client's part, with the cursor to resume after, if the client knows where to look for it.
    fn resumable(&self, error: RequestError) -> RequestError {
        let cursor = self.way.shows.cursors.then(|| self.withdraw()).flatten();
        match cursor {
            Some(cursor) => error.resumed_after(Some(&cursor)),
            None => error,
        }
    }

    /// Charges an event that has come; returns the event that ends the client's part if that is too much.
    fn charge(&self) -> Result<(), Event> {
        let Some(charge) = &self.way.charge else {
            return Ok(());
        };
        charge.meter.charge().map_err(|refusal| {
            charge.metrics.refusal(Code::RateLimited);
            let cursor = self.withdraw().or_else(|| charge.start.clone());
            events::ended(refusal, cursor.as_deref())
        })
    }
}

pub async fn next(member: Option<FeedMember>) -> Option<(Event, Option<FeedMember>)> {
    let mut member = member?;
    let taken = member.next().await;
    match taken {
        Taken::Event(event @ Event::Failed { .. }) => Some((event, None)),
        Taken::Event(event) => {
            if let Event::Next { cursor, .. } = &event {
                if let Err(end) = member.charge() {
                    return Some((end, None));
                }
                member.got(cursor.as_ref());
            }
            Some((event, Some(member)))
        }
        // It is not charged: it is no event.
        Taken::Status(status, _) => {
            member.got(None);
            Some((Event::Status(status), Some(member)))
        }
        Taken::Closed => None,
        Taken::Missed(missed) => {
            member.seat.hub.lagged.inc();
            let error = RequestError::new(
                TransportCode::SubscriptionLagged,
                format!("the client read too slowly and missed {missed} events: subscribe again"),
            );
            Some((Event::failed(member.resumable(error)), None))
        }
    }
}

/// A client's membership in a feed. Dropping the last one stops the feed.
pub struct Seat {
    pub hub: Arc<SubscriptionHub>,
    pub key: FeedKey,
    pub number: u64,
    pub address: ClientKey,
    /// The client, if it started the feed.
    pub began: Option<ClientId>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut feeds = self.hub.lock();
        if let Some(client) = &self.began {
            feeds.begun.remove(client);
        }
        let closed = self.key.of_closed_feed(self.number);
        for key in [&self.key, &closed] {
            let Some(entry) = feeds
                .running
                .get_mut(key)
                .filter(|entry| entry.number == self.number)
            else {
                continue;
            };
            entry.subscribers.remove(self.address);
            if self.began.is_some() {
                entry.begun_by = None;
            }
            if entry.subscribers.count() == 0 {
                entry.stop.cancel();
                feeds.running.remove(key);
                feeds.running.shrink_if_sparse();
            }
            return;
        }
    }
}
