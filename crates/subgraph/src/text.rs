//! Checks of the texts that clients send: at least one visible character, no control characters, and at most
//! as many characters as a limit allows.

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
    /// When nothing of it shows, it holds a control character other than a line break or a tab, or it is too
    /// long.
    pub fn check(&self, mut text: String) -> Result<String, InputError> {
        let Self { field, max_chars } = *self;
        text.truncate(text.trim_end().len());
        let leading = text.len() - text.trim_start().len();
        text.drain(..leading);
        if !text.chars().any(shows) {
            return Err(InputError::Blank { field });
        }
        if let Some(control) = text.chars().find(|c| is_refused(*c)) {
            return Err(InputError::Control {
                field,
                code: control.into(),
            });
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

    /// The text made to fit: control characters become blanks, and what is too long is cut. `None` if nothing of it
    /// shows.
    pub fn fitted(&self, text: &str) -> Option<String> {
        let blank = |c: char| if c.is_control() { ' ' } else { c };
        let text = text.trim().chars().map(blank).take(self.max_chars);
        let text = text.collect::<String>().trim().to_owned();
        text.chars().any(shows).then_some(text)
    }

    /// [`TextRule::check`] of a text that may be left out.
    ///
    /// # Errors
    /// As [`TextRule::check`], when there is a text.
    pub fn check_optional(&self, text: Option<String>) -> Result<Option<String>, InputError> {
        text.map(|text| self.check(text)).transpose()
    }
}

/// The largest `textBytesMax`: more than the texts of any page have.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// The argument `textBytesMax`: the most bytes of UTF-8 that a client takes of some texts. All of them without it.
///
/// # Errors
/// When it is negative, or larger than 16 MiB.
pub fn checked_bytes_max(bytes: Option<i32>) -> Result<usize, InputError> {
    let Some(bytes) = bytes else {
        return Ok(usize::MAX);
    };
    let checked = usize::try_from(bytes).ok();
    let in_range = checked.filter(|bytes| *bytes <= TEXT_BYTES_MAX);
    in_range.ok_or(InputError::OutOfRange {
        argument: "textBytesMax",
        value: bytes,
        max: TEXT_BYTES_MAX,
    })
}

/// Whether a character can be seen. White space, controls and what Unicode tells programs to ignore cannot:
/// zero-width characters, bidirectional controls, variation selectors, fillers, tags.
/// Source: `Default_Ignorable_Code_Point` in
/// <https://www.unicode.org/Public/16.0.0/ucd/DerivedCoreProperties.txt>, and the empty Braille pattern.
fn shows(c: char) -> bool {
    // Most texts begin with a letter or a digit of ASCII.
    if c.is_ascii() {
        return c.is_ascii_graphic();
    }
    let is_ignored = matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
        | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}');
    !is_ignored && !c.is_whitespace() && !c.is_control()
}

/// Whether a control character may not be written. Tabs may: they come with what people paste.
fn is_refused(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
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
        for blank in [
            "",
            " ",
            "\n\t",
            "\u{2003}",
            "\u{200B}",
            "\u{200B} \u{FEFF}",
            "\u{202E}\u{202C}",
            "\u{2066}\u{2069}",
            "\u{AD}\u{2060}",
            "\u{3164}",
            "\u{2800}",
            "\u{FE0F}",
            "\u{E0041}",
            "\u{0}",
            "\u{1B}\u{7F}\u{85}",
        ] {
            assert_eq!(
                NAME.check(blank.to_owned()),
                Err(InputError::Blank { field: "name" })
            );
        }
    }

    #[test]
    fn what_shows_something_is_taken_as_it_is() {
        for text in ["a\u{200D}b", "❤\u{FE0F}", "\u{202B}אב", "a\n\r\tc", "।", "́"] {
            assert_eq!(NAME.check(text.to_owned()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn control_characters_but_line_breaks_and_tabs_are_refused() {
        for (text, code) in [
            ("a\u{0}", 0),
            ("\u{1B}[1m", 0x1B),
            ("a\u{7F}", 0x7F),
            ("a\u{9B}b", 0x9B),
        ] {
            let refused = NAME.check(text.to_owned());
            assert_eq!(
                refused,
                Err(InputError::Control {
                    field: "name",
                    code
                })
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
