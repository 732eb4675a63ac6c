//! The claims of a verified token, as a gateway sends them: whom they name, or why they are refused.
//!
//! A gateway takes them from a token that it has verified, and signs what it sends. So claims that cannot be read
//! are a token of an unusual form or a wrong setting, and the request is refused: a person whom the token names
//! must not become a guest by mistake.

use std::borrow::Cow;

use async_graphql::{ID, ServerError};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use graphql_transport::signature::CLAIMS;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::viewer::Person;
use crate::{Code, author};

/// The longest claims that are read, in bytes of JSON. A gateway accepts tokens of up to 8 KiB.
const BYTES_MAX: usize = 16 << 10;
/// The longest `sub` and `iss`, in bytes each. OpenID Connect limits `sub` to 255.
const NAME_BYTES_MAX: usize = 255;
/// The longest id of a person, in bytes: an issuer, a blank and a subject.
pub const ID_BYTES_MAX: usize = 2 * NAME_BYTES_MAX + 1;
/// The scope of moderators.
const MODERATE: &str = "moderate";

/// Why claims are refused. Their texts are safe to show: the claims are the client's own.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// The header is not base64url without padding.
    #[error("they are not base64url without padding")]
    Encoding,
    /// They are too long.
    #[error("they have more than {BYTES_MAX} bytes")]
    TooLong,
    /// They are no JSON object, or a claim has the wrong type.
    #[error("{0}")]
    Json(serde_json::Error),
    /// They are JSON, but not an object.
    #[error("a JSON object is expected")]
    NoObject,
    /// They do not say who the client is.
    #[error("`sub` is missing: the gateway's SUBGRAPH_CLAIMS has to name it")]
    NoSubject,
    /// The subject or the issuer is empty, or too long.
    #[error("`{claim}` has {bytes} bytes: 1 to {NAME_BYTES_MAX} are accepted")]
    Length { claim: &'static str, bytes: usize },
    /// The issuer has white space in it, which separates it from the subject.
    #[error("`iss` contains white space")]
    Issuer,
}

impl From<ClaimsError> for ServerError {
    fn from(error: ClaimsError) -> Self {
        let message = format!("the claims of the token cannot be used: {error}");
        let mut server_error = Self::new(message, None);
        let extensions = server_error.extensions.get_or_insert_default();
        extensions.set("code", Code::ClaimsRefused.as_str());
        server_error
    }
}

/// The claims that are used. Others are passed over.
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Option<Text<'a>>,
    #[serde(borrow)]
    sub: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    scope: Option<Scopes<'a>>,
    #[serde(borrow)]
    scp: Option<Scopes<'a>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A text with white space between the scopes (RFC 8693), or a list of them, as some providers write it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a scope has to be a text or a list of texts")]
enum Scopes<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    List(#[serde(borrow)] Vec<Cow<'a, str>>),
}

impl Scopes<'_> {
    fn have(&self, scope: &str) -> bool {
        match self {
            Self::Text(text) => text.split_ascii_whitespace().any(|it| it == scope),
            Self::List(list) => list.iter().any(|it| it == scope),
        }
    }
}

/// The person that the claims of an HTTP request name; none if there are no claims.
///
/// # Errors
/// When the claims cannot be read, or name nobody.
pub(crate) fn of_headers(headers: &HeaderMap) -> Result<Option<Person>, ClaimsError> {
    let Some(value) = headers.get(CLAIMS) else {
        return Ok(None);
    };
    // Four characters for three bytes.
    if value.len() > BYTES_MAX.div_ceil(3) * 4 {
        return Err(ClaimsError::TooLong);
    }
    let json = BASE64_URL_SAFE_NO_PAD.decode(value.as_bytes());
    let json = json.map_err(|_| ClaimsError::Encoding)?;
    read(&json).map(Some)
}

/// The person that the claims in an operation's `extensions` name; none if there are no claims.
///
/// # Errors
/// When the claims cannot be read, or name nobody.
pub(crate) fn of_extensions(extensions: Option<&[u8]>) -> Result<Option<Person>, ClaimsError> {
    #[derive(Deserialize)]
    struct Extensions<'a> {
        #[serde(borrow)]
        claims: Option<&'a RawValue>,
    }
    let Some(json) = extensions else {
        return Ok(None);
    };
    let extensions: Extensions<'_> = serde_json::from_slice(json).map_err(ClaimsError::Json)?;
    let claims = extensions.claims.map(|claims| claims.get().as_bytes());
    claims.map(read).transpose()
}

fn read(json: &[u8]) -> Result<Person, ClaimsError> {
    if json.len() > BYTES_MAX {
        return Err(ClaimsError::TooLong);
    }
    // A list would be read as the claims in their order.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(ClaimsError::NoObject);
    }
    let claims: Claims<'_> = serde_json::from_slice(json).map_err(ClaimsError::Json)?;
    let Text(subject) = claims.sub.ok_or(ClaimsError::NoSubject)?;
    let subject = of_length("sub", &subject)?;
    // Two issuers may give the same subject to different people.
    let id = match claims.iss {
        None => subject.to_owned(),
        Some(Text(issuer)) => {
            let issuer = of_length("iss", &issuer)?;
            if issuer.contains(char::is_whitespace) {
                return Err(ClaimsError::Issuer);
            }
            format!("{issuer} {subject}")
        }
    };
    let name = claims.name.map(|Text(name)| name).unwrap_or_default();
    let scopes = claims.scope.or(claims.scp);
    Ok(Person {
        id: ID(id),
        name: author::of_claim(&name),
        is_moderator: scopes.is_some_and(|scopes| scopes.have(MODERATE)),
    })
}

fn of_length<'a>(claim: &'static str, text: &'a str) -> Result<&'a str, ClaimsError> {
    match text.len() {
        1..=NAME_BYTES_MAX => Ok(text),
        bytes => Err(ClaimsError::Length { claim, bytes }),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::{Value, json};

    use super::*;

    fn of(claims: &Value) -> Result<Person, String> {
        read(claims.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    fn header(value: &[u8]) -> HeaderMap {
        let value = HeaderValue::from_bytes(value).expect("a value");
        HeaderMap::from_iter([(CLAIMS, value)])
    }

    #[test]
    fn claims_name_a_person() {
        let person = |id: &str, name: &str, is_moderator| {
            Ok(Person {
                id: id.into(),
                name: name.to_owned(),
                is_moderator,
            })
        };
        for (claims, expected) in [
            (json!({"sub": "1"}), person("1", "Anonymous", false)),
            (
                json!({"sub": "1", "name": " Zoë\n"}),
                person("1", "Zoë", false),
            ),
            (
                json!({"sub": "1", "name": null, "scope": null}),
                person("1", "Anonymous", false),
            ),
            (
                json!({"sub": "1", "scope": "a moderate b"}),
                person("1", "Anonymous", true),
            ),
            (
                json!({"sub": "1", "scope": ["a", "moderate"]}),
                person("1", "Anonymous", true),
            ),
            (
                json!({"sub": "1", "scp": ["moderate"]}),
                person("1", "Anonymous", true),
            ),
            (
                json!({"sub": "1", "scope": "a", "scp": "moderate"}),
                person("1", "Anonymous", false),
            ),
            // What only resembles the scope is another one.
            (
                json!({"sub": "1", "scope": "moderates moderate:all Moderate"}),
                person("1", "Anonymous", false),
            ),
            (
                json!({"sub": "1", "scope": ["a moderate"]}),
                person("1", "Anonymous", false),
            ),
            (
                json!({"sub": "$a", "roles": [{"x": 1}]}),
                person("$a", "Anonymous", false),
            ),
            (
                json!({"sub": " 1", "iss": "https://a/"}),
                person("https://a/  1", "Anonymous", false),
            ),
            (
                json!({"sub": "x".repeat(255)}),
                person(&"x".repeat(255), "Anonymous", false),
            ),
        ] {
            assert_eq!(of(&claims), expected, "{claims}");
        }
    }

    #[test]
    fn odd_claims_are_refused() {
        for claims in [
            json!({}),
            json!({"name": "Ann", "scope": "moderate"}),
            json!({"sub": null}),
            json!({"sub": ""}),
            json!({"sub": 1}),
            json!({"sub": true}),
            json!({"sub": ["1"]}),
            json!({"sub": {"id": "1"}}),
            json!({"sub": "x".repeat(256)}),
            json!({"sub": "é".repeat(128)}),
            json!({"sub": "1", "name": 5}),
            json!({"sub": "1", "name": ["Ann"]}),
            json!({"sub": "1", "scope": 5}),
            json!({"sub": "1", "scope": {"moderate": true}}),
            json!({"sub": "1", "scope": ["moderate", 5]}),
            json!({"sub": "1", "iss": ""}),
            json!({"sub": "1", "iss": "a b"}),
            json!({"sub": "1", "more": "x".repeat(BYTES_MAX)}),
            json!(["1", "1", "Ann"]),
            json!("1"),
            json!(null),
        ] {
            assert!(of(&claims).is_err(), "{claims}");
        }
        for text in [
            "",
            "{",
            r#"{"sub":"1"}}"#,
            r#"{"sub":"1","sub":"2"}"#,
            r#"{"sub":"\ud800"}"#,
            "{\"sub\":\"\u{0}\"}",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read(b"{\"sub\":\"\xFF\"}").is_err());
        let deep = format!(r#"{{"sub":"1","more":{}}}"#, "[".repeat(8_000));
        assert!(read(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_header_has_claims_in_base64url_or_is_refused() {
        assert_eq!(of_headers(&HeaderMap::new()).expect("none"), None);
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"1"}"#);
        let person = of_headers(&header(claims.as_bytes()));
        assert_eq!(&*person.expect("read").expect("a person").id, "1");
        let long = BASE64_URL_SAFE_NO_PAD.encode(format!("{}{{}}", " ".repeat(BYTES_MAX)));
        for value in ["", "e30", "e30=", "{}", "e3 0", "%7B%7D", &long] {
            assert!(of_headers(&header(value.as_bytes())).is_err(), "{value}");
        }
        assert!(of_headers(&header(b"\xFF")).is_err());
    }

    #[test]
    fn extensions_may_have_claims() {
        let of = |text: &str| of_extensions(Some(text.as_bytes()));
        assert_eq!(of_extensions(None).expect("none"), None);
        for none in ["{}", r#"{"claims":null}"#, r#"{"other":{"sub":"1"}}"#] {
            assert_eq!(of(none).expect("none"), None, "{none}");
        }
        let person = of(r#"{"a":1,"claims":{"sub":"1"}}"#);
        assert_eq!(&*person.expect("read").expect("a person").id, "1");
        for odd in [
            r#"{"claims":{}}"#,
            r#"{"claims":[]}"#,
            r#"{"claims":"eyJzdWIiOiIxIn0"}"#,
            r#"{"claims":{"sub":"1"},"claims":{"sub":"2"}}"#,
        ] {
            assert!(of(odd).is_err(), "{odd}");
        }
    }
}
