//! Ends a subscription when its client's token ends, unless the client has brought a new one.

use std::{pin::Pin, sync::Arc};

use futures_util::{StreamExt, stream};
use graphql_transport::{ClientSocket, Event, EventStream, TransportMetrics};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Identity;
use crate::error::{Code, RequestError};

/// Ends what is written around a stream, and returns the cursor of the last event, if one had any.
pub(crate) type Withdraw = Box<dyn FnOnce() -> Option<Arc<str>> + Send>;

/// The token with which a subscription began, and where its client may bring another one.
#[derive(Clone)]
pub(crate) struct ClientToken {
    pub identity: Arc<Identity>,
    /// The WebSocket on which a client may bring a new token; `None` for a stream of its own.
    pub socket: Option<Arc<ClientSocket>>,
}

/// When a subscription ends, and what could make it go on.
pub(crate) struct Expiry {
    pub token: ClientToken,
    /// Where the subscription starts, if that is known.
    pub cursor: Option<Arc<str>>,
    /// Where events may be written around this stream.
    pub withdraw: Option<Withdraw>,
    pub metrics: Arc<TransportMetrics>,
}

struct Ending {
    events: EventStream,
    expiry: Expiry,
    sleep: Pin<Box<Sleep>>,
}

impl Expiry {
    /// The events until the token ends; then `TOKEN_EXPIRED` with the last event's cursor. An event that has
    /// not been delivered by then comes after that cursor. Without a cursor, the error says that events may be
    /// missing in a next subscription, so that the client reads again.
    pub(crate) fn end(self, events: EventStream) -> EventStream {
        let sleep = Box::pin(sleep_until(self.token.identity.valid_until()));
        let ending = Ending {
            events,
            expiry: self,
            sleep,
        };
        stream::unfold(Some(ending), next).boxed()
    }
}

impl ClientToken {
    /// Until when the subscription goes on, as far as is known now.
    pub(crate) fn valid_until(&self) -> Instant {
        let own = self.identity.valid_until();
        self.renewed_until().map_or(own, |renewed| renewed.max(own))
    }

    /// When the client's new token ends, if there is one with the same rights. With other rights, the client
    /// has to subscribe again: what it sees may differ.
    fn renewed_until(&self) -> Option<Instant> {
        let admitted = self.socket.as_ref()?.admitted();
        let is_same = admitted.rights.as_ref() == Some(self.identity.rights());
        let until = admitted.valid_until.filter(|until| *until > Instant::now());
        until.filter(|_| is_same)
    }
}

async fn next(ending: Option<Ending>) -> Option<(Event, Option<Ending>)> {
    let mut ending = ending?;
    let event = loop {
        tokio::select! {
            biased;
            () = &mut ending.sleep => match ending.expiry.token.renewed_until() {
                Some(until) => ending.sleep.as_mut().reset(until),
                None => {
                    ending.expiry.metrics.refusal(Code::TokenExpired);
                    let withdraw = ending.expiry.withdraw.take();
                    let last = withdraw.and_then(|withdraw| withdraw());
                    break Some(expired(last.or(ending.expiry.cursor.take()).as_deref()));
                }
            },
            event = ending.events.next() => break event,
        }
    };
    let event = event?;
    match &event {
        Event::Next { cursor, .. } => {
            if cursor.is_some() {
                ending.expiry.cursor.clone_from(cursor);
            }
            Some((event, Some(ending)))
        }
        Event::Status(_) => Some((event, Some(ending))),
        Event::Failed { .. } => Some((event, None)),
    }
}

fn expired(cursor: Option<&str>) -> Event {
    let message = match cursor {
        Some(_) => "the token has expired: subscribe again with a new one, after the cursor",
        None => {
            "the token has expired: subscribe again with a new one and read again, events may be missing"
        }
    };
    Event::failed(RequestError::new(Code::TokenExpired, message).resumed_after(cursor))
}
