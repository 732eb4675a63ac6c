//! A client's own `$representations`, on its way past the planner: its requests for entities declare
//! a variable of that name, and do not look whether the client has one.

use super::scan::Tokens;

/// What the planner's requests for entities declare.
const RESERVED: &str = "representations";

/// The operation's text and its variables with another name for a variable that is called like the
/// planner's.
pub fn without_reserved(text: String, mut names: Vec<String>) -> (String, Vec<String>) {
    let Some(index) = names.iter().position(|name| name == RESERVED) else {
        return (text, names);
    };
    let mut other = format!("{RESERVED}_");
    while names.contains(&other) {
        other.push('_');
    }
    let mut changed = String::with_capacity(text.len() + names.len());
    let mut copied = 0;
    let mut follows_dollar = false;
    for token in Tokens::of(&text) {
        if follows_dollar && text[token.clone()] == *RESERVED {
            changed.push_str(&text[copied..token.start]);
            changed.push_str(&other);
            copied = token.end;
        }
        follows_dollar = text[token] == *"$";
    }
    changed.push_str(&text[copied..]);
    names[index] = other;
    (changed, names)
}

#[cfg(test)]
mod tests {
    use super::without_reserved;

    #[test]
    fn only_the_variable_gets_another_name() {
        let text = "query($representations: Int, $representations_: Int) { \
                    representations(a: $ representations, b: \"$representations\") }";
        let names = ["representations", "representations_"].map(String::from);
        let (text, names) = without_reserved(text.to_owned(), names.into());
        assert_eq!(
            text,
            "query($representations__: Int, $representations_: Int) { \
             representations(a: $ representations__, b: \"$representations\") }"
        );
        assert_eq!(names, ["representations__", "representations_"]);
    }
}
