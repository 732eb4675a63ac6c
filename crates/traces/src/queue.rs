//! Spans on their way to the receiver, within a bound in bytes.
//!
//! Spans are written one after the other into chunks of a fixed size, which are sent as they are. So the memory for spans
//! is the number of chunks, and adding a span costs one copy under a lock that nobody holds for long.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::metrics::TraceMetrics;

/// The size of a chunk, and so of the largest span, in bytes.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// Encoded spans, which are sent together.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) spans: u64,
}

/// The queue. What finds no room in it is dropped, and counted.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Notified when a chunk is full.
    full: Notify,
    chunks_max: usize,
    pub(crate) metrics: TraceMetrics,
}

#[derive(Default)]
struct State {
    open: Option<Chunk>,
    full: VecDeque<Chunk>,
    /// All that exist, also those that are being sent.
    chunks: usize,
}

impl Queue {
    /// A queue of at most so many bytes, of which there is room for one chunk at least.
    pub(crate) fn new(bytes_max: usize, metrics: TraceMetrics) -> Self {
        Self {
            state: Mutex::default(),
            full: Notify::new(),
            // One more is left for what a connection copies.
            chunks_max: (bytes_max / CHUNK_BYTES).saturating_sub(1).max(1),
            metrics,
        }
    }

    /// Adds a span, or drops it. Never waits for the receiver.
    pub(crate) fn push(&self, span: &[u8]) {
        let mut state = self.lock();
        let has_room = |chunk: &Chunk| CHUNK_BYTES - chunk.bytes.len() >= span.len();
        if !state.open.as_ref().is_some_and(has_room) {
            if state.chunks >= self.chunks_max || span.len() > CHUNK_BYTES {
                self.metrics.overflowed.inc();
                return;
            }
            state.chunks += 1;
            self.metrics.waiting_bytes.inc_by(CHUNK_BYTES as i64);
            let new = Chunk {
                bytes: Vec::with_capacity(CHUNK_BYTES),
                spans: 0,
            };
            if let Some(full) = state.open.replace(new) {
                state.full.push_back(full);
                self.full.notify_one();
            }
        }
        if let Some(open) = &mut state.open {
            open.bytes.extend_from_slice(span);
            open.spans += 1;
        }
    }

    /// Waits for a full chunk, or for `delay`, and returns what waits longest, if anything does.
    pub(crate) async fn next(&self, delay: Duration) -> Option<Chunk> {
        if let Some(full) = self.lock().full.pop_front() {
            return Some(full);
        }
        let _ = tokio::time::timeout(delay, self.full.notified()).await;
        self.take()
    }

    /// What waits longest, if anything does.
    pub(crate) fn take(&self) -> Option<Chunk> {
        let mut state = self.lock();
        state.full.pop_front().or_else(|| state.open.take())
    }

    /// Gives the place of a chunk back that was sent or dropped.
    pub(crate) fn release(&self) {
        self.lock().chunks -= 1;
        self.metrics.waiting_bytes.dec_by(CHUNK_BYTES as i64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let queue = Queue::new(1024 * 1024, TraceMetrics::default());
        let span = [0; 1024];
        for _ in 0..2_048 {
            queue.push(&span);
        }
        assert_eq!(queue.metrics.overflowed.get(), 2_048 - 768);
        assert_eq!(queue.metrics.waiting_bytes.get(), 768 * 1024);
        let chunk = queue.take().expect("a chunk");
        assert_eq!((chunk.spans, chunk.bytes.len()), (256, CHUNK_BYTES));
        assert_eq!(chunk.bytes.capacity(), CHUNK_BYTES, "it never grows");
        // Its memory is in use until it has been sent.
        queue.push(&span);
        assert_eq!(queue.metrics.overflowed.get(), 1_281);
        queue.release();
        queue.push(&span);
        assert_eq!(queue.metrics.overflowed.get(), 1_281);
        queue.push(&[0; CHUNK_BYTES + 1]);
        assert_eq!(queue.metrics.overflowed.get(), 1_282);
    }

    #[tokio::test]
    async fn what_waits_comes_after_the_delay_or_when_a_chunk_is_full() {
        let queue = Queue::new(1024 * 1024, TraceMetrics::default());
        assert!(queue.next(Duration::ZERO).await.is_none());
        queue.push(b"span");
        let chunk = queue.next(Duration::ZERO).await.expect("a chunk");
        assert_eq!(chunk.bytes, b"span");
        queue.push(&[0; CHUNK_BYTES]);
        queue.push(&[0; CHUNK_BYTES]);
        let full = queue.next(Duration::from_secs(3_600)).await;
        assert_eq!(full.expect("a chunk").spans, 1);
    }
}
