//! The author of a post or a comment: what a client may give, and what a document may have.

use crate::InputError;
use crate::readable::Value;
use crate::text::TextRule;

/// The author of what was written without a name.
pub const ANONYMOUS: &str = "Anonymous";
/// The longest name that is read from a document, in bytes: several times what [`check`] accepts.
pub const BYTES_MAX: usize = 4 << 10;

const RULE: TextRule = TextRule {
    field: "author",
    max_chars: 100,
};

/// The author that a client gives: 1 to 100 characters, or [`ANONYMOUS`] if it gives none.
///
/// # Errors
/// When the name is blank, too long or has control characters.
pub fn check(name: Option<String>) -> Result<String, InputError> {
    let name = RULE.check_optional(name)?;
    Ok(name.unwrap_or_else(|| ANONYMOUS.to_owned()))
}

/// The author that a token's claim names, as near to it as the rules for a client's allow: control characters become
/// blanks, and what is too long is cut. [`ANONYMOUS`] if nothing of it shows.
pub fn of_claim(name: &str) -> String {
    let name = RULE.fitted(name);
    name.unwrap_or_else(|| ANONYMOUS.to_owned())
}

/// The author that a document has, or [`ANONYMOUS`].
pub fn read(value: Value<'_>) -> String {
    value
        .text()
        .map_or_else(|| ANONYMOUS.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claims_name_is_made_to_fit() {
        for (claim, name) in [
            (" Ada ", "Ada".to_owned()),
            ("Ada\u{0}\nLovelace\u{1B}", "Ada  Lovelace".to_owned()),
            ("", ANONYMOUS.to_owned()),
            ("\u{200B}\t", ANONYMOUS.to_owned()),
            (&"é".repeat(200), "é".repeat(100)),
            (&format!("{} b", "a".repeat(99)), "a".repeat(99)),
        ] {
            assert_eq!(of_claim(claim), name);
            assert_eq!(check(Some(name.clone())), Ok(name));
        }
    }

    #[test]
    fn who_gives_no_name_is_anonymous() {
        assert_eq!(check(None), Ok(ANONYMOUS.to_owned()));
        assert_eq!(check(Some(" Ada ".to_owned())), Ok("Ada".to_owned()));
        assert!(check(Some(" ".to_owned())).is_err());
        assert!(check(Some("x".repeat(101))).is_err());
        assert_eq!(read(Value::Absent), ANONYMOUS);
        assert_eq!(read(Value::Text(b"Ada")), "Ada");
    }
}
