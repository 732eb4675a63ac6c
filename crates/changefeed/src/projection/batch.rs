//! A batch: what has arrived, bounded by count, bytes and time; and what is in hand for the next one.

use bson::DateTime;
use std::collections::VecDeque;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::stream::{RawEvent, Signal};

use super::linger::{Linger, PartReaders};
use super::transaction_size::Size;

/// Events in the order of the stream, and what came after them.
pub(crate) struct Batch {
    pub events: Vec<RawEvent>,
    /// What the stream said after these events: [`Signal::Idle`] or [`Signal::Lost`].
    pub end: Option<Signal>,
    /// Whether it ends because it fills the room of a transaction.
    pub full: bool,
    /// What its transaction takes, as far as is known.
    pub used: Size,
}

impl Signal {
    /// When the server wrote the change, on its own clock.
    pub(crate) fn wall_time(&self) -> Option<DateTime> {
        match self {
            Self::Event(event) => event.document.get_datetime("wallTime").ok(),
            _ => None,
        }
    }
}

/// The stream's signals, and before them those that were read and are not applied: the rest of a
/// batch that was cut, or a batch whose transaction failed.
pub(crate) struct Intake {
    in_hand: VecDeque<Signal>,
    signals: mpsc::Receiver<Signal>,
}

impl Intake {
    pub fn new(signals: mpsc::Receiver<Signal>) -> Self {
        Self {
            in_hand: VecDeque::new(),
            signals,
        }
    }

    /// The next signal, if there is one already.
    pub fn try_next(&mut self) -> Option<Signal> {
        self.in_hand
            .pop_front()
            .or_else(|| self.signals.try_recv().ok())
    }

    /// The next signal; `None` when the stream's reader has ended.
    pub async fn next(&mut self) -> Option<Signal> {
        match self.in_hand.pop_front() {
            Some(signal) => Some(signal),
            None => self.signals.recv().await,
        }
    }

    /// Takes back what of a batch was not applied.
    pub fn put_back(&mut self, batch: Batch) {
        if let Some(end) = batch.end {
            self.in_hand.push_front(end);
        }
        for event in batch.events.into_iter().rev() {
            self.in_hand.push_front(Signal::Event(event));
        }
    }
}

/// Collects a batch that begins with `first` and takes no more than there is room for. While there is room, it waits
/// for more.
pub(crate) async fn gather(
    first: Signal,
    intake: &mut Intake,
    linger: Linger,
    readers: &PartReaders,
    room: Size,
) -> Batch {
    let mut batch = Batch {
        events: Vec::new(),
        end: None,
        full: false,
        used: Size::NOTHING,
    };
    let mut bytes = 0;
    let deadline = Instant::now() + linger.wait;
    let mut next = Some(first);
    while let Some(signal) = next {
        match signal {
            Signal::Event(event) => {
                bytes += event.document.as_bytes().len();
                batch.events.push(event);
            }
            Signal::Level(_) => {}
            end @ (Signal::Idle(_) | Signal::Lost(_)) => {
                batch.end = Some(end);
                break;
            }
        }
        if batch.events.len() >= room.changes || bytes >= room.bytes {
            batch.full = true;
            break;
        }
        next = match intake.try_next() {
            Some(signal) => Some(signal),
            None => tokio::select! {
                biased;
                signal = intake.next() => signal,
                () = readers.any(), if linger.yields => None,
                () = sleep_until(deadline) => None,
            },
        };
    }
    batch.used.changes = batch.events.len();
    batch
}
