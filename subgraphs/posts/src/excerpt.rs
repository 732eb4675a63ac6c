//! The beginning of a post's text, for lists.

use subgraph::InputError;

/// The longest excerpt, in characters.
pub const EXCERPT_MAX: usize = 1_000;
/// The longest excerpt of a client that names no length, in characters.
pub const EXCERPT_DEFAULT: usize = 200;

/// Marks what was cut. It counts as one character.
const CUT: char = '…';

/// The length that a client asked for.
///
/// # Errors
/// When it is below 0 or above [`EXCERPT_MAX`].
pub fn checked_length(length: i32) -> Result<usize, InputError> {
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= EXCERPT_MAX)
        .ok_or(InputError::OutOfRange {
            argument: "length",
            value: length,
            max: EXCERPT_MAX,
        })
}

/// The beginning of a text in one line: at most `max_chars` characters, white space as single spaces, cut between
/// two words where there is such a place in the second half. Reads no more of the text than it returns, and the
/// white space in between.
pub fn excerpt(text: &str, max_chars: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max_chars * 2));
    let mut chars = 0;
    // Where the last word ended: bytes and characters before it.
    let mut word_end = (0, 0);
    let mut after_space = false;
    for character in text.trim_start().chars() {
        if character.is_whitespace() {
            if !after_space {
                word_end = (line.len(), chars);
            }
            after_space = true;
            continue;
        }
        for next in [after_space.then_some(' '), Some(character)]
            .into_iter()
            .flatten()
        {
            if chars == max_chars {
                return cut(line, max_chars, word_end);
            }
            line.push(next);
            chars += 1;
        }
        after_space = false;
    }
    line
}

/// Ends a line of `max_chars` characters with the mark.
fn cut(mut line: String, max_chars: usize, (bytes, chars): (usize, usize)) -> String {
    if max_chars == 0 {
        return String::new();
    }
    if chars < max_chars && chars >= max_chars / 2 {
        line.truncate(bytes);
    } else {
        line.pop();
    }
    line.truncate(line.trim_end().len());
    line.push(CUT);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_its_own_excerpt_in_one_line() {
        assert_eq!(excerpt("", 10), "");
        assert_eq!(excerpt(" one\n\n\ttwo ", 10), "one two");
        assert_eq!(excerpt("exactly 10", 10), "exactly 10");
    }

    #[test]
    fn a_long_text_is_cut_between_words() {
        assert_eq!(excerpt("one two three four", 12), "one two…");
        assert_eq!(excerpt("one two three four", 14), "one two three…");
        assert_eq!(excerpt("onetwothreefourfive", 8), "onetwot…");
        assert_eq!(excerpt("a bbbbbbbbbbbbbbbbb", 8), "a bbbbb…");
        assert_eq!(excerpt("one two", 0), "");
        assert_eq!(excerpt("one two", 1), "…");
    }

    #[test]
    fn it_counts_characters_and_splits_none() {
        for text in ["ééééééééééé", "🙂🙂🙂🙂🙂🙂🙂", "a 🙂 b 🙂 c 🙂"]
        {
            for max in 0..12 {
                let line = excerpt(text, max);
                assert!(line.chars().count() <= max, "{line:?} of {max}");
            }
        }
    }
}
