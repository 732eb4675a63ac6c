//! The lines of a text as blocks: paragraphs, headings, code, quotes and lists.
//!
//! As marked has them: a quote or a list takes its lines without its marks, and these are blocks again.

use crate::NESTED_MAX;
use crate::phrases::{self, Emphases, Phrase};

pub enum Block {
    Paragraph(Vec<Phrase>),
    Heading(Vec<Phrase>),
    Code(String),
    Quote(Vec<Block>),
    List {
        /// The first number; none of a list without numbers.
        start: Option<u32>,
        items: Vec<Item>,
    },
    /// As it was typed.
    TooDeep(String),
}

pub struct Item {
    /// `[ ] ` or `[x] ` before the words.
    pub mark: Option<String>,
    pub blocks: Vec<Block>,
    /// There are blank lines in the list: its items have paragraphs.
    pub is_loose: bool,
}

/// `text` has line feeds alone at the ends of its lines.
pub fn parse(text: &str) -> Vec<Block> {
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    let lines = lines.map(str::to_owned).collect();
    let mut parser = Parser {
        emphases: Emphases::of(text),
    };
    parser.blocks(lines, 0).0
}

struct Parser {
    emphases: Emphases,
}

impl Parser {
    /// The blocks of some lines, and whether a blank line stands between two of them.
    fn blocks(&mut self, lines: Vec<String>, depth: usize) -> (Vec<Block>, bool) {
        if depth > NESTED_MAX {
            let text = lines.join("\n").trim().to_owned();
            let blocks = if text.is_empty() {
                vec![]
            } else {
                vec![Block::TooDeep(text)]
            };
            return (blocks, false);
        }
        let (mut blocks, mut is_apart, mut has_gap) = (Vec::new(), false, false);
        let mut at = 0;
        while at < lines.len() {
            let line = &lines[at];
            if is_blank(line) {
                is_apart = !matches!(blocks.last(), None | Some(Block::Heading(_)));
                at += 1;
                continue;
            }
            has_gap |= is_apart;
            is_apart = false;
            if let Some(fence) = Fence::of(line) {
                let (code, next) = fence.code(&lines, at);
                blocks.push(Block::Code(code));
                at = next;
            } else if let Some(words) = heading(line) {
                blocks.push(Block::Heading(self.phrases(words)));
                at += 1;
            } else if quoted(line).is_some() {
                let (inner, next) = quote(&lines, at);
                blocks.push(Block::Quote(self.blocks(inner, depth + 1).0));
                at = next;
            } else if let Some(bullet) = Bullet::of(line) {
                let (start, items, next) = self.list(&lines, at, bullet, depth);
                blocks.push(Block::List { start, items });
                at = next;
            } else {
                let end = lines[at + 1..].iter().position(|line| ends_paragraph(line));
                let end = end.map_or(lines.len(), |length| at + 1 + length);
                let text = lines[at..end].join("\n");
                blocks.push(Block::Paragraph(self.phrases(&text)));
                at = end;
            }
        }
        (blocks, has_gap)
    }

    fn phrases(&mut self, text: &str) -> Vec<Phrase> {
        phrases::parse(text, &mut self.emphases)
    }

    /// The items from a line on, the first number, and the line after the list.
    fn list(
        &mut self,
        lines: &[String],
        mut at: usize,
        first: Bullet,
        depth: usize,
    ) -> (Option<u32>, Vec<Item>, usize) {
        let mut items = Vec::new();
        let (mut is_loose, mut ended_blank) = (false, false);
        while let Some(bullet) = lines.get(at).and_then(|line| Bullet::of(line)) {
            if bullet.kind != first.kind {
                break;
            }
            is_loose |= ended_blank;
            let (mut inner, next) = item(lines, at, &bullet);
            ended_blank = next > at + 1 && is_blank(&lines[next - 1]);
            at = next;
            let next = lines.get(at).and_then(|line| Bullet::of(line));
            if next.is_none_or(|next| next.kind != first.kind) {
                trim_end(&mut inner);
            }
            let mark = task(&mut inner);
            let (blocks, has_gap) = self.blocks(inner, depth + 1);
            is_loose |= has_gap;
            items.push(Item {
                mark,
                blocks,
                is_loose: false,
            });
        }
        for item in &mut items {
            item.is_loose = is_loose;
            if !is_loose {
                continue;
            }
            // In a loose list the mark is the paragraph's.
            if let (Some(mark), Some(Block::Paragraph(phrases))) =
                (&item.mark, item.blocks.first_mut())
            {
                phrases.insert(0, Phrase::Text(mark.clone()));
                item.mark = None;
            }
        }
        // Blank lines at its end are not of the list.
        while at > 0 && is_blank(&lines[at - 1]) {
            at -= 1;
        }
        (first.start, items, at)
    }
}

/// The first line of a list's item.
struct Bullet {
    /// `-`, `*`, `+`, `.` or `)`.
    kind: char,
    start: Option<u32>,
    /// The bullet with the blanks before it, in characters.
    width: usize,
    /// What follows it, with blanks for tabs at its beginning.
    rest: String,
}

impl Bullet {
    fn of(line: &str) -> Option<Self> {
        if is_rule(line) {
            return None;
        }
        let (indent, text) = little_indent(line, 3)?;
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let kind = text[digits..].chars().next()?;
        let is_bullet = match digits {
            0 => matches!(kind, '*' | '+' | '-'),
            1..=9 => matches!(kind, '.' | ')'),
            _ => false,
        };
        let rest = &text[digits..][kind.len_utf8()..];
        if !is_bullet || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
            return None;
        }
        let width = indent + digits + 1;
        Some(Self {
            kind,
            start: text[..digits].parse().ok(),
            width,
            rest: without_tabs(rest, width),
        })
    }
}

/// The lines of an item without its indentation, and the line after it.
fn item(lines: &[String], at: usize, bullet: &Bullet) -> (Vec<String>, usize) {
    let begins_blank = is_blank(&bullet.rest);
    let blanks = bullet.rest.len() - bullet.rest.trim_start_matches(' ').len();
    let skipped = if begins_blank || blanks > 4 {
        1
    } else {
        blanks
    };
    let indent = bullet.width + skipped;
    let first = match begins_blank {
        true => String::new(),
        false => bullet.rest[skipped..].to_owned(),
    };
    let mut inner = vec![first];
    let mut next = at + 1;
    if begins_blank && lines.get(next).is_none_or(|line| is_blank(line)) {
        return (inner, (next + 1).min(lines.len()));
    }
    let (mut is_after_blank, mut before) = (begins_blank, bullet.rest.clone());
    let mut is_lazy = false;
    while let Some(line) = lines.get(next) {
        if ends_item(line, (indent - 1).min(3)) {
            break;
        }
        let expanded = without_tabs(line, 0);
        let found = expanded.find(|c| c != ' ');
        if is_blank(line) || found.is_some_and(|found| found >= indent) {
            inner.push(expanded.get(indent..).unwrap_or_default().to_owned());
            is_lazy = false;
        } else {
            if is_after_blank || !goes_on(&before, is_lazy, inner.len() == 1) {
                break;
            }
            inner.push(line.clone());
            is_lazy = true;
        }
        is_after_blank = is_blank(line);
        before = expanded.get(indent..).unwrap_or_default().to_owned();
        next += 1;
    }
    (inner, next)
}

/// Whether a paragraph of an item goes on in a line that is not indented, after this one.
fn goes_on(before: &str, is_lazy: bool, is_first: bool) -> bool {
    let inner = within_marks(before);
    if is_first && is_blank(inner) {
        return false;
    }
    let opens = |text: &str| Fence::of(text).is_some() || heading(text).is_some() || is_rule(text);
    let tested = if is_first { inner } else { before };
    let indent = tested.len() - tested.trim_start_matches(' ').len();
    indent < 4 && !opens(tested) && (is_lazy || !opens(inner))
}

/// The words after the marks of quotes and lists. What is nested too deep is shown as it was typed: no more of its marks
/// are read, because each is looked for from there to the end of the line.
fn within_marks(line: &str) -> &str {
    let mut rest = line;
    for _ in 0..=NESTED_MAX {
        if is_rule(rest) {
            break;
        }
        let Some((_, text)) = little_indent(rest, 3) else {
            break;
        };
        let inner = match text.strip_prefix('>') {
            Some(inner) => inner.strip_prefix(' ').unwrap_or(inner),
            None => {
                let text = text.trim_start_matches(|c: char| c.is_ascii_digit());
                match text.strip_prefix(['*', '+', '-', '.', ')']) {
                    Some(inner) if inner.starts_with(' ') && Bullet::of(rest).is_some() => {
                        &inner[1..]
                    }
                    _ => break,
                }
            }
        };
        rest = inner;
    }
    rest
}

/// Whether a line with at most so many blanks before it begins something else than an item's next line.
fn ends_item(line: &str, indent: usize) -> bool {
    let Some((_, text)) = little_indent(line, indent) else {
        return false;
    };
    text.starts_with('>')
        || is_rule(text)
        || heading(text).is_some()
        || Bullet::of(text).is_some()
        || text.starts_with("```")
        || text.starts_with("~~~")
        || begins_html(text)
}

/// The elements that begin a block of HTML.
const HTML_BLOCKS: &str = " address article aside base basefont blockquote body caption center col colgroup dd details \
                           dialog dir div dl dt fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 \
                           head header hr html iframe legend li link main menu menuitem meta nav noframes ol optgroup \
                           option p param search section summary table tbody td tfoot th thead title tr track ul ";

/// Whether a block of HTML would begin: it ends a list, though it is no HTML here.
fn begins_html(text: &str) -> bool {
    let Some(tag) = text.strip_prefix('<') else {
        return false;
    };
    if tag.starts_with(['?', '!']) {
        let rest = &tag[1..];
        let is_declaration = rest.starts_with(|c: char| c.is_ascii_alphabetic());
        return tag.starts_with('?')
            || rest.starts_with("--")
            || rest.starts_with("[CDATA[")
            || is_declaration;
    }
    let name = |tag: &str| {
        let length = tag
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(tag.len());
        (tag[..length].to_ascii_lowercase(), tag[length..].to_owned())
    };
    let (opened, rest) = name(tag);
    let is_raw = matches!(opened.as_str(), "script" | "pre" | "style" | "textarea");
    if is_raw && (rest.is_empty() || rest.starts_with('>') || rest.starts_with(crate::is_blank)) {
        return true;
    }
    let (name, rest) = name(tag.strip_prefix('/').unwrap_or(tag));
    let ends = rest.is_empty() || rest.starts_with([' ', '\t', '>']) || rest.starts_with("/>");
    !name.is_empty() && ends && HTML_BLOCKS.contains(&format!(" {name} "))
}

/// The last item ends with its last word.
fn trim_end(lines: &mut Vec<String>) {
    while let Some(last) = lines.last_mut() {
        last.truncate(last.trim_end_matches(crate::is_blank).len());
        if !last.is_empty() || lines.len() == 1 {
            break;
        }
        lines.pop();
    }
}

/// Takes `[ ]` or `[x]` off an item that begins with it.
fn task(lines: &mut [String]) -> Option<String> {
    let first = lines.first_mut()?;
    let mark = first
        .get(..3)
        .filter(|it| matches!(*it, "[ ]" | "[x]" | "[X]"))?
        .to_owned();
    let words = first[3..].trim_start_matches([' ', '\t']);
    if words.len() == first.len() - 3 || words.is_empty() || is_other_block(words) {
        return None;
    }
    *first = words.to_owned();
    Some(format!("{mark} "))
}

/// Whether words alone would be another block than after a mark.
fn is_other_block(words: &str) -> bool {
    ends_paragraph(words) || Bullet::of(words).is_some()
}

/// The lines of a quote without its marks, and the line after it. A paragraph in it goes on without them.
fn quote(lines: &[String], at: usize) -> (Vec<String>, usize) {
    let mut inner = Vec::new();
    let mut next = at;
    let mut fence: Option<Fence> = None;
    while let Some(line) = lines.get(next) {
        if let Some(text) = quoted(line) {
            fence = match fence {
                Some(open) if open.is_closed_by(text) => None,
                Some(open) => Some(open),
                None => Fence::of(text),
            };
            inner.push(text.to_owned());
        } else {
            let last = inner.last().map_or("", |line: &String| within_marks(line));
            let goes_on = fence.is_none() && !is_blank(last) && heading(last).is_none();
            let is_other = ends_paragraph(line) || is_rule(line) || Bullet::of(line).is_some();
            if !goes_on || is_other {
                break;
            }
            inner.push(line.clone());
        }
        next += 1;
    }
    (inner, next)
}

fn quoted(line: &str) -> Option<&str> {
    let (_, text) = little_indent(line, 3)?;
    let inner = text.strip_prefix('>')?;
    Some(inner.strip_prefix([' ', '\t']).unwrap_or(inner))
}

/// Whether a line is not of the paragraph before it.
fn ends_paragraph(line: &str) -> bool {
    if is_blank(line)
        || Fence::of(line).is_some()
        || heading(line).is_some()
        || quoted(line).is_some()
    {
        return true;
    }
    // Only a list that begins with something, and with 1.
    Bullet::of(line)
        .is_some_and(|bullet| !is_blank(&bullet.rest) && bullet.start.is_none_or(|it| it == 1))
}

/// Whether a line with words is of another block than the line before it: nothing that stands within lines is in both.
pub(crate) fn begins(mut line: &str, mut before: &str) -> bool {
    for _ in 0..=NESTED_MAX {
        match (quoted(line), quoted(before)) {
            (Some(inner), Some(inner_before)) => (line, before) = (inner, inner_before),
            (Some(_), None) => return true,
            (None, _) => {
                return Bullet::of(line).is_some()
                    || heading(line).is_some()
                    || heading(before).is_some();
            }
        }
    }
    false
}

/// A line that opens code, or closes it.
#[derive(Clone, Copy)]
pub(crate) struct Fence {
    mark: char,
    length: usize,
    indent: usize,
}

impl Fence {
    pub(crate) fn of(line: &str) -> Option<Self> {
        let (indent, text) = little_indent(line, 3)?;
        let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let length = text.len() - text.trim_start_matches(mark).len();
        let is_fence = length >= 3 && (mark == '~' || !text[length..].contains('`'));
        is_fence.then_some(Self {
            mark,
            length,
            indent,
        })
    }

    pub(crate) fn is_closed_by(self, line: &str) -> bool {
        let Some((_, text)) = little_indent(line, 3) else {
            return false;
        };
        let rest = text.trim_start_matches(self.mark);
        text.len() - rest.len() >= self.length && rest.trim_start_matches(' ').is_empty()
    }

    /// The code up to the line that closes it, or to the end, and the line after it.
    fn code(self, lines: &[String], at: usize) -> (String, usize) {
        let inner = &lines[at + 1..];
        let length = inner.iter().position(|line| self.is_closed_by(line));
        let length = length.unwrap_or(inner.len());
        let indent = if self.mark == '`' { self.indent } else { 0 };
        let inner: Vec<&str> = inner[..length]
            .iter()
            .map(|line| {
                let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
                &line[blanks.min(indent)..]
            })
            .collect();
        let mut code = inner.join("\n");
        if !inner.is_empty() && (code.is_empty() || code.ends_with('\n')) {
            code.push('\n');
        }
        (code, (at + length + 2).min(lines.len()))
    }
}

/// The words of a heading.
fn heading(line: &str) -> Option<&str> {
    let (_, text) = little_indent(line, 3)?;
    let level = text.len() - text.trim_start_matches('#').len();
    let words = &text[level..];
    let is_heading = (1..=6).contains(&level) && words.chars().next().is_none_or(crate::is_blank);
    if !is_heading {
        return None;
    }
    let words = words.trim_matches(crate::is_blank);
    let open = words.trim_end_matches('#');
    let closes = open.is_empty() || open.ends_with([' ', '\t']);
    Some(if closes {
        open.trim_matches(crate::is_blank)
    } else {
        words
    })
}

/// `---`, `***` or `___`, with blanks between them. It is not drawn, but no list begins with it.
fn is_rule(line: &str) -> bool {
    let Some((_, text)) = little_indent(line, 3) else {
        return false;
    };
    let Some(mark) = text.chars().next().filter(|c| matches!(c, '-' | '*' | '_')) else {
        return false;
    };
    let marks = text.chars().filter(|c| *c == mark).count();
    marks >= 3 && text.chars().all(|c| c == mark || c == ' ' || c == '\t')
}

pub(crate) fn is_blank(line: &str) -> bool {
    line.trim_matches([' ', '\t']).is_empty()
}

/// The blanks before a line and the line without them, if there are at most so many.
fn little_indent(line: &str, max: usize) -> Option<(usize, &str)> {
    let text = line.trim_start_matches(' ');
    let indent = line.len() - text.len();
    (indent <= max).then_some((indent, text))
}

/// With blanks for the tabs at its beginning; the line begins at a column.
fn without_tabs(line: &str, column: usize) -> String {
    let text = line.trim_start_matches([' ', '\t']);
    let mut blanks = String::new();
    for c in line[..line.len() - text.len()].chars() {
        let width = match c {
            '\t' => 4 - (column + blanks.len()) % 4,
            _ => 1,
        };
        blanks.extend(std::iter::repeat_n(' ', width));
    }
    blanks + text
}
