//! The contract of resumable subscriptions between a resolver and the endpoint (`docs/resumable-subscriptions.md`).
//!
//! The resolver of a subscription takes the cursor to begin after from here, and says when its subscription stands and
//! which cursor each event has. For a client that does not know the contract, all of this does nothing.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as TaskContext, Poll},
};

use async_graphql::Context;
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use graphql_transport::delivery::body_with_cursor;
use graphql_transport::{Event, Guarantee, Stands, Status};
use tokio::sync::watch;

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
    /// Whether changes reach this service, until the first frame has said so to a client that wants to know.
    answers: Option<watch::Receiver<bool>>,
    /// The statuses after that of the first frame.
    statuses: Option<BoxStream<'static, Status>>,
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

    /// Tells the client whether changes reach this service, from its first frame on. To be called before the
    /// subscription stands.
    pub fn while_it_answers(&self, answers: watch::Receiver<bool>) {
        let asked = self.0.as_ref().filter(|asked| asked.delivery.status);
        if let Some(asked) = asked {
            asked.lock().answers = Some(answers);
        }
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
        let mut state = asked.lock();
        let mut stands = state.stands.take()?;
        if let Some(mut answers) = state.answers.take() {
            stands.status = Some(status_of(*answers.borrow_and_update()));
            state.statuses = Some(stream::unfold(answers, next_status).boxed());
        }
        Some(asked.delivery.first_frame(&stands))
    }

    /// A status after that of the first frame, once it has changed. Where there is none, `context` is woken for it.
    pub(crate) fn poll_status(&self, context: &mut TaskContext<'_>) -> Option<Event> {
        let mut state = self.0.as_ref()?.lock();
        match state.statuses.as_mut()?.poll_next_unpin(context) {
            Poll::Ready(Some(status)) => Some(Event::Status(status)),
            Poll::Ready(None) => {
                state.statuses = None;
                None
            }
            Poll::Pending => None,
        }
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

async fn next_status(
    mut answers: watch::Receiver<bool>,
) -> Option<(Status, watch::Receiver<bool>)> {
    answers.changed().await.ok()?;
    let status = status_of(*answers.borrow_and_update());
    Some((status, answers))
}

fn status_of(answers: bool) -> Status {
    match answers {
        true => Status::Live,
        false => Status::Interrupted,
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
