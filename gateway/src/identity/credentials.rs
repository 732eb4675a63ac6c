//! Finds the token in a request's headers.

use http::{HeaderMap, header};

use super::refused::Refused;

const SCHEME: &[u8] = b"Bearer";

/// What should be a token, and where it was. Its bytes are not looked at here: a known one needs no look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'h> {
    pub token: &'h [u8],
    pub is_from_cookie: bool,
}

/// The token of the `Authorization` header; without that header, of the cookie `name`. What `connection_init`
/// brings has replaced the headers of the upgrade request already.
///
/// # Errors
/// If there are two of one kind, or the header is not `Bearer`: nothing is guessed.
pub(super) fn find<'h>(
    headers: &'h HeaderMap,
    name: Option<&str>,
) -> Result<Option<Found<'h>>, Refused> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(value) = values.next() {
        if values.next().is_some() {
            return Err(Refused::Duplicate);
        }
        let token = bearer(value.as_bytes()).ok_or(Refused::Scheme)?;
        return Ok(Some(Found {
            token,
            is_from_cookie: false,
        }));
    }
    let Some(name) = name else {
        return Ok(None);
    };
    let mut found = None;
    for value in headers.get_all(header::COOKIE) {
        // Other cookies may have any bytes.
        let Ok(cookies) = value.to_str() else {
            continue;
        };
        for cookie in cookies.split(';') {
            let (key, token) = cookie.split_once('=').unwrap_or((cookie, ""));
            if key.trim() != name {
                continue;
            }
            // A page of a neighbouring domain can add a cookie of the same name.
            if found.is_some() {
                return Err(Refused::Duplicate);
            }
            found = Some(token.trim().trim_matches('"'));
        }
    }
    // An empty cookie is how a page signs out.
    let found = found.filter(|token| !token.is_empty());
    Ok(found.map(|token| Found {
        token: token.as_bytes(),
        is_from_cookie: true,
    }))
}

/// The token in `Bearer TOKEN` (RFC 6750, section 2.1). The scheme's case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.trim_ascii_start().split_at_checked(SCHEME.len())?;
    let token = token.strip_prefix(b" ")?.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn token(pairs: &[(&'static str, &'static str)]) -> Result<Option<String>, Refused> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        let found = find(&headers, Some("session"))?;
        Ok(found.map(|found| String::from_utf8_lossy(found.token).into_owned()))
    }

    #[test]
    fn the_header_wins_over_the_cookie() {
        let some = |token: &str| Ok(Some(token.to_owned()));
        let (header, cookie) = (("authorization", "bearer a"), ("cookie", "x=1; session=b"));
        assert_eq!(token(&[]), Ok(None));
        assert_eq!(token(&[header, cookie]), some("a"));
        assert_eq!(token(&[cookie]), some("b"));
        assert_eq!(token(&[("cookie", "session=; sessions=c")]), Ok(None));
        // It does not fall back to the cookie.
        assert_eq!(
            token(&[("authorization", "Basic a"), cookie]),
            Err(Refused::Scheme)
        );
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let header = ("authorization", "Bearer a");
        assert_eq!(token(&[header, header]), Err(Refused::Duplicate));
        let cookie = ("cookie", "session=a");
        assert_eq!(token(&[cookie, cookie]), Err(Refused::Duplicate));
        let twice = ("cookie", "session=a; session=b");
        assert_eq!(token(&[twice]), Err(Refused::Duplicate));
        for value in ["Bearer", "Bearer ", "Bearera", "Basic a", "a"] {
            assert_eq!(
                token(&[("authorization", value)]),
                Err(Refused::Scheme),
                "{value}"
            );
        }
    }
}
