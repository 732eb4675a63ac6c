//! The contract of resumable subscriptions between a resolver and the endpoint (`docs/resumable-subscriptions.md`).
//!
//! The resolver of a subscription takes the cursor to begin after from here, and says when its subscription stands and
//! which cursor each event has. For a client that does not know the contract, all of this does nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::Context;
use bytes::Bytes;
use graphql_transport::delivery::body_with_cursor;
use graphql_transport::{Event, Guarantee, Stands};

/// What the client of a subscription asks for, and where its subscription is. It is in the data of each request. Clones
/// share it.
#[derive(Clone, Default)]
pub struct Delivery(Option<Arc<Asked>>);

struct Asked {
    delivery: graphql_transport::Delivery,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the subscription stands, until the first frame has said so.
    stands: Option<Stands>,
    /// The cursor of the event that is on its way.
    cursor: Option<Arc<str>>,
}

impl Delivery {
    pub(crate) fn new(asked: Option<graphql_transport::Delivery>) -> Self {
        Self(asked.map(|delivery| {
            Arc::new(Asked {
                delivery,
                state: Mutex::default(),
            })
        }))
    }

    /// That of the request.
    pub fn of(ctx: &Context<'_>) -> Self {
        ctx.data_opt::<Self>().cloned().unwrap_or_default()
    }

    /// The cursor to begin after: the client's newest one. `argument` is that of the field.
    pub fn after(&self, argument: Option<String>) -> Option<String> {
        let asked = self.0.as_ref();
        let newest = asked.and_then(|asked| asked.delivery.after.as_deref());
        newest.map(str::to_owned).or(argument)
    }

    /// The subscription stands: every event after this cursor follows, with a cursor of its own.
    pub fn stands_after(&self, cursor: &str) {
        self.stand(Guarantee::AtLeastOnce, Some(cursor.into()));
    }

    /// The subscription stands. Its events have no cursors.
    pub fn stands(&self) {
        self.stand(Guarantee::BestEffort, None);
    }

    fn stand(&self, kept: Guarantee, cursor: Option<Arc<str>>) {
        if let Some(asked) = &self.0 {
            asked.lock().stands = Some(Stands {
                kept,
                cursor,
                status: None,
            });
        }
    }

    /// The next event has this cursor.
    pub fn next_has(&self, cursor: &str) {
        if let Some(asked) = &self.0 {
            asked.lock().cursor = Some(cursor.into());
        }
    }

    /// The first frame, once, as soon as the subscription stands.
    pub(crate) fn first_frame(&self) -> Option<Event> {
        let asked = self.0.as_ref()?;
        let stands = asked.lock().stands.take()?;
        Some(asked.delivery.first_frame(&stands))
    }

    /// The event with its cursor, if it has one.
    pub(crate) fn with_cursor(&self, event: Event) -> Event {
        let cursor = self.0.as_ref().and_then(|asked| asked.lock().cursor.take());
        match (event, cursor) {
            (Event::Next { body, .. }, Some(cursor)) => shown(body, cursor),
            (event, _) => event,
        }
    }
}

fn shown(body: Bytes, cursor: Arc<str>) -> Event {
    let event = Event::Next {
        body,
        cursor: Some(cursor),
    };
    match (body_with_cursor(&event), event) {
        (Some(body), Event::Next { cursor, .. }) => Event::Next { body, cursor },
        (_, event) => event,
    }
}

impl Asked {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
