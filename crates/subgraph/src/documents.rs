//! The documents of recent requests, parsed: a gateway asks the same few again and again.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Request;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::ExecutableDocument;
use lru::LruCache;

/// How many are kept: those used last.
const COUNT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(127);
/// Longer ones are parsed each time, in bytes.
const DOCUMENT_BYTES_MAX: usize = 8 << 10;

/// Parsed documents by their whole text. Clones share them.
#[derive(Clone)]
pub(crate) struct Documents(Arc<Mutex<LruCache<String, Arc<ExecutableDocument>>>>);

impl Default for Documents {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(COUNT_MAX))))
    }
}

impl Documents {
    /// Gives a request its parsed document. One that cannot be parsed is left to who will say so.
    pub(crate) fn parse(&self, request: &mut Request) {
        let text = &request.query;
        if text.len() > DOCUMENT_BYTES_MAX {
            return;
        }
        let known = self.with(|documents| documents.get(text).cloned());
        if let Some(known) = known {
            return request.set_parsed_query(ExecutableDocument::clone(&known));
        }
        if let Ok(parsed) = parse_query(text) {
            let text = text.clone();
            self.with(|documents| documents.put(text, Arc::new(parsed.clone())));
            request.set_parsed_query(parsed);
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut LruCache<String, Arc<ExecutableDocument>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn count(documents: &Documents) -> usize {
        documents.with(|documents| documents.len())
    }

    /// The operations by name: the document itself has them in a random order.
    fn operations(document: &ExecutableDocument) -> BTreeMap<String, String> {
        let operations = document.operations.iter();
        operations
            .map(|(name, operation)| (format!("{name:?}"), format!("{operation:?}")))
            .collect()
    }

    #[test]
    fn each_text_has_its_own_document() {
        let documents = Documents::default();
        for text in ["{ a }", "{ b }", "{ a }", "query A { a } query B { b }"] {
            let mut request = Request::new(text);
            documents.parse(&mut request);
            let parsed = request.parsed_query().expect("well-formed");
            let expected = parse_query(text).expect("well-formed");
            assert_eq!(operations(parsed), operations(&expected));
        }
        assert_eq!(count(&documents), 3);
    }

    #[test]
    fn neither_faulty_nor_long_nor_many_documents_are_kept() {
        let documents = Documents::default();
        let long = format!("{{ a }} #{}", "x".repeat(DOCUMENT_BYTES_MAX));
        for text in ["{", &long] {
            documents.parse(&mut Request::new(text));
        }
        assert_eq!(count(&documents), 0);
        for number in 0..1_000 {
            documents.parse(&mut Request::new(format!("{{ a{number} }}")));
        }
        assert_eq!(count(&documents), COUNT_MAX.get());
    }
}
