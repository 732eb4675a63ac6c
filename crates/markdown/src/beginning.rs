//! The beginning of a text, cut where nothing of it breaks: not within a character as readers see one, and not within a
//! construct, which would then be shown as it was typed, or lead elsewhere.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::blocks::{self, Fence};
use crate::phrases;

/// What ends a sentence, before a blank.
const SENTENCE_ENDS: [char; 4] = ['.', '!', '?', '…'];
/// What ends a sentence where no blank follows.
const FULL_SENTENCE_ENDS: [char; 4] = ['。', '！', '？', '．'];
/// Before the words of a line there are no more of its marks than this, in bytes.
const MARKS_MAX: usize = 64;

/// The beginning of a text, of at most `bytes_max` bytes: all of it where it has no more. It ends with a paragraph if one
/// ends in its second half, else with a line, a sentence, a word, or anywhere. It is empty where a single construct, or
/// a single character as readers see one, has more bytes.
pub fn beginning(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let end = match LineAtLimit::of(text, bytes_max) {
        LineAtLimit::Nothing { before } => before,
        LineAtLimit::Code { begin, paragraph } => {
            end_within(text, bytes_max, begin, paragraph, &Uncut::default())
        }
        LineAtLimit::Words { part, paragraph } => {
            let uncut = Uncut::of(text, part.clone());
            end_within(text, bytes_max, part.start, paragraph, &uncut)
        }
    };
    without_break(&text[..end], text)
}

/// The last place up to `bytes_max` that is between two characters as readers see them.
pub fn last_grapheme_end(text: &str, bytes_max: usize) -> usize {
    let ends = text.grapheme_indices(true).map(|(at, _)| at);
    let ends = ends.chain([text.len()]);
    ends.take_while(|end| *end <= bytes_max).last().unwrap_or(0)
}

/// Without blanks at its end, and without a backslash that stands for a line break there.
fn without_break<'t>(beginning: &'t str, text: &str) -> &'t str {
    let words = beginning.trim_end_matches(crate::is_blank);
    let backslashes = words.len() - words.trim_end_matches('\\').len();
    let is_break = text[words.len()..].starts_with(['\n', '\r']) && !backslashes.is_multiple_of(2);
    match words.strip_suffix('\\') {
        Some(before) if is_break => before.trim_end_matches(crate::is_blank),
        _ => words,
    }
}

/// The line that the limit cuts.
enum LineAtLimit {
    /// It is blank, or begins or ends code: the text is cut before it.
    Nothing { before: usize },
    /// It is of code, whose lines begin here.
    Code { begin: usize, paragraph: usize },
    /// It is of a part whose constructs all begin and end in it.
    Words {
        part: Range<usize>,
        paragraph: usize,
    },
}

impl LineAtLimit {
    fn of(text: &str, limit: usize) -> Self {
        let mut fence: Option<Fence> = None;
        let (mut at, mut begin, mut before) = (0, 0, "");
        // Where the last words end, and the last paragraph.
        let (mut words, mut paragraph) = (0, 0);
        for line in text.split_inclusive('\n') {
            let shown = line.trim_end_matches(['\n', '\r']);
            let next = at + line.len();
            let is_blank = blocks::is_blank(shown);
            let opens = Fence::of(shown).filter(|_| fence.is_none());
            let closes = fence.is_some_and(|fence| fence.is_closed_by(shown));
            if next > limit {
                if opens.is_some() || closes || is_blank && fence.is_none() {
                    return Self::Nothing { before: words };
                }
                if fence.is_some() {
                    return Self::Code { begin, paragraph };
                }
                if blocks::begins(shown, before) {
                    begin = at;
                }
                let end = at + part_length(&text[at..]);
                let part = begin..end;
                return Self::Words { part, paragraph };
            }
            if closes {
                (fence, begin, paragraph) = (None, next, at + shown.len());
            } else if fence.is_some() {
                // Nothing in code is a construct.
            } else if opens.is_some() {
                (fence, begin) = (opens, next);
            } else if is_blank {
                (begin, paragraph) = (next, words);
            } else if blocks::begins(shown, before) {
                begin = at;
            }
            if !is_blank {
                words = at + shown.len();
            }
            (at, before) = (next, shown);
        }
        // The last line has no line feed: the limit is in it, or the text is not cut.
        Self::Nothing { before: words }
    }
}

/// Up to the line that begins another part.
fn part_length(text: &str) -> usize {
    let (mut length, mut before) = (0, None);
    for line in text.split_inclusive('\n') {
        let shown = line.trim_end_matches(['\n', '\r']);
        let ends = |before| {
            blocks::is_blank(shown) || Fence::of(shown).is_some() || blocks::begins(shown, before)
        };
        if before.is_some_and(ends) {
            break;
        }
        length += line.len();
        before = Some(shown);
    }
    length
}

/// Where nothing may be cut: between the ends of these ranges, which do not overlap, in their order.
#[derive(Default)]
struct Uncut(Vec<Range<usize>>);

impl Uncut {
    fn of(text: &str, part: Range<usize>) -> Self {
        let words = &text[part.clone()];
        let mut ranges = phrases::constructs(words);
        ranges.extend(addresses(words));
        let mut at = 0;
        for line in words.split_inclusive('\n') {
            // A mark alone would be another block, or none.
            let marks = marks_length(line);
            ranges.push(at..at + marks + usize::from(marks > 0));
            // Without a backtick in it, it would begin code.
            if let Some(last) = line
                .rfind('`')
                .filter(|_| line.trim_start().starts_with("```"))
            {
                ranges.push(at..at + last + 1);
            }
            at += line.len();
        }
        ranges.sort_unstable_by_key(|range| range.start);
        let mut apart: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            let range = part.start + range.start..part.start + range.end;
            match apart.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => apart.push(range),
            }
        }
        Self(apart)
    }

    fn allows(&self, text: &str, place: usize) -> bool {
        let next = self.0.partition_point(|range| range.end <= place);
        let is_within = self.0.get(next).is_some_and(|range| range.start < place);
        let is_end = next > 0 && self.0[next - 1].end == place;
        !is_within && (is_end || !joins_marks(text, place))
    }
}

/// Whether what stands before a place would be other marks than with what follows.
fn joins_marks(text: &str, place: usize) -> bool {
    let (Some(before), Some(after)) = (
        text[..place].chars().next_back(),
        text[place..].chars().next(),
    ) else {
        return false;
    };
    let is_run = before == after && before.is_ascii_punctuation();
    is_run || matches!(before, '*' | '_') && !crate::is_blank(after)
}

/// What may be an address, with all up to a blank: cut, it would be another one.
fn addresses(words: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    for (at, c) in words.char_indices() {
        let rest = &words[at..];
        let is_web = c == ':' && rest.starts_with("://");
        let is_www = matches!(c, 'w' | 'W')
            && rest
                .get(..4)
                .is_some_and(|it| it.eq_ignore_ascii_case("www."));
        let is_known = found.last().is_some_and(|range| at < range.end);
        if is_known || !(is_web || is_www || c == '@') {
            continue;
        }
        let before = words[..at].chars().rev().take(MARKS_MAX);
        let begin = at - before.take_while(|c| !is_www && is_name(*c)).count();
        let end = rest.find(crate::is_blank).unwrap_or(rest.len());
        found.push(begin..at + end);
    }
    found
}

/// The bytes of the marks of quotes, lists, headings and code before a line's words, with blanks.
fn marks_length(line: &str) -> usize {
    let is_mark = |c: char| " \t>-+*#.)`~".contains(c) || c.is_ascii_digit();
    let marks = line.len() - line.trim_start_matches(is_mark).len();
    if marks > MARKS_MAX { 0 } else { marks }
}

/// Where to cut the part that begins at `begin`, and that the limit is in.
fn end_within(text: &str, limit: usize, begin: usize, paragraph: usize, uncut: &Uncut) -> usize {
    let places = text[begin..].grapheme_indices(true);
    let places = places.map(|(at, _)| begin + at);
    let places: Vec<usize> = places.take_while(|place| *place <= limit).collect();
    let allowed = places.into_iter().rev();
    let mut allowed = allowed
        .filter(|place| uncut.allows(text, *place))
        .peekable();
    let last = allowed.peek().copied().unwrap_or(begin);
    let half = last / 2;
    if paragraph > 0 && paragraph >= half {
        return paragraph;
    }
    let allowed: Vec<usize> = allowed.take_while(|place| *place >= half).collect();
    let find = |is_end: fn(&str, &str) -> bool| {
        let mut places = allowed.iter().copied();
        places.find(|place| is_end(&text[..*place], &text[*place..]))
    };
    find(ends_line)
        .or_else(|| find(ends_sentence))
        .or_else(|| find(ends_word))
        .unwrap_or(last)
}

fn ends_line(before: &str, after: &str) -> bool {
    after.starts_with(['\n', '\r']) || before.ends_with('\n')
}

fn ends_sentence(before: &str, after: &str) -> bool {
    let is_blank = after.starts_with(crate::is_blank);
    is_blank && before.ends_with(SENTENCE_ENDS) || before.ends_with(FULL_SENTENCE_ENDS)
}

fn ends_word(_: &str, after: &str) -> bool {
    after.starts_with(crate::is_blank)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_short_text_is_its_own_beginning() {
        for text in ["", "One.", "One.\n\nTwo. "] {
            assert_eq!(beginning(text, text.len()), text);
            assert_eq!(beginning(text, usize::MAX), text);
        }
        assert_eq!(beginning("One.", 0), "");
    }

    #[test]
    fn it_ends_with_a_paragraph_or_a_line_or_a_sentence_or_a_word() {
        for (text, max, expected) in [
            ("One.\n\nTwo.\n\nThree.", 13, "One.\n\nTwo."),
            ("One.\n\nTwo words and more", 16, "One.\n\nTwo words"),
            ("One\n \t\n\nTwo and more", 10, "One"),
            ("One\ntwo\nthree", 10, "One\ntwo"),
            ("One\r\ntwo\r\nthree", 12, "One\r\ntwo"),
            ("It is. So it is and so", 19, "It is. So it is and"),
            ("It was so. It is and so", 18, "It was so."),
            ("これは文。それは文です", 24, "これは文。"),
            ("abcdefgh", 5, "abcde"),
            ("one two", 5, "one"),
        ] {
            assert_eq!(beginning(text, max), expected, "{text}");
        }
    }

    #[test]
    fn no_character_that_readers_see_is_cut() {
        let family = "👩\u{200D}👩\u{200D}👧";
        for (text, max, expected) in [
            (format!("{family}{family}"), 34, family.to_owned()),
            (format!("{family}x"), 17, String::new()),
            ("e\u{301}e\u{301}".to_owned(), 5, "e\u{301}".to_owned()),
            ("🇩🇪🇫🇷".to_owned(), 14, "🇩🇪".to_owned()),
            ("日本".to_owned(), 5, "日".to_owned()),
        ] {
            assert_eq!(beginning(&text, max), expected, "{text}");
        }
    }

    #[test]
    fn no_construct_is_cut() {
        for (text, max, expected) in [
            ("Some words and **strong ones** here", 24, "Some words and"),
            ("Some words and `code of it` here", 24, "Some words and"),
            ("Some [linked words](https://a.example) here", 30, "Some"),
            ("Some ![linked words](https://a.example) here", 30, "Some"),
            ("Some <https://a.example/b> here", 20, "Some"),
            ("See https://a.example/b/c here", 20, "See"),
            ("日本https://a.example/b/c", 20, "日本"),
            ("a\\*b", 2, "a"),
            ("a\\\nb", 3, "a"),
            ("a_b_c", 4, "a_b"),
            ("https://a.example/&amp;", 19, ""),
            ("a@b.example_c", 5, ""),
            ("*a* **b*", 6, "*a*"),
            // What would not be a construct in all of the text is none.
            ("2 * 3 and *so on without an end", 20, "2 * 3 and *so on"),
            ("**all of it is one**", 10, ""),
            ("https://a.example/b/c", 10, ""),
            // A mark of a list without words.
            ("one\n- two", 5, "one"),
            ("one\n> two", 5, "one"),
            // The words before belong to another item.
            ("- a `b\n- words words `d` e", 22, "- a `b\n- words words"),
        ] {
            assert_eq!(beginning(text, max), expected, "{text}");
        }
    }

    #[test]
    fn code_is_cut_between_its_lines_and_not_in_its_fence() {
        let text = "Words.\n\n```js\nconst a = `b`;\nconst c = 1;\n```\nMore words";
        for (max, expected) in [
            (10, "Words."),
            (12, "Words."),
            (30, "Words.\n\n```js\nconst a = `b`;"),
            (44, "Words.\n\n```js\nconst a = `b`;\nconst c = 1;"),
            (52, "Words.\n\n```js\nconst a = `b`;\nconst c = 1;\n```"),
        ] {
            assert_eq!(beginning(text, max), expected, "{max}");
        }
    }

    /// Far more than it takes, and far less than what is not linear would take.
    const WITHIN: Duration = Duration::from_secs(3);

    #[test]
    fn the_longest_texts_are_cut_in_a_moment_wherever() {
        for part in [
            "a",
            "a ",
            "*",
            "*a ",
            "_a",
            "`",
            "`a",
            "[",
            "[](",
            "[](b (",
            "[a](b \"",
            "<a",
            "\\",
            "> ",
            "- ",
            "1. ",
            "```\n",
            "```\n\n",
            "~~~a\n",
            "\n",
            "\n\n",
            "e\u{301}",
            "\u{301}",
            "👩\u{200D}",
            "http://a",
            "www.a(",
            "a@b.c ",
            "日本。",
            "[a](b) *c* `d` ",
            "- a\n\n",
            "\r\n",
            "#",
            "9",
        ] {
            let text = part.repeat(80_000 / part.len());
            let begun = Instant::now();
            for max in [1, 8_192, 79_000] {
                let cut = beginning(&text, max);
                assert!(cut.len() <= max && text.starts_with(cut), "{part:?} {max}");
            }
            assert!(begun.elapsed() < WITHIN, "{part:?}: {:?}", begun.elapsed());
        }
    }
}
