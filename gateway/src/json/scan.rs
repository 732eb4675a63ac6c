//! A scanner of JSON text, which checks values and finds where they end.
//!
//! Values are never decoded: a caller keeps their byte ranges and copies them unchanged. That is
//! safe because the scanner accepts only valid JSON (RFC 8259). The caller has to check that the
//! whole text is UTF-8.

use std::ops::Range;

/// The text is not valid JSON at this byte, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not valid JSON at byte {0}")]
pub struct Malformed(pub usize);

/// The deepest nesting of a skipped value; deeper text is refused.
const SKIPPED_DEPTH_MAX: u32 = 128;

/// A scanner at a position in JSON text.
#[derive(Clone, Debug)]
pub struct JsonScanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> JsonScanner<'a> {
    /// A scanner at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A scanner of the same text at another byte.
    pub fn moved_to(&self, at: usize) -> Self {
        Self {
            bytes: self.bytes,
            at,
        }
    }

    /// The position: the number of bytes before it.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes of a range of the text.
    pub fn slice(&self, range: Range<usize>) -> &'a [u8] {
        &self.bytes[range]
    }

    /// Steps over one byte, whatever it is.
    pub fn skip_byte(&mut self) {
        self.at = (self.at + 1).min(self.bytes.len());
    }

    /// The error for the current position.
    pub fn malformed(&self) -> Malformed {
        Malformed(self.at)
    }

    /// The next byte that is not white space; 0 at the end, with which no JSON token starts.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(&byte) => return byte,
                None => return 0,
            }
        }
    }

    /// Steps over `byte` if it is next.
    #[inline]
    pub fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    /// Steps over `byte`, which must be next.
    #[inline]
    pub fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// Checks that only white space follows.
    pub fn end(&mut self) -> Result<(), Malformed> {
        if self.peek() == 0 && self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// Steps over a key as [`key_token`] writes it, if it is next, without white space in or before
    /// it. [`JsonScanner::eat_key`] accepts white space.
    #[inline]
    pub fn eat_token(&mut self, token: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Steps over the key `name` and its colon if they are next. `name` is a GraphQL name and needs
    /// no escapes; a key with needless escapes is read by [`JsonScanner::key`].
    #[inline]
    pub fn eat_key(&mut self, name: &[u8]) -> bool {
        if self.peek() != b'"' {
            return false;
        }
        let rest = &self.bytes[self.at + 1..];
        if !rest.starts_with(name) || rest.get(name.len()) != Some(&b'"') {
            return false;
        }
        let before = self.at;
        self.at += name.len() + 2;
        if self.eat(b':') {
            return true;
        }
        self.at = before;
        false
    }

    /// Steps over a key and its colon. Returns the key without its quotes, still escaped.
    #[inline]
    pub fn key(&mut self) -> Result<&'a [u8], Malformed> {
        self.peek();
        let Range { start, end } = self.string()?;
        self.expect(b':')?;
        Ok(&self.bytes[start + 1..end - 1])
    }

    /// Steps over a string that starts here. Returns its range, quotes included.
    #[inline]
    pub fn string(&mut self) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        if self.bytes.get(start) != Some(&b'"') {
            return Err(self.malformed());
        }
        self.at += 1;
        loop {
            self.at += plain_prefix(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start..self.at);
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.malformed()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.malformed());
                }
                self.at += 6;
            }
            _ => return Err(self.malformed()),
        }
        Ok(())
    }

    /// The position of the first `\u` escape of a lone surrogate in `range`. JSON's grammar allows
    /// it (RFC 8259, section 8.2), but it is not a character. The range must be JSON that the
    /// scanner has accepted.
    pub fn lone_surrogate(&self, range: Range<usize>) -> Option<usize> {
        let text = &self.bytes[..range.end];
        let mut at = range.start;
        while let Some(found) = text[at..].iter().position(|byte| *byte == b'\\') {
            at += found;
            let follows = match unit(&text[at..]) {
                // An escape of two characters, such as `\\`.
                None => 2,
                Some(0xd800..=0xdbff) => match unit(&text[at + 6..]) {
                    Some(0xdc00..=0xdfff) => 12,
                    _ => return Some(at),
                },
                Some(0xdc00..=0xdfff) => return Some(at),
                Some(_) => 6,
            };
            at = (at + follows).min(text.len());
        }
        None
    }

    /// Steps over any value. Returns its range.
    #[inline(always)]
    pub fn value(&mut self) -> Result<Range<usize>, Malformed> {
        let first = self.peek();
        let start = self.at;
        match first {
            b'{' | b'[' => self.nested()?,
            _ => self.scalar()?,
        }
        Ok(start..self.at)
    }

    #[inline]
    fn scalar(&mut self) -> Result<(), Malformed> {
        match self.bytes.get(self.at) {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.malformed()),
        }
    }

    fn literal(&mut self, text: &[u8]) -> Result<(), Malformed> {
        if !self.bytes[self.at..].starts_with(text) {
            return Err(self.malformed());
        }
        self.at += text.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.at += usize::from(self.bytes[self.at] == b'-');
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.malformed()),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let count = self.bytes[self.at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        self.at += count;
        if count == 0 {
            return Err(self.malformed());
        }
        Ok(())
    }

    /// Steps over an object or a list without recursion. One bit for each level says which it is.
    fn nested(&mut self) -> Result<(), Malformed> {
        let mut objects: u128 = 0;
        let mut depth: u32 = 0;
        loop {
            // A value starts here.
            match self.peek() {
                opening @ (b'{' | b'[') => {
                    if depth == SKIPPED_DEPTH_MAX {
                        return Err(self.malformed());
                    }
                    depth += 1;
                    objects = objects << 1 | u128::from(opening == b'{');
                    self.at += 1;
                    let closing = if opening == b'{' { b'}' } else { b']' };
                    if self.eat(closing) {
                        depth -= 1;
                        objects >>= 1;
                    } else {
                        if opening == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // A value ended here.
            while depth > 0 {
                let in_object = objects & 1 == 1;
                if self.eat(b',') {
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                self.expect(if in_object { b'}' } else { b']' })?;
                depth -= 1;
                objects >>= 1;
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// The UTF-16 unit of the `\uXXXX` at the start of `text`, if there is one.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A key with its quotes and its colon, as nearly all JSON writers write it.
pub fn key_token(name: &str) -> Box<[u8]> {
    [b"\"", name.as_bytes(), b"\":"].concat().into()
}

/// The number of bytes at the start of `bytes` that are neither a quote, a backslash nor a control
/// character.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Most strings end here.
    while at < LONG_BYTES {
        match bytes[at..].first_chunk::<8>().map(special_in) {
            Some(None) => at += 8,
            Some(Some(special)) => return at + special,
            None => return at + plain_bytes(&bytes[at..]),
        }
    }
    at + plain_prefix_of_long(&bytes[at..])
}

/// The same for what follows the first [`LONG_BYTES`] of a string.
#[inline(never)]
fn plain_prefix_of_long(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = bytes[at..].first_chunk::<BLOCK_BYTES>()
        && is_plain_block(block)
    {
        at += BLOCK_BYTES;
    }
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        if let Some(special) = special_in(word) {
            return at + special;
        }
        at += 8;
    }
    at + plain_bytes(&bytes[at..])
}

/// After this many bytes of a string, whole blocks are checked.
const LONG_BYTES: usize = 32;
const BLOCK_BYTES: usize = 32;

/// Whether a block has no special character. It has no branches, so that the compiler can use
/// vector instructions.
#[inline]
fn is_plain_block(block: &[u8; BLOCK_BYTES]) -> bool {
    let special = block.iter().fold(0, |found, byte| {
        found | u8::from(*byte < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\')
    });
    special == 0
}

/// The position of the first special character in eight bytes. Each test sets the high bit of the
/// bytes that match. Bytes after the first match may be wrong, because a borrow moves upwards, but
/// only the first one counts.
#[inline]
fn special_in(bytes: &[u8; 8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(*bytes);
    let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    let control = word.wrapping_sub(ONES * 0x20);
    // Bytes with the high bit set are never special.
    let found = (quote | backslash | control) & !word & HIGH;
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
}

#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    let is_plain = |byte: &&u8| **byte >= 0x20 && **byte != b'"' && **byte != b'\\';
    bytes.iter().take_while(is_plain).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        let mut scanner = JsonScanner::new(text.as_bytes());
        scanner.value().and_then(|_| scanner.end()).is_ok()
    }

    #[test]
    fn it_agrees_with_serde_json_on_what_is_json() {
        let texts = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "1",
            "-12.5e+10",
            "1E5",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "\"\"",
            "\"a\"",
            "\"\\u00e9\"",
            "\"\\u00e\"",
            "\"\\x\"",
            "\"a\nb\"",
            "\"unfinished",
            "\"\\",
            "[]",
            "[ ]",
            "[1]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{}",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":[{\"b\":[]},{}]}",
            "[[[]]",
            "[}",
            "{]",
            "",
            " ",
            "nul",
            "truee",
            "1 1",
            "{\"a\" : { \"b\" : [ 1 , \"two\" , null ] } }",
            "\u{7f}",
            "\"\u{7f}é漢字😀\"",
        ];
        for text in texts {
            let expected = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(accepts(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_string_ends_at_its_quote_wherever_it_falls() {
        for length in 0..140 {
            for special in ["", "\\\"", "\\\\", "é", "\\u2028"] {
                let text = format!(
                    "\"{}{special}{}\" tail\"",
                    "x".repeat(length),
                    "y".repeat(9)
                );
                let mut scanner = JsonScanner::new(text.as_bytes());
                let range = scanner.string().expect("a string");
                assert_eq!(&text[range.end..], " tail\"");
            }
        }
    }

    #[test]
    fn a_control_character_is_refused_wherever_it_falls() {
        for length in 0..140 {
            for control in ['\0', '\n', '\u{1f}'] {
                let text = format!("\"{}{control}yyyy\"", "x".repeat(length));
                let refused = JsonScanner::new(text.as_bytes()).string();
                assert_eq!(refused, Err(Malformed(length + 1)));
            }
        }
    }

    #[test]
    fn a_token_is_a_key_without_white_space() {
        for (text, is_token, is_key) in [
            (r#""name":1"#, true, true),
            (r#""name" : 1"#, false, true),
            (r#" "name":1"#, false, true),
            (r#""names":1"#, false, false),
            (r#""nam":1"#, false, false),
            (r#""name""#, false, false),
        ] {
            let mut scanner = JsonScanner::new(text.as_bytes());
            assert_eq!(scanner.eat_token(&key_token("name")), is_token, "{text}");
            assert_eq!(scanner.position() > 0, is_token, "{text}");
            let mut scanner = JsonScanner::new(text.as_bytes());
            assert_eq!(scanner.eat_key(b"name"), is_key, "{text}");
        }
    }

    #[test]
    fn a_lone_surrogate_is_found_where_it_stands() {
        for (text, place) in [
            (r#""plain""#, None),
            (r#""\u00e9 \\ud800""#, None),
            (r#""\ud83d\ude00""#, None),
            (r#""\uD83D\uDE00\ud83d""#, Some(13)),
            (r#""a\ud800""#, Some(2)),
            (r#""\ud800\ud800\udc00""#, Some(1)),
            (r#"["\ud800a"]"#, Some(2)),
            (r#"{"\udc00":1}"#, Some(2)),
            (r#""\ude00\ud83d""#, Some(1)),
        ] {
            let mut scanner = JsonScanner::new(text.as_bytes());
            let range = scanner.value().expect("JSON");
            assert_eq!(scanner.lone_surrogate(range), place, "{text}");
        }
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused() {
        assert!(accepts(&format!("{}{}", "[".repeat(128), "]".repeat(128))));
        assert!(!accepts(&format!("{}{}", "[".repeat(129), "]".repeat(129))));
        assert!(!accepts(&"[".repeat(10_000_000)));
    }
}
