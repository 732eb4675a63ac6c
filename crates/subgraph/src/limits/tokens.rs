//! The document's text before it is parsed: the parser recurses once per bracket, and takes its time for
//! every character.
//!
//! Strings and comments are told from the rest exactly as the parser does it, so that no bracket hides in
//! one: <https://spec.graphql.org/October2021/#sec-Appendix-Grammar-Summary.Lexical-Tokens>.

use super::{LimitError, LimitSettings};

/// Bytes of one name or number. Errors repeat names, so their length multiplies.
const NAME_BYTES_MAX: usize = 128;

/// Counts the tokens of a document.
///
/// # Errors
/// When the document is too long, or has too many tokens, too long a name, brackets nested too deep, or a
/// string without an end.
pub(super) fn count(text: &str, limits: &LimitSettings) -> Result<usize, LimitError> {
    if text.len() > limits.document_bytes_max {
        return Err(LimitError::DocumentBytes {
            bytes: text.len(),
            max: limits.document_bytes_max,
        });
    }
    let bytes = text.as_bytes();
    let (mut tokens, mut depth, mut at) = (0_usize, 0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        at = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => {
                at += 1;
                continue;
            }
            b'#' => {
                at = end_of_line(bytes, at);
                continue;
            }
            b'"' => end_of_string(bytes, at).ok_or(LimitError::OpenString { offset: at })?,
            b'{' | b'[' | b'(' => {
                depth += 1;
                at + 1
            }
            b'}' | b']' | b')' => {
                depth = depth.saturating_sub(1);
                at + 1
            }
            b'.' if bytes[at..].starts_with(b"...") => at + 3,
            byte if is_of_name(byte) => {
                let end = end_of_name(bytes, at);
                if end - at > NAME_BYTES_MAX {
                    return Err(LimitError::NameBytes {
                        max: NAME_BYTES_MAX,
                        offset: at,
                    });
                }
                end
            }
            _ => at + 1,
        };
        tokens += 1;
        if depth > limits.depth_max {
            return Err(LimitError::Depth {
                max: limits.depth_max,
            });
        }
        if tokens > limits.tokens_max {
            return Err(LimitError::Tokens {
                max: limits.tokens_max,
            });
        }
    }
    Ok(tokens)
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
