//! Markdown that is written from words and what they are meant as.
//!
//! Marks and breaks are written late: a mark when a word comes after it, so that none stands around nothing, and a break
//! when something comes after it. A mark ends before each break and begins again after it.

use super::Lines;
use super::escape::{Place, push_word};

/// Quotes and lists in each other; deeper ones are as if they were not there. The live page draws 12.
const NESTED_MAX: usize = 10;
/// Marks in each other.
const MARKS_MAX: usize = 16;

/// What stands between two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Break {
    Nothing,
    Line,
    Paragraph,
}

/// What is meant by the words between its beginning and its end.
#[derive(Clone, Debug)]
pub enum Mark {
    Strong,
    Emphasis,
    Strike,
    /// With its address.
    Link(String),
}

/// A mark that has begun.
struct OpenMark {
    mark: Mark,
    /// Where its words begin, once it is written, and what ends it.
    written: Option<(usize, &'static str)>,
}

/// What the lines begin with.
enum Container {
    Quote,
    Item { bullet: String, is_written: bool },
}

struct List {
    /// The number of the next item.
    number: Option<u32>,
    /// Containers around it.
    depth: usize,
}

/// The Markdown so far.
pub struct Prose {
    out: String,
    lines: Lines,
    pending: Break,
    pending_blank: bool,
    containers: Vec<Container>,
    /// Of the containers of the last line, those that are still open.
    unbroken: usize,
    lists: Vec<List>,
    marks: Vec<OpenMark>,
    code: Option<String>,
    code_block: Option<String>,
    /// The level of the heading, whose `#` are not written yet.
    heading: Option<usize>,
    is_in_heading: bool,
    begins_line: bool,
    /// An address was written that the next word would be part of.
    is_after_address: bool,
}

impl Prose {
    pub fn new(lines: Lines) -> Self {
        Self {
            out: String::new(),
            lines,
            pending: Break::Nothing,
            pending_blank: false,
            containers: Vec::new(),
            unbroken: 0,
            lists: Vec::new(),
            marks: Vec::new(),
            code: None,
            code_block: None,
            heading: None,
            is_in_heading: false,
            begins_line: true,
            is_after_address: false,
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        let code = [&self.code, &self.code_block].map(|code| code.as_ref().map_or(0, String::len));
        self.out.len() + code.iter().sum::<usize>()
    }

    /// The whole, with what is open ended.
    pub fn finish(mut self) -> String {
        self.end_code();
        self.end_code_block();
        self.end_marks_from(0);
        self.out.truncate(self.out.trim_end().len());
        self.out
    }

    pub fn text(&mut self, text: &str) {
        if let Some(code) = self.code_block.as_mut().or(self.code.as_mut()) {
            code.push_str(text);
            return;
        }
        let mut rest = text;
        while !rest.is_empty() {
            let words = rest.trim_start();
            self.white_space(&rest[..rest.len() - words.len()]);
            let end = words.find(char::is_whitespace).unwrap_or(words.len());
            let (word, after) = words.split_at(end);
            if word.chars().any(|c| !c.is_control()) {
                self.word(word);
            }
            rest = after;
        }
    }

    fn white_space(&mut self, white: &str) {
        if white.is_empty() {
            return;
        }
        let breaks = white.bytes().filter(|byte| *byte == b'\n').count();
        match (self.lines, breaks) {
            (Lines::AsTyped, 1) if !self.is_in_heading => self.block(Break::Line),
            (Lines::AsTyped, 2..) if !self.is_in_heading => self.block(Break::Paragraph),
            _ => self.pending_blank = true,
        }
    }

    fn word(&mut self, word: &str) {
        let is_part = !word.starts_with(['.', ',', ';', ':', '!', '?', ')', '\'', '"']);
        self.begin_words(self.is_after_address && is_part);
        let place = Place {
            begins_line: self.begins_line,
            before: self.out.chars().next_back().filter(|c| !c.is_whitespace()),
            is_in_link: self.link().is_some(),
        };
        push_word(word, place, &mut self.out);
        self.begins_line = false;
    }

    /// Markdown that is written as it is.
    pub fn raw(&mut self, markdown: &str) {
        self.begin_words(self.is_after_address);
        self.out.push_str(markdown);
        self.begins_line = false;
    }

    pub fn image(&mut self, alt: &str, address: &str) {
        if self.code.is_some() || self.code_block.is_some() || self.link().is_some() {
            // An image that links to something is a link to that.
            return self.text(alt);
        }
        let mut markdown = "![".to_owned();
        let place = Place {
            begins_line: false,
            before: None,
            is_in_link: true,
        };
        for (number, word) in alt.split_whitespace().enumerate() {
            if number > 0 {
                markdown.push(' ');
            }
            push_word(word, place, &mut markdown);
        }
        markdown.push_str("](");
        markdown.push_str(address);
        markdown.push(')');
        self.raw(&markdown);
    }

    pub fn line_break(&mut self) {
        match &mut self.code_block {
            Some(code) => code.push('\n'),
            None if self.code.is_some() || self.is_in_heading => self.text(" "),
            // Two of them end a paragraph.
            None if self.pending == Break::Line => self.block(Break::Paragraph),
            None => self.block(Break::Line),
        }
    }

    /// A break, unless a longer one is there.
    pub fn block(&mut self, size: Break) {
        if let Some(code) = &mut self.code_block {
            code.push('\n');
            return;
        }
        self.end_code();
        self.end_marks_from(0);
        self.pending = self.pending.max(size);
        self.pending_blank = false;
    }

    pub fn begin_mark(&mut self, mark: Mark) {
        let is_open = self.marks.iter().any(|open| open.mark.is_like(&mark));
        if !is_open && self.marks.len() < MARKS_MAX {
            self.marks.push(OpenMark {
                mark,
                written: None,
            });
        }
    }

    pub fn end_mark(&mut self, mark: &Mark) {
        let found = self.marks.iter().rposition(|open| open.mark.is_like(mark));
        if let Some(found) = found {
            self.end_code();
            self.end_marks_from(found);
            self.marks.remove(found);
        }
    }

    pub fn begin_code(&mut self) {
        if self.code_block.is_none() && self.code.is_none() {
            self.code = Some(String::new());
        }
    }

    pub fn end_code(&mut self) {
        let Some(code) = self.code.take() else {
            return;
        };
        let words: Vec<_> = code.split_whitespace().collect();
        let code: String = words.join(" ");
        let code: String = code.chars().filter(|c| !c.is_control()).collect();
        if code.is_empty() {
            return;
        }
        let fence = "`".repeat(longest_run(&code) + 1);
        let blank = if code.starts_with('`') || code.ends_with('`') {
            " "
        } else {
            ""
        };
        self.raw(&format!("{fence}{blank}{code}{blank}{fence}"));
    }

    pub fn begin_code_block(&mut self) {
        if self.code_block.is_none() {
            self.block(Break::Paragraph);
            self.code_block = Some(String::new());
        }
    }

    pub fn end_code_block(&mut self) {
        let Some(code) = self.code_block.take() else {
            return;
        };
        let code = code.replace("\r\n", "\n");
        let code: String = code
            .chars()
            .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
            .collect();
        let code = code.strip_prefix('\n').unwrap_or(&code).trim_end();
        if code.trim().is_empty() {
            return;
        }
        let fence = "`".repeat((longest_run(code) + 1).max(3));
        for line in [fence.as_str()]
            .into_iter()
            .chain(code.split('\n'))
            .chain([fence.as_str()])
        {
            self.begin_line();
            self.out.push_str(line);
            self.pending = Break::Line;
        }
        self.begins_line = false;
        self.block(Break::Paragraph);
    }

    pub fn begin_heading(&mut self, level: usize) {
        self.block(Break::Paragraph);
        if self.code_block.is_none() {
            (self.heading, self.is_in_heading) = (Some(level), true);
        }
    }

    pub fn end_heading(&mut self) {
        (self.heading, self.is_in_heading) = (None, false);
        self.block(Break::Paragraph);
    }

    pub fn begin_quote(&mut self) {
        self.block(Break::Paragraph);
        if self.containers.len() < NESTED_MAX {
            self.containers.push(Container::Quote);
        }
    }

    pub fn end_quote(&mut self) {
        self.block(Break::Paragraph);
        let quote = self
            .containers
            .iter()
            .rposition(|it| matches!(it, Container::Quote));
        if let Some(quote) = quote {
            self.end_containers_from(quote);
            self.lists.retain(|list| list.depth <= quote);
        }
    }

    /// A list, with the number of its first item if it has numbers.
    pub fn begin_list(&mut self, number: Option<u32>) {
        self.block(self.around_list());
        if self.lists.len() < NESTED_MAX {
            let depth = self.containers.len();
            self.lists.push(List { number, depth });
        }
    }

    pub fn end_list(&mut self) {
        if let Some(list) = self.lists.pop() {
            self.end_containers_from(list.depth);
        }
        self.block(self.around_list());
    }

    pub fn begin_item(&mut self) {
        if self.lists.is_empty() {
            self.begin_list(None);
        }
        self.end_item();
        let Some(list) = self.lists.last_mut() else {
            return;
        };
        let bullet = match &mut list.number {
            None => "- ".to_owned(),
            Some(number) => {
                let bullet = format!("{number}. ");
                *number = number.saturating_add(1).min(999_999_999);
                bullet
            }
        };
        if self.containers.len() < NESTED_MAX {
            self.containers.push(Container::Item {
                bullet,
                is_written: false,
            });
        }
    }

    pub fn end_item(&mut self) {
        self.block(Break::Line);
        if let Some(list) = self.lists.last() {
            self.end_containers_from(list.depth);
        }
    }

    /// Lists in lists stand close to what is around them.
    fn around_list(&self) -> Break {
        match self.containers.last() {
            Some(Container::Item { .. }) => Break::Line,
            _ => Break::Paragraph,
        }
    }

    fn end_containers_from(&mut self, depth: usize) {
        self.containers.truncate(depth);
        self.unbroken = self.unbroken.min(self.containers.len());
    }

    fn link(&self) -> Option<&OpenMark> {
        let mut marks = self.marks.iter();
        marks.find(|open| matches!(open.mark, Mark::Link(_)) && open.written.is_some())
    }

    /// Writes what is pending before words: a break or a blank, and the beginnings of marks.
    fn begin_words(&mut self, needs_blank: bool) {
        if self.out.is_empty() || self.pending != Break::Nothing {
            self.begin_line();
        } else if (self.pending_blank || needs_blank) && !self.begins_line {
            self.out.push(' ');
        }
        self.pending_blank = false;
        self.is_after_address = false;
        for open in &mut self.marks {
            if open.written.is_none() {
                let mark = open.mark.written(&self.out);
                self.out.push_str(if matches!(open.mark, Mark::Link(_)) {
                    "["
                } else {
                    mark
                });
                open.written = Some((self.out.len(), mark));
            }
        }
    }

    fn begin_line(&mut self) {
        if !self.out.is_empty() {
            if self.pending == Break::Paragraph {
                self.out.push('\n');
                for container in &self.containers[..self.unbroken] {
                    match container {
                        Container::Quote => self.out.push_str("> "),
                        Container::Item { bullet, .. } => {
                            self.out.extend(bullet.chars().map(|_| ' '));
                        }
                    }
                }
                self.out.truncate(self.out.trim_end_matches(' ').len());
            }
            self.out.push('\n');
        }
        for container in &mut self.containers {
            match container {
                Container::Quote => self.out.push_str("> "),
                Container::Item { bullet, is_written } => {
                    match std::mem::replace(is_written, true) {
                        true => self.out.extend(bullet.chars().map(|_| ' ')),
                        false => self.out.push_str(bullet),
                    }
                }
            }
        }
        if let Some(level) = self.heading.take() {
            self.out.push_str(&"#".repeat(level));
            self.out.push(' ');
        }
        self.unbroken = self.containers.len();
        self.pending = Break::Nothing;
        self.pending_blank = false;
        self.begins_line = true;
    }

    /// Ends the marks that are written, from the innermost one to this. They begin again with the next word.
    fn end_marks_from(&mut self, first: usize) {
        for open in self.marks[first..].iter_mut().rev() {
            let Some((start, end)) = open.written.take() else {
                continue;
            };
            let Mark::Link(address) = &open.mark else {
                self.out.push_str(end);
                continue;
            };
            if is_same_address(&self.out[start..], address) {
                self.out.remove(start - 1);
                self.is_after_address = true;
            } else {
                self.out.push_str("](");
                self.out.push_str(address);
                self.out.push(')');
            }
        }
    }
}

impl Mark {
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// What begins and ends it, after this text. A link has more.
    fn written(&self, before: &str) -> &'static str {
        match self {
            Self::Strong if before.ends_with('*') => "__",
            Self::Strong => "**",
            Self::Emphasis if before.ends_with('*') => "_",
            Self::Emphasis => "*",
            Self::Strike => "~~",
            Self::Link(_) => "",
        }
    }
}

/// Whether the words of a link are its address: then it needs no more than that.
fn is_same_address(words: &str, address: &str) -> bool {
    let without_slash = |text: &str| text.trim_end_matches('/').to_owned();
    let is_bare = ["http://", "https://"]
        .iter()
        .any(|it| words.starts_with(it));
    is_bare && without_slash(words) == without_slash(address)
        || address.strip_prefix("mailto:") == Some(words)
}

fn longest_run(code: &str) -> usize {
    code.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
