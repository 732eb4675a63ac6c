//! One key of a JWK set (RFC 7517), and checking a signature with it.
//!
//! A key checks only the algorithms of its own type, whatever the token's header says: so a public RSA key is
//! never the secret of an HMAC.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519},
    signature::{RsaPublicKeyComponents, UnparsedPublicKey},
};
use serde::Deserialize;

use super::algorithm::Algorithm;

/// Bits of an RSA modulus: shorter ones are too weak, longer ones take too long to check.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The largest RSA exponent, in bytes.
const EXPONENT_BYTES_MAX: usize = 4;
/// The shortest HMAC secret, in bytes (RFC 7518, section 3.2, for SHA-256).
const SECRET_BYTES_MIN: usize = 32;

/// A key that checks signatures.
pub struct Key {
    pub(super) id: Option<String>,
    /// The only algorithm for which the set gives the key.
    algorithm: Option<Algorithm>,
    material: Material,
}

enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point: `0x04`, then both coordinates. So is that of the next curve.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(Vec<u8>),
}

/// The members of a JWK that are used. Of a private key only the public part is.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// In words, why it cannot check the signature of a token.
    pub(super) fn read(jwk: Jwk) -> Result<Self, String> {
        if jwk
            .purpose
            .as_deref()
            .is_some_and(|purpose| purpose != "sig")
        {
            return Err("its `use` is not `sig`".to_owned());
        }
        let operations = jwk.key_ops.as_deref();
        if operations.is_some_and(|operations| operations.iter().all(|it| it != "verify")) {
            return Err("its `key_ops` do not have `verify`".to_owned());
        }
        let algorithm = match jwk.alg.as_deref() {
            None => None,
            Some(name) => {
                Some(Algorithm::named(name).ok_or_else(|| format!("its `alg` is {name:?}"))?)
            }
        };
        let material = Material::read(&jwk)?;
        if algorithm.is_some_and(|algorithm| !material.fits(algorithm)) {
            return Err("its `alg` does not fit its `kty`".to_owned());
        }
        Ok(Self {
            id: jwk.kid,
            algorithm,
            material,
        })
    }

    /// Whether it checks signatures of this algorithm.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        let only = self.algorithm;
        only.is_none_or(|only| only == algorithm) && self.material.fits(algorithm)
    }

    /// Whether it is a secret that has to be kept.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.material, Material::Secret(_))
    }

    /// Whether this is the signature of `signed`. Always false for an algorithm that does not fit.
    pub fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        match &self.material {
            Material::Rsa { modulus, exponent } => algorithm.rsa().is_some_and(|parameters| {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(parameters, signed, signature).is_ok()
            }),
            Material::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(signed, signature)
                .is_ok(),
            Material::P384(point) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                .verify(signed, signature)
                .is_ok(),
            Material::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key)
                .verify(signed, signature)
                .is_ok(),
            Material::Secret(secret) => algorithm.hmac().is_some_and(|algorithm| {
                let key = hmac::Key::new(algorithm, secret);
                hmac::verify(&key, signed, signature).is_ok()
            }),
        }
    }

    /// Whether both are the same key with the same rules.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.id, self.algorithm) == (&other.id, other.algorithm)
            && self.material.parts() == other.material.parts()
    }
}

impl Material {
    fn read(jwk: &Jwk) -> Result<Self, String> {
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let modulus = without_zeros(bytes("n", jwk.n.as_deref())?);
                let exponent = without_zeros(bytes("e", jwk.e.as_deref())?);
                let first = modulus.first().map_or(0, |first| first.leading_zeros());
                let bits = modulus.len() * 8 - first as usize;
                if !RSA_BITS.contains(&bits) {
                    return Err(format!("its modulus has {bits} bits, not 2048 to 4096"));
                }
                if exponent.is_empty() || exponent.len() > EXPONENT_BYTES_MAX {
                    return Err("its exponent is not of 1 to 4 bytes".to_owned());
                }
                Ok(Self::Rsa { modulus, exponent })
            }
            ("EC", Some("P-256")) => Ok(Self::P256(point(jwk, 32)?)),
            ("EC", Some("P-384")) => Ok(Self::P384(point(jwk, 48)?)),
            ("OKP", Some("Ed25519")) => {
                let key = bytes("x", jwk.x.as_deref())?;
                match key.len() {
                    32 => Ok(Self::Ed25519(key)),
                    length => Err(format!("its `x` has {length} bytes, not 32")),
                }
            }
            ("oct", _) => {
                let secret = bytes("k", jwk.k.as_deref())?;
                match secret.len() >= SECRET_BYTES_MIN {
                    true => Ok(Self::Secret(secret)),
                    false => Err("its secret has less than 32 bytes".to_owned()),
                }
            }
            (kty, crv) => Err(format!(
                "its type is not supported (`kty` {kty:?}, `crv` {:?})",
                crv.unwrap_or_default()
            )),
        }
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => algorithm.rsa().is_some(),
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::P384(_) => algorithm == Algorithm::Es384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
            Self::Secret(_) => algorithm.has_shared_secret(),
        }
    }

    fn parts(&self) -> (u8, &[u8], &[u8]) {
        match self {
            Self::Rsa { modulus, exponent } => (0, modulus, exponent),
            Self::P256(key) => (1, key, &[]),
            Self::P384(key) => (2, key, &[]),
            Self::Ed25519(key) => (3, key, &[]),
            Self::Secret(key) => (4, key, &[]),
        }
    }
}

fn point(jwk: &Jwk, coordinate_bytes: usize) -> Result<Vec<u8>, String> {
    let mut point = vec![4];
    for (name, coordinate) in [("x", &jwk.x), ("y", &jwk.y)] {
        let coordinate = bytes(name, coordinate.as_deref())?;
        if coordinate.len() != coordinate_bytes {
            return Err(format!(
                "its `{name}` has {} bytes, not {coordinate_bytes}",
                coordinate.len()
            ));
        }
        point.extend_from_slice(&coordinate);
    }
    Ok(point)
}

fn bytes(name: &str, member: Option<&str>) -> Result<Vec<u8>, String> {
    let text = member.ok_or_else(|| format!("it has no `{name}`"))?;
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    decoded.map_err(|_| format!("its `{name}` is not base64url"))
}

fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}

#[cfg(test)]
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
    };
    use serde_json::{Value, json};

    use super::*;

    // A key made for this test with OpenSSL, and what it has signed.
    const MODULUS: &str = "oHsuSDl_yJtIzVtlhBqW_C6RLFL-QOG7YuKoUAX900_T19ZPkEaGTKl-Ompoqgmzya7FX8xRXEbgslVwcq7SRw7NThvzI68g-ifcLxiMeEO61o8SKTJmimL3yD1POZEHMN6G32-34G30kV1wJ0lkiVAXv_RnyjKEfxMSXyLlNkGdn9IExmEJiCS5WmXenxP2KzeRtRSnqYMvKue0SyB90Ywx_PwCfqzZVTZmNZBADeQ9AFomxeDtPsBZ1-4-wVXRByBT12B1GkWxFKIaBbKo-qtInMz5fgtKLj3vKxKsKX3PEgpOM3fsqcwRZuLbatIh4a1FaEAp_IdgHQqdAwJ33w";
    const RS256: [&str; 2] = [
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0",
        "NwxG8KPNytOjbbvSiOtcrW0ozav5ZWFdMglcSjgrIZGHu3_kadzC-f3abaGD8UJcVJaLCpqvaI8SlSQBQzfIGPCavbInx-h3Ggms0y4d0kXIPeVEmSDVLbE1jeVZSwyM8SAmuyQks_DxK85bEbpltBOuYQbMnQ-FQbp8klDHMadBi7knr86Gn0dYpKU9lBKM2_WN08Gl2wlnn_FGUqFqcEURaX-gZpmMSdBIKgXIskqWWjcN-P1NSq9hrkFoubdSjvYMK3r6tc2s-Xyj0nT-z_1L1JSxhBZvLrBDQ282SKeio1ebRZH3ry8DjGA7aeM5tKHeULnNOggN8qklKFlT-g",
    ];
    const RS384: [&str; 2] = [
        "eyJhbGciOiJSUzM4NCJ9.eyJzdWIiOiIxIn0",
        "jhmdpf_chkF-oZaywRhr83ZCr5haHGkkqDfCA2CsKp5yGTvHrcUSdYM9NV1mqUdUmi6GIEqABJ_2i6PDG35McIniDUoJdhOiuw-aGKtsj0PAWshyTjQHaqnjgDXguDsrTWrAQv5AfaTxdjYFoOLtNWNNolTcAkyUM4amY7KS_oU2jkfIRl3-7PkWmgEuPpWpMNIEG5HKbJIhY4nd81g5_r8TiWufz_jh-qYjLj9ypyjIAbbNe8MmuH334lTNY4yPCBOqJMlWXUyH_bcE6BoFJlOi8cICx48NqjQ_ADiVmhYODcar4ix0jJ518Ir7-710h4skB1JQwIMzop76f-jPsA",
    ];
    const RS512: [&str; 2] = [
        "eyJhbGciOiJSUzUxMiJ9.eyJzdWIiOiIxIn0",
        "DjyO79XX-xWO3e2JpUCgqIsw60_MFGdE27ubjHHP2WyKI9hvo5C_2dvbyPqEM_gXFQuhr8aiwD38ppSAAeRz1LWP_NXxpT23KMOkmTQCO57nD3CzNpob-07EXsMhG7r1VZm5s072nx2nwtDNZhbQEKuHqPYO0oUZCco9VaJBbGGlqL-zGFUs5uDtUBSKDhT4zqemtYNQnt3BHqNQpGa6miwmMEhyDfj3fDWoHYd0FMIa5FeaXs-7TwAM8fmcHtw-5VSA4sbloJCDil-SwrAn9LTOSLE3bsZWPAiBHSDp1yZfzTH5SNql41k4wdX58a1ltR8qHz9Ki1Fz0RW9lvYy_A",
    ];
    const PS256: [&str; 2] = [
        "eyJhbGciOiJQUzI1NiJ9.eyJzdWIiOiIxIn0",
        "UTzHd-n7tZ2kxfGqBulcje2PE_lCcJ--ecXA7Omk16D-IWAFbh8K0zK430X_xoD-Jn-_7gdOu3tS51zOUKb85E-XEyja-_TKGg2rMPoVjMVubTlhrycpvPNdVsrX0XTw1Wd_w9aKwUqg4PPvWWVkYBo0-W1XyDF35Zvi89rlNGPOx54sOHPUOEGAZBEhWNSfKKiufMbwZP2Xo6O9V2z0EuBF6HdvYOo8ojLo1m4kiNXlXCIAF7R7aYJwTIEp0E2cD3tM_adXCPP7eDckTRLuFg1-UXGBHkBHrPm3hYwnsf4qLvoJFc_RsYvsNc9lS9r-WsojlX3QcghG-ZXUaydOIw",
    ];
    const PS384: [&str; 2] = [
        "eyJhbGciOiJQUzM4NCJ9.eyJzdWIiOiIxIn0",
        "Bc32W635tLC5dDs6yhD6VVtT23umGPbpGUihKY6N5FFMytDtjx9jf-tNjSsm40lWuU69lJak28ddKArTK0PNoTw2Jaw6pJgeQOtx_aky4E1hJjYrEIL-1ZEzuWGPqlWcZidq6RgbN_OoXT2HEmnCbH_UiivSldwNWSVy42sqwHM4kmjefvu-7UCMEAlDSbfrjp3q4VAxr21ztdt6_-EZyufnSpwmvYBIeQmHBMN9NArYihbRxF6K4ZbF01ODbRjwsXczytzOmodrHKZv7w14UmH92fDJYEOue8VTazlg21_THLgAxWaSjN2yYEz2cl6F5xYNDgcwW0WdGOBwMZYkJg",
    ];
    const PS512: [&str; 2] = [
        "eyJhbGciOiJQUzUxMiJ9.eyJzdWIiOiIxIn0",
        "QHykFjObvrg-q3aEuhw0Go9grat0oljnL6MoSB_SSkLC-VuY7SfyvDPltJh1lfVbCY5l3SidIHDQjBO2byY3s_o-xrwNVYywCmyqOQVguziCz-Phkj3RfogX2bDWAb_hb_X_vIg-I5Z9pXlMEWGTshibjYCXQpjhEKgH_M9I5yd5hPhUKY_aNTfLBXkVAf8f4JbwHy944vIzH5vSXe1aXTMx-qJzOkyCceZeYE8r7ZG5XYVEKsuT6QXnqtJANCZrrl508felyxyz1jOJQOH1IJCSou4xCTCNajFPauBchiV_08JmrbvgagKXgGDx_bT0rv3O5oOALX39wJ9kr1CPPQ",
    ];

    fn key(jwk: Value) -> Result<Key, String> {
        Key::read(serde_json::from_value(jwk).expect("the members of a key"))
    }

    fn rsa(more: Value) -> Value {
        let mut jwk = json!({"kty": "RSA", "n": MODULUS, "e": "AQAB"});
        let members = jwk.as_object_mut().expect("an object");
        members.extend(more.as_object().expect("an object").clone());
        jwk
    }

    fn encoded(bytes: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn verifies(key: &Key, algorithm: Algorithm, [signed, signature]: [&str; 2]) -> bool {
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        key.verifies(algorithm, signed.as_bytes(), &signature)
    }

    #[test]
    fn an_rsa_key_checks_each_padding_with_each_digest_and_nothing_else() {
        let key = key(rsa(json!({}))).expect("a key");
        let signed = [
            (Algorithm::Rs256, RS256),
            (Algorithm::Rs384, RS384),
            (Algorithm::Rs512, RS512),
            (Algorithm::Ps256, PS256),
            (Algorithm::Ps384, PS384),
            (Algorithm::Ps512, PS512),
        ];
        for (algorithm, _) in signed {
            for (by, token) in signed {
                let is_right = by == algorithm;
                let told = format!("{by:?} as {algorithm:?}");
                assert_eq!(verifies(&key, algorithm, token), is_right, "{told}");
                let tampered = [PS256[0], token[1]];
                let is_right = is_right && by == Algorithm::Ps256;
                assert_eq!(verifies(&key, algorithm, tampered), is_right, "{told}");
            }
        }
    }

    #[test]
    fn a_public_key_is_no_secret() {
        let rsa = key(rsa(json!({}))).expect("a key");
        // What an attacker signs with the public key, in the forms in which it is known.
        let modulus = BASE64_URL_SAFE_NO_PAD.decode(MODULUS).expect("base64url");
        for secret in [&modulus[..], MODULUS.as_bytes()] {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let tag = hmac::sign(&secret, b"a.b");
            assert!(!rsa.verifies(Algorithm::Hs256, b"a.b", tag.as_ref()));
        }
        assert!(!rsa.fits(Algorithm::Hs256));
        let secret = key(json!({"kty": "oct", "k": encoded(&[7; 32])})).expect("a key");
        assert!(!secret.fits(Algorithm::Rs256) && !secret.fits(Algorithm::Es256));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), b"a.b");
        assert!(secret.verifies(Algorithm::Hs256, b"a.b", tag.as_ref()));
        assert!(!secret.verifies(Algorithm::Hs384, b"a.b", tag.as_ref()));
    }

    #[test]
    fn a_key_is_used_only_as_its_set_says() {
        let only = key(rsa(
            json!({"alg": "PS256", "use": "sig", "key_ops": ["verify"]}),
        ));
        let only = only.expect("a key");
        assert!(verifies(&only, Algorithm::Ps256, PS256));
        assert!(!verifies(&only, Algorithm::Rs256, RS256));
        for refused in [
            rsa(json!({"use": "enc"})),
            rsa(json!({"key_ops": ["encrypt"]})),
            rsa(json!({"alg": "HS256"})),
            rsa(json!({"alg": "ES256"})),
            rsa(json!({"alg": "RSA-OAEP"})),
            rsa(json!({"alg": "none"})),
            rsa(json!({"n": encoded(&[0xff; 128])})),
            rsa(json!({"n": encoded(&[0xff; 1024])})),
            rsa(json!({"e": ""})),
            rsa(json!({"e": "!"})),
            json!({"kty": "RSA"}),
            json!({"kty": "oct", "k": encoded(&[7; 31])}),
            json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
            json!({"kty": "EC", "crv": "P-256", "x": encoded(&[1; 31]), "y": encoded(&[1; 32])}),
            json!({"kty": "OKP", "crv": "X25519", "x": encoded(&[1; 32])}),
            json!({"kty": "new"}),
        ] {
            assert!(key(refused.clone()).is_err(), "{refused}");
        }
    }

    #[test]
    fn curves_check_their_own_signatures() {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random);
        let document = document.expect("a key");
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
        let point = pair.public_key().as_ref();
        let (x, y) = (encoded(&point[1..49]), encoded(&point[49..]));
        let p384 = key(json!({"kty": "EC", "crv": "P-384", "x": x, "y": y})).expect("a key");
        let signature = pair.sign(&random, b"a.b").expect("a signature");
        assert!(p384.verifies(Algorithm::Es384, b"a.b", signature.as_ref()));
        assert!(!p384.verifies(Algorithm::Es384, b"a.c", signature.as_ref()));
        assert!(!p384.fits(Algorithm::Es256));

        let document = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
        let x = encoded(pair.public_key().as_ref());
        let ed25519 = key(json!({"kty": "OKP", "crv": "Ed25519", "x": x})).expect("a key");
        let signature = pair.sign(b"a.b");
        assert!(ed25519.verifies(Algorithm::EdDsa, b"a.b", signature.as_ref()));
        assert!(!ed25519.verifies(Algorithm::EdDsa, b"a.c", signature.as_ref()));
    }
}
