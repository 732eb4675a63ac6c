//! Words that are no markup, written so that Markdown takes them for none.

/// Where a word stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Whether it begins a line.
    pub begins_line: bool,
    /// The character before it, if no white space is.
    pub before: Option<char>,
    /// Whether it is one of the words of a link.
    pub is_in_link: bool,
}

/// Appends a word, in which there is no white space. Addresses stay as they are.
pub fn push_word(word: &str, place: Place, out: &mut String) {
    let address = ["http://", "https://"]
        .iter()
        .filter_map(|it| word.find(it));
    let (words, address) = word.split_at(address.min().unwrap_or(word.len()));
    if place.begins_line && begins_block(words) && address.is_empty() {
        if let Some(number) = words.strip_suffix(['.', ')']) {
            // `1\.`
            out.push_str(number);
        }
        out.push('\\');
        out.push_str(words.trim_start_matches(|c: char| c.is_ascii_digit()));
        return;
    }
    push_escaped(words, place, out);
    out.extend(address.chars().filter(|c| !c.is_control()));
}

/// Whether a word alone begins a heading, a quote, a list or a rule, or makes the line before a heading.
fn begins_block(word: &str) -> bool {
    let is_all = |mark: char| !word.is_empty() && word.chars().all(|c| c == mark);
    let number = word.strip_suffix(['.', ')']).unwrap_or_default();
    let is_number = (1..=9).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    is_number || word == "+" || ['#', '-', '=', '>', '*'].into_iter().any(is_all)
}

fn push_escaped(word: &str, place: Place, out: &mut String) {
    let mut before = place.before;
    let mut chars = word.chars().peekable();
    let mut is_first = true;
    while let Some(c) = chars.next() {
        if c.is_control() {
            continue;
        }
        let next = chars.peek().copied();
        let is_markup = match c {
            '\\' => next.is_none_or(|next| next.is_ascii_punctuation()),
            '`' => true,
            '*' => before.is_some() || next.is_some(),
            // As in snake_case.
            '_' => {
                !(before.is_some_and(char::is_alphanumeric)
                    && next.is_some_and(char::is_alphanumeric))
            }
            '[' => place.is_in_link,
            ']' => place.is_in_link || next == Some('('),
            '<' => next.is_some_and(|next| next.is_alphabetic() || matches!(next, '/' | '!' | '?')),
            '~' => next == Some('~') || before == Some('~'),
            '>' => is_first && place.begins_line,
            _ => false,
        };
        if is_markup {
            out.push('\\');
        }
        out.push(c);
        before = Some(c);
        is_first = false;
    }
}
