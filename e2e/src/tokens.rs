//! A JWK set in a file, and the tokens that its key signs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a token lives if nothing else is said: longer than any run.
const LIFE: Duration = Duration::from_secs(86_400);

/// A provider: its keys are in a file that ends with it.
pub struct Tokens {
    pair: Ed25519KeyPair,
    jwks: PathBuf,
    _folder: TempDir,
}

impl Tokens {
    /// Makes a key and writes the set.
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
        Ok(Self {
            pair,
            jwks,
            _folder: folder,
        })
    }

    /// The file with the keys, for `JWT_JWKS`.
    pub fn jwks(&self) -> &Path {
        &self.jwks
    }

    /// The value of `Authorization` with a token that has these claims, and `exp`, a day from now.
    ///
    /// # Panics
    /// When the claims are not an object.
    pub fn authorization(&self, claims: Value) -> String {
        self.authorization_for(LIFE, claims)
    }

    /// [`Tokens::authorization`] with a token that lives for whole seconds.
    ///
    /// # Panics
    /// When the claims are not an object.
    pub fn authorization_for(&self, life: Duration, mut claims: Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        claims["exp"] = json!(now.unwrap_or_default().as_secs() + life.as_secs());
        let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let header = json!({"alg": "EdDSA", "kid": "1"});
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("Bearer {signed}.{signature}")
    }
}
