//! Addresses: those that a link of a reader's text may lead to, and bare ones in a text.
//!
//! `web/src/live/prose/address.ts`, and the rules of marked for bare addresses.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use url::Url;

/// An address of a mailbox has no more before its `@`.
const LOCAL_CHARS_MAX: usize = 64;
/// After the words of a text, a bare address does not end with one of these.
const ENDING: [char; 13] = [
    '?', '!', '.', ',', ':', ';', '*', '_', '\'', '"', '~', ')', '(',
];

/// The address as a browser understands it. None for one that does not lead to another page or to a mailbox, and for
/// one with a user's name in it, which reads as another host's.
pub fn safe(typed: &str) -> Option<String> {
    let url = Url::parse(typed).ok()?;
    let is_safe = match url.scheme() {
        "mailto" => true,
        "http" | "https" => {
            url.username().is_empty() && url.password().is_none() && url.host().is_some()
        }
        _ => false,
    };
    is_safe.then(|| url.into())
}

/// The host that a link leads to, where its words, as they are shown, have what looks like another one's address,
/// anywhere. Words that are drawn in another order may look like anything.
pub fn other_host(words: &str, address: &str) -> Option<String> {
    let host = host_of(address)?;
    let seen = words.chars().filter(|c| !is_unseen(*c));
    let shown: String = seen.map(|c| if is_dot(c) { '.' } else { c }).collect();
    let is_turned = words.contains(['\u{202D}', '\u{202E}']);
    let is_other = |said: &str| host_said(said).as_deref().map(name_of) != Some(name_of(&host));
    let name = without_port(&host);
    let is_other_name = |said: &str| {
        let said = host_said(said);
        said.as_deref().map(name_of) != Some(name_of(name))
    };
    let is_other = is_turned
        || addresses(&shown).into_iter().any(is_other)
        || hosts(&shown).into_iter().any(is_other_name);
    is_other.then_some(host)
}

/// What begins as an address does, each up to a blank.
fn addresses(shown: &str) -> Vec<&str> {
    let (mut found, mut next) = (Vec::new(), 0);
    for (at, _) in shown.char_indices() {
        let rest = &shown[at..];
        let begins = ["https:", "http:", "www."];
        let Some(begin) = begins.iter().find(|it| at >= next && has_prefix(rest, it)) else {
            continue;
        };
        let end = rest.find(crate::is_blank).unwrap_or(rest.len());
        if end > begin.len() {
            found.push(&rest[..end]);
            next = at + end;
        }
    }
    found
}

/// What looks like the name of a host or a number of one, without its port. What follows the `/` of an address belongs to
/// it: `index.html` is no host there.
fn hosts(shown: &str) -> Vec<&str> {
    let (mut found, mut is_path, mut word_end) = (Vec::new(), false, None);
    let mut at = 0;
    while let Some(c) = shown[at..].chars().next() {
        let mut next = at + c.len_utf8();
        if crate::is_blank(c) {
            is_path = false;
        } else if matches!(c, '/' | '?' | '#') {
            is_path |= word_end == Some(at);
        } else if is_of_host(c) {
            let rest = &shown[at..];
            let run = &rest[..rest.find(|c| !is_of_host(c)).unwrap_or(rest.len())];
            next = at + run.len();
            if run.ends_with(char::is_alphanumeric) {
                word_end = Some(next);
            }
            if !is_path {
                let names = run.split("..").map(|it| it.trim_matches(['.', '_', '-']));
                found.extend(names.filter(|name| is_host(name)));
            }
        }
        at = next;
    }
    found
}

fn is_of_host(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// `a.example` or `127.0.0.1`. The last part of a name begins with a letter, and has two at least.
fn is_host(name: &str) -> bool {
    let Some((_, last)) = name.rsplit_once('.') else {
        return false;
    };
    let mut chars = last.chars();
    let is_name = chars.next().is_some_and(char::is_alphabetic) && chars.next().is_some();
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    is_name || name.split('.').count() == 4 && name.split('.').all(is_digits)
}

fn host_said(said: &str) -> Option<String> {
    let said = without_marks(said);
    match has_prefix(said, "http:") || has_prefix(said, "https:") {
        true => host_of(said),
        false => host_of(&format!("http://{said}")),
    }
}

/// Without brackets, dots and blanks around it.
fn without_marks(text: &str) -> &str {
    text.trim_matches(|c: char| !c.is_alphanumeric())
}

/// What two hosts of the same owner have in common.
fn name_of(host: &str) -> &str {
    let name = host.strip_prefix("www.").unwrap_or(host);
    name.strip_suffix('.').unwrap_or(name)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    }
}

/// What looks like a dot.
fn is_dot(c: char) -> bool {
    matches!(c, '\u{2024}' | '\u{3002}' | '\u{FF0E}' | '\u{FF61}')
}

/// With its port, unless that is the scheme's own.
fn host_of(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// What a reader does not see of a link's words: characters that take no room, and one that is a blank in all but name.
fn is_unseen(c: char) -> bool {
    c == '\u{2800}'
        || c.general_category() == GeneralCategory::Format
        || matches!(c,
            '\u{34F}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{2065}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}'
            | '\u{E0000}'..='\u{E0FFF}')
}

fn has_prefix(text: &str, prefix: &str) -> bool {
    let begin = text.as_bytes().get(..prefix.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Characters without a blank or `<` between them. An address ends with them at the latest, and many may begin in them:
/// their end is looked for once.
#[derive(Default)]
pub(crate) struct Run {
    end: usize,
    /// Where the last `)` is.
    close: Option<usize>,
}

impl Run {
    fn at(text: &str, at: usize) -> Self {
        let rest = &text[at..];
        let length = rest.find(|c: char| crate::is_blank(c) || c == '<');
        let run = &rest[..length.unwrap_or(rest.len())];
        Self {
            end: at + run.len(),
            close: run.rfind(')').map(|close| at + close),
        }
    }
}

/// A bare address at `at`, after the character `before`: its length in bytes, and where it leads to. `run` is that of the
/// last one.
pub(crate) fn bare(
    text: &str,
    at: usize,
    before: Option<char>,
    run: &mut Run,
) -> Option<(usize, String)> {
    let rest = &text[at..];
    let mut web = |host: usize| {
        let first = rest[host..].chars().next()?;
        if !first.is_ascii_alphanumeric() && first != '-' {
            return None;
        }
        if at >= run.end {
            *run = Run::at(text, at);
        }
        let close = run.close.and_then(|close| close.checked_sub(at));
        Some(without_ending(&text[at..run.end], close))
    };
    let is_word = before.is_some_and(|c| c.is_ascii_alphanumeric());
    if ["http://", "https://", "ftp://"]
        .iter()
        .any(|it| has_prefix(rest, it))
    {
        let length = web(rest.find("://")? + 3)?;
        return Some((length, rest[..length].to_owned()));
    }
    let is_after_blank = before.is_none_or(|c| crate::is_blank(c) || "*_~(".contains(c));
    if is_after_blank && has_prefix(rest, "www.") {
        // The first rule takes these letters as they are typed.
        let length = rest.starts_with("www.").then(|| web(4)).flatten()?;
        return Some((length, format!("http://{}", &rest[..length])));
    }
    for scheme in ["mailto:", "xmpp:"] {
        if !is_word && rest.starts_with(scheme) {
            let length = scheme.len() + mailbox(&rest[scheme.len()..])?;
            return Some((length, rest[..length].to_owned()));
        }
    }
    if before.is_some_and(is_name) {
        return None;
    }
    let length = mailbox(rest)?;
    Some((length, format!("mailto:{}", &rest[..length])))
}

/// Characters of a mailbox before its `@`.
fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._+-".contains(c)
}

/// The length without trailing punctuation: a bracket that ends a pair stays, one without another is the sentence's, and
/// so is an entity at the end. `close` is where the last `)` is.
fn without_ending(address: &str, close: Option<usize>) -> usize {
    let mut end = address.len();
    let mut pairs = Vec::new();
    let mut at = 0;
    while let Some(found) = address[at..].find('(') {
        let begin = at + found;
        let closes = close.is_some_and(|close| close > begin);
        let length = closes.then(|| address[begin..].find(')')).flatten();
        match length {
            Some(length) => {
                at = begin + length + 1;
                pairs.push(at);
            }
            None => {
                end = begin;
                break;
            }
        }
    }
    loop {
        let kept = &address[..end];
        let Some(last) = kept.chars().next_back() else {
            return 0;
        };
        if !ENDING.contains(&last) || pairs.binary_search(&end).is_ok() {
            return end;
        }
        end = match last {
            ';' => entity(kept).unwrap_or(end - 1),
            _ => end - last.len_utf8(),
        };
    }
}

/// Where `&name;` at the end begins.
fn entity(text: &str) -> Option<usize> {
    let name = text.strip_suffix(';')?;
    let before = name.trim_end_matches(|c: char| c.is_ascii_alphanumeric());
    let is_entity = before.len() < name.len() && before.ends_with('&');
    is_entity.then(|| before.len() - 1)
}

/// The length of `name@host.example` at the beginning.
fn mailbox(rest: &str) -> Option<usize> {
    let mut bytes = rest.bytes().take(LOCAL_CHARS_MAX + 1);
    let name = bytes.position(|byte| !is_name(char::from(byte)))?;
    if name == 0 || !rest[name..].starts_with('@') {
        return None;
    }
    let host = &rest[name + 1..];
    let is_host = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let end = host
        .find(|c: char| !is_host(c) && c != '.')
        .unwrap_or(host.len());
    // A dot and something after it, which ends with a letter or a digit; two dots end it.
    let end = host[..end].find("..").unwrap_or(end);
    let host = host[..end].trim_end_matches('.');
    let last = host.chars().next_back()?;
    let has_dot = host.find('.').is_some_and(|dot| dot > 0);
    (has_dot && last.is_ascii_alphanumeric()).then(|| name + 1 + host.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_pages_and_mailboxes_are_linked_to() {
        for address in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            " javascript:alert(1)",
            "java\nscript:alert(1)",
            "\u{1}javascript:alert(1)",
            "vbscript:msgbox(1)",
            "data:text/html,<script>alert(1)</script>",
            "blob:https://example.org/1",
            "file:///etc/passwd",
            "ftp://example.org/",
            "about:blank",
            "x:y",
            "//example.org",
            "/posts/1",
            "#top",
            "",
            "https://",
            "https://bank.example@evil.example/",
        ] {
            assert_eq!(safe(address), None, "{address}");
        }
        let shouted = safe("HTTPS://Example.org/a b");
        assert_eq!(shouted.as_deref(), Some("https://example.org/a%20b"));
        assert!(safe("mailto:ada@example.org").is_some());
    }

    #[test]
    fn words_that_look_like_another_address_say_where_they_lead() {
        let evil = "https://evil.example/";
        for words in [
            "https://bank.example",
            "www.bank.example",
            "bank.example",
            "**bank.example/in**",
            "bank\u{200B}.example",
            ".\nhttps://bank.example/login",
            ".\nbank.example",
            "(https://bank.example)",
            "\u{2800}bank.example",
            "bank.example.",
            "bank\u{2024}example",
            "bank\u{FF61}example",
            "https://evil.example https://bank.example",
            "see www.bank.example",
            "See: bank.example/login",
            "See:bank.example/login",
            "See:/bank.example",
            "./bank.example",
            "go to bank.example, please",
            "bank.example...more",
            "evil.example bank.example",
            "bank.example@evil.example",
            "https://bank.example@evil.example",
            "login\u{2192}bank.example",
            "b\u{FC}cher.example now",
            "at 192.0.2.10",
            "\u{202E}elpmaxe.knab",
        ] {
            assert_eq!(
                other_host(words, evil).as_deref(),
                Some("evil.example"),
                "{words}"
            );
        }
        for words in [
            "my bank",
            "evil.example",
            "www.evil.example/in",
            "e.g. this",
            "https://evil.example/x",
            "(https://evil.example).",
            "evil.example.",
            "see http: there",
            "See: evil.example/login",
            "evil.example/index.html",
            "https://evil.example/a/index.html?next=bank.example#bank.example",
            "evil.example?next=bank.example",
            "evil.example:8080",
            "src/main.rs",
            "version 1.20",
            "wait... what",
        ] {
            assert_eq!(other_host(words, evil), None, "{words}");
        }
    }

    #[test]
    fn a_bare_address_ends_before_the_sentence_does() {
        for (text, address) in [
            ("https://a.example/b). More", "https://a.example/b"),
            ("https://a.example/b_(c)), d", "https://a.example/b_(c)"),
            ("https://a.example/?q=1&amp;.", "https://a.example/?q=1"),
            ("https://a.example/(b", "https://a.example/"),
            ("www.a.example...", "www.a.example"),
            ("ada@a.example.", "ada@a.example"),
        ] {
            let (length, _) = bare(text, 0, None, &mut Run::default()).expect(text);
            assert_eq!(&text[..length], address);
        }
        for text in ["https://", "www.", "a@b", "a@.b", "@a.b", "https:// a"] {
            assert_eq!(bare(text, 0, None, &mut Run::default()), None, "{text}");
        }
    }
}
