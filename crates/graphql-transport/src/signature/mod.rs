//! Signed requests: a gateway signs what it sends to its services, which refuse everything else.
//!
//! By HTTP Message Signatures ([RFC 9421](https://www.rfc-editor.org/rfc/rfc9421), `hmac-sha256`) and
//! [`Content-Digest`](https://www.rfc-editor.org/rfc/rfc9530). The signature covers the method, the path and the
//! query, but not the host, which proxies rewrite; the body by its digest; and the headers that say who asks:
//! [`CLAIMS`], `Authorization` and `Cookie`.
//!
//! Each service has a key of its own, which is derived from the gateway's secret and the service's name, so a
//! signature for one service is worth nothing at another. A signature is accepted for 60 s, from a clock that is at
//! most 5 s ahead, and once: a service remembers the signatures that it has accepted.
//!
//! | file | has |
//! |---|---|
//! | `secret` | the secrets in a setting, and the key of each service |
//! | `sign` | [`Signer`], for the gateway |
//! | `verify` | [`Verifier`], for the services |
//! | `used` | the signatures that were accepted |
//! | `base` | the text that is signed |
//! | `parameters` | the headers `Signature-Input` and `Signature` |

mod base;
mod parameters;
mod secret;
mod sign;
#[cfg(test)]
mod tests;
mod used;
mod verify;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, header};
use sha2::{Digest, Sha256};

pub use secret::{SecretSetting, Secrets};
pub use sign::{SignatureHeaders, Signer};
pub use verify::{SignedHead, Verifier};

/// The header in which a gateway sends the claims of a verified client to its services. A signature covers it
/// wherever it is.
pub const CLAIMS: HeaderName = HeaderName::from_static("rejoinder-claims");

const DIGEST_NAME: &str = "content-digest";
const CONTENT_DIGEST: HeaderName = HeaderName::from_static(DIGEST_NAME);
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");

/// For how long a signature is accepted, in seconds.
const AGE_SECONDS_MAX: u64 = 60;
/// How far ahead the clock of the gateway may be, in seconds.
const AHEAD_SECONDS_MAX: u64 = 5;
/// The headers that say who asks: a signature covers them wherever they are.
static IDENTITY: [HeaderName; 3] = [CLAIMS, header::AUTHORIZATION, header::COOKIE];

fn digest_of(body: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)))
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}
