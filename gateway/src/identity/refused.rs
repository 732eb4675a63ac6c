//! Why a client's token is refused, as clients see it.

use http::HeaderValue;

use crate::error::{Code, RequestError};

/// Why a request's credentials are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// There is no token, and `JWT_REQUIRED` is set.
    Missing,
    /// More than one `Authorization` header, or more than one cookie of the name.
    Duplicate,
    /// `Authorization` is not `Bearer` and a token.
    Scheme,
    /// More bytes than a token may have.
    TooLarge,
    /// Not three parts of base64url with JSON in the first two.
    Malformed,
    /// An algorithm that `JWT_ALGORITHMS` does not list.
    Algorithm,
    /// Header parameters that must be understood and are not.
    Critical,
    /// A `typ` that no access token or ID token has.
    Type,
    /// No key of the issuer has this id, or fits a token without one.
    UnknownKey,
    /// The signature is not that of the key.
    Signature,
    /// There is no `exp`.
    NoExpiry,
    /// `exp` has passed, by more than the leeway.
    Expired,
    /// `nbf` is further in the future than the leeway.
    NotYetValid,
    /// `iss` is not in `JWT_ISSUER`.
    Issuer,
    /// `aud` has none of `JWT_AUDIENCE`.
    Audience,
    /// There is no `sub`.
    NoSubject,
    /// The keys could not be read, so the token cannot be checked.
    Unavailable,
}

impl Refused {
    /// A label of a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Duplicate => "duplicate",
            Self::Scheme => "scheme",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::Type => "type",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::NoSubject => "no_subject",
            Self::Unavailable => "unavailable",
        }
    }

    /// What is wrong, in printable ASCII without quotes: it is also a parameter of `WWW-Authenticate`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "a token is required: send Authorization: Bearer and the token",
            Self::Duplicate => "the request has more than one token",
            Self::Scheme => "Authorization has to be Bearer and a token",
            Self::TooLarge => "the token is too large",
            Self::Malformed => "the token is not a signed JSON Web Token",
            Self::Algorithm => "the algorithm of the token is not accepted",
            Self::Critical => "the token has critical header parameters that are not supported",
            Self::Type => "the type of the token is not accepted",
            Self::UnknownKey => "the key of the token is not known",
            Self::Signature => "the signature of the token is not valid",
            Self::NoExpiry => "the token has no expiry time",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Issuer => "the issuer of the token is not accepted",
            Self::Audience => "the token is for another audience",
            Self::NoSubject => "the token has no subject",
            Self::Unavailable => "the keys that check tokens cannot be read now: try again later",
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750, section 3); `None` if no other token would help.
    fn challenge(self) -> Option<HeaderValue> {
        let error = match self {
            Self::Unavailable => return None,
            // Without a token, no error: the client does not know yet that it needs one.
            Self::Missing => return Some(HeaderValue::from_static("Bearer")),
            Self::Duplicate | Self::Scheme | Self::TooLarge => "invalid_request",
            _ => "invalid_token",
        };
        let reason = self.reason();
        let value = format!("Bearer error=\"{error}\", error_description=\"{reason}\"");
        HeaderValue::try_from(value).ok()
    }
}

impl From<Refused> for RequestError {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::Unavailable => Code::IdentityUnavailable,
            _ => Code::Unauthenticated,
        };
        let error = Self::new(code, refused.reason());
        match refused.challenge() {
            Some(challenge) => error.with_header(http::header::WWW_AUTHENTICATE, challenge),
            None => error,
        }
    }
}
