//! The document's text as lexical tokens, without parsing it: the parser recurses once per bracket, and takes
//! more than a microsecond for each field.
//!
//! Strings and comments are recognised exactly as the parser does it, so that no bracket hides in
//! one: <https://spec.graphql.org/October2021/#sec-Appendix-Grammar-Summary.Lexical-Tokens>.

use super::LimitError;

/// The byte order mark, which the grammar ignores wherever it stands between tokens.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Bytes of one name or number. Errors repeat names, so their length multiplies.
const NAME_BYTES_MAX: usize = 128;

/// A lexical token of GraphQL's grammar, as far as the limits tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A name, or the digits of a number.
    Name(&'t str),
    /// `...`, which begins a fragment spread or an inline fragment.
    Spread,
    /// A string with its quotation marks, of either kind.
    Text,
    /// Any other byte: a bracket, a mark, or what is no GraphQL.
    Mark(u8),
    /// A comment: no token of the grammar, but the parser takes its time for each.
    Comment,
}

/// The tokens of a text, one after the other.
pub(super) struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Tokens<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and where it begins, in bytes from the start; `None` at the end.
    ///
    /// # Errors
    /// When a name is too long, or a string has no end.
    pub(super) fn next(&mut self) -> Result<Option<(usize, Token<'t>)>, LimitError> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            let begin = self.at;
            let token = match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b',' => {
                    self.at += 1;
                    continue;
                }
                _ if bytes[begin..].starts_with(BYTE_ORDER_MARK) => {
                    self.at += BYTE_ORDER_MARK.len();
                    continue;
                }
                b'#' => {
                    self.at = end_of_line(bytes, begin);
                    Token::Comment
                }
                b'"' => {
                    self.at = end_of_string(bytes, begin)
                        .ok_or(LimitError::OpenString { offset: begin })?;
                    Token::Text
                }
                b'.' if bytes[begin..].starts_with(b"...") => {
                    self.at += 3;
                    Token::Spread
                }
                byte if is_of_name(byte) => {
                    self.at = end_of_name(bytes, begin);
                    if self.at - begin > NAME_BYTES_MAX {
                        return Err(LimitError::NameBytes {
                            max: NAME_BYTES_MAX,
                            offset: begin,
                        });
                    }
                    // A name is ASCII, so both ends are boundaries of characters.
                    Token::Name(self.text.get(begin..self.at).unwrap_or_default())
                }
                byte => {
                    self.at += 1;
                    Token::Mark(byte)
                }
            };
            return Ok(Some((begin, token)));
        }
        Ok(None)
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where what begins at `at` ends: the first byte from there on that `ends` it.
fn end(bytes: &[u8], at: usize, ends: impl Fn(u8) -> bool) -> usize {
    let rest = &bytes[at..];
    at + rest
        .iter()
        .position(|byte| ends(*byte))
        .unwrap_or(rest.len())
}

fn end_of_name(bytes: &[u8], at: usize) -> usize {
    end(bytes, at, |byte| !is_of_name(byte))
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    end(bytes, at, |byte| matches!(byte, b'\n' | b'\r'))
}

fn end_of_string(bytes: &[u8], at: usize) -> Option<usize> {
    const BLOCK: &[u8] = b"\"\"\"";
    const ESCAPED_BLOCK: &[u8] = b"\\\"\"\"";
    let block = bytes[at..].starts_with(BLOCK);
    let mut at = at + if block { BLOCK.len() } else { 1 };
    loop {
        let rest = &bytes[at..];
        at += match (block, *rest.first()?) {
            (true, b'"') if rest.starts_with(BLOCK) => return Some(at + BLOCK.len()),
            (true, b'\\') if rest.starts_with(ESCAPED_BLOCK) => ESCAPED_BLOCK.len(),
            (false, b'"') => return Some(at + 1),
            (false, b'\n' | b'\r') => return None,
            (false, b'\\') => 2.min(rest.len()),
            _ => 1,
        };
    }
}
