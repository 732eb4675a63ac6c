//! Automatic persisted queries, as Apollo Client speaks them.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quick_cache::{Weighter, unsync::Cache};
use sha2::{Digest, Sha256};

use crate::error::{Code, RequestError};

/// Documents by their hash. A full cache drops those that are used least.
pub(super) struct AutomaticDocuments {
    documents: Mutex<Cache<String, Arc<str>, Weights>>,
}

/// Documents share `bytes_max` by their length. Each counts for at least `bytes_min`, so that their number is
/// bounded, too.
#[derive(Clone)]
struct Weights {
    bytes_min: u64,
}

impl Weighter<String, Arc<str>> for Weights {
    fn weight(&self, _hash: &String, document: &Arc<str>) -> u64 {
        (document.len() as u64).max(self.bytes_min)
    }
}

impl AutomaticDocuments {
    /// At most `documents_max` documents, or 2, which have `bytes_max` bytes together.
    pub(super) fn new(documents_max: usize, bytes_max: usize) -> Self {
        // The library keeps nothing that weighs more than 97 % of all.
        let documents_max = documents_max.max(2);
        let weights = Weights {
            bytes_min: (bytes_max as u64).div_ceil(documents_max as u64).max(1),
        };
        Self {
            documents: Mutex::new(Cache::with_weighter(
                documents_max,
                bytes_max as u64,
                weights,
            )),
        }
    }

    /// The document that was kept under `hash`.
    ///
    /// # Errors
    /// `PERSISTED_QUERY_NOT_FOUND`.
    pub(super) fn find(&self, hash: &str) -> Result<Arc<str>, RequestError> {
        // The text is the one that Apollo's clients look for.
        let not_found =
            || RequestError::new(Code::PersistedQueryNotFound, "PersistedQueryNotFound");
        self.lock().get(hash).cloned().ok_or_else(not_found)
    }

    /// The document that was kept under `hash`, if it is found without a wait. It counts as no use.
    pub(super) fn look(&self, hash: &str) -> Option<Arc<str>> {
        let documents = self.documents.try_lock().ok()?;
        documents.peek(hash).cloned()
    }

    /// Keeps a document if its hash is right.
    ///
    /// # Errors
    /// `PERSISTED_QUERY_HASH_MISMATCH`.
    pub(super) fn keep(&self, hash: &str, document: &str) -> Result<Arc<str>, RequestError> {
        if sha256_hex(document) != hash {
            return Err(RequestError::new(
                Code::PersistedQueryHashMismatch,
                "the SHA-256 in the request is not that of the document",
            ));
        }
        let document: Arc<str> = document.into();
        self.lock().insert(hash.to_owned(), Arc::clone(&document));
        Ok(document)
    }

    fn lock(&self) -> MutexGuard<'_, Cache<String, Arc<str>, Weights>> {
        self.documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The SHA-256 of `text` in lower-case hexadecimal digits.
pub(super) fn sha256_hex(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(documents: &AutomaticDocuments, text: &str) -> String {
        let hash = sha256_hex(text);
        documents.keep(&hash, text).expect("the right hash");
        hash
    }

    #[test]
    fn a_document_under_a_wrong_hash_is_refused() {
        let documents = AutomaticDocuments::new(10, 1_000);
        let error = documents
            .keep(&sha256_hex("{a}"), "{b}")
            .expect_err("wrong");
        assert_eq!(error.code, Code::PersistedQueryHashMismatch);
        assert!(documents.find(&sha256_hex("{a}")).is_err());
    }

    #[test]
    fn what_is_used_stays_and_what_comes_is_kept() {
        let documents = AutomaticDocuments::new(4, 1_000);
        let used = kept(&documents, "{used}");
        for n in 0..20 {
            let new = kept(&documents, &format!("{{f{n}}}"));
            assert!(documents.find(&new).is_ok(), "{n}");
            assert!(documents.find(&used).is_ok(), "after {n} more");
            assert!(documents.lock().len() <= 4);
        }
    }

    #[test]
    fn who_only_looks_changes_nothing() {
        let [looked_at, left_alone] = [(); 2].map(|()| AutomaticDocuments::new(4, 1_000));
        let texts: Vec<_> = (0..20).map(|n| format!("{{f{n}}}")).collect();
        for text in &texts {
            let hash = kept(&looked_at, text);
            assert_eq!(looked_at.look(&hash).as_deref(), Some(&**text));
            kept(&left_alone, text);
            let holds = |documents: &AutomaticDocuments| {
                let is_kept = |text: &&String| documents.look(&sha256_hex(text)).is_some();
                texts.iter().filter(is_kept).count()
            };
            assert_eq!(holds(&looked_at), holds(&left_alone));
        }
        for text in &texts {
            let hash = sha256_hex(text);
            assert_eq!(looked_at.look(&hash), left_alone.look(&hash));
        }
        let held = looked_at.lock();
        assert!(looked_at.look(&sha256_hex("{f0}")).is_none());
        drop(held);
    }

    #[test]
    fn a_cache_of_one_document_keeps_it() {
        for documents_max in [0, 1] {
            let documents = AutomaticDocuments::new(documents_max, 1_000);
            let hash = kept(&documents, "{a}");
            assert!(documents.find(&hash).is_ok());
        }
    }

    #[test]
    fn documents_are_bounded_by_their_bytes() {
        let documents = AutomaticDocuments::new(1_000, 100);
        for n in 0..20 {
            kept(&documents, &format!("{{f{n:02}}}"));
            assert!(documents.lock().weight() <= 100);
        }
        assert!(documents.lock().len() > 5);
        assert!(documents.find(&sha256_hex("{f19}")).is_ok());
    }
}
