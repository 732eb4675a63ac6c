//! Numbers written in an operation, on their way past the planner.
//!
//! The planner keeps them as machine numbers: a decimal would lose its digits, an integer beyond 64
//! bits ends in a panic. So it gets a name for each such number, which it copies like an
//! enumeration's value, and the requests get the number back as the client wrote it.

use std::fmt::Write as _;

use super::scan::Tokens;

/// What every name begins with.
const PREFIX: &str = "_number";

/// The numbers of an operation that the planner must not see.
#[derive(Default)]
pub struct Literals {
    /// As the client wrote them, each once: equal arguments stay equal.
    numbers: Vec<String>,
    /// Begins the names: no name in the operation begins like that.
    prefix: String,
}

impl Literals {
    /// The operation's text with names for the numbers, and the numbers.
    pub fn taken_out_of(text: String) -> (String, Self) {
        let mut literals = Self::default();
        let mut changed = String::new();
        let mut copied = 0;
        for token in Tokens::of(&text) {
            let number = &text[token.clone()];
            if !needs_a_name(number) {
                continue;
            }
            if literals.prefix.is_empty() {
                literals.prefix = unused_prefix(&text);
            }
            let known = literals.numbers.iter().position(|it| it == number);
            let index = known.unwrap_or_else(|| {
                literals.numbers.push(number.to_owned());
                literals.numbers.len() - 1
            });
            changed.push_str(&text[copied..token.start]);
            // Writing to a String cannot fail.
            let _ = write!(changed, "{}{index}_", literals.prefix);
            copied = token.end;
        }
        if literals.numbers.is_empty() {
            return (text, literals);
        }
        changed.push_str(&text[copied..]);
        (changed, literals)
    }

    /// `text` with the numbers back in their places.
    pub fn put_back(&self, text: &str) -> String {
        let mut whole = text.to_owned();
        for (index, number) in self.numbers.iter().enumerate() {
            whole = whole.replace(&format!("{}{index}_", self.prefix), number);
        }
        whole
    }
}

/// Whether the token is a number that a machine number may not equal digit by digit.
fn needs_a_name(token: &str) -> bool {
    token.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && token.parse::<i64>().is_err()
}

fn unused_prefix(text: &str) -> String {
    let mut prefix = PREFIX.to_owned();
    while text.contains(&prefix) {
        prefix.push('_');
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::Literals;

    #[test]
    fn numbers_come_back_as_they_were_written() {
        let text = "query($x: D = 0.10) { _number1: a(d: -1.50e+3, i: 7) b(l: [18446744073709551616, \
                    0.10, $x], s: \"1.5 \\\" 2.5\") # 3.5\n ...F @skip(if: true) } fragment F on Q { c(t: \"\"\"4.5\"\"\") }";
        let (hidden, literals) = Literals::taken_out_of(text.to_owned());
        for number in ["0.10", "-1.50e+3", "18446744073709551616"] {
            assert!(!hidden.contains(number), "{hidden}");
        }
        for kept in ["i: 7", "\"1.5 \\\" 2.5\"", "# 3.5", "4.5", "_number1: a"] {
            assert!(hidden.contains(kept), "{hidden}");
        }
        assert_eq!(literals.put_back(&hidden), text);
    }

    #[test]
    fn whole_numbers_stay_where_they_are() {
        let text = "{ a(i: 9223372036854775807, j: -0) }";
        let (hidden, literals) = Literals::taken_out_of(text.to_owned());
        assert_eq!(hidden, text);
        assert_eq!(literals.put_back(text), text);
    }
}
