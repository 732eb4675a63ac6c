//! Counts the tokens of a document and the nesting of its brackets, before it is parsed.
//!
//! The parser is recursive, so deep brackets could exhaust the stack. This loop is not recursive,
//! and stops at the limits.

use std::ops::Range;

use crate::{
    config::Limits,
    error::{Code, RequestError},
};

/// The allowed nesting of brackets, as a multiple of the allowed depth of selections: each level
/// may add an argument list with nested values.
const BRACKETS_PER_LEVEL: usize = 4;

/// Checks `document` against `tokens_max` and `depth_max`.
///
/// # Errors
/// `MAX_TOKENS_EXCEEDED` and `MAX_DEPTH_EXCEEDED`.
pub fn check(document: &str, limits: &Limits) -> Result<(), RequestError> {
    let brackets_max = limits.depth_max.saturating_mul(BRACKETS_PER_LEVEL);
    let mut brackets = 0usize;
    for (index, token) in Tokens::of(document).enumerate() {
        match document.as_bytes()[token.start] {
            b'{' | b'(' | b'[' => brackets += 1,
            b'}' | b')' | b']' => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        if index >= limits.tokens_max {
            return Err(RequestError::new(
                Code::MaxTokens,
                format!("the document has more than {} tokens", limits.tokens_max),
            ));
        }
        if brackets > brackets_max {
            return Err(RequestError::new(
                Code::MaxDepth,
                format!("the document has more than {brackets_max} nested brackets"),
            ));
        }
    }
    Ok(())
}

/// The byte ranges of a document's tokens, without white space and comments.
pub struct Tokens<'d> {
    bytes: &'d [u8],
    at: usize,
}

impl<'d> Tokens<'d> {
    /// Accepts any text. Text that is not GraphQL is split into tokens in some way.
    pub fn of(document: &'d str) -> Self {
        Self {
            bytes: document.as_bytes(),
            at: 0,
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let start = self.at;
            let rest = &self.bytes[start..];
            match rest.first()? {
                b' ' | b'\t' | b'\n' | b'\r' | b',' => self.at += 1,
                b'#' => self.at += count(rest, |byte| byte != b'\n' && byte != b'\r'),
                first => {
                    self.at = self.bytes.len().min(start + length(*first, rest));
                    return Some(start..self.at);
                }
            }
        }
    }
}

/// The length of the token at the start of `rest`, in bytes.
fn length(first: u8, rest: &[u8]) -> usize {
    match first {
        b'"' => string_length(rest),
        b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
            count(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
        }
        b'0'..=b'9' | b'-' => count(rest, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'.')
        }),
        b'.' => 3,
        _ => 1,
    }
}

fn count(bytes: &[u8], matches: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| matches(**byte)).count()
}

/// The length of the string at the start of `bytes`, up to its closing quotes or the end.
fn string_length(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\"\"\"") {
        let mut at = 3;
        while at < bytes.len() && !bytes[at..].starts_with(b"\"\"\"") {
            at += if bytes[at..].starts_with(b"\\\"\"\"") {
                4
            } else {
                1
            };
        }
        return (at + 3).min(bytes.len());
    }
    let mut at = 1;
    while at < bytes.len() && !matches!(bytes[at], b'"' | b'\n' | b'\r') {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens_allowed(document: &str, tokens_max: usize) -> bool {
        check(
            document,
            &Limits {
                tokens_max,
                ..Limits::default()
            },
        )
        .is_ok()
    }

    #[test]
    fn it_counts_what_a_parser_would_see() {
        let cases = [
            ("{ a }", 3),
            ("{a,,,b # c d e\n}", 4),
            (
                "query Q($x: Int = -1.5e3) { a(x: $x, s: \"{{{ \\\" }\") ...F @skip(if: true) }",
                31,
            ),
            (
                "{ a(s: \"\"\"block { \"quoted\" \\\"\"\" still \"\"\") }",
                8,
            ),
            ("{ a(s: \"unfinished", 6),
        ];
        for (document, tokens) in cases {
            assert!(
                tokens_allowed(document, tokens),
                "{document}: more than {tokens}"
            );
            assert!(
                !tokens_allowed(document, tokens - 1),
                "{document}: less than {tokens}"
            );
        }
    }

    #[test]
    fn brackets_without_end_are_refused() {
        for bracket in ["{a", "[", "("] {
            let refusal = check(&bracket.repeat(100_000), &Limits::default());
            assert_eq!(refusal.expect_err("refused").code, Code::MaxDepth);
        }
    }
}
