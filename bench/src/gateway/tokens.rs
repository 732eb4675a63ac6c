//! A JWK set and a token, for what identity costs.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long the token lives, in seconds: longer than any run.
const LIFE_SECONDS: u64 = 86_400;

/// A provider's keys in a file, and the value of `Authorization` with one of its tokens, which has about the
/// size of a common provider's (900 bytes).
pub struct Tokens {
    pub jwks: PathBuf,
    pub authorization: String,
    _folder: TempDir,
}

impl Tokens {
    /// Makes a key and a token.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn make() -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| anyhow!("no key"))?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| anyhow!("no key"))?;
        let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x}]});
        let folder = tempfile::tempdir()?;
        let jwks = folder.path().join("jwks.json");
        std::fs::write(&jwks, set.to_string())?;

        let expires = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + LIFE_SECONDS;
        let claims = json!({
            "iss": "https://issuer.example/", "aud": ["graph", "account"], "sub": "3f6c1f0e-user",
            "exp": expires, "name": "A Reader", "scope": "openid profile email",
            "roles": (0..20).map(|number| format!("role-number-{number}")).collect::<Vec<_>>(),
        });
        let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!(
            "{}.{}",
            part(&json!({"alg": "EdDSA", "kid": "1"})),
            part(&claims)
        );
        let signature = BASE64_URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
        Ok(Self {
            jwks,
            authorization: format!("Bearer {signed}.{signature}"),
            _folder: folder,
        })
    }
}
