//! The secrets of a gateway, and the key of each of its services.

use std::{convert::Infallible, str::FromStr, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Signer, Verifier};

/// What signs and verifies.
pub(super) type Key = Hmac<Sha256>;

/// The shortest secret, in bytes.
pub(super) const SECRET_BYTES_MIN: usize = 32;
/// The largest number of secrets: the one that signs, and older ones.
const SECRETS_MAX: usize = 4;
/// What a service's name follows in the text from which its key is derived.
const KEY_LABEL: &[u8] = b"rejoinder subgraph ";
/// The start of a service's key, where it is in the place of the secret.
const KEY_PREFIX: &str = "key:";
/// The bytes of a service's key.
const KEY_BYTES: usize = 32;

/// The text of a setting with secrets, before it is checked. It takes any text, so that no parser of settings
/// shows a malformed secret in its error.
#[derive(Clone, Default)]
pub struct SecretSetting(Box<str>);

/// Shows nothing of the secrets.
impl std::fmt::Debug for SecretSetting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SecretSetting")
    }
}

impl FromStr for SecretSetting {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

impl SecretSetting {
    /// Reads a gateway's secrets, separated by commas; of an empty text, none.
    ///
    /// # Errors
    /// In words without the secrets, if one is missing, short or the key of one service, or there are too many.
    pub fn secrets(&self) -> Result<Secrets, String> {
        Secrets::new(&self.0)
    }

    /// Reads the secrets or keys of the service with this name, separated by commas. From an empty text, the verifier
    /// accepts every request.
    ///
    /// # Errors
    /// In words without the secrets, if one is missing, short or not a key, or there are too many.
    pub fn verifier(&self, name: &str) -> Result<Verifier, String> {
        Verifier::new(&self.0, name)
    }
}

/// The secrets of a gateway. The first one signs; services accept all of theirs, so that a new one can be added
/// before an old one is removed. Without any, nothing is signed.
#[derive(Clone, Default)]
pub struct Secrets(Arc<[Key]>);

/// Shows nothing of the secrets.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Reads secrets that are separated by commas; of an empty text, none.
    ///
    /// # Errors
    /// In words without the secrets, if one is missing, short or the key of one service, or there are too many.
    pub fn new(text: &str) -> Result<Self, String> {
        let secrets = items(text)?.into_iter().map(|text| match text {
            text if text.starts_with(KEY_PREFIX) => Err(format!(
                "{KEY_PREFIX}... is the key of one subgraph: a gateway needs the secret"
            )),
            text => secret(text),
        });
        Ok(Self(secrets.collect::<Result<_, String>>()?))
    }

    /// Signs for the service with this name.
    pub fn signer(&self, name: &str) -> Signer {
        let secret = self.0.first();
        secret.map_or_else(Signer::default, |secret| {
            Signer::new(name, key_of(&derived(secret, name)))
        })
    }

    /// The keys of the service with this name, to be set there in the place of the secrets: it can verify with
    /// them, but not sign for other services. `None` without a secret.
    pub fn keys_of(&self, name: &str) -> Option<String> {
        let keys = self.0.iter().map(|secret| {
            let key = BASE64_STANDARD.encode(derived(secret, name));
            format!("{KEY_PREFIX}{key}")
        });
        let keys: Vec<String> = keys.collect();
        (!keys.is_empty()).then(|| keys.join(","))
    }
}

/// Reads the keys of the service with this name, from secrets and from keys.
pub(super) fn service_keys(text: &str, name: &str) -> Result<Vec<Key>, String> {
    let keys = items(text)?
        .into_iter()
        .map(|text| match text.strip_prefix(KEY_PREFIX) {
            None => Ok(key_of(&derived(&secret(text)?, name))),
            Some(text) => {
                let bytes = BASE64_STANDARD.decode(text).ok();
                let key = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
                let key = key.ok_or_else(|| {
                    format!("after {KEY_PREFIX}, {KEY_BYTES} bytes in base64 are needed")
                })?;
                Ok(key_of(&key))
            }
        });
    keys.collect()
}

fn items(text: &str) -> Result<Vec<&str>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let items: Vec<&str> = text.split(',').map(str::trim).collect();
    if items.len() > SECRETS_MAX {
        return Err(format!("at most {SECRETS_MAX} secrets can be set"));
    }
    // Skipped, a lone comma would turn the signatures off.
    if items.contains(&"") {
        return Err("there is a comma without a secret beside it".to_owned());
    }
    Ok(items)
}

fn secret(text: &str) -> Result<Key, String> {
    if text.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "a secret needs at least {SECRET_BYTES_MIN} characters: `openssl rand -base64 32` makes one"
        ));
    }
    Ok(key_of(text.as_bytes()))
}

/// HMAC takes keys of any length.
fn key_of(bytes: &[u8]) -> Key {
    KeyInit::new_from_slice(bytes).expect("a key of any length")
}

fn derived(secret: &Key, name: &str) -> [u8; KEY_BYTES] {
    let mac = secret.clone().chain_update(KEY_LABEL).chain_update(name);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn the_key_of_a_service_is_the_one_that_openssl_computes() {
        // printf 'rejoinder subgraph posts' | openssl dgst -sha256 -hmac "$SECRET" -binary | base64
        let secrets = Secrets::new(SECRET).expect("a long secret");
        let keys = secrets.keys_of("posts").expect("a key");
        assert_eq!(keys, "key:oDuhPAo3n/77ue7ehcDJA5f6LtT+PdNbqt6QCz5ltPY=");
        assert_ne!(secrets.keys_of("comments"), Some(keys));
        assert_eq!(Secrets::default().keys_of("posts"), None);
    }

    #[test]
    fn secrets_are_long_and_never_shown() {
        let too_many = [SECRET; 5].join(",");
        let short = format!("key:{}", BASE64_STANDARD.encode([0; KEY_BYTES - 1]));
        // A comma alone would turn the signatures off, which nobody would notice.
        for malformed in [
            "short",
            &too_many,
            ",",
            &format!("{SECRET},"),
            "key:",
            "key:0123456789abcdef0123456789abcdef0123456789a!",
            &short,
        ] {
            let setting: SecretSetting = malformed.parse().expect("any text");
            for error in [setting.secrets().err(), setting.verifier("posts").err()] {
                let error = error.expect("refused");
                let is_shown = error.contains(malformed) && ![",", "key:"].contains(&malformed);
                assert!(!is_shown, "{error}");
            }
            assert_eq!(format!("{setting:?}"), "SecretSetting");
        }
        let secrets = Secrets::new(SECRET).expect("a long secret");
        assert_eq!(format!("{secrets:?}"), "Secrets(1)");
        assert!(!Secrets::new(" ").expect("none").signer("posts").is_on());
    }

    #[test]
    fn the_key_of_a_service_is_no_secret_of_a_gateway() {
        let keys = Secrets::new(SECRET)
            .expect("a long secret")
            .keys_of("posts");
        let error = Secrets::new(&keys.expect("a key")).expect_err("refused");
        assert!(error.contains("a gateway needs the secret"), "{error}");
    }
}
