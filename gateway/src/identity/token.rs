//! Reads a signed JSON Web Token (RFC 7519, RFC 7515) and checks everything but its signature.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{algorithm::Algorithm, refused::Refused};

/// Bytes of a token; the heads of requests have a bound of about this size in many servers.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The members of a token's header that matter. A member that is there twice is refused.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub alg: String,
    pub kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// A token in its parts. Nothing in it can be trusted before its signature is checked.
pub(super) struct Token<'t> {
    pub key_id: Option<String>,
    pub algorithm: Algorithm,
    pub claims: Map<String, Value>,
    /// The bytes that are signed.
    pub signed: &'t [u8],
    pub signature: Vec<u8>,
}

/// Which tokens are accepted.
#[derive(Debug)]
pub(super) struct Rules {
    pub algorithms: Vec<Algorithm>,
    /// The values of `iss` that are accepted; if there are none, every value is.
    pub issuers: Vec<String>,
    /// A token needs one of these in `aud`; if there are none, `aud` is not looked at.
    pub audiences: Vec<String>,
    pub leeway: Duration,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// If it is not a signed token, or not with an algorithm of the rules.
    pub(super) fn read(text: &'t str, rules: &Rules) -> Result<Self, Refused> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refused::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refused::Malformed)?;
        if claims.contains('.') {
            return Err(Refused::Malformed);
        }
        let header: Header =
            serde_json::from_slice(&decoded(header)?).map_err(|_| Refused::Malformed)?;
        let algorithm = Algorithm::named(&header.alg).ok_or(Refused::Algorithm)?;
        if !rules.algorithms.contains(&algorithm) {
            return Err(Refused::Algorithm);
        }
        if header.crit.is_some() {
            return Err(Refused::Critical);
        }
        if header.typ.is_some_and(|typ| !is_of_a_token(&typ)) {
            return Err(Refused::Type);
        }
        let claims = serde_json::from_slice(&decoded(claims)?).map_err(|_| Refused::Malformed)?;
        Ok(Self {
            key_id: header.kid,
            algorithm,
            claims,
            signed: signed.as_bytes(),
            signature: decoded(signature)?,
        })
    }

    /// Checks its claims. Returns when it ends, the leeway included.
    ///
    /// # Errors
    /// With the claim that is not accepted.
    pub(super) fn check(&self, rules: &Rules, now: SystemTime) -> Result<SystemTime, Refused> {
        let expiry = self.time("exp")?.ok_or(Refused::NoExpiry)?;
        let ends = expiry.checked_add(rules.leeway);
        let ends = ends.ok_or(Refused::Malformed)?;
        if ends <= now {
            return Err(Refused::Expired);
        }
        if let Some(begins) = self.time("nbf")?
            && now
                .checked_add(rules.leeway)
                .is_some_and(|now| begins > now)
        {
            return Err(Refused::NotYetValid);
        }
        let issuer = self.issuer();
        if !rules.issuers.is_empty()
            && !issuer.is_some_and(|issuer| rules.issuers.iter().any(|it| it == issuer))
        {
            return Err(Refused::Issuer);
        }
        if !rules.audiences.is_empty() && !self.is_for(&rules.audiences) {
            return Err(Refused::Audience);
        }
        match self.claims.get("sub") {
            Some(Value::String(subject)) if !subject.is_empty() => Ok(ends),
            _ => Err(Refused::NoSubject),
        }
    }

    /// The claim `iss`; `None` if it is missing or no string.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    fn is_for(&self, audiences: &[String]) -> bool {
        let is_one = |value: &Value| {
            let audience = value.as_str();
            audience.is_some_and(|audience| audiences.iter().any(|it| it == audience))
        };
        match self.claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(is_one),
            Some(one) => is_one(one),
            None => false,
        }
    }

    /// A `NumericDate`: seconds since 1970, perhaps with a fraction.
    fn time(&self, claim: &str) -> Result<Option<SystemTime>, Refused> {
        let Some(value) = self.claims.get(claim) else {
            return Ok(None);
        };
        let seconds = value.as_f64().ok_or(Refused::Malformed)?;
        let since = Duration::try_from_secs_f64(seconds).map_err(|_| Refused::Malformed)?;
        let time = UNIX_EPOCH.checked_add(since).ok_or(Refused::Malformed)?;
        Ok(Some(time))
    }
}

/// Base64url without padding, in its one canonical form.
fn decoded(part: &str) -> Result<Vec<u8>, Refused> {
    BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Refused::Malformed)
}

/// Whether a `typ` stands for a token that identifies a client: an ID token (RFC 7519) or an access token
/// (RFC 9068). Logout tokens and others are signed by the same keys.
fn is_of_a_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    matches!(typ, "jwt" | "at+jwt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            algorithms: vec![Algorithm::Es256],
            issuers: vec!["https://issuer.example/".to_owned()],
            audiences: vec!["graph".to_owned()],
            leeway: Duration::from_secs(5),
        }
    }

    fn text(header: &str, claims: &str) -> String {
        let part = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
        format!("{}.{}.AAAA", part(header), part(claims))
    }

    fn read(header: &str, claims: &str) -> Option<Refused> {
        Token::read(&text(header, claims), &rules()).err()
    }

    #[test]
    fn what_is_no_signed_token_is_refused() {
        let good = text(r#"{"alg":"ES256"}"#, "{}");
        assert!(Token::read(&good, &rules()).is_ok());
        for bad in [
            "",
            ".",
            "..",
            "a.b.c",
            &good[..good.len() - 5],
            &format!("{good}.AAAA"),
            &format!("{good}="),
            // The last character has bits that stand for nothing.
            &format!("{}B", &text(r#"{"alg":"ES256"}"#, "{}")[..good.len() - 3]),
        ] {
            let refused = Token::read(bad, &rules()).err();
            assert_eq!(refused, Some(Refused::Malformed), "{bad}");
        }
        assert_eq!(
            read(r#"{"alg":"ES256","alg":"ES256"}"#, "{}"),
            Some(Refused::Malformed)
        );
        assert_eq!(read(r#"{"alg":"ES256"}"#, "[]"), Some(Refused::Malformed));
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(TOKEN_BYTES_MAX));
        assert_eq!(read(r#"{"alg":"ES256"}"#, &long), Some(Refused::TooLarge));
    }

    #[test]
    fn a_header_that_is_not_understood_is_refused() {
        for (header, refused) in [
            (r#"{"alg":"none"}"#, Refused::Algorithm),
            (r#"{"alg":"None"}"#, Refused::Algorithm),
            (r#"{"alg":"HS256"}"#, Refused::Algorithm),
            (r#"{"alg":"es256"}"#, Refused::Algorithm),
            (
                r#"{"alg":"ES256","crit":["b64"],"b64":false}"#,
                Refused::Critical,
            ),
            (r#"{"alg":"ES256","crit":[]}"#, Refused::Critical),
            (r#"{"alg":"ES256","typ":"logout+jwt"}"#, Refused::Type),
            (r#"{"kid":"1"}"#, Refused::Malformed),
        ] {
            assert_eq!(read(header, "{}"), Some(refused), "{header}");
        }
        for typ in ["JWT", "at+jwt", "application/at+JWT"] {
            let header = format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#);
            assert_eq!(read(&header, "{}"), None, "{typ}");
        }
    }

    #[test]
    fn claims_are_checked_within_the_leeway() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let good = r#""exp":1001,"iss":"https://issuer.example/","aud":"graph","sub":"1""#;
        let check = |claims: &str| {
            let text = text(r#"{"alg":"ES256"}"#, &format!("{{{claims}}}"));
            let token = Token::read(&text, &rules()).expect("a token");
            token.check(&rules(), now)
        };
        assert_eq!(check(good), Ok(UNIX_EPOCH + Duration::from_secs(1_006)));
        for (from, to, expected) in [
            ("1001", "996", None),
            ("1001", "995", Some(Refused::Expired)),
            ("1001", "1001.5", None),
            ("1001", "-1", Some(Refused::Malformed)),
            ("1001", "\"1001\"", Some(Refused::Malformed)),
            ("1001", "1e300", Some(Refused::Malformed)),
            ("\"exp\":1001,", "", Some(Refused::NoExpiry)),
            ("1001", "1001,\"nbf\":1005", None),
            ("1001", "1001,\"nbf\":1006", Some(Refused::NotYetValid)),
            ("issuer.example/", "issuer.example", Some(Refused::Issuer)),
            (
                "\"https://issuer.example/\"",
                "[\"https://issuer.example/\"]",
                Some(Refused::Issuer),
            ),
            ("\"graph\"", "[\"other\",\"graph\"]", None),
            ("\"graph\"", "[\"other\"]", Some(Refused::Audience)),
            ("\"graph\"", "\"graphs\"", Some(Refused::Audience)),
            ("\"aud\":\"graph\",", "", Some(Refused::Audience)),
            ("\"sub\":\"1\"", "\"sub\":1", Some(Refused::NoSubject)),
            ("\"sub\":\"1\"", "\"sub\":\"\"", Some(Refused::NoSubject)),
        ] {
            let changed = good.replace(from, to);
            assert_eq!(check(&changed).err(), expected, "{changed}");
        }
    }
}
