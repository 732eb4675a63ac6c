//! Texts of people, which are hostile until they are made fit: for a line, and for HTML and XML.
//!
//! Escaping is the template library's and the XML library's work. What no escaping mends is done here: characters that
//! XML forbids, and characters that change the direction of the text around them.

use std::borrow::Cow;

/// In the place of a character that cannot be shown.
const REPLACEMENT: char = '\u{FFFD}';

/// The text with line breaks as `\n`, and a replacement for each control character and each one that XML 1.0 or HTML
/// forbids (<https://www.w3.org/TR/xml/#charsets>, <https://html.spec.whatwg.org/multipage/parsing.html#preprocessing-the-input-stream>).
pub fn fit(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| fits(c) && c != '\r') {
        return Cow::Borrowed(text);
    }
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let fitted = lines.chars().map(|c| if fits(c) { c } else { REPLACEMENT });
    Cow::Owned(fitted.collect())
}

/// The text in one line of at most `chars_max` characters: white space as single blanks, no character that turns the
/// direction of what follows, and cut at a blank if there is one in the second half, with "…". `instead` if nothing is
/// left.
pub fn line(text: &str, chars_max: usize, instead: &str) -> String {
    let mut line = String::new();
    let mut chars = 0;
    let mut last_blank = None;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let mut word = word.chars().filter(|c| !turns(*c)).map(replaced).peekable();
        if word.peek().is_none() {
            continue;
        }
        if chars > 0 {
            last_blank = Some((line.len(), chars));
            line.push(' ');
            chars += 1;
        }
        for c in word {
            line.push(c);
            chars += 1;
            if chars > chars_max {
                return cut(line, chars_max, last_blank);
            }
        }
    }
    match line.is_empty() {
        true => instead.to_owned(),
        false => line,
    }
}

/// Cuts a line with one character too many. `last_blank`: its place in bytes and in characters.
fn cut(mut line: String, chars_max: usize, last_blank: Option<(usize, usize)>) -> String {
    match last_blank {
        Some((at, chars)) if chars >= chars_max / 2 => line.truncate(at),
        _ => {
            line.pop();
            line.pop();
        }
    }
    line.push('…');
    line
}

fn replaced(c: char) -> char {
    if fits(c) { c } else { REPLACEMENT }
}

fn fits(c: char) -> bool {
    match c {
        '\n' | '\t' | '\r' => true,
        // Noncharacters, two of which XML forbids and all of which HTML does.
        '\u{FDD0}'..='\u{FDEF}' => false,
        _ => !c.is_control() && u32::from(c) & 0xFFFE != 0xFFFE,
    }
}

/// Marks, embeddings, overrides and isolates of the bidirectional algorithm.
fn turns(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_forbids_is_replaced() {
        assert_eq!(fit("a\tb\nc ä 😀"), "a\tb\nc ä 😀");
        assert_eq!(fit("a\r\nb\rc"), "a\nb\nc");
        assert_eq!(
            fit("\0\u{B}\u{1F}\u{7F}\u{9B}\u{FFFE}\u{FFFF}\u{FDD0}\u{1FFFE}"),
            "\u{FFFD}".repeat(9)
        );
    }

    #[test]
    fn a_line_has_no_breaks_and_turns_nothing_around() {
        assert_eq!(line(" a\n\n b\tc\0d ", 20, "-"), "a b c d");
        assert_eq!(line("\u{202E}evil\u{2066} \u{200F}", 20, "-"), "evil");
        assert_eq!(line("אבג", 20, "-"), "אבג");
        assert_eq!(line("\u{202E} \n", 20, "Untitled"), "Untitled");
        assert_eq!(line("\u{FFFE}", 20, "-"), "\u{FFFD}");
    }

    #[test]
    fn a_long_line_is_cut_at_a_blank_or_else_within_a_word() {
        assert_eq!(line("12345 78", 8, "-"), "12345 78");
        assert_eq!(line("12345 789", 8, "-"), "12345…");
        assert_eq!(line("1 345678901", 8, "-"), "1 34567…");
        assert_eq!(line(&"w".repeat(5_000), 8, "-"), "wwwwwww…");
        assert_eq!(line("äääää", 3, "-"), "ää…");
    }
}
