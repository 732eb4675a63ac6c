//! Blanks out the descriptions of operations, fragments and variables (GraphQL, September 2025),
//! which the parser does not support yet. The gateway does not use them.
//!
//! A description is blanked only where the grammar allows one, and only if it is a well-formed
//! string; anything else stays, and the parser refuses it. Each character becomes a space and line
//! ends stay, so that errors keep their locations.

use std::{borrow::Cow, ops::Range};

use apollo_compiler::parser::Parser;

use super::scan::Tokens;

/// The keywords that a description may precede. The shorthand `{ ... }` may not have one.
const DESCRIBED: [&str; 4] = ["query", "mutation", "subscription", "fragment"];

/// The document without its descriptions.
pub fn blanked(document: &str) -> Cow<'_, str> {
    if !document.contains('"') {
        return document.into();
    }
    let mut text = String::new();
    let mut copied = 0;
    for description in descriptions(document) {
        text.push_str(&document[copied..description.start]);
        let blank = |c| if matches!(c, '\n' | '\r') { c } else { ' ' };
        text.extend(document[description.clone()].chars().map(blank));
        copied = description.end;
    }
    if copied == 0 {
        return document.into();
    }
    text.push_str(&document[copied..]);
    text.into()
}

fn descriptions(document: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    let mut before = "";
    let mut tokens = Tokens::of(document).peekable();
    while let Some(token) = tokens.next() {
        let (start, end) = (token.start, token.end);
        // In text that is not GraphQL, a token may end within a character.
        let Some(text) = document.get(token) else {
            return found;
        };
        match text.as_bytes()[0] {
            bracket @ (b'{' | b'(' | b'[') => open.push(bracket),
            b'}' | b')' | b']' => drop(open.pop()),
            b'"' => {
                let next = tokens.peek().cloned();
                let next = next.and_then(|next| document.get(next)).unwrap_or_default();
                let has_place = match *open {
                    [] => DESCRIBED.contains(&next),
                    // A variable of an operation follows. A string after `=` or `:` is a default or
                    // an argument instead.
                    [b'('] => next == "$" && !matches!(before, "=" | ":"),
                    _ => false,
                };
                if has_place && is_string(text) {
                    found.push(start..end);
                }
            }
            _ => {}
        }
        before = text;
    }
    found
}

/// Whether the parser accepts the token as a string.
fn is_string(token: &str) -> bool {
    Parser::new()
        .parse_ast(format!("{{a(b:{token})}}"), "")
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_become_spaces() {
        for (document, expected) in [
            ("\"d\" query { a }", "    query { a }"),
            ("\"\" fragment F on T { a }", "   fragment F on T { a }"),
            (
                "\"\"\"d\u{e9}\n \\\"\"\" \"\"\"\nmutation { a }",
                "     \n         \nmutation { a }",
            ),
            (
                "query(\"x\" $a: Int = 1 \"y\\u{1F600}\" $b: Int) { a }",
                "query(    $a: Int = 1              $b: Int) { a }",
            ),
            (
                "subscription S(\"x\" $a: S = \"v\" \"y\" $b: [S] = [\"v\"] $c: S) { a }",
                "subscription S(    $a: S = \"v\"     $b: [S] = [\"v\"] $c: S) { a }",
            ),
        ] {
            assert_eq!(blanked(document), expected);
        }
    }

    /// Puts a string before each token in turn.
    #[test]
    fn a_description_has_a_place_before_definitions_and_variables_alone() {
        let document = "query Q($a: [S] = [\"x\"] @d(e: \"f\"), $b: I = {c: \"g\"}) @h(i: $b)
            { j(k: [\"l\"], m: $a) { ...F @skip(if: true) ... on T { t } } }
            fragment F on T @n(o: \"p\") { q }";
        let accepted = |text: &str| Parser::new().parse_ast(text, "").is_ok();
        assert!(accepted(document));
        let mut places = Vec::new();
        for token in Tokens::of(document) {
            let (before, after) = document.split_at(token.start);
            let described = format!("{before}\"d\" {after}");
            if accepted(&described) {
                // In a list it is a value.
                assert_eq!(blanked(&described), described);
            } else if accepted(&blanked(&described)) {
                places.push(&document[token]);
            }
        }
        assert_eq!(places, ["query", "$", "$", "fragment"]);
    }

    #[test]
    fn other_strings_stay() {
        for document in [
            "{ a }",
            "\"d\" { a }",
            "\"d\" type T { a: Int }",
            "\"query\" \"d\" { a }",
            "query($a: S = \"v\" $b: Int) { a }",
            "query Q @d(a: \"x\", b: $v) { a }",
            "query { a(b: \"x\", c: $v) d(e: [\"x\" $v]) }",
            "query { \"d\" a }",
            "query \"d\" Q { a }",
            // No string ends here.
            "\"d\n query { a }",
            "\"\\x\" query { a }",
            "\"\\u{110000}\" query { a }",
        ] {
            assert_eq!(blanked(document), document);
        }
        // One description at a time: the first of two is left for the parser to refuse.
        assert_eq!(blanked("\"c\" \"d\" query { a }"), "\"c\"     query { a }");
    }
}
