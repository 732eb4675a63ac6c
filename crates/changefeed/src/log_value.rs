//! Values in log lines that come from documents: cut, since other programs choose how long they are.

use std::fmt::{self, Display, Write};

/// Bytes of a value that a log line has.
const BYTES_MAX: usize = 200;

/// The value's text, in at most 200 bytes and `…` where something is missing. Formatting stops there, so a
/// large value costs no more than a small one.
pub(crate) fn shortened(value: impl Display) -> String {
    let mut text = Shortened(String::new());
    if write!(text, "{value}").is_err() {
        text.0.push('…');
    }
    text.0
}

struct Shortened(String);

impl Write for Shortened {
    /// Fails when not all of it has room.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut room = text.len().min(BYTES_MAX - self.0.len());
        while !text.is_char_boundary(room) {
            room -= 1;
        }
        self.0.push_str(&text[..room]);
        if room < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, bson};

    use super::*;

    #[test]
    fn a_long_value_is_cut_between_characters() {
        assert_eq!(shortened(Bson::from("a")), "\"a\"");
        assert_eq!(shortened("a".repeat(200)), "a".repeat(200));
        let long = Bson::from("é".repeat(500_000));
        assert_eq!(shortened(&long), format!("\"{}…", "é".repeat(99)));
        let nested = shortened(bson!({ "a": [long, 1], "b": 2 }));
        assert!(nested.len() <= BYTES_MAX + '…'.len_utf8(), "{nested}");
    }
}
