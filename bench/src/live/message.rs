//! The text of an event: its number, when it was sent, and letters up to the length that is wanted.
//!
//! The time is the machine's monotonic clock, which all its processes share.

use rustix::time::{ClockId, clock_gettime};

/// `n`, ten digits, `t`, twenty digits.
pub const MARKER_LENGTH: usize = 32;
const NUMBER_DIGITS: usize = 10;

/// What the marker of a text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The event's number.
    pub number: u64,
    /// When it was sent, on the monotonic clock.
    pub sent_ns: u64,
}

/// The monotonic clock in nanoseconds.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // It counts from the machine's start.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// An event's text of `length` bytes, and at least the marker.
pub fn text(marker: Marker, length: usize) -> String {
    let Marker { number, sent_ns } = marker;
    let filler = length.saturating_sub(MARKER_LENGTH);
    let mut text = format!("n{number:0NUMBER_DIGITS$}t{sent_ns:020}");
    text.extend(('a'..='z').cycle().take(filler));
    text
}

/// The marker at the start of a text.
pub fn marker(text: &[u8]) -> Option<Marker> {
    let (number, sent) = text.get(..MARKER_LENGTH)?.split_at(1 + NUMBER_DIGITS);
    Some(Marker {
        number: digits(number.strip_prefix(b"n")?)?,
        sent_ns: digits(sent.strip_prefix(b"t")?)?,
    })
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_it_was_made_of() {
        let made = Marker {
            number: 42,
            sent_ns: 1_234_567_890_123,
        };
        let text = text(made, 300);
        assert_eq!(text.len(), 300);
        assert_eq!(marker(text.as_bytes()), Some(made));
        assert_eq!(marker(&text.as_bytes()[1..]), None);
        assert_eq!(marker(&text.as_bytes()[..MARKER_LENGTH - 1]), None);
    }
}
