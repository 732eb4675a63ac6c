//! The first frame of clients that know the contract of resumable subscriptions
//! (`docs/resumable-subscriptions.md`): their subscription stands, and where.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use graphql_transport::{Delivery, Event, EventStream, Guarantee, Stands};

use super::{
    event_ring::{AtPlace, RingPlace},
    fan_out::DirectClient,
};

struct Ahead {
    /// None once the frame was sent.
    waiting: Option<Waiting>,
    events: EventStream,
}

struct Waiting {
    delivery: Delivery,
    place: RingPlace,
    /// The cursor after which the client's events begin, if that is known.
    cursor: Option<Arc<str>>,
    direct: Option<Arc<DirectClient>>,
}

/// Puts the first frame ahead of the events. It is sent when the feed stands; events without data may come before that,
/// for they can be the end, and so may the news that the subgraph cannot be reached.
pub(super) fn ahead(
    delivery: Delivery,
    place: RingPlace,
    cursor: Option<Arc<str>>,
    direct: Option<Arc<DirectClient>>,
    events: EventStream,
) -> EventStream {
    let waiting = Some(Waiting {
        delivery,
        place,
        cursor,
        direct,
    });
    stream::unfold(Ahead { waiting, events }, next).boxed()
}

/// The events are not polled before the frame is sent, unless there is one: a group might write to the client's socket.
async fn next(mut ahead: Ahead) -> Option<(Event, Ahead)> {
    if let Some(mut waiting) = ahead.waiting.take() {
        match waiting.place.until_standing().await {
            AtPlace::Stands(stands) => {
                let is_kept = stands.kept == Guarantee::AtLeastOnce;
                let cursor = waiting.cursor.or(stands.cursor);
                let stands = Stands {
                    // Where it was asked to begin, it has not begun otherwise.
                    cursor: cursor.filter(|_| is_kept),
                    kept: stands.kept,
                    status: stands.status,
                };
                // No group may write before the connection has written the frame.
                if let Some(direct) = &waiting.direct {
                    direct.got(stands.cursor.as_ref());
                }
                return Some((waiting.delivery.first_frame(&stands), ahead));
            }
            AtPlace::Status(status) => {
                ahead.waiting = Some(waiting);
                return Some((Event::Status(status), ahead));
            }
            AtPlace::Event => {
                waiting.place.pass();
                ahead.waiting = Some(waiting);
            }
        }
    }
    let event = ahead.events.next().await?;
    Some((event, ahead))
}
