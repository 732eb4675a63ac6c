//! The signatures that a service has accepted: none is accepted twice.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

use super::{AGE_SECONDS_MAX, AHEAD_SECONDS_MAX};

/// How many signatures are remembered: all of 60 s at 17,000 requests a second. They take up to about 18 MB.
const SIGNATURES_MAX: usize = 1 << 20;

/// The start of a signature. At 17,000 requests a second, two of the same second are equal once in 4,000 years; the
/// later one is refused.
pub(super) type Fingerprint = u64;

/// The signatures that were accepted and have not expired.
///
/// When there are too many, those of the oldest second are forgotten, and from then on nothing as old as they are is
/// accepted. So under a load that is too high for this memory, a signature is valid for less than 60 s, but never
/// twice. A gateway sends a request as soon as it is signed, and does not notice.
pub(super) struct UsedSignatures {
    /// By the second in which they were created.
    by_second: BTreeMap<u64, HashSet<Fingerprint, BuildHasherDefault<AsItIs>>>,
    count: usize,
    count_max: usize,
    /// The last second whose signatures were forgotten before they expired.
    forgotten: Option<u64>,
}

impl Default for UsedSignatures {
    fn default() -> Self {
        Self::new(SIGNATURES_MAX)
    }
}

impl UsedSignatures {
    fn new(count_max: usize) -> Self {
        Self {
            by_second: BTreeMap::new(),
            count: 0,
            count_max,
            forgotten: None,
        }
    }

    /// Checks that a signature can still be used.
    ///
    /// # Errors
    /// If it was used before, or is so old that this is not known any more.
    pub(super) fn check(&self, created: u64, fingerprint: Fingerprint) -> Result<(), &'static str> {
        // What is older than this range had expired before anything was forgotten. It is valid again when the clock is
        // set back, and then waits for nothing.
        let unknown = self.forgotten.is_some_and(|last| {
            let first = last.saturating_sub(AGE_SECONDS_MAX + AHEAD_SECONDS_MAX);
            (first..=last).contains(&created)
        });
        if unknown {
            return Err("the signature is too old while there are so many requests");
        }
        match self.by_second.get(&created) {
            Some(used) if used.contains(&fingerprint) => {
                Err("the signature was used before: a request cannot be repeated")
            }
            _ => Ok(()),
        }
    }

    /// Remembers a signature until it expires.
    ///
    /// # Errors
    /// As of [`UsedSignatures::check`].
    pub(super) fn add(
        &mut self,
        now: u64,
        created: u64,
        fingerprint: Fingerprint,
    ) -> Result<(), &'static str> {
        self.check(created, fingerprint)?;
        while let Some(oldest) = self.by_second.first_entry()
            && oldest.key().saturating_add(AGE_SECONDS_MAX) < now
        {
            self.count -= oldest.remove().len();
        }
        if self.count >= self.count_max
            && let Some((second, used)) = self.by_second.pop_first()
        {
            self.count -= used.len();
            self.forgotten = Some(second);
            self.check(created, fingerprint)?;
        }
        self.by_second
            .entry(created)
            .or_default()
            .insert(fingerprint);
        self.count += 1;
        Ok(())
    }
}

/// The hash of a fingerprint is the fingerprint: a part of a message authentication code is as random.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_used_once_until_it_expires() {
        let mut used = UsedSignatures::new(10);
        assert_eq!(used.add(100, 100, 1), Ok(()));
        assert!(used.add(100, 100, 1).is_err());
        assert!(used.add(160, 100, 1).is_err());
        // The same start in another second is another signature.
        assert_eq!(used.add(100, 101, 1), Ok(()));
        assert_eq!(used.count, 2);
        assert_eq!(used.add(162, 160, 2), Ok(()));
        assert_eq!((used.count, used.by_second.len()), (1, 1));
    }

    #[test]
    fn a_full_memory_forgets_the_oldest_and_accepts_nothing_as_old() {
        let mut used = UsedSignatures::new(10);
        for (created, fingerprint) in [(100, 1), (100, 2), (101, 3)] {
            assert_eq!(used.add(101, created, fingerprint), Ok(()));
        }
        for second in 102..132 {
            assert_eq!(used.add(second, second, 0), Ok(()));
            assert!(used.count <= 10);
        }
        // None of these has expired, and none is accepted again, remembered or not.
        for (created, fingerprint) in [(100, 1), (100, 2), (101, 3), (102, 0), (131, 0)] {
            assert!(used.add(132, created, fingerprint).is_err(), "{created}");
        }
        assert!(used.add(132, 101, 1_000).is_err(), "not known any more");
        assert_eq!(used.add(132, 131, 1_000), Ok(()));
    }

    #[test]
    fn a_hundred_thousand_signatures_are_remembered() {
        let mut used = UsedSignatures::default();
        let signatures = || (0..100_000).map(|number| (100 + number / 2_000, number));
        for (created, fingerprint) in signatures() {
            assert_eq!(used.add(created, created, fingerprint), Ok(()));
        }
        let mut again = signatures();
        assert!(again.all(|(created, fingerprint)| used.add(150, created, fingerprint).is_err()));
    }

    #[test]
    fn a_second_that_fills_the_memory_alone_ends_early() {
        let mut used = UsedSignatures::new(10);
        let accepted = (0..100).filter(|fingerprint| used.add(100, 100, *fingerprint).is_ok());
        assert_eq!(accepted.count(), 10);
        assert_eq!(used.count, 0);
        assert_eq!(used.add(101, 101, 0), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_ends_nothing_for_long() {
        let mut used = UsedSignatures::new(1);
        assert_eq!(used.add(10_000, 10_000, 1), Ok(()));
        assert_eq!(used.add(10_001, 10_001, 2), Ok(()));
        assert_eq!(used.forgotten, Some(10_000));
        assert!(used.add(9_990, 9_990, 3).is_err());
        assert_eq!(used.add(9_900, 9_900, 3), Ok(()));
    }
}
