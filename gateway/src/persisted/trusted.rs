//! Trusted documents: the only operations that are answered, from a file.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use anyhow::Context;
use serde::Deserialize;

use super::{automatic::sha256_hex, hash_of};

/// The number of hexadecimal digits in a SHA-256.
const SHA256_DIGITS: usize = 64;

/// The documents in the file, by identifier and by text.
pub(super) struct TrustedDocuments {
    by_id: HashMap<String, Arc<str>>,
    texts: HashSet<Arc<str>>,
}

/// The two formats of the file.
#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    /// Apollo's persisted query manifest.
    Manifest { operations: Vec<Operation> },
    /// A map from identifier to document, as Relay's compiler and graphql-codegen write it.
    Map(HashMap<String, String>),
}

#[derive(Deserialize)]
struct Operation {
    id: String,
    body: String,
}

impl TrustedDocuments {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the trusted documents in {}", path.display()))?;
        Self::parse(&text).with_context(|| {
            format!(
                "{} is neither a JSON object from identifier to document nor a persisted query manifest",
                path.display()
            )
        })
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let pairs: Vec<(String, String)> = match serde_json::from_str(text)? {
            File::Manifest { operations } => operations
                .into_iter()
                .map(|operation| (operation.id, operation.body))
                .collect(),
            File::Map(map) => map.into_iter().collect(),
        };
        let (mut by_id, mut texts) = (HashMap::new(), HashSet::new());
        for (id, document) in pairs {
            let document: Arc<str> = document.into();
            by_id.insert(sha256_hex(&document), Arc::clone(&document));
            by_id.insert(id, Arc::clone(&document));
            texts.insert(document);
        }
        Ok(Self { by_id, texts })
    }

    /// Finds a document by its exact identifier in the file, or by its SHA-256 in upper or lower
    /// case, with or without the prefix `sha256:`.
    pub(super) fn by_id(&self, id: &str) -> Option<Arc<str>> {
        let found = self.by_id.get(id);
        let by_hash = || {
            let hash = hash_of(id);
            let is_hash = hash.len() == SHA256_DIGITS;
            is_hash.then(|| self.by_id.get(&hash)).flatten()
        };
        found.or_else(by_hash).cloned()
    }

    /// All documents, each once.
    pub(super) fn all(&self) -> Vec<Arc<str>> {
        self.texts.iter().cloned().collect()
    }

    /// Finds a document by its whole text.
    pub(super) fn by_text(&self, text: &str) -> Option<Arc<str>> {
        self.texts.get(text).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_that_differ_in_case_are_two() {
        let documents = TrustedDocuments::parse(r#"{"Ab": "{a}", "aB": "{b}"}"#).expect("a list");
        assert_eq!(documents.by_id("Ab").as_deref(), Some("{a}"));
        assert_eq!(documents.by_id("aB").as_deref(), Some("{b}"));
        let hash = sha256_hex("{a}").to_ascii_uppercase();
        assert_eq!(documents.by_id(&hash).as_deref(), Some("{a}"));
        let prefixed = format!("sha256:{}", sha256_hex("{a}"));
        assert_eq!(documents.by_id(&prefixed).as_deref(), Some("{a}"));
        assert_eq!(documents.by_id("sha256:Ab"), None);
        assert_eq!(documents.by_id("AB"), None);
    }

    #[test]
    fn both_notations_are_read() {
        for text in [
            r#"{"one": "{a}"}"#,
            r#"{"format":"apollo-persisted-query-manifest","version":1,
                "operations":[{"id":"one","name":"A","type":"query","body":"{a}"}]}"#,
        ] {
            let documents = TrustedDocuments::parse(text).expect("a list");
            assert_eq!(documents.by_id("one").as_deref(), Some("{a}"));
            assert_eq!(documents.by_id(&sha256_hex("{a}")).as_deref(), Some("{a}"));
            assert_eq!(documents.by_text("{a}").as_deref(), Some("{a}"));
            assert_eq!(documents.by_text("{b}"), None);
        }
    }
}
