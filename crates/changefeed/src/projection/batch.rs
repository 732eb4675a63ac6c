//! A batch: what has arrived, bounded by count, bytes and time.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::stream::{RawEvent, Signal};
use crate::{ProjectorSettings, ResumeToken};

/// A first event older than this says that there is a backlog.
const BEHIND: Duration = Duration::from_secs(1);

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
    let deadline = Instant::now() + linger(&first, settings);
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

/// How long to wait for more. The answers of the server come with pauses between them that are longer
/// than the few milliseconds of everyday: a backlog would be cut at each.
fn linger(first: &Signal, settings: &ProjectorSettings) -> Duration {
    let age = match first {
        Signal::Event(event) => event.document.get_datetime("wallTime").ok(),
        _ => None,
    }
    .and_then(|at| SystemTime::now().duration_since(at.to_system_time()).ok());
    match age {
        Some(age) if age > BEHIND => settings.batch_linger_behind.max(settings.batch_linger),
        _ => settings.batch_linger,
    }
}
