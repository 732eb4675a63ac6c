//! How many values the JSON text of a request's variables has, before it is read: each becomes an allocation
//! or more.

/// Values of one request: 10,000 representations with a type name and four key fields.
pub(crate) const VALUES_MAX: usize = 60_000;
/// A shorter text has fewer, in bytes.
const SHORT_BYTES: usize = 2 * VALUES_MAX;

/// Whether a JSON text has more values than a request may have. It is counted as if it were well-formed.
pub(crate) fn has_too_many_values(json: &[u8]) -> bool {
    if json.len() <= SHORT_BYTES {
        return false;
    }
    let (mut values, mut in_string, mut escaped) = (1_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values > VALUES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_strings_is_not_counted() {
        let text = format!(
            "[\"{}\", \"\\\"{}\"]",
            ",".repeat(200_000),
            "[".repeat(200_000)
        );
        assert!(!has_too_many_values(text.as_bytes()));
        let values = format!("[{}1]", "1,".repeat(VALUES_MAX));
        assert!(has_too_many_values(values.as_bytes()));
    }
}
