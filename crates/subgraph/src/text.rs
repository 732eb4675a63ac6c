//! Checks of the texts that clients send: not blank, and no longer than a limit in characters.

use crate::InputError;

/// What a text field accepts. Lengths are counted in characters (Unicode scalar values), after
/// white space at both ends is dropped.
#[derive(Clone, Copy, Debug)]
pub struct TextRule {
    /// The input field's name, for the error.
    pub field: &'static str,
    /// The longest text accepted, in characters.
    pub max_chars: usize,
}

impl TextRule {
    /// Returns the text without white space at its ends.
    ///
    /// # Errors
    /// When nothing is left of it, or too much.
    pub fn check(&self, mut text: String) -> Result<String, InputError> {
        let Self { field, max_chars } = *self;
        text.truncate(text.trim_end().len());
        let leading = text.len() - text.trim_start().len();
        text.drain(..leading);
        if text.is_empty() {
            return Err(InputError::Blank { field });
        }
        // A character has one to four bytes, so most texts are judged without counting.
        if text.len() > max_chars {
            let chars = text.chars().count();
            if chars > max_chars {
                return Err(InputError::TooLong {
                    field,
                    chars,
                    max_chars,
                });
            }
        }
        Ok(text)
    }

    /// [`TextRule::check`] of a text that may be left out.
    ///
    /// # Errors
    /// As [`TextRule::check`], when there is a text.
    pub fn check_optional(&self, text: Option<String>) -> Result<Option<String>, InputError> {
        text.map(|text| self.check(text)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: TextRule = TextRule {
        field: "name",
        max_chars: 5,
    };

    #[test]
    fn white_space_at_the_ends_is_dropped() {
        assert_eq!(NAME.check(" \n a b\t".to_owned()), Ok("a b".to_owned()));
    }

    #[test]
    fn a_blank_text_is_refused() {
        for blank in ["", " ", "\n\t", "\u{2003}"] {
            assert_eq!(
                NAME.check(blank.to_owned()),
                Err(InputError::Blank { field: "name" })
            );
        }
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert_eq!(NAME.check("ééééé".to_owned()), Ok("ééééé".to_owned()));
        assert_eq!(
            NAME.check("éééééé".to_owned()),
            Err(InputError::TooLong {
                field: "name",
                chars: 6,
                max_chars: 5
            })
        );
    }
}
