//! Moves an upstream subscription to the address of its subgraph where it belongs, without a gap and without an event
//! twice.
//!
//! An address that was down is empty when it is back. So each subscription looks from time to time whether it lies where
//! it should, and moves by its cursor: first the new one is opened and proves that it stands, then the old one ends. A
//! subscription without a cursor stays where it is.

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use graphql_transport::{Guarantee, Stands};
use tokio::time::{Sleep, sleep, timeout};

use super::{
    feed::{FeedOperation, SETTLING_TIME},
    resume,
    services::SubscriptionServices,
    upstream::{Messages, Place, UpstreamMessage},
};

/// For so long, another address may take to prove that the subscription stands there.
const PROOF_TIME_LIMIT: Duration = Duration::from_secs(10);
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
    messages: Messages,
    /// Where it began.
    after: Arc<str>,
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

    /// The messages of the successor after the cursor of `resumption`, up to which events have come meanwhile; `None` if
    /// the subscription has to stay.
    pub(super) async fn take_over(
        &mut self,
        successor: Successor,
        resumption: Resumption,
    ) -> Option<Messages> {
        let messages = match successor.after == resumption.after {
            true => successor.messages,
            false => {
                let place = successor.messages.into_place()?;
                let opening = timeout(PAUSE_MAX, resumption.open(place));
                opening.await.ok()??
            }
        };
        self.address = messages.address().cloned();
        resumption.services.metrics.upstream_moves.inc();
        Some(messages)
    }
}

impl Resumption {
    async fn move_from(self, address: Arc<str>) -> Option<Successor> {
        let (subgraph, operation, _) = self.operation.request(Some(&*self.after)).ok()?;
        let upstreams = &self.services.upstreams;
        let place = upstreams.better_place(subgraph, &operation, &address)?;
        let opening = timeout(PROOF_TIME_LIMIT, self.open(place));
        let messages = opening.await.ok()??;
        Some(Successor {
            messages,
            after: Arc::clone(&self.after),
        })
    }

    /// Subscribes there, and waits until it is certain that the subscription goes on after the cursor.
    async fn open(&self, place: Place) -> Option<Messages> {
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
                true => match timeout(SETTLING_TIME, next).await {
                    Ok(next) => next,
                    Err(_) => return Some(messages),
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
                    return Some(messages);
                }
                UpstreamMessage::Next(payload) => {
                    let stands = Stands::of_first_frame(payload)?;
                    let is_kept = stands.kept == Guarantee::AtLeastOnce;
                    return is_kept.then_some(messages);
                }
                UpstreamMessage::Errors(_) | UpstreamMessage::Complete => return None,
            }
        }
    }
}
