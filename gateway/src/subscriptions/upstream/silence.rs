//! How long a subgraph may be silent before it is lost, where it sends keep-alives at a pace of its own.
//!
//! A WebSocket's subgraph answers pings. A stream of server-sent events can only be listened to: some servers send a comment
//! every few seconds, some none at all. Two times the longest pause between two of a stream's comments is too long for that
//! stream, whatever its subgraph's pace is.

use std::time::{Duration, Instant};

/// A stream is lost after this silence, whatever its pace.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The keep-alives of one stream.
pub(super) struct KeepAlives {
    /// No stream is lost before this silence.
    silence_min: Duration,
    last: Option<Instant>,
    longest_pause: Option<Duration>,
}

impl KeepAlives {
    pub(super) fn new(silence_min: Duration) -> Self {
        Self {
            silence_min,
            last: None,
            longest_pause: None,
        }
    }

    /// Bytes have arrived. A comment that begins them is a keep-alive: events have other first bytes.
    pub(super) fn note(&mut self, bytes: &[u8], now: Instant) {
        if !bytes.starts_with(b":") {
            return;
        }
        if let Some(last) = self.last.replace(now) {
            self.longest_pause = self.longest_pause.max(Some(now.duration_since(last)));
        }
    }

    /// The silence after which the stream is lost.
    pub(super) fn silence_max(&self) -> Duration {
        let own = self.longest_pause.map(|pause| pause * 2);
        own.map_or(SILENCE_MAX, |own| {
            own.max(self.silence_min).min(SILENCE_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_lost_by_its_own_pace() {
        let seconds = Duration::from_secs;
        let start = Instant::now();
        let mut keep_alives = KeepAlives::new(seconds(10));
        let mut after = |bytes: &[u8], time: u64| {
            keep_alives.note(bytes, start + seconds(time));
            keep_alives.silence_max()
        };
        assert_eq!(after(b":\n\n", 0), SILENCE_MAX, "its pace is not known");
        assert_eq!(after(b"event: next\n", 1), SILENCE_MAX);
        assert_eq!(after(b":\n\n", 2), seconds(10));
        assert_eq!(after(b": ping\n\n", 14), seconds(24));
        assert_eq!(after(b":\n\n", 15), seconds(24), "the longest one counts");
        assert_eq!(after(b":\n\n", 100), SILENCE_MAX);
    }
}
