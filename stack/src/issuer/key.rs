//! The issuer's key: ES256 (RFC 7518, section 3.4), which every library for tokens knows.

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

/// Random bytes in the key's name: a gateway that knows the key of an earlier start has to read the new one.
const ID_BYTES: usize = 12;

pub(super) struct SigningKey {
    id: String,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl SigningKey {
    /// # Errors
    /// When the system gives no random numbers.
    pub(super) fn generate() -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let mut id = [0; ID_BYTES];
        let pair = (|| {
            random.fill(&mut id).ok()?;
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).ok()?;
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).ok()
        })();
        Ok(Self {
            id: encoded(&id),
            pair: pair.context("cannot generate the issuer's key")?,
            random,
        })
    }

    /// The public key (RFC 7517).
    pub(super) fn jwk(&self) -> Value {
        // An uncompressed point: one byte that says so, then both coordinates.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id,
            "x": encoded(x), "y": encoded(y),
        })
    }

    /// A signed token with these claims (RFC 7519). Signing fails only without random numbers; the text is then no
    /// token, and no gateway accepts it.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.id });
        let part = |json: &Value| encoded(json.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes());
        let signature = signature.map_or_else(|_| String::new(), |it| encoded(it.as_ref()));
        format!("{signed}.{signature}")
    }
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
