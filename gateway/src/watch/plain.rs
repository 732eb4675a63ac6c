//! Texts of clients as they may stand in logs and labels: of printable ASCII, and short.

use std::borrow::Cow;

/// The longest text of a client in a log line or a label, in bytes.
pub(crate) const BYTES_MAX: usize = 100;

/// What stands for a text that is no code.
const NO_CODE: &str = "INVALID_CODE";
/// The longest code of an error, in bytes.
const CODE_BYTES_MAX: usize = 64;

/// The text with `?` for each byte that is not printable ASCII, or would end a quoted text, cut to [`BYTES_MAX`]. A name
/// in parentheses would look like one of the gateway's own labels, so they become `?`, too.
pub(crate) fn plain(text: &[u8]) -> Cow<'_, str> {
    let cut = &text[..text.len().min(BYTES_MAX)];
    let passes = |byte: &u8| matches!(byte, 0x20..=0x7e) && !b"\"\\()".contains(byte);
    match std::str::from_utf8(cut) {
        Ok(whole) if cut.iter().all(passes) => Cow::Borrowed(whole),
        _ => {
            let shown = cut.iter().map(|byte| match passes(byte) {
                true => char::from(*byte),
                false => '?',
            });
            Cow::Owned(shown.collect())
        }
    }
}

/// The code of an error in a log line or a label: what does not look like one is replaced.
pub(crate) fn code(text: &str) -> &str {
    let passes = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    match (1..=CODE_BYTES_MAX).contains(&text.len()) && text.bytes().all(passes) {
        true => text,
        false => NO_CODE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_forge_a_line_or_a_label_is_replaced() {
        assert_eq!(plain(b"web/1.2 beta"), "web/1.2 beta");
        assert_eq!(plain(b"a\r\nb\"c\\d\x1b[31m\xc3\xa9"), "a??b?c?d?[31m??");
        assert_eq!(plain(b"(other)"), "?other?");
        assert_eq!(plain(&[b'x'; 1_000]).len(), BYTES_MAX);
        assert_eq!(code("NOT_FOUND"), "NOT_FOUND");
        let long = "X".repeat(65);
        for odd in ["", "a\nb", "\"x\"", "a b", &long] {
            assert_eq!(code(odd), NO_CODE, "{odd:?}");
        }
    }
}
