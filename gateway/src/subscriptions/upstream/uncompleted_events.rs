//! Bounds the events that subgraphs have sent and that are not completed yet, by number and bytes,
//! for each subscription and for all together.
//!
//! The subscriptions that one client started may use at most as many bytes as are still free, so
//! that a client that uses much leaves as much for others. A few bytes of each subscription always
//! pass.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use graphql_transport::{ClientKey, PerClient};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, mpsc};

use super::UpstreamMessage;
use crate::config::SubscriptionConfig;

/// Bytes of memory that a message takes in addition to its text.
const MESSAGE_BYTES: usize = 128;
/// Bytes of one subscription that always pass, however many others use.
const SMALL_BYTES_MAX: usize = 16 * 1024;

/// The uncompleted events of all upstream subscriptions.
pub(super) struct UncompletedEvents {
    events_max: usize,
    bytes_max: usize,
    all_bytes_max: usize,
    all_bytes: AtomicUsize,
    /// The bytes that each client's subscriptions use.
    clients: PerClient<AtomicUsize>,
    /// Whether a message larger than `all_bytes_max` waits. One such message passes at a time.
    has_oversized: AtomicBool,
    shown: Gauge,
}

impl UncompletedEvents {
    pub(super) fn new(config: &SubscriptionConfig, shown: &Gauge) -> Arc<Self> {
        Arc::new(Self {
            events_max: config.subscription_uncompleted_events_max,
            bytes_max: config.subscription_uncompleted_bytes_max,
            all_bytes_max: config.subscription_uncompleted_all_bytes_max,
            all_bytes: AtomicUsize::new(0),
            clients: PerClient::default(),
            has_oversized: AtomicBool::new(false),
            shown: shown.clone(),
        })
    }

    /// A channel for the messages of one subscription that `client` started.
    pub(super) fn channel(
        self: &Arc<Self>,
        client: ClientKey,
    ) -> (MessageSender, mpsc::Receiver<ReceivedMessage>) {
        let (sender, receiver) = mpsc::channel(self.events_max.max(1));
        let own = Arc::new(SubscriptionBytes {
            all: Arc::clone(self),
            of_client: self.clients.of(client, AtomicUsize::default),
            bytes: AtomicUsize::new(0),
            released: Notify::new(),
        });
        (MessageSender { own, sender }, receiver)
    }
}

/// The bytes that one subscription uses.
struct SubscriptionBytes {
    all: Arc<UncompletedEvents>,
    /// The bytes of all subscriptions of its client.
    of_client: Arc<AtomicUsize>,
    bytes: AtomicUsize,
    released: Notify,
}

impl SubscriptionBytes {
    /// Counts a message until the returned value is dropped; `None` if there is no room. Each
    /// subscription has one sender; several senders at once could exceed the bound by one message
    /// each.
    fn reserve_bytes(self: &Arc<Self>, message: &UpstreamMessage) -> Option<ReservedBytes> {
        let all = &self.all;
        let bytes = MESSAGE_BYTES + message.text_bytes();
        let own = self.bytes.load(Ordering::Relaxed);
        let of_client = self.of_client.load(Ordering::Relaxed);
        let left = all
            .all_bytes_max
            .saturating_sub(all.all_bytes.load(Ordering::Relaxed));
        let is_small = own + bytes <= SMALL_BYTES_MAX;
        let fits_own = own == 0 || own + bytes <= all.bytes_max;
        // A client may use at most half while it is alone.
        let fits = fits_own && bytes <= left && of_client <= left;
        let is_oversized = !is_small && !fits;
        if is_oversized {
            let may_pass = own == 0 && bytes > all.all_bytes_max;
            if !may_pass || all.has_oversized.swap(true, Ordering::Relaxed) {
                return None;
            }
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.of_client.fetch_add(bytes, Ordering::Relaxed);
        // An oversized message is not counted: it would leave no room for others.
        if !is_oversized {
            all.all_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        all.shown.inc_by(bytes as i64);
        Some(ReservedBytes {
            own: Arc::clone(self),
            bytes,
            is_oversized,
        })
    }
}

/// A message's bytes, for as long as it waits or is being completed.
pub(in crate::subscriptions) struct ReservedBytes {
    own: Arc<SubscriptionBytes>,
    bytes: usize,
    is_oversized: bool,
}

impl Drop for ReservedBytes {
    fn drop(&mut self) {
        let all = &self.own.all;
        self.own.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.own.of_client.fetch_sub(self.bytes, Ordering::Relaxed);
        all.shown.dec_by(self.bytes as i64);
        match self.is_oversized {
            true => all.has_oversized.store(false, Ordering::Relaxed),
            false => {
                all.all_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            }
        }
        self.own.released.notify_one();
    }
}

/// A message with the bytes reserved for it.
pub(in crate::subscriptions) struct ReceivedMessage {
    pub(in crate::subscriptions) message: UpstreamMessage,
    pub(in crate::subscriptions) reserved: ReservedBytes,
}

/// The sending half of a subscription's channel.
pub(super) struct MessageSender {
    own: Arc<SubscriptionBytes>,
    sender: mpsc::Sender<ReceivedMessage>,
}

/// The message was not taken: there is no room, or the receiver is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotTaken;

impl MessageSender {
    /// The number of subscriptions that its client has, this one included.
    pub(super) fn of_client(&self) -> usize {
        Arc::strong_count(&self.own.of_client)
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// If a bound is reached, or the receiver is gone.
    pub(super) fn try_send(&self, message: UpstreamMessage) -> Result<(), NotTaken> {
        let permit = self.sender.try_reserve().map_err(|_| NotTaken)?;
        let reserved = self.own.reserve_bytes(&message).ok_or(NotTaken)?;
        permit.send(ReceivedMessage { message, reserved });
        Ok(())
    }

    /// Sends a message as soon as there is room.
    ///
    /// # Errors
    /// If the receiver is gone, or other subscriptions leave no room for the first message.
    pub(super) async fn send(&self, message: UpstreamMessage) -> Result<(), NotTaken> {
        let permit = self.sender.reserve().await.map_err(|_| NotTaken)?;
        let reserved = loop {
            let released = self.own.released.notified();
            // Read before reserving, so that a release after it is noticed.
            let is_first = self.own.bytes.load(Ordering::Relaxed) == 0;
            match self.own.reserve_bytes(&message) {
                Some(reserved) => break reserved,
                None if is_first => return Err(NotTaken),
                None => tokio::select! {
                    () = released => {}
                    () = self.sender.closed() => return Err(NotTaken),
                },
            }
        };
        permit.send(ReceivedMessage { message, reserved });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;

    fn waiting(bytes_max: usize, all_bytes_max: usize) -> (Arc<UncompletedEvents>, Gauge) {
        let shown = Gauge::default();
        let waiting = UncompletedEvents {
            events_max: 100,
            bytes_max,
            all_bytes_max,
            all_bytes: AtomicUsize::new(0),
            clients: PerClient::default(),
            has_oversized: AtomicBool::new(false),
            shown: shown.clone(),
        };
        (Arc::new(waiting), shown)
    }

    fn client(number: u8) -> ClientKey {
        ClientKey::of([10, 0, 0, number].into())
    }

    /// An event that takes `bytes` bytes in all.
    fn event(bytes: usize) -> UpstreamMessage {
        UpstreamMessage::Next(Bytes::from(vec![b' '; bytes - MESSAGE_BYTES]))
    }

    fn sent(sender: &MessageSender, bytes: usize) -> bool {
        sender.try_send(event(bytes)).is_ok()
    }

    #[test]
    fn events_wait_up_to_their_bytes_until_they_are_completed() {
        let (all, shown) = waiting(100_000, 1_000_000);
        let (sender, mut receiver) = all.channel(client(1));
        assert!(sent(&sender, 50_000) && sent(&sender, 50_000));
        assert!(!sent(&sender, 50_000));
        let taken = receiver.try_recv().expect("the first");
        assert!(!sent(&sender, 50_000), "it is being completed");
        drop(taken);
        assert!(sent(&sender, 50_000));
        assert_eq!(shown.get(), 100_000);
        drop(receiver);
        assert_eq!(shown.get(), 0);
    }

    #[test]
    fn a_single_event_above_the_bound_of_its_subscription_passes() {
        let (all, _) = waiting(100_000, 1_000_000);
        let (sender, _receiver) = all.channel(client(1));
        assert!(sent(&sender, 500_000));
        assert!(!sent(&sender, 20_000));
    }

    #[test]
    fn a_client_with_many_subscriptions_leaves_room_for_others() {
        let (all, shown) = waiting(1_000_000, 1_000_000);
        let greedy: Vec<_> = (0..50).map(|_| all.channel(client(1))).collect();
        for _ in 0..100 {
            for (sender, _) in &greedy {
                let _ = sender.try_send(event(20_000));
            }
        }
        // A half, and the event that exceeds it.
        assert!((500_000..=520_000).contains(&shown.get()), "{shown:?}");
        let (other, receiver) = all.channel(client(2));
        assert!(
            (0..12).all(|_| sent(&other, 20_000)),
            "a quarter is its own"
        );
        drop((greedy, other, receiver));
        assert_eq!(shown.get(), 0);
    }

    #[test]
    fn a_few_bytes_always_find_room() {
        let (all, _) = waiting(1_000, 1_000);
        let (one, _receiver) = all.channel(client(1));
        let (other, _receiver) = all.channel(client(2));
        assert!(sent(&one, SMALL_BYTES_MAX) && sent(&other, SMALL_BYTES_MAX));
        assert!(!sent(&one, 200) && !sent(&other, 200));
    }

    #[test]
    fn one_event_above_the_bound_of_all_passes_at_a_time() {
        let (all, shown) = waiting(100_000, 100_000);
        let (one, mut receiver) = all.channel(client(1));
        let (other, _other_receiver) = all.channel(client(1));
        assert!(sent(&one, 200_000));
        assert!(!sent(&other, 200_000));
        drop(receiver.try_recv().expect("the event"));
        assert!(sent(&other, 200_000));
        assert_eq!(shown.get(), 200_000);
    }

    #[tokio::test]
    async fn a_stream_of_its_own_waits_for_room() {
        let (all, _) = waiting(100_000, 1_000_000);
        let (sender, mut receiver) = all.channel(client(1));
        assert!(sent(&sender, 80_000));
        let mut sending = Box::pin(sender.send(event(80_000)));
        assert!(sending.as_mut().now_or_never().is_none());
        drop(receiver.recv().await);
        assert_eq!(sending.await, Ok(()));
        let waiting = sender.send(event(80_000));
        drop(receiver);
        assert_eq!(waiting.await, Err(NotTaken));
    }
}
