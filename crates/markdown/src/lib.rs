//! The Markdown that readers write, parsed as the live page draws it (`web/src/live/prose`), and cut where a page shows
//! no more at first.
//!
//! Of CommonMark it knows paragraphs, emphasis, code, quotes, lists and links, and it links bare addresses. Everything
//! else stays as it was typed: HTML, entities, tables, rules, reference links, and code that is marked by its
//! indentation alone. `web/tests/prose.json` has texts that the page service draws from it as the live page does.
//!
//! | file | has |
//! |---|---|
//! | [`blocks`] | the lines of a text: paragraphs, quotes, lists, code |
//! | [`phrases`] | what stands within lines: emphasis, code, links |
//! | [`address`] | bare addresses, and those that a link may lead to |
//! | [`beginning`](mod@beginning) | the beginning of a text, cut where nothing of it breaks |
//!
//! No step looks at all that follows, so that a text of any kind takes a moment.

pub mod address;
pub mod beginning;
pub mod blocks;
pub mod phrases;

pub use beginning::{beginning, last_grapheme_end};

/// Quotes in quotes, lists in lists: what lies deeper is shown as it was typed.
pub const NESTED_MAX: usize = 12;

/// White space as JavaScript has it.
pub fn is_blank(c: char) -> bool {
    c == '\u{FEFF}' || c != '\u{85}' && c.is_whitespace()
}
