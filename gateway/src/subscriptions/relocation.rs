//! Moves an upstream subscription to the address of its subgraph where it belongs, without a gap and without an event
//! twice.
//!
//! An address that was down is empty when it is back. So each subscription looks from time to time whether it lies where
//! it should, and moves by its cursor: first the new one is opened and proves that it stands, then the old one ends. A
//! subscription without a cursor stays where it is.

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use graphql_transport::{Guarantee, Stands, Status};
use tokio::time::{Sleep, sleep, timeout};

use super::{
    feed::{FeedOperation, SETTLING_TIME},
    resume,
    services::SubscriptionServices,
    upstream::{Messages, Place, UpstreamMessage},
};

/// For so long, another address may take to prove that the subscription stands there.
const PROOF_TIME_LIMIT: Duration = Duration::from_secs(10);
/// An address that does not say that the subscription stands there would refuse the cursor within this time. The old one
/// runs on.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
/// For so long, events may wait while the subscription moves on at an address that has proved itself.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Looks for a better address for one upstream subscription.
pub(super) struct Relocation {
    interval: Duration,
    /// Where it runs now, if its subgraph has several addresses.
    address: Option<Arc<str>>,
    state: State,
}

enum State {
    Off,
    Waiting(Pin<Box<Sleep>>),
    Opening(BoxFuture<'static, Option<Successor>>),
}

/// The subscription at another address, which stands there.
pub(super) struct Successor {
    opened: Opened,
    /// Where it began.
    after: Arc<str>,
}

/// The messages of a subscription that stands.
pub(super) struct Opened {
    pub messages: Messages,
    /// Whether the subgraph has said that it sends each event's cursor in `extensions`.
    pub has_cursors: bool,
    /// What its first frame says of it; live if it has none.
    pub status: Status,
}

/// The address that a subscription should not return to.
#[derive(Default)]
pub(super) struct Avoidance {
    current: Option<Arc<str>>,
    lost_at: Option<Arc<str>>,
    avoided: Option<Arc<str>>,
}

impl Avoidance {
    pub(super) fn avoided(&self) -> Option<&Arc<str>> {
        self.avoided.as_ref()
    }

    /// It runs at this address, if its subgraph has several.
    pub(super) fn runs_at(&mut self, address: Option<&Arc<str>>) {
        self.current = address.cloned();
    }

    /// Its address has lost it. One that does so twice without an event is avoided.
    pub(super) fn lost(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        if self.lost_at.as_ref() == Some(&current) {
            self.avoided = Some(Arc::clone(&current));
        }
        self.lost_at = Some(current);
    }

    /// Its address has refused what another one accepts.
    pub(super) fn refused(&mut self) {
        self.avoided = self.current.take();
    }

    /// An event has come.
    pub(super) fn works(&mut self) {
        if self.lost_at.is_some() || self.avoided.is_some() {
            (self.lost_at, self.avoided) = (None, None);
        }
    }
}

/// What is subscribed to, after which cursor.
#[derive(Clone)]
pub(super) struct Resumption {
    pub services: Arc<SubscriptionServices>,
    pub operation: Arc<FeedOperation>,
    pub after: Arc<str>,
    /// Whether the subgraph resumes it by `extensions` alone: it has to say that it does.
    pub is_by_extensions: bool,
}

impl Opened {
    fn without_cursors(messages: Messages) -> Self {
        Self {
            messages,
            has_cursors: false,
            status: Status::default(),
        }
    }
}

impl Relocation {
    /// For a subscription that runs as `messages`.
    pub(super) fn of(messages: &Messages, interval: Duration) -> Self {
        let mut relocation = Self {
            interval,
            address: messages.address().cloned(),
            state: State::Off,
        };
        relocation.wait();
        relocation
    }

    fn wait(&mut self) {
        self.state = match self.address.is_some() && !self.interval.is_zero() {
            true => {
                // Random, so that an address that is back fills gradually.
                let pause = self.interval.mul_f64(0.5 + fastrand::f64());
                State::Waiting(Box::pin(sleep(pause)))
            }
            false => State::Off,
        };
    }

    /// Returns when the subscription stands at a better address. Nothing is lost if it is dropped before.
    pub(super) async fn successor(
        &mut self,
        resumption: impl Fn() -> Option<Resumption>,
    ) -> Successor {
        loop {
            match &mut self.state {
                State::Off => pending().await,
                State::Waiting(sleep) => {
                    sleep.as_mut().await;
                    match (&self.address, resumption()) {
                        (Some(address), Some(resumption)) => {
                            let opening = resumption.move_from(Arc::clone(address));
                            self.state = State::Opening(Box::pin(opening));
                        }
                        _ => self.wait(),
                    }
                }
                State::Opening(opening) => {
                    let successor = opening.await;
                    self.wait();
                    if let Some(successor) = successor {
                        return successor;
                    }
                }
            }
        }
    }

    /// The successor after the cursor of `resumption`, up to which events have come meanwhile; `None` if the subscription
    /// has to stay.
    pub(super) async fn take_over(
        &mut self,
        successor: Successor,
        resumption: Resumption,
    ) -> Option<Opened> {
        let opened = match successor.after == resumption.after {
            true => successor.opened,
            false => {
                let place = successor.opened.messages.into_place()?;
                let opening = timeout(PAUSE_MAX, resumption.open(place, SETTLING_TIME));
                opening.await.ok()??
            }
        };
        self.address = opened.messages.address().cloned();
        resumption.services.metrics.upstream_moves.inc();
        Some(opened)
    }
}

impl Resumption {
    async fn move_from(self, address: Arc<str>) -> Option<Successor> {
        let (subgraph, operation, _) = self.operation.request(Some(&*self.after)).ok()?;
        let upstreams = &self.services.upstreams;
        let place = upstreams.better_place(subgraph, &operation, &address)?;
        let opening = timeout(PROOF_TIME_LIMIT, self.open(place, REFUSAL_TIME));
        let opened = opening.await.ok()??;
        Some(Successor {
            opened,
            after: Arc::clone(&self.after),
        })
    }

    /// Subscribes there, and waits until it is certain that the subscription goes on after the cursor. If the address says
    /// nothing, that is so when it has not refused it for `refusal_time`.
    async fn open(&self, place: Place, refusal_time: Duration) -> Option<Opened> {
        let (subgraph, operation, headers) = self.operation.request(Some(&*self.after)).ok()?;
        let upstreams = &self.services.upstreams;
        let client = self.operation.client.key;
        let opening = upstreams.open_at(subgraph, place, &operation, headers, client, true);
        let mut messages = opening.await.ok()?;
        let mut is_accepted = false;
        loop {
            let next = messages.next();
            let next = match is_accepted && !self.is_by_extensions {
                // It would have refused the cursor by now.
                true => match timeout(refusal_time, next).await {
                    Ok(next) => next,
                    Err(_) => return Some(Opened::without_cursors(messages)),
                },
                false => next.await,
            };
            let received = next?;
            match &received.message {
                UpstreamMessage::Accepted => is_accepted = true,
                UpstreamMessage::Next(payload) if resume::has_data(payload) => {
                    if self.is_by_extensions {
                        return None;
                    }
                    messages.put_back(received);
                    return Some(Opened::without_cursors(messages));
                }
                UpstreamMessage::Next(payload) => {
                    let stands = Stands::of_first_frame(payload)?;
                    let has_cursors = stands.kept == Guarantee::AtLeastOnce;
                    return has_cursors.then_some(Opened {
                        messages,
                        has_cursors,
                        status: stands.status.unwrap_or_default(),
                    });
                }
                UpstreamMessage::Errors(_) | UpstreamMessage::Complete => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_loses_a_subscription_twice_is_avoided_until_an_event_comes() {
        let (a, b) = ("a:4001".into(), "b:4001".into());
        let mut avoidance = Avoidance::default();
        for expected in [None, Some(&a)] {
            avoidance.runs_at(Some(&a));
            avoidance.lost();
            // An attempt that found no address.
            avoidance.lost();
            assert_eq!(avoidance.avoided(), expected);
        }
        avoidance.runs_at(Some(&b));
        avoidance.lost();
        assert_eq!(avoidance.avoided(), Some(&a));
        avoidance.works();
        assert_eq!(avoidance.avoided(), None);
        avoidance.runs_at(Some(&b));
        avoidance.refused();
        assert_eq!(avoidance.avoided(), Some(&b));
    }
}
