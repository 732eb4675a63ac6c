//! Texts that readers wrote, with their links and Markdown: the same elements that the live page makes of them
//! (`web/src/live/prose`), so that nothing moves when it takes over. `web/tests/prose.json` has texts that both draw.
//!
//! [`markdown`] parses them. An image becomes a link to it, and a heading a line in bold. Each text becomes nodes, which
//! the template library escapes; no text becomes HTML.

use markdown::blocks::{self, Block, Item};
use markdown::phrases::{self, Link, Phrase};
use markdown::{NESTED_MAX, address, is_blank};
use maud::{Markup, html};

use crate::text;

/// The graph takes texts of 20,000 characters. A longer one, which another program has written, is shown as it was typed.
const DRAWN_BYTES_MAX: usize = 20_000 * 4;

/// HTML with more than `HTML_BYTES` and this for each character is of no text that was written to be read. It would make
/// the page of a post larger than `PAGES_BYTES_MAX`, so such a text is shown as it was typed, too.
const HTML_BYTES_PER_CHAR: usize = 12;
const HTML_BYTES: usize = 1_024;

const REL: &str = "nofollow ugc noopener";

/// The text in an element of its own: in a single paragraph where it is one, without markup.
pub(crate) fn prose(class: &str, text: &str) -> Markup {
    if text.len() <= DRAWN_BYTES_MAX && has_markup(text) {
        let drawn = drawn(text);
        if drawn.0.len() <= HTML_BYTES + HTML_BYTES_PER_CHAR * text.chars().count() {
            return html! { div class={ (class) " prose" } { (drawn) } };
        }
    }
    let paragraphs = paragraphs(text);
    html! {
        @if let [paragraph] = paragraphs[..] {
            p class=(class) dir="auto" { (text::fit(paragraph)) }
        } @else {
            div class={ (class) " prose" } {
                @for paragraph in paragraphs { p dir="auto" { (text::fit(paragraph)) } }
            }
        }
    }
}

fn drawn(text: &str) -> Markup {
    let text = text::fit(text);
    html! { @for block in blocks::parse(&text) { (draw_block(&block, 0)) } }
}

fn draw_block(block: &Block, depth: usize) -> Markup {
    match block {
        Block::Paragraph(phrases) => html! { p dir="auto" { (draw(phrases, depth + 1)) } },
        Block::Heading(phrases) => {
            html! { p dir="auto" { strong { (draw(phrases, depth + 1)) } } }
        }
        Block::Code(text) => html! { pre dir="auto" { code { (text) } } },
        Block::Quote(blocks) => html! {
            blockquote { @for block in blocks { (draw_block(block, depth + 1)) } }
        },
        Block::List { start, items } => {
            let items = html! { @for item in items { (draw_item(item, depth + 1)) } };
            match start {
                None => html! { ul { (items) } },
                Some(1) => html! { ol { (items) } },
                Some(start) => html! { ol start=(start) { (items) } },
            }
        }
        Block::TooDeep(text) => html! { p { (text) } },
    }
}

fn draw_item(item: &Item, depth: usize) -> Markup {
    html! {
        li dir="auto" {
            @if let Some(mark) = &item.mark { (mark) }
            @for block in &item.blocks {
                @match block {
                    Block::Paragraph(phrases) if !item.is_loose => {
                        span { (draw(phrases, depth + 1)) }
                    }
                    _ => (draw_block(block, depth)),
                }
            }
        }
    }
}

fn draw(phrases: &[Phrase], depth: usize) -> Markup {
    html! { @for phrase in phrases { (draw_phrase(phrase, depth)) } }
}

fn draw_phrase(phrase: &Phrase, depth: usize) -> Markup {
    let is_too_deep = depth > NESTED_MAX;
    match phrase {
        Phrase::Text(text) => html! { (text) },
        Phrase::Emphasis { typed, .. }
        | Phrase::Strong { typed, .. }
        | Phrase::Code { typed, .. }
        | Phrase::Link(Link { typed, .. })
            if is_too_deep =>
        {
            html! { (typed) }
        }
        Phrase::Emphasis { phrases, .. } => html! { em { (draw(phrases, depth + 1)) } },
        Phrase::Strong { phrases, .. } => html! { strong { (draw(phrases, depth + 1)) } },
        Phrase::Code { text, .. } => html! { code { (text) } },
        Phrase::Link(link) => draw_link(link, depth),
    }
}

fn draw_link(link: &Link, depth: usize) -> Markup {
    let Some(address) = address::safe(&link.target) else {
        return html! { (link.typed) };
    };
    let words = phrases::shown(&link.phrases);
    let has_words = !words.trim_matches(is_blank).is_empty();
    let host = address::other_host(&words, &address).filter(|_| has_words);
    html! {
        span {
            a href=(address) rel=(REL) title=[link.title.as_deref()] {
                @if has_words { (draw(&link.phrases, depth + 1)) } @else { (address) }
            }
            @if let Some(host) = host { " (" (host) ")" }
        }
    }
}

/// What Markdown or an address has: `hasMarkup` in `web/src/live/prose/markup.ts`.
fn has_markup(text: &str) -> bool {
    text.contains(['*', '_', '`'])
        || text.contains("](")
        || text.contains("~~~")
        || text.split('\\').skip(1).any(starts_with_punctuation)
        || has_address(text)
        || text
            .split(['\n', '\r', '\u{2028}', '\u{2029}'])
            .any(begins_block)
}

fn starts_with_punctuation(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_punctuation())
}

fn has_address(text: &str) -> bool {
    let has = |word: &[u8]| {
        let bytes = text.as_bytes().windows(word.len());
        bytes.into_iter().any(|it| it.eq_ignore_ascii_case(word))
    };
    let stands_between_words = |at: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at + 1..].chars().next();
        [before, after]
            .iter()
            .all(|c| c.is_some_and(|c| !is_blank(c)))
    };
    has(b"http:")
        || has(b"https:")
        || has(b"www.")
        || text
            .match_indices('@')
            .any(|(at, _)| stands_between_words(at))
}

fn begins_block(line: &str) -> bool {
    let line = line.trim_start_matches([' ', '\t']);
    let follows = |rest: &str| rest.starts_with([' ', '\t']);
    if line.starts_with('>') {
        return true;
    }
    if let Some(rest) = line.strip_prefix(['-', '+']) {
        return follows(rest);
    }
    let hashes = line.len() - line.trim_start_matches('#').len();
    if (1..=6).contains(&hashes) {
        return follows(&line[hashes..]);
    }
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let after = line[digits..].strip_prefix(['.', ')']);
    (1..=9).contains(&digits) && after.is_some_and(follows)
}

/// Split at blank lines: `paragraphsOf` in `web/src/live/prose/markup.ts`.
fn paragraphs(text: &str) -> Vec<&str> {
    let mut paragraphs = Vec::new();
    let (mut rest, mut from) = (text, 0);
    while let Some(found) = rest[from..].find('\n') {
        let end = from + found;
        let line = rest[end + 1..].trim_start_matches([' ', '\t']);
        if line.starts_with('\n') {
            paragraphs.push(&rest[..end]);
            (rest, from) = (line.trim_start_matches(is_blank), 0);
        } else {
            from = end + 1;
        }
    }
    paragraphs.push(rest);
    paragraphs
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use serde::Deserialize;

    use super::*;

    /// A text, and what the live page draws of it.
    #[derive(Deserialize)]
    struct Vector {
        text: String,
        html: String,
    }

    #[test]
    fn texts_are_drawn_as_the_live_page_draws_them() {
        let vectors = include_str!("../../web/tests/prose.json");
        let vectors: Vec<Vector> = serde_json::from_str(vectors).expect("JSON");
        assert!(vectors.len() > 50);
        let differ = vectors.iter().filter_map(|Vector { text, html }| {
            let drawn = drawn(text).into_string();
            (drawn != *html).then(|| format!("{text:?}\n  here  {drawn}\n  there {html}\n"))
        });
        assert_eq!(differ.collect::<String>(), "");
    }

    /// Without what differs between a list whose items are paragraphs and one that was cut before the second of them.
    fn bare(html: &str) -> String {
        let paragraphs = ["<p dir=\"auto\">", "</p>", "<span>", "</span>"];
        let html = paragraphs
            .iter()
            .fold(html.to_owned(), |html, it| html.replace(it, ""));
        html.trim_end().to_owned()
    }

    #[test]
    fn a_text_that_is_cut_is_drawn_as_its_beginning_was() {
        let vectors = include_str!("../../web/tests/prose.json");
        let vectors: Vec<Vector> = serde_json::from_str(vectors).expect("JSON");
        let texts: Vec<&str> = vectors.iter().map(|it| it.text.as_str()).collect();
        let mut differ = String::new();
        // By itself, and between others of its paragraph, and of its text.
        let between = |text: &str| {
            [
                text.to_owned(),
                format!("One {text} two"),
                format!("One.\n\n{text}\n\nTwo."),
            ]
        };
        for text in texts.iter().flat_map(|text| between(text)) {
            let whole = bare(&drawn(&text).into_string());
            for max in 0..text.len() {
                let cut = markdown::beginning(&text, max);
                let drawn_cut = bare(&drawn(cut).into_string());
                let mut begun = drawn_cut.as_str();
                while let Some((inner, _)) =
                    begun.rsplit_once("</").filter(|_| begun.ends_with('>'))
                {
                    begun = inner.trim_end();
                }
                if !whole.starts_with(begun) {
                    differ += &format!("{text:?} at {max}\n  {begun}\n  {whole}\n");
                    break;
                }
            }
        }
        assert_eq!(differ, "");
    }

    #[test]
    fn whatever_has_markup_is_known_to_have_some() {
        for text in [
            "*a*",
            "_a_",
            "`a`",
            "> a",
            "b\n> a",
            "- a",
            "+ a",
            "1. a",
            "# a",
            "[a](b)",
            "x@y.z",
            "\\*",
            "www.a.example",
            "http://a.example",
            "HTTPS://a.example",
            "~~~\na\n~~~",
            "a@@",
            "\u{2028}> a",
        ] {
            assert!(has_markup(text), "{text}");
        }
        for text in [
            "Plain words.",
            "One line\nand another",
            "a - b",
            "5 < 6 > 4",
            "No. 1",
            "#hash",
            "50 %",
            "a @ b",
            "@a",
            "a@",
            "\\a",
            "",
            "1234567890. a",
            "####### a",
        ] {
            assert!(!has_markup(text), "{text}");
        }
    }

    /// More would take a debug build long.
    const CHARS: usize = 8_000;
    /// Far more than it takes, and far less than what is not linear would take.
    const DRAWN_WITHIN: Duration = Duration::from_secs(3);

    /// The HTML of a text, and the processor's time that drawing it took: what else the machine does is not counted.
    fn drawn_in_time(text: &str) -> (String, Duration) {
        let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a time");
        let begun = now();
        let html = drawn(text).into_string();
        (html, now() - begun)
    }

    #[test]
    fn texts_of_any_kind_are_drawn_in_a_moment_and_within_bounds() {
        let parts = [
            "[",
            "![",
            "[](",
            "[a](",
            "[x](b ",
            "[x](b \"",
            "[x](b (",
            "*",
            "*a ",
            "*a_",
            "**x",
            "_a",
            "`",
            "` ``",
            ">",
            "> ",
            "- ",
            "-\n",
            "1. ",
            "<",
            "<a:",
            "<a ",
            "&",
            "http://a.b/",
            "http://a.b/&amp;.",
            "http://a.b/(",
            "www.",
            "a@",
            "a.b@c.d",
            "a\n",
            "\t",
            " ",
            "  \n",
            "\n",
            "~~~\n",
            "# a\n",
            "\\",
            "[a]: b\n",
            "(",
            ")",
            "😀",
            "- a\n\n",
            "> - ",
            "- > a\n",
            "[[a](b)](c)",
            "**a** *b* `c` https://d.e\n\n- f\n\n",
        ];
        for part in parts {
            for first in ["", "[a](", "http://a", "a\n", "> ", "- ", "**"] {
                let text: String = first
                    .chars()
                    .chain(part.repeat(CHARS).chars())
                    .take(CHARS)
                    .collect();
                let (html, took) = drawn_in_time(&text);
                assert!(took < DRAWN_WITHIN, "{first}{part}: {took:?}");
                assert!(
                    html.len() < 60 * text.len(),
                    "{first}{part}: {}",
                    html.len()
                );
            }
        }
    }

    /// As long as a text may be: a step that looks at all that follows would take seconds.
    #[test]
    fn the_longest_texts_are_drawn_in_a_moment() {
        let chars = 20_000;
        let long = |part: &str, last: &str| {
            let times = (chars - last.chars().count()) / part.chars().count();
            part.repeat(times) + last
        };
        for text in [
            long("- ", "a\nb"),
            long("> ", "a\nb"),
            format!("> {}", long("- ", "a\nb")),
            long("_a", ""),
            long("[](", ""),
            long("[](b (", ")"),
            long("www.a(", ""),
            long("https://a(", ""),
            format!("a{}", long("  \n\u{A0}", "x")),
            format!("[{}](https://a.b)", long(")", "x")),
        ] {
            let (html, took) = drawn_in_time(&text);
            assert!(took < DRAWN_WITHIN, "{text:.20}: {took:?}");
            assert!(!html.is_empty());
        }
    }

    #[test]
    fn a_text_whose_html_would_be_very_large_is_shown_as_it_was_typed() {
        for text in [
            format!("[](http:a/{})", "😀".repeat(4_989)),
            format!("{}\n\n", ">".repeat(13)).repeat(333),
            format!("`\n{}", "#\n".repeat(2_499)),
        ] {
            let bytes = prose("text", &text).into_string().len();
            let most = HTML_BYTES + HTML_BYTES_PER_CHAR * text.chars().count();
            assert!(drawn(&text).into_string().len() > most, "{text:.20}");
            assert!(bytes <= most, "{text:.20}: {bytes}");
        }
        let html = prose("text", &"[a](http://b.example) ".repeat(200)).into_string();
        assert_eq!(html.matches("<a ").count(), 200);
    }

    #[test]
    fn a_text_of_any_length_is_shown_but_a_very_long_one_as_it_was_typed() {
        let html = prose("text", &"*a* ".repeat(DRAWN_BYTES_MAX / 4)).into_string();
        assert!(html.starts_with(r#"<div class="text prose"><p dir="auto">"#));
        let html = prose("text", &"*a* ".repeat(DRAWN_BYTES_MAX / 4 + 1)).into_string();
        assert!(html.starts_with(r#"<p class="text" dir="auto">*a* "#));
    }

    #[test]
    fn paragraphs_are_those_of_the_live_page() {
        // From `paragraphsOf` in a browser.
        for (text, expected) in [
            ("", &[""][..]),
            ("one\ntwo", &["one\ntwo"]),
            ("one\n\ntwo", &["one", "two"]),
            ("one\n \t\n\n \u{A0}\u{FEFF}two\n", &["one", "two\n"]),
            ("one\n\u{A0}\ntwo", &["one\n\u{A0}\ntwo"]),
            ("one\r\n\r\ntwo", &["one\r\n\r\ntwo"]),
            ("\n\none\n\n", &["", "one", ""]),
            ("\n\n\n", &["", ""]),
            ("one\n\u{85}\n\n\u{85}", &["one\n\u{85}", "\u{85}"]),
        ] {
            assert_eq!(paragraphs(text), expected, "{text:?}");
        }
    }
}
