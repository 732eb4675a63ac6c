//! Automatic persisted queries, as Apollo Client speaks them.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use crate::error::{Code, RequestError};

/// Documents by their hash: those used lately stay, within a number and a size.
pub(super) struct AutomaticDocuments {
    generations: Mutex<Generations>,
    bounds: Bounds,
}

/// What may be kept.
#[derive(Clone, Copy)]
struct Bounds {
    documents_max: usize,
    bytes_max: usize,
}

/// When the young generation holds half of what may be kept, it becomes the old one and the old one
/// goes: what was used since then survives, and nothing has to be sorted by age.
#[derive(Default)]
struct Generations {
    young: HashMap<String, Arc<str>>,
    old: HashMap<String, Arc<str>>,
    young_bytes: usize,
}

impl AutomaticDocuments {
    /// At most so many documents, of so many bytes together.
    pub(super) fn new(documents_max: usize, bytes_max: usize) -> Self {
        Self {
            generations: Mutex::default(),
            bounds: Bounds {
                documents_max,
                bytes_max,
            },
        }
    }

    /// The document that was kept under `hash`.
    pub(super) fn find(&self, hash: &str) -> Result<Arc<str>, RequestError> {
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = generations.young.get(hash) {
            return Ok(Arc::clone(document));
        }
        // The text is the one that Apollo's clients look for.
        let document = generations.old.remove(hash).ok_or_else(|| {
            RequestError::new(Code::PersistedQueryNotFound, "PersistedQueryNotFound")
        })?;
        generations.keep(hash, Arc::clone(&document), self.bounds);
        Ok(document)
    }

    /// Keeps a document whose hash is right.
    pub(super) fn keep(&self, hash: &str, document: &str) -> Result<Arc<str>, RequestError> {
        if sha256_hex(document) != hash {
            return Err(RequestError::new(
                Code::PersistedQueryHashMismatch,
                "the document does not have the SHA-256 that came with it",
            ));
        }
        let document: Arc<str> = document.into();
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        generations.keep(hash, Arc::clone(&document), self.bounds);
        Ok(document)
    }
}

impl Generations {
    fn keep(&mut self, hash: &str, document: Arc<str>, bounds: Bounds) {
        let full = self.young.len() >= bounds.documents_max.div_ceil(2)
            || self.young_bytes + document.len() > bounds.bytes_max / 2;
        if full {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        let bytes = document.len();
        if self.young.insert(hash.to_owned(), document).is_none() {
            self.young_bytes += bytes;
        }
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
    fn what_is_used_stays_and_the_rest_goes() {
        let documents = AutomaticDocuments::new(4, 1_000);
        let used = kept(&documents, "{used}");
        let unused = kept(&documents, "{unused}");
        for n in 0..6 {
            kept(&documents, &format!("{{f{n}}}"));
            assert!(documents.find(&used).is_ok(), "after {n} more");
        }
        assert!(documents.find(&unused).is_err());
    }

    #[test]
    fn documents_are_bounded_by_their_bytes() {
        let documents = AutomaticDocuments::new(1_000, 100);
        let first = kept(&documents, "{first}");
        for n in 0..20 {
            kept(&documents, &format!("{{f{n:02}}}"));
        }
        assert!(documents.find(&first).is_err());
        assert!(documents.find(&sha256_hex("{f19}")).is_ok());
    }
}
