//! The headers `Signature-Input` and `Signature`: dictionaries of structured fields (RFC 9651).

use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName};

/// The name of the signature among those that a request may have.
pub(super) const LABEL: &str = "gateway";
/// The largest number of components of a signature.
const COMPONENTS_MAX: usize = 16;

/// What `Signature-Input` says of a signature.
pub(super) struct Parameters<'t> {
    pub components: Vec<&'t str>,
    /// Seconds since 1970.
    pub created: u64,
    /// The same, if it ends before the verifier would have it end.
    pub expires: Option<u64>,
    /// The name of the service, as [`key_id`] writes it.
    pub key_id: &'t str,
}

impl<'t> Parameters<'t> {
    /// Reads `("@method" "@path");created=1;nonce="1";keyid="posts";alg="hmac-sha256"`. Components with parameters
    /// of their own are not understood, and neither are other algorithms. All but `alg` and `expires` are needed:
    /// without a nonce, two equal requests within a second would have the same signature.
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let (components, parameters) = text.strip_prefix('(')?.split_once(')')?;
        let mut listed = Vec::new();
        for component in components.split(' ').filter(|text| !text.is_empty()) {
            let name = quoted(component)?;
            let is_name = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_@".contains(&byte)
            };
            let is_full = listed.len() == COMPONENTS_MAX;
            if is_full || !name.bytes().all(is_name) || listed.contains(&name) {
                return None;
            }
            listed.push(name);
        }
        let (mut created, mut expires, mut key, mut nonce) = (None, None, None, None);
        for parameter in parameters.split(';').skip(1) {
            match parameter.trim().split_once('=')? {
                ("created", value) if created.is_none() => created = Some(value.parse().ok()?),
                ("expires", value) if expires.is_none() => expires = Some(value.parse().ok()?),
                ("keyid", value) if key.is_none() => key = Some(quoted(value)?),
                ("nonce", value) if nonce.is_none() => nonce = Some(quoted(value)?),
                ("alg", "\"hmac-sha256\"") => {}
                ("created" | "expires" | "keyid" | "nonce" | "alg", _) => return None,
                _ => {}
            }
        }
        nonce?;
        Some(Self {
            components: listed,
            created: created?,
            expires,
            key_id: key?,
        })
    }
}

/// A service's name as a key's name: what could end a quoted string, or a parameter, is percent-encoded.
pub(super) fn key_id(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'-' | b'_' | b'.' => text.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

/// The gateway's member of a dictionary (RFC 9651, section 3.2). Proxies may have added others.
///
/// # Errors
/// If there is none, or more than one.
pub(super) fn member<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<&'h str, &'static str> {
    let mut found = None;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| "the signature is malformed")?;
        for member in members(text) {
            let Some((LABEL, value)) = member.trim().split_once('=') else {
                continue;
            };
            if found.replace(value).is_some() {
                return Err("the request has two signatures of its gateway");
            }
        }
    }
    found.ok_or("the request is not signed")
}

/// The members of a dictionary, at the commas outside quotes.
fn members(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |character| {
        is_quoted ^= character == '"';
        character == ',' && !is_quoted
    })
}

/// The text of `"text"`, which is not empty.
fn quoted(value: &str) -> Option<&str> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    (!text.is_empty()).then_some(text)
}

/// The bytes of `:base64:`.
pub(super) fn bytes_of(value: &str) -> Option<Vec<u8>> {
    let text = value.trim().strip_prefix(':')?.strip_suffix(':')?;
    BASE64_STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_there_once() {
        let rest = ";nonce=\"1\";keyid=\"posts\"";
        let read = |text: &str| {
            let text = format!("(){text}");
            Parameters::read(&text).map(|it| (it.created, it.expires, it.key_id.to_owned()))
        };
        let posts = |created, expires| Some((created, expires, "posts".to_owned()));
        assert_eq!(read(&format!(";created=1{rest}")), posts(1, None));
        assert_eq!(
            read(&format!(";created=1;expires=2;tag=\"a\"{rest}")),
            posts(1, Some(2))
        );
        for malformed in [
            rest.to_owned(),
            ";created=1;keyid=\"posts\"".to_owned(),
            ";created=1;nonce=\"1\"".to_owned(),
            format!(";created=1;created=1{rest}"),
            format!(";created=1;expires=2;expires=3{rest}"),
            format!(";created=1;expires=soon{rest}"),
            format!(";created=-1{rest}"),
            format!(";created=1{rest}{rest}"),
            ";created=1;nonce=\"\";keyid=\"posts\"".to_owned(),
            ";created=1;nonce=1;keyid=\"posts\"".to_owned(),
            ";created=1;nonce=\"1\";keyid=\"\"".to_owned(),
            format!(";created=1;alg=\"ed25519\"{rest}"),
        ] {
            assert_eq!(read(&malformed), None, "{malformed}");
        }
    }

    #[test]
    fn any_name_is_a_key_id_and_no_two_are_the_same() {
        assert_eq!(key_id("posts"), "posts");
        assert_eq!(key_id("my-posts_2.0"), "my-posts_2.0");
        assert_eq!(key_id("policy service"), "policy%20service");
        assert_eq!(key_id("policy%20service"), "policy%2520service");
        assert_eq!(key_id("a\";b=\"ö\r\n"), "a%22%3Bb%3D%22%C3%B6%0D%0A");
    }
}
