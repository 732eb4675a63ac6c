//! What stands within lines: emphasis, code and links.
//!
//! Emphasis follows CommonMark (<https://spec.commonmark.org/0.31.2/#emphasis-and-strong-emphasis>).

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::address::{self, Run};
use crate::is_blank;

/// Of a text; what begins after them stays as it was typed.
const EMPHASES_MAX: usize = 100;
/// `*` and `_` of a text. With more of them, none is an emphasis.
const MARKS_MAX: usize = 500;
/// Brackets in the words of a link, in each other.
const NESTED_BRACKETS_MAX: usize = 2;
/// Round brackets in the address of a link, in each other.
const NESTED_PARENTHESES_MAX: usize = 32;
const SCHEME_CHARS: std::ops::RangeInclusive<usize> = 2..=32;

/// `typed` is what a reader has typed.
pub enum Phrase {
    Text(String),
    Emphasis { typed: String, phrases: Vec<Phrase> },
    Strong { typed: String, phrases: Vec<Phrase> },
    Code { typed: String, text: String },
    Link(Link),
}

pub struct Link {
    pub typed: String,
    /// As it was typed: it may lead nowhere.
    pub target: String,
    pub title: Option<String>,
    pub phrases: Vec<Phrase>,
}

/// The words that a reader sees.
pub fn shown(phrases: &[Phrase]) -> String {
    let words = phrases.iter().map(|phrase| match phrase {
        Phrase::Text(text) | Phrase::Code { text, .. } => text.clone(),
        Phrase::Emphasis { phrases, .. }
        | Phrase::Strong { phrases, .. }
        | Phrase::Link(Link { phrases, .. }) => shown(phrases),
    });
    words.collect()
}

/// The emphases that a text may still have.
pub(crate) struct Emphases {
    left: usize,
}

impl Emphases {
    pub(crate) fn of(text: &str) -> Self {
        let marks = text
            .bytes()
            .filter(|byte| matches!(byte, b'*' | b'_'))
            .count();
        let left = if marks > MARKS_MAX { 0 } else { EMPHASES_MAX };
        Self { left }
    }
}

pub(crate) fn parse(text: &str, emphases: &mut Emphases) -> Vec<Phrase> {
    Scanner::new(text, emphases, false).phrases()
}

/// Where each construct of a text stands, in bytes: emphases, code, links, bare addresses, and characters after a
/// backslash. Cut within one, it would be shown as it was typed, or lead elsewhere.
pub(crate) fn constructs(text: &str) -> Vec<Range<usize>> {
    let mut emphases = Emphases::of(text);
    let mut scanner = Scanner::new(text, &mut emphases, false);
    scanner.scan();
    let mut constructs = std::mem::take(&mut scanner.constructs);
    scanner.emphasized(&mut constructs);
    constructs
}

/// Reads a text once from its beginning to its end.
struct Scanner<'t, 'e> {
    text: &'t str,
    emphases: &'e mut Emphases,
    /// Within the words of a link: there are no links in links.
    is_in_link: bool,
    at: usize,
    pieces: Vec<Piece>,
    /// Those that were found so far: all but the emphases.
    constructs: Vec<Range<usize>>,
    brackets: Vec<(usize, Bracket)>,
    /// Lengths of backticks that nothing closes from here on.
    unclosed: HashSet<usize>,
    /// Where no title begins with a quote.
    untitled: Untitled,
    /// That of the last bare address.
    run: Run,
    /// Where the last word ends.
    words_end: usize,
}

enum Piece {
    Phrase(Phrase),
    Marks(Marks),
}

/// A run of `*` or `_`.
struct Marks {
    mark: char,
    at: usize,
    count: usize,
    can_open: bool,
    can_close: bool,
    /// The pairs that begin here, the inner ones first, and those that end here.
    opens: Vec<usize>,
    closes: Vec<usize>,
}

/// A `[` with its `]`.
#[derive(Clone, Copy)]
struct Bracket {
    end: usize,
    nested: usize,
}

impl<'t, 'e> Scanner<'t, 'e> {
    fn new(text: &'t str, emphases: &'e mut Emphases, is_in_link: bool) -> Self {
        let mut scanner = Self {
            text,
            emphases,
            is_in_link,
            at: 0,
            pieces: Vec::new(),
            constructs: Vec::new(),
            brackets: Vec::new(),
            unclosed: HashSet::new(),
            untitled: HashMap::new(),
            run: Run::default(),
            words_end: text.trim_end_matches(is_blank).len(),
        };
        scanner.brackets = scanner.find_brackets();
        scanner
    }

    fn phrases(mut self) -> Vec<Phrase> {
        self.scan();
        self.emphasized(&mut Vec::new())
    }

    fn scan(&mut self) {
        while let Some(c) = self.rest().chars().next() {
            let found = match c {
                '\\' => self.escape(),
                '`' => self.code(),
                '[' | '!' => self.link(),
                '<' => self.address_in_brackets(),
                '*' | '_' => self.marks(c),
                ' ' => self.line_break(),
                _ => false,
            };
            if !found && !self.bare_address() {
                // A run of backticks that nothing closes is one.
                let run = self.rest().len() - self.rest().trim_start_matches('`').len();
                self.push_text(run.max(c.len_utf8()));
            }
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn push(&mut self, phrase: Phrase, length: usize) -> bool {
        self.pieces.push(Piece::Phrase(phrase));
        self.constructs.push(self.at..self.at + length);
        self.at += length;
        true
    }

    /// So many bytes as they were typed.
    fn push_text(&mut self, length: usize) {
        let typed = &self.rest()[..length];
        match self.pieces.last_mut() {
            Some(Piece::Phrase(Phrase::Text(text))) => text.push_str(typed),
            _ => self
                .pieces
                .push(Piece::Phrase(Phrase::Text(typed.to_owned()))),
        }
        self.at += length;
    }

    /// A backslash takes itself away, and may stand for a line break.
    fn escape(&mut self) -> bool {
        match self.rest()[1..].chars().next() {
            Some(c) if c.is_ascii_punctuation() => self.push(Phrase::Text(c.to_string()), 2),
            Some('\n') => self.break_after(1),
            _ => false,
        }
    }

    /// Two blanks or more at the end of a line.
    fn line_break(&mut self) -> bool {
        let blanks = self.rest().len() - self.rest().trim_start_matches(' ').len();
        if blanks < 2 {
            return false;
        }
        if !self.rest()[blanks..].starts_with('\n') || !self.break_after(blanks) {
            self.push_text(blanks);
        }
        true
    }

    fn break_after(&mut self, length: usize) -> bool {
        if self.at + length + 1 >= self.words_end {
            return false;
        }
        let after = &self.rest()[length + 1..];
        let indent = after.len() - after.trim_start_matches([' ', '\t']).len();
        self.push(Phrase::Text("\n".to_owned()), length + 1 + indent)
    }

    fn code(&mut self) -> bool {
        let Some((end, text)) = code_at(self.text, self.at, &mut self.unclosed) else {
            return false;
        };
        let text = text.replace('\n', " ");
        let inner = text
            .strip_prefix(' ')
            .and_then(|text| text.strip_suffix(' '));
        let has_words = text.contains(|c| c != ' ');
        let text = inner.filter(|_| has_words).unwrap_or(&text).to_owned();
        let typed = self.text[self.at..end].to_owned();
        let length = typed.len();
        self.push(Phrase::Code { typed, text }, length)
    }

    /// Of each `[` outside of code, in their order.
    fn find_brackets(&self) -> Vec<(usize, Bracket)> {
        let (mut found, mut open) = (Vec::new(), Vec::<(usize, usize)>::new());
        let mut unclosed = HashSet::new();
        let mut at = 0;
        while let Some(c) = self.text[at..].chars().next() {
            let mut length = c.len_utf8();
            match c {
                '\\' => {
                    let next = self.text[at + 1..].chars().next();
                    length += next.map_or(0, char::len_utf8);
                }
                '`' => {
                    let run = run_at(self.text, at, '`');
                    let code = code_at(self.text, at, &mut unclosed);
                    length = code.map_or(run, |(end, _)| end - at);
                }
                '[' => open.push((at, 0)),
                ']' => {
                    if let Some((begin, nested)) = open.pop() {
                        found.push((begin, Bracket { end: at, nested }));
                        if let Some((_, outer)) = open.last_mut() {
                            *outer = (*outer).max(nested + 1);
                        }
                    }
                }
                _ => {}
            }
            at += length;
        }
        found.sort_unstable_by_key(|(begin, _)| *begin);
        found
    }

    fn link(&mut self) -> bool {
        let is_image = self.rest().starts_with("![");
        if !is_image && !self.rest().starts_with('[') {
            return false;
        }
        let begin = self.at + usize::from(is_image);
        let Ok(place) = self.brackets.binary_search_by_key(&begin, |(at, _)| *at) else {
            return false;
        };
        let (_, bracket) = self.brackets[place];
        if bracket.nested > NESTED_BRACKETS_MAX {
            return false;
        }
        let Some(target) = target_at(self.text, bracket.end + 1, &mut self.untitled) else {
            return false;
        };
        let words = &self.text[begin + 1..bracket.end];
        let before = self.emphases.left;
        let phrases = Scanner::new(words, self.emphases, true).phrases();
        let length = target.end - self.at;
        if self.is_in_link {
            // Its words are the outer link's.
            self.pieces.extend(phrases.into_iter().map(Piece::Phrase));
            self.at += length;
            return true;
        }
        // The inner link is one, and the outer is none.
        if !is_image && has_link(words) {
            self.emphases.left = before;
            return false;
        }
        let link = Link {
            typed: self.rest()[..length].to_owned(),
            target: target.address,
            title: target.title.filter(|title| !title.is_empty()),
            phrases,
        };
        self.push(Phrase::Link(link), length)
    }

    /// `<https://...>` or `<name@host>`.
    fn address_in_brackets(&mut self) -> bool {
        let inner = &self.rest()[1..];
        let end = inner.find(|c: char| is_blank(c) || c.is_ascii_control() || c == '<' || c == '>');
        let Some(end) = end.filter(|end| !self.is_in_link && inner[*end..].starts_with('>')) else {
            return false;
        };
        let inner = &inner[..end];
        let target = if is_with_scheme(inner) {
            inner.to_owned()
        } else if is_mailbox(inner) {
            format!("mailto:{inner}")
        } else {
            return false;
        };
        self.push_address(end + 2, inner.to_owned(), target)
    }

    fn bare_address(&mut self) -> bool {
        if self.is_in_link {
            return false;
        }
        // Right after something else than text, an address may begin at any character.
        let is_in_text = matches!(self.pieces.last(), Some(Piece::Phrase(Phrase::Text(_))));
        let before = self.text[..self.at]
            .chars()
            .next_back()
            .filter(|_| is_in_text);
        let Some((length, target)) = address::bare(self.text, self.at, before, &mut self.run)
        else {
            return false;
        };
        self.push_address(length, self.rest()[..length].to_owned(), target)
    }

    fn push_address(&mut self, length: usize, words: String, target: String) -> bool {
        let link = Link {
            typed: self.rest()[..length].to_owned(),
            target,
            title: None,
            phrases: vec![Phrase::Text(words)],
        };
        self.push(Phrase::Link(link), length)
    }

    fn marks(&mut self, mark: char) -> bool {
        let count = run_at(self.text, self.at, mark);
        let before = Side::of(self.text[..self.at].chars().next_back());
        let after = Side::of(self.rest()[count..].chars().next());
        let is_left = after != Side::Blank && (after != Side::Mark || before != Side::Word);
        let is_right = before != Side::Blank && (before != Side::Mark || after != Side::Word);
        let is_word = mark == '_';
        self.pieces.push(Piece::Marks(Marks {
            mark,
            at: self.at,
            count,
            can_open: is_left && (!is_word || !is_right || before == Side::Mark),
            can_close: is_right && (!is_word || !is_left || after == Side::Mark),
            opens: Vec::new(),
            closes: Vec::new(),
        }));
        self.at += count;
        true
    }

    /// The phrases, with the marks that are pairs as emphasis, which are added to the constructs. A text has few marks, so
    /// that each may look at all.
    fn emphasized(mut self, constructs: &mut Vec<Range<usize>>) -> Vec<Phrase> {
        let places: Vec<usize> = (0..self.pieces.len())
            .filter(|place| matches!(self.pieces[*place], Piece::Marks(_)))
            .collect();
        let mut pairs: Vec<Pair> = Vec::new();
        if self.emphases.left > 0 {
            pairs = self.find_pairs(&places);
        }
        // Only the first of a text are drawn.
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by_key(|pair| (pairs[*pair].open, std::cmp::Reverse(*pair)));
        for (number, pair) in order.into_iter().enumerate() {
            pairs[pair].is_drawn = number < self.emphases.left;
        }
        self.emphases.left -= pairs.iter().filter(|pair| pair.is_drawn).count();
        self.nested(&pairs, constructs)
    }

    fn find_pairs(&mut self, places: &[usize]) -> Vec<Pair> {
        let mut pairs = Vec::new();
        let mut left: Vec<usize> = places
            .iter()
            .map(|place| self.marks_at(*place).count)
            .collect();
        let mut open: Vec<usize> = Vec::new();
        for number in 0..places.len() {
            let marks = self.marks_at(places[number]);
            let (mark, can_open, can_close) = (marks.mark, marks.can_open, marks.can_close);
            let count = marks.count;
            while can_close && left[number] > 0 {
                let opener = open.iter().rposition(|other| {
                    let opening = self.marks_at(places[*other]);
                    // "If one of the delimiters can both open and close emphasis, then ..."
                    let is_both = opening.can_close || can_open;
                    let is_odd = is_both
                        && (opening.count + count).is_multiple_of(3)
                        && !(opening.count.is_multiple_of(3) && count.is_multiple_of(3));
                    opening.mark == mark && !is_odd
                });
                let Some(opener) = opener else { break };
                let other = open[opener];
                open.truncate(opener + 1);
                let width = if left[other] >= 2 && left[number] >= 2 {
                    2
                } else {
                    1
                };
                left[other] -= width;
                left[number] -= width;
                let pair = pairs.len();
                pairs.push(Pair {
                    open: places[other],
                    width,
                    is_drawn: true,
                });
                self.marks_mut(places[other]).opens.push(pair);
                self.marks_mut(places[number]).closes.push(pair);
                if left[other] == 0 {
                    open.pop();
                }
            }
            if can_open && left[number] > 0 {
                open.push(number);
            }
        }
        pairs
    }

    fn marks_at(&self, place: usize) -> &Marks {
        match &self.pieces[place] {
            Piece::Marks(marks) => marks,
            Piece::Phrase(_) => unreachable!("a place of marks"),
        }
    }

    fn marks_mut(&mut self, place: usize) -> &mut Marks {
        match &mut self.pieces[place] {
            Piece::Marks(marks) => marks,
            Piece::Phrase(_) => unreachable!("a place of marks"),
        }
    }

    fn nested(self, pairs: &[Pair], constructs: &mut Vec<Range<usize>>) -> Vec<Phrase> {
        let text = self.text;
        let mut open: Vec<(usize, Vec<Phrase>)> = Vec::new();
        let mut phrases = Vec::new();
        for piece in self.pieces {
            let marks = match piece {
                Piece::Phrase(phrase) => {
                    append(&mut phrases, phrase);
                    continue;
                }
                Piece::Marks(marks) => marks,
            };
            let width = |pair: &usize| pairs[*pair].width;
            let used: usize = marks.opens.iter().chain(&marks.closes).map(width).sum();
            let mut at = marks.at;
            for pair in &marks.closes {
                let end = at + pairs[*pair].width;
                if !pairs[*pair].is_drawn {
                    append(&mut phrases, Phrase::Text(text[at..end].to_owned()));
                } else if let Some((begin, outer)) = open.pop() {
                    constructs.push(begin..end);
                    let typed = text[begin..end].to_owned();
                    let phrases_in = std::mem::replace(&mut phrases, outer);
                    phrases.push(match pairs[*pair].width {
                        1 => Phrase::Emphasis {
                            typed,
                            phrases: phrases_in,
                        },
                        _ => Phrase::Strong {
                            typed,
                            phrases: phrases_in,
                        },
                    });
                }
                at = end;
            }
            let end = at + marks.count - used;
            if end > at {
                append(&mut phrases, Phrase::Text(text[at..end].to_owned()));
            }
            at = end;
            for pair in marks.opens.iter().rev() {
                let end = at + pairs[*pair].width;
                if pairs[*pair].is_drawn {
                    open.push((at, std::mem::take(&mut phrases)));
                } else {
                    append(&mut phrases, Phrase::Text(text[at..end].to_owned()));
                }
                at = end;
            }
        }
        phrases
    }
}

/// An emphasis.
struct Pair {
    /// The place of the marks that open it.
    open: usize,
    width: usize,
    is_drawn: bool,
}

fn append(phrases: &mut Vec<Phrase>, phrase: Phrase) {
    match (phrases.last_mut(), &phrase) {
        (Some(Phrase::Text(text)), Phrase::Text(more)) => text.push_str(more),
        _ => phrases.push(phrase),
    }
}

/// What stands beside marks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Blank,
    /// Punctuation or a symbol.
    Mark,
    Word,
}

impl Side {
    fn of(c: Option<char>) -> Self {
        match c {
            None => Self::Blank,
            Some(c) if is_blank(c) => Self::Blank,
            // Nothing is struck out here, so this is no mark.
            Some('~') => Self::Word,
            Some(c) if is_punctuation(c) => Self::Mark,
            Some(_) => Self::Word,
        }
    }
}

fn is_punctuation(c: char) -> bool {
    let group = c.general_category_group();
    matches!(
        group,
        GeneralCategoryGroup::Punctuation | GeneralCategoryGroup::Symbol
    )
}

fn run_at(text: &str, at: usize, mark: char) -> usize {
    let rest = &text[at..];
    rest.len() - rest.trim_start_matches(mark).len()
}

/// The end of the code that begins here, and what is in it.
fn code_at<'t>(
    text: &'t str,
    at: usize,
    unclosed: &mut HashSet<usize>,
) -> Option<(usize, &'t str)> {
    let run = run_at(text, at, '`');
    if unclosed.contains(&run) {
        return None;
    }
    let mut next = at + run;
    while let Some(found) = text[next..].find('`') {
        let begin = next + found;
        let length = run_at(text, begin, '`');
        next = begin + length;
        if length == run {
            return Some((next, &text[at + run..begin]));
        }
    }
    unclosed.insert(run);
    None
}

/// What stands in the round brackets of a link.
struct Target {
    address: String,
    title: Option<String>,
    end: usize,
}

/// By a quote: it begins no title of a link within this range, because what ends them all is not a link's end.
type Untitled = HashMap<char, Range<usize>>;

fn target_at(text: &str, at: usize, untitled: &mut Untitled) -> Option<Target> {
    let skip = |at: usize| {
        let rest = &text[at..];
        at + rest.len() - rest.trim_start_matches([' ', '\t', '\n']).len()
    };
    let begin = skip(at + text[at..].strip_prefix('(').map(|_| 1)?);
    let (address, end) = match text[begin..].starts_with('<') {
        true => {
            let length = unescaped(&text[begin + 1..], |c| matches!(c, '<' | '>' | '\n'))?;
            let end = begin + 1 + length;
            text[end..].strip_prefix('>')?;
            (&text[begin + 1..end], end + 1)
        }
        false => {
            let end = begin + address_length(&text[begin..])?;
            (&text[begin..end], end)
        }
    };
    let next = skip(end);
    if text[next..].starts_with(')') {
        return Some(Target {
            address: unescaped_text(address),
            title: None,
            end: next + 1,
        });
    }
    let quote = text[next..]
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\'' | '('))?;
    let is_known = untitled.get(&quote).is_some_and(|it| it.contains(&next));
    if next == end || address.is_empty() || is_known {
        return None;
    }
    let close = if quote == '(' { ')' } else { quote };
    let Some(length) = unescaped(&text[next + 1..], |c| c == close) else {
        untitled.insert(quote, next..text.len());
        return None;
    };
    let close = next + 1 + length;
    let end = skip(close + 1);
    if !text[end..].starts_with(')') {
        untitled.insert(quote, next..close);
        return None;
    }
    Some(Target {
        address: unescaped_text(address),
        title: Some(unescaped_text(&text[next + 1..close])),
        end: end + 1,
    })
}

/// Up to a blank, or the bracket that closes the link.
fn address_length(text: &str) -> Option<usize> {
    let (mut depth, mut is_escaped) = (0_usize, false);
    for (at, c) in text.char_indices() {
        if is_escaped && !matches!(c, ' ' | '\t' | '\n') {
            is_escaped = false;
            continue;
        }
        match c {
            '\\' => is_escaped = true,
            '(' if depth == NESTED_PARENTHESES_MAX => return None,
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            c if c == ' ' || u32::from(c) < 0x20 => return (depth == 0).then_some(at),
            _ => {}
        }
    }
    None
}

/// Where the first such character is that has no backslash before it.
fn unescaped(text: &str, is_wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if is_wanted(c) {
            return Some(at);
        }
    }
    None
}

/// Without the backslashes before punctuation.
fn unescaped_text(text: &str) -> String {
    let mut chars = text.chars().peekable();
    let mut kept = String::new();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next) if c == '\\' && is_punctuation(*next) => kept.extend(chars.next()),
            _ => kept.push(c),
        }
    }
    kept
}

/// Whether the words of a link have a link of their own.
fn has_link(words: &str) -> bool {
    let mut none = Emphases { left: 0 };
    let phrases = Scanner::new(words, &mut none, false).phrases();
    fn is_link(phrase: &Phrase) -> bool {
        match phrase {
            Phrase::Link(link) => link.typed.starts_with('['),
            _ => false,
        }
    }
    phrases.iter().any(is_link)
}

fn is_with_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    SCHEME_CHARS.contains(&scheme.len())
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(is_letter)
}

fn is_mailbox(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else {
        return false;
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c);
    let is_part = |part: &str| {
        let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        part.len() <= 63
            && is_edge(part.chars().next())
            && is_edge(part.chars().next_back())
            && part.chars().all(is_inner)
    };
    !name.is_empty()
        && name.chars().all(is_name)
        && host.contains('.')
        && host.split('.').all(is_part)
}
