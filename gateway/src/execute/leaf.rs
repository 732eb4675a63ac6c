//! Checks whether a leaf's JSON text is a value of its type.

use crate::prepare::projection::LeafKind;

/// The result of checking a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// The text is written unchanged.
    Good,
    /// The text is written between quotes: an integer for an `ID`.
    Unquoted,
    /// The text is not a value of the type, or not one that clients may see.
    Bad,
}

/// Checks `text`, which must be valid JSON and not null. The first byte alone decides for most
/// built-in scalars.
#[inline]
pub fn check(kind: &LeafKind, text: &[u8]) -> Leaf {
    let first = text.first().copied().unwrap_or_default();
    let is_string = first == b'"';
    let is_number = first == b'-' || first.is_ascii_digit();
    let good = match kind {
        LeafKind::Custom => true,
        LeafKind::String => is_string,
        LeafKind::Id if is_number && is_integer(text) => return Leaf::Unquoted,
        LeafKind::Id => is_string,
        LeafKind::Int => is_number && is_int32(text),
        LeafKind::Float => is_number,
        LeafKind::Boolean => matches!(first, b't' | b'f'),
        LeafKind::Enum(values) => {
            is_string
                && values
                    .binary_search_by(|value| value.as_bytes().cmp(&text[1..text.len() - 1]))
                    .is_ok()
        }
    };
    if good { Leaf::Good } else { Leaf::Bad }
}

fn is_integer(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'-')
}

#[inline]
fn is_int32(text: &[u8]) -> bool {
    // Without a sign and leading zeros (JSON has none), nine digits always fit.
    if text.len() <= 9 && text.iter().all(u8::is_ascii_digit) {
        return true;
    }
    let parsed = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<i32>().ok());
    parsed.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_held_to_their_types() {
        let colours = LeafKind::Enum(vec!["GREEN".into(), "RED".into()]);
        let cases = [
            (&LeafKind::Int, "2147483647", Leaf::Good),
            (&LeafKind::Int, "-2147483648", Leaf::Good),
            (&LeafKind::Int, "2147483648", Leaf::Bad),
            (&LeafKind::Int, "1.5", Leaf::Bad),
            (&LeafKind::Int, "\"1\"", Leaf::Bad),
            (&LeafKind::Float, "1e400", Leaf::Good),
            (&LeafKind::Id, "12345678901234567890", Leaf::Unquoted),
            (&LeafKind::Id, "1.5", Leaf::Bad),
            (&LeafKind::Boolean, "true", Leaf::Good),
            (&LeafKind::Boolean, "0", Leaf::Bad),
            (&LeafKind::Custom, "{\"a\":[1]}", Leaf::Good),
            (&colours, "\"RED\"", Leaf::Good),
            (&colours, "\"BLUE\"", Leaf::Bad),
            (&colours, "\"\"", Leaf::Bad),
            (&LeafKind::String, "[]", Leaf::Bad),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(check(kind, text.as_bytes()), expected, "{kind:?} {text}");
        }
    }
}
