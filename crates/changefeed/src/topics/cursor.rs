//! Cursors: where in a topic a subscriber is, in a form that clients can keep but not make.
//!
//! A cursor is base64url without padding of
//!
//! | bytes | meaning |
//! |---|---|
//! | 1 | 0xCF, by which a cursor differs from other text |
//! | 1 | version: 1 |
//! | 4 | the source: the first bytes of SHA-256 of database and collection |
//! | 4 | the topic: the first bytes of SHA-256 of its BSON |
//! | 2 | length of the token, big-endian |
//! | n | the resume token: 0 and its key's bytes, or 1 and its BSON |
//! | 16 | HMAC-SHA-256 over all before it, and source and topic in full, cut |
//!
//! [`super::cursor_keys`] has the keys, and when they change.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bson::{Bson, RawDocumentBuf, doc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::position::Position;
use crate::{CursorError, Error, ResumeToken, Source};

use super::cursor_keys::{self, Keys};

const MAGIC: u8 = 0xCF;
const VERSION: u8 = 1;
const HEAD: usize = 12;
const TAG: usize = 16;
/// Longer texts are refused unread. Tokens hold the document's `_id`; ours are far shorter.
const TEXT_MAX: usize = 8192;
/// Unknown keys make this process read the stored ones this often at most.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// A place in one topic, opaque to clients and safe in a URL. Resume after it with
/// [`crate::Hub::subscribe`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(String);

impl Cursor {
    /// The text to hand out.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The most that a cursor with a token of so many bytes takes on the heap.
    pub(crate) fn bytes_max(token: usize) -> usize {
        (HEAD + 1 + token + TAG).div_ceil(3) * 4
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Makes the cursors of one source and reads them back.
#[derive(Clone)]
pub(crate) struct Codec {
    source: String,
    keys: Arc<RwLock<Keys>>,
}

impl Codec {
    /// Reads the key from the database, or makes it there.
    pub async fn load(source: &Source) -> Result<Self, Error> {
        let codec = Self {
            source: format!("{}.{}", source.database().name(), source.collection()),
            keys: Arc::default(),
        };
        *codec.keys_mut() = cursor_keys::store(source, &cursor_keys::random()).await?;
        Ok(codec)
    }

    /// Writes the signing key again if none is stored, or takes the stored one; keys that others sign
    /// with become known.
    pub async fn refresh(&self, source: &Source) -> Result<(), Error> {
        let mine = {
            let mut keys = self.keys_mut();
            keys.read_at = Some(Instant::now());
            keys.signing.clone()
        };
        let stored = cursor_keys::store(source, &mine).await?;
        if stored.signing != mine && !stored.is_restored(&mine) {
            tracing::info!(
                source = self.source,
                "another instance has stored a new key for cursors: this instance signs with that one from now on, and still accepts the old one"
            );
            cursor_keys::store_older(source, &mine).await?;
        }
        self.keys_mut().adopt(stored);
        Ok(())
    }

    /// Whether the stored keys were not read just now.
    pub fn is_refresh_due(&self) -> bool {
        let read_at = self.keys().read_at;
        read_at.is_none_or(|at| at.elapsed() >= REFRESH_INTERVAL)
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys_mut(&self) -> RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cursor of a place in a topic.
    pub fn encode(&self, topic: &Bson, token: &ResumeToken) -> Cursor {
        let topic = topic_bytes(topic);
        let token = pack(token);
        let mut bytes = Vec::with_capacity(HEAD + token.len() + TAG);
        bytes.extend([MAGIC, VERSION]);
        bytes.extend(fingerprint(self.source.as_bytes()));
        bytes.extend(fingerprint(&topic));
        bytes.extend(u16::try_from(token.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(token);
        let mac = self.mac(&self.keys().signing, &bytes, &topic);
        let tag = mac.finalize().into_bytes();
        bytes.extend(&tag[..TAG]);
        Cursor(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The place that a text names in a topic.
    pub fn decode(&self, topic: &Bson, text: &str) -> Result<(ResumeToken, Position), CursorError> {
        if text.len() > TEXT_MAX {
            return Err(CursorError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| CursorError::Malformed)?;
        let (head, rest) = bytes.split_at_checked(HEAD).ok_or(CursorError::Malformed)?;
        if head[0] != MAGIC {
            return Err(CursorError::Malformed);
        }
        if head[1] != VERSION {
            return Err(CursorError::UnknownVersion(head[1]));
        }
        let length = usize::from(u16::from_be_bytes([head[10], head[11]]));
        let (token, tag) = rest
            .split_at_checked(length)
            .ok_or(CursorError::Malformed)?;
        if tag.len() != TAG {
            return Err(CursorError::Malformed);
        }
        let topic = topic_bytes(topic);
        if head[2..6] != fingerprint(self.source.as_bytes()) {
            return Err(CursorError::Foreign("collection"));
        }
        if head[6..10] != fingerprint(&topic) {
            return Err(CursorError::Foreign("topic"));
        }
        let signed_with = |key: &[u8]| {
            let mac = self.mac(key, &bytes[..HEAD + length], &topic);
            mac.verify_truncated_left(tag).is_ok()
        };
        let keys = self.keys();
        if !keys.known().any(signed_with) {
            return Err(match keys.restored().any(signed_with) {
                true => CursorError::Restored,
                false => CursorError::Forged,
            });
        }
        let token = unpack(token).ok_or(CursorError::Malformed)?;
        let position = Position::of(&token).ok_or(CursorError::Malformed)?;
        Ok((token, position))
    }

    fn mac(&self, key: &[u8], bytes: &[u8], topic: &[u8]) -> Hmac<Sha256> {
        let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes keys of every length"),
        };
        mac.update(bytes);
        mac.update(self.source.as_bytes());
        mac.update(topic);
        mac
    }
}

fn topic_bytes(topic: &Bson) -> Vec<u8> {
    // A topic that came from a document or a caller always encodes; an empty form would only make
    // cursors of such topics interchangeable.
    bson::serialize_to_vec(&doc! { "": topic }).unwrap_or_default()
}

fn fingerprint(bytes: &[u8]) -> [u8; 4] {
    let digest = Sha256::digest(bytes);
    [digest[0], digest[1], digest[2], digest[3]]
}

/// A token that is nothing but its key, in capital hex digits, is packed as the key's bytes.
fn pack(token: &ResumeToken) -> Vec<u8> {
    let alone = token.0.iter().count() == 1;
    match token.data().filter(|_| alone).and_then(bytes_of_hex) {
        Some(key) => [&[0], key.as_slice()].concat(),
        None => [&[1], token.0.as_bytes()].concat(),
    }
}

fn unpack(bytes: &[u8]) -> Option<ResumeToken> {
    let (kind, rest) = bytes.split_first()?;
    match kind {
        0 => {
            let hex: String = rest.iter().map(|byte| format!("{byte:02X}")).collect();
            Some(ResumeToken::from_data(&hex))
        }
        1 => RawDocumentBuf::from_bytes(rest.to_vec())
            .ok()
            .map(ResumeToken),
        _ => None,
    }
}

fn bytes_of_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec() -> Codec {
        Codec {
            source: "app.votes".to_owned(),
            keys: Arc::new(RwLock::new(Keys::signing_with(vec![7; 32]))),
        }
    }

    fn token() -> ResumeToken {
        ResumeToken::from_data("8265A1B2C3000000052B0229296E04")
    }

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        let with_type_bits =
            RawDocumentBuf::try_from(&doc! { "_data": "8265A1B2C300000005", "_typeBits": "x" });
        for token in [token(), ResumeToken(with_type_bits.expect("a document"))] {
            let cursor = codec().encode(&Bson::from("lunch"), &token);
            let (decoded, position) = codec()
                .decode(&Bson::from("lunch"), cursor.as_str())
                .expect("our own cursor");
            assert_eq!(decoded, token);
            assert_eq!(Some(position), Position::of(&token));
        }
    }

    #[test]
    fn a_cursor_of_another_topic_or_collection_is_foreign() {
        let cursor = codec().encode(&Bson::from("lunch"), &token());
        assert_eq!(
            codec().decode(&Bson::from("dinner"), cursor.as_str()),
            Err(CursorError::Foreign("topic"))
        );
        let other = Codec {
            source: "app.polls".to_owned(),
            ..codec()
        };
        assert_eq!(
            other.decode(&Bson::from("lunch"), cursor.as_str()),
            Err(CursorError::Foreign("collection"))
        );
    }

    #[test]
    fn every_truncation_is_malformed_and_every_flipped_bit_is_refused() {
        let topic = Bson::from("lunch");
        let cursor = codec().encode(&topic, &token());
        for length in 0..cursor.as_str().len() {
            assert_eq!(
                codec().decode(&topic, &cursor.as_str()[..length]),
                Err(CursorError::Malformed),
                "{length}"
            );
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor.as_str()).expect("base64");
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                codec()
                    .decode(&topic, &URL_SAFE_NO_PAD.encode(&forged))
                    .is_err(),
                "bit {bit}"
            );
        }
        let mut forged = bytes.clone();
        forged[HEAD + 3] ^= 1;
        assert_eq!(
            codec().decode(&topic, &URL_SAFE_NO_PAD.encode(&forged)),
            Err(CursorError::Forged)
        );
        let mut newer = bytes;
        newer[1] = 2;
        assert_eq!(
            codec().decode(&topic, &URL_SAFE_NO_PAD.encode(&newer)),
            Err(CursorError::UnknownVersion(2))
        );
    }

    #[test]
    fn other_text_is_no_cursor() {
        for text in [
            "",
            "hello",
            "{\"$gt\": 1}",
            "\u{1F4A5}",
            &"A".repeat(100_000),
        ] {
            assert_eq!(
                codec().decode(&Bson::from("lunch"), text),
                Err(CursorError::Malformed)
            );
        }
    }
}
