//! The tokens that have been verified, so that each is verified once.

use std::{
    hash::{Hash, Hasher, RandomState},
    sync::Arc,
    time::SystemTime,
};

use quick_cache::{Equivalent, Weighter, sync::Cache};

use super::Identity;

/// Bytes of an entry beside its texts.
const ENTRY_BYTES: usize = 512;
/// Bytes at the end of a token that are hashed. They are a part of its signature, so they differ between valid
/// tokens.
const HASHED_BYTES: usize = 64;

/// Verified tokens, within a bound of bytes. A token is compared as a whole: its hash only finds it, and is
/// keyed, so that nobody can make tokens that collide.
pub(super) struct KnownTokens(Cache<Text, Known, Weight, RandomState>);

/// The text of a token.
#[derive(Clone, PartialEq, Eq)]
struct Text(Box<[u8]>);

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Sought(&self.0).hash(state);
    }
}

/// A token that is looked for.
struct Sought<'t>(&'t [u8]);

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let start = self.0.len().saturating_sub(HASHED_BYTES);
        state.write(&self.0[start..]);
    }
}

impl Equivalent<Text> for Sought<'_> {
    fn equivalent(&self, key: &Text) -> bool {
        *self.0 == *key.0
    }
}

/// What is known of a token.
#[derive(Clone)]
struct Known {
    identity: Arc<Identity>,
    /// The epoch of the keys with which it was verified.
    epoch: u64,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Text, Known> for Weight {
    fn weight(&self, token: &Text, known: &Known) -> u64 {
        (ENTRY_BYTES + token.0.len() + known.identity.bytes) as u64
    }
}

impl KnownTokens {
    pub(super) fn new(bytes_max: usize) -> Self {
        // A token with its claims takes about 4 KiB.
        let entries = (bytes_max / 4096).max(1);
        let cache = Cache::with(
            entries,
            bytes_max as u64,
            Weight,
            RandomState::new(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        Self(cache)
    }

    /// Who a token stands for, if it was verified with keys of this epoch and has not ended.
    pub(super) fn get(&self, token: &[u8], epoch: u64, now: SystemTime) -> Option<Arc<Identity>> {
        let known = self.0.get(&Sought(token))?;
        if known.epoch != epoch || known.identity.ends <= now {
            self.0.remove(&Sought(token));
            return None;
        }
        Some(known.identity)
    }

    pub(super) fn insert(&self, token: &str, epoch: u64, identity: &Arc<Identity>) {
        let identity = Arc::clone(identity);
        let text = Text(token.as_bytes().into());
        self.0.insert(text, Known { identity, epoch });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn identity(ends: u64) -> Arc<Identity> {
        Arc::new(Identity {
            ends: UNIX_EPOCH + Duration::from_secs(ends),
            ..Identity::default()
        })
    }

    #[test]
    fn a_token_is_known_until_it_ends_or_its_keys_change() {
        let known = KnownTokens::new(1 << 20);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        known.insert("a", 0, &identity(10));
        assert!(known.get(b"a", 0, at(9)).is_some());
        assert!(known.get(b"b", 0, at(9)).is_none());
        assert!(known.get(b"a", 0, at(10)).is_none());
        assert_eq!(known.len(), 0, "what has ended takes no room");
        known.insert("a", 0, &identity(10));
        assert!(known.get(b"a", 1, at(9)).is_none());
    }

    #[test]
    fn tokens_with_the_same_end_are_different_tokens() {
        let known = KnownTokens::new(1 << 20);
        let token = |first: &str| format!("{first}{}", "s".repeat(HASHED_BYTES));
        known.insert(&token("a"), 0, &identity(10));
        let now = UNIX_EPOCH;
        assert!(known.get(token("a").as_bytes(), 0, now).is_some());
        assert!(known.get(token("b").as_bytes(), 0, now).is_none());
        assert!(known.get(token("").as_bytes(), 0, now).is_none());
    }

    #[test]
    fn known_tokens_have_a_bound() {
        let known = KnownTokens::new(100 * (ENTRY_BYTES + 8));
        for number in 0..10_000 {
            known.insert(&number.to_string(), 0, &identity(10));
        }
        assert!((1..=120).contains(&known.len()), "{}", known.len());
    }
}
