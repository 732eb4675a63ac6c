//! A batch: what has arrived, bounded by count, bytes and a few milliseconds.

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::stream::{RawEvent, Signal};
use crate::{ProjectorSettings, ResumeToken};

/// Events in the order of the stream, and what came after them.
#[derive(Default)]
pub(crate) struct Batch {
    pub events: Vec<RawEvent>,
    /// The stream had nothing more at this place.
    pub idle: Option<ResumeToken>,
    /// The stream ended after these events, for this reason.
    pub lost: Option<String>,
}

/// Collects a batch that begins with `first` and has `count_max` events at most.
pub(crate) async fn gather(
    first: Signal,
    signals: &mut mpsc::Receiver<Signal>,
    settings: &ProjectorSettings,
    count_max: usize,
) -> Batch {
    let mut batch = Batch::default();
    let mut bytes = 0;
    let deadline = Instant::now() + settings.batch_linger;
    let mut next = Some(first);
    while let Some(signal) = next {
        match signal {
            Signal::Event(event) => {
                bytes += event.document.as_bytes().len();
                batch.events.push(event);
            }
            Signal::Idle(token) => {
                batch.idle = Some(token);
                break;
            }
            Signal::Lost(error) => {
                batch.lost = Some(error.to_string());
                break;
            }
        }
        if batch.events.len() >= count_max || bytes >= settings.batch_bytes_max {
            break;
        }
        next = match signals.try_recv() {
            Ok(signal) => Some(signal),
            Err(_) => timeout_at(deadline, signals.recv()).await.ok().flatten(),
        };
    }
    batch
}
