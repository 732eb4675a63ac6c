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

/// The beginning of a text in one line: at most `max_chars` characters and `max_bytes` bytes, white space as single
/// spaces, cut between two words where there is such a place in the second half, and never within a character as readers
/// see one. Reads no more of the text than it returns, and the white space in between.
pub fn excerpt(text: &str, max_chars: usize, max_bytes: usize) -> String {
    let mut line =
        String::with_capacity(text.len().min(max_chars.saturating_mul(2)).min(max_bytes));
    let mut chars = 0;
    // The bytes before the place where the last word ended.
    let mut word_end = 0;
    let mut after_space = false;
    for character in text.trim_start().chars() {
        if character.is_whitespace() {
            if !after_space {
                word_end = line.len();
            }
            after_space = true;
            continue;
        }
        for next in [after_space.then_some(' '), Some(character)]
            .into_iter()
            .flatten()
        {
            let is_full = chars == max_chars || line.len() + next.len_utf8() > max_bytes;
            line.push(next);
            if is_full {
                return cut(line, max_chars, max_bytes, word_end);
            }
            chars += 1;
        }
        after_space = false;
    }
    line
}

/// Ends a line that has one character too many with the mark.
fn cut(mut line: String, max_chars: usize, max_bytes: usize, word_end: usize) -> String {
    let (Some(max_chars), Some(max_bytes)) = (
        max_chars.checked_sub(1),
        max_bytes.checked_sub(CUT.len_utf8()),
    ) else {
        return String::new();
    };
    let chars = line.char_indices().map(|(at, _)| at).nth(max_chars);
    let room = chars.unwrap_or(line.len()).min(max_bytes);
    if word_end <= room && word_end >= room / 2 {
        line.truncate(word_end);
    } else {
        line.truncate(markdown::last_grapheme_end(&line, room));
    }
    line.truncate(line.trim_end().len());
    line.push(CUT);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: usize = usize::MAX;

    #[test]
    fn a_short_text_is_its_own_excerpt_in_one_line() {
        assert_eq!(excerpt("", 10, ANY), "");
        assert_eq!(excerpt(" one\n\n\ttwo ", 10, ANY), "one two");
        assert_eq!(excerpt("exactly 10", 10, ANY), "exactly 10");
    }

    #[test]
    fn a_long_text_is_cut_between_words() {
        assert_eq!(excerpt("one two three four", 12, ANY), "one two…");
        assert_eq!(excerpt("one two three four", 14, ANY), "one two three…");
        assert_eq!(excerpt("onetwothreefourfive", 8, ANY), "onetwot…");
        assert_eq!(excerpt("a bbbbbbbbbbbbbbbbb", 8, ANY), "a bbbbb…");
        assert_eq!(excerpt("one two", 0, ANY), "");
        assert_eq!(excerpt("one two", 1, ANY), "…");
    }

    #[test]
    fn it_counts_characters_and_bytes_and_splits_none() {
        for text in ["ééééééééééé", "🙂🙂🙂🙂🙂🙂🙂", "a 🙂 b 🙂 c 🙂"]
        {
            for max in 0..12 {
                let line = excerpt(text, max, ANY);
                assert!(line.chars().count() <= max, "{line:?} of {max}");
                let line = excerpt(text, 200, max);
                assert!(line.len() <= max, "{line:?} of {max}");
            }
        }
        assert_eq!(excerpt("日本語", 200, 9), "日本語");
        assert_eq!(excerpt("日本語", 200, 8), "日…");
        assert_eq!(excerpt("one two three", 200, 12), "one two…");
        assert_eq!(excerpt("e\u{301}e\u{301}", 3, ANY), "e\u{301}…");
        assert_eq!(excerpt("e\u{301}e\u{301}", 2, ANY), "…");
        assert_eq!(excerpt("👩\u{200D}👩", 200, 10), "…");
    }
}
