//! HTML becomes the Markdown that posts and comments are written in ([`markdown`] draws it), or plain text.
//!
//! What has no counterpart there is dropped, and its words stay. Scripts and styles go with all that is in them. What
//! was no markup is written so that it is none: `*` becomes `\*`.
//!
//! | file | has |
//! |---|---|
//! | this one | what each tag means |
//! | `prose` | the Markdown: its lines and marks |
//! | `escape` | words that are no markup |

mod escape;
mod prose;

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};
use url::Url;

use prose::{Break, Mark, Prose};

/// How the lines of a text are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// As in HTML: a line break is a blank.
    AsBlanks,
    /// As they are typed: a line break is one, and a blank line ends a paragraph.
    AsTyped,
}

/// Elements that nothing is read of.
const DROPPED: [&str; 12] = [
    "script", "style", "template", "noscript", "object", "svg", "math", "head", "select", "iframe",
    "video", "audio",
];
/// Elements that are paragraphs, or contain some.
const BLOCKS: [&str; 26] = [
    "p",
    "div",
    "section",
    "article",
    "aside",
    "header",
    "footer",
    "main",
    "nav",
    "figure",
    "figcaption",
    "table",
    "caption",
    "thead",
    "tbody",
    "tfoot",
    "dl",
    "form",
    "fieldset",
    "details",
    "summary",
    "address",
    "center",
    "hgroup",
    "menu",
    "legend",
];
/// WordPress's placeholders that are dropped. What stands between two of them stays.
const SHORTCODES: [&str; 7] = [
    "caption",
    "wp_caption",
    "gallery",
    "embed",
    "audio",
    "video",
    "playlist",
];
/// Addresses that are longer lead nowhere.
const ADDRESS_BYTES_MAX: usize = 2_000;

/// What is known of a text.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub lines: Lines,
    /// Addresses that are not whole are below this one.
    pub base: Option<&'a Url>,
    /// Whether WordPress's placeholders, such as `[gallery]`, are dropped.
    pub has_shortcodes: bool,
}

/// The text as Markdown, of about `bytes_max` bytes at most: what comes after is not read.
pub fn to_markdown(html: &str, source: Source<'_>, bytes_max: usize) -> String {
    let mut converter = Converter {
        prose: Prose::new(source.lines),
        source,
        dropped: Dropped::default(),
        has_cell: false,
    };
    for token in tokens(html) {
        converter.token(&token);
        if converter.prose.len() > bytes_max {
            break;
        }
    }
    converter.prose.finish()
}

/// The words alone, in one line.
pub fn to_plain(html: &str) -> String {
    let (mut text, mut dropped) = (String::new(), Dropped::default());
    for token in tokens(html) {
        match &token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name);
                dropped.begin(&name, tag.self_closing);
                // `a<br>b` are two words.
                if matches!(&*name, "br" | "p" | "div") {
                    text.push(' ');
                }
            }
            Token::EndTag(tag) => dropped.end(&String::from_utf8_lossy(&tag.name)),
            Token::String(words) if !dropped.is_in_one() => {
                text.push_str(&String::from_utf8_lossy(words));
            }
            _ => {}
        }
    }
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

fn tokens(html: &str) -> impl Iterator<Item = Token> {
    let mut emitter = DefaultEmitter::default();
    // So that what is in a script is no markup.
    emitter.naively_switch_states(true);
    let tokens = Tokenizer::new_with_emitter(html, emitter);
    tokens.map(|token| {
        let Ok(token) = token;
        token
    })
}

/// The element of [`DROPPED`] that is open, and how many of its name are in it.
#[derive(Default)]
struct Dropped(Option<(String, usize)>);

impl Dropped {
    fn is_in_one(&self) -> bool {
        self.0.is_some()
    }

    fn begin(&mut self, name: &str, is_closed: bool) {
        match &mut self.0 {
            Some((open, depth)) if open == name && !is_closed => *depth += 1,
            Some(_) => {}
            None if DROPPED.contains(&name) && !is_closed => self.0 = Some((name.to_owned(), 0)),
            None => {}
        }
    }

    fn end(&mut self, name: &str) {
        match &mut self.0 {
            Some((open, 0)) if open == name => self.0 = None,
            Some((open, depth)) if open == name => *depth -= 1,
            _ => {}
        }
    }
}

struct Converter<'a> {
    prose: Prose,
    source: Source<'a>,
    dropped: Dropped,
    /// Whether the row of a table has a cell.
    has_cell: bool,
}

impl Converter<'_> {
    fn token(&mut self, token: &Token) {
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name);
                if !self.dropped.is_in_one() {
                    self.start(&name, tag);
                }
                self.dropped.begin(&name, tag.self_closing);
            }
            Token::EndTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name);
                if !self.dropped.is_in_one() {
                    self.end(&name);
                }
                self.dropped.end(&name);
            }
            Token::String(words) if !self.dropped.is_in_one() => {
                let words = String::from_utf8_lossy(words);
                match self.source.has_shortcodes && words.contains('[') {
                    true => self.prose.text(&without_shortcodes(&words)),
                    false => self.prose.text(&words),
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, name: &str, tag: &StartTag<()>) {
        let prose = &mut self.prose;
        match name {
            "b" | "strong" => prose.begin_mark(Mark::Strong),
            "i" | "em" | "cite" => prose.begin_mark(Mark::Emphasis),
            "s" | "del" | "strike" => prose.begin_mark(Mark::Strike),
            "code" | "kbd" | "samp" | "tt" => prose.begin_code(),
            "a" => {
                if let Some(address) = self.address(tag, b"href") {
                    self.prose.begin_mark(Mark::Link(address));
                }
            }
            "q" => prose.text("“"),
            "br" => prose.line_break(),
            "img" => {
                let alt = attribute(tag, b"alt").unwrap_or_default();
                let class = attribute(tag, b"class").unwrap_or_default();
                match self.address(tag, b"src") {
                    // A character that WordPress has drawn.
                    Some(_) if class.split(' ').any(|it| it == "emoji") => self.prose.text(&alt),
                    Some(address) => self.prose.image(&alt, &address),
                    None => self.prose.text(&alt),
                }
            }
            "iframe" | "video" | "audio" | "embed" => {
                if let Some(address) = self.address(tag, b"src") {
                    self.prose.block(Break::Paragraph);
                    self.prose.raw(&address);
                    self.prose.block(Break::Paragraph);
                }
            }
            "hr" => {
                prose.block(Break::Paragraph);
                prose.raw("---");
                prose.block(Break::Paragraph);
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                prose.begin_heading(usize::from(name.as_bytes()[1] - b'0'));
            }
            "blockquote" => prose.begin_quote(),
            "ul" => prose.begin_list(None),
            "ol" => {
                let start = attribute(tag, b"start").and_then(|start| start.parse().ok());
                prose.begin_list(Some(start.unwrap_or(1)));
            }
            "li" => prose.begin_item(),
            "pre" | "listing" | "xmp" => prose.begin_code_block(),
            "tr" | "dt" | "dd" => {
                prose.block(Break::Line);
                self.has_cell = false;
            }
            "td" | "th" => {
                let is_first = !std::mem::replace(&mut self.has_cell, true);
                if !is_first {
                    prose.text(" | ");
                }
            }
            name if BLOCKS.contains(&name) => prose.block(Break::Paragraph),
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        let prose = &mut self.prose;
        match name {
            "b" | "strong" => prose.end_mark(&Mark::Strong),
            "i" | "em" | "cite" => prose.end_mark(&Mark::Emphasis),
            "s" | "del" | "strike" => prose.end_mark(&Mark::Strike),
            "code" | "kbd" | "samp" | "tt" => prose.end_code(),
            "a" => prose.end_mark(&Mark::Link(String::new())),
            "q" => prose.text("”"),
            // Browsers read it so.
            "br" => prose.line_break(),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => prose.end_heading(),
            "blockquote" => prose.end_quote(),
            "ul" | "ol" => prose.end_list(),
            "li" => prose.end_item(),
            "pre" | "listing" | "xmp" => prose.end_code_block(),
            "tr" | "dt" | "dd" => prose.block(Break::Line),
            name if BLOCKS.contains(&name) => prose.block(Break::Paragraph),
            _ => {}
        }
    }

    /// The address in an attribute, if it leads anywhere: over HTTP, or to a mailbox.
    fn address(&self, tag: &StartTag<()>, name: &[u8]) -> Option<String> {
        let address = attribute(tag, name)?;
        let address = address.trim();
        if address.is_empty() || address.starts_with('#') {
            return None;
        }
        let parsed = Url::options().base_url(self.source.base).parse(address);
        let parsed = parsed.ok()?;
        let leads = matches!(parsed.scheme(), "http" | "https" | "mailto");
        // In Markdown, a bracket could end it.
        let address = parsed.as_str().replace('(', "%28").replace(')', "%29");
        (leads && address.len() <= ADDRESS_BYTES_MAX).then_some(address)
    }
}

fn attribute(tag: &StartTag<()>, name: &[u8]) -> Option<String> {
    let value = tag.attributes.get(name)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The text without the placeholders, each of which begins and ends in it.
fn without_shortcodes(text: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('[') {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        let words = &from[1..];
        let words = words.strip_prefix('/').unwrap_or(words);
        let name = words
            .split(|c: char| !(c.is_ascii_alphabetic() || c == '_'))
            .next();
        if !name.is_some_and(|name| SHORTCODES.contains(&name)) {
            kept.push('[');
            rest = &from[1..];
            continue;
        }
        match from.find(']') {
            Some(end) => rest = &from[end + 1..],
            None => {
                kept.push_str(from);
                return kept;
            }
        }
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests;
