//! The documents of recent requests, parsed and measured: a gateway asks the same few again and again.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Request;
use async_graphql::parser::types::ExecutableDocument;
use lru::LruCache;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{Admitted, LimitError, Limits, answer};

/// How many are kept: those used last.
const COUNT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(127);
/// Longer ones are parsed each time, and only by some of the workers, in bytes.
const DOCUMENT_BYTES_MAX: usize = 8 << 10;
/// What all of them may take in memory, in bytes.
const BYTES_MAX: usize = 16 << 20;
/// What a token takes in memory once it is parsed, in bytes: a field of two letters is the worst.
const TOKEN_BYTES: usize = 512;

/// Parsed documents by their whole text, and the limits that they keep to. Clones share them.
#[derive(Clone)]
pub(crate) struct Documents {
    limits: Arc<Limits>,
    known: Arc<Mutex<Known>>,
    /// One worker of the runtime is always left for others.
    workers: Arc<Semaphore>,
}

/// Held while a worker parses or validates a long document, without waiting for anything.
pub(crate) struct Worker(
    #[expect(dead_code, reason = "its end is what matters")] Option<OwnedSemaphorePermit>,
);

struct Known {
    documents: LruCache<String, Arc<Admitted>>,
    bytes: usize,
}

impl Documents {
    pub(crate) fn new(limits: Limits) -> Self {
        let known = Known {
            documents: LruCache::new(COUNT_MAX),
            bytes: 0,
        };
        Self {
            limits: Arc::new(limits),
            known: Arc::new(Mutex::new(known)),
            workers: Arc::new(Semaphore::new(workers_max())),
        }
    }

    /// Waits until a worker may parse or validate this document. A short one does not wait.
    pub(crate) async fn worker(&self, text: &str) -> Worker {
        if text.len() <= DOCUMENT_BYTES_MAX {
            return Worker(None);
        }
        // It is never closed.
        Worker(Arc::clone(&self.workers).acquire_owned().await.ok())
    }

    /// Gives a request its parsed document and the limit of its answer; returns its cost.
    ///
    /// # Errors
    /// When the document is not GraphQL, or the request exceeds a limit.
    pub(crate) fn admit(&self, request: &mut Request) -> Result<u64, LimitError> {
        let admitted = self.admitted(&request.query)?;
        let cost = self.limits.cost(&admitted, request)?;
        request.set_parsed_query(ExecutableDocument::clone(&admitted.document));
        answer::limit(request, &self.limits);
        Ok(cost)
    }

    fn admitted(&self, text: &str) -> Result<Arc<Admitted>, LimitError> {
        if text.len() > DOCUMENT_BYTES_MAX {
            return self.limits.admit(text);
        }
        if let Some(known) = self.with(|known| known.documents.get(text).cloned()) {
            return Ok(known);
        }
        let admitted = self.limits.admit(text)?;
        self.with(|known| known.add(text, Arc::clone(&admitted)));
        Ok(admitted)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many workers of the runtime may be busy with long documents: all but one, and at least one.
fn workers_max() -> usize {
    let workers = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
    workers.saturating_sub(1).max(1)
}

impl Known {
    fn add(&mut self, text: &str, admitted: Arc<Admitted>) {
        self.bytes += bytes(text, &admitted);
        let pushed_out = self.documents.push(text.to_owned(), admitted);
        self.forget(pushed_out);
        while self.bytes > BYTES_MAX && self.documents.len() > 1 {
            let oldest = self.documents.pop_lru();
            self.forget(oldest);
        }
    }

    /// Takes off what an entry took that is no longer there.
    fn forget(&mut self, entry: Option<(String, Arc<Admitted>)>) {
        if let Some((text, admitted)) = entry {
            self.bytes -= bytes(&text, &admitted);
        }
    }
}

fn bytes(text: &str, admitted: &Admitted) -> usize {
    text.len() + admitted.tokens * TOKEN_BYTES
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_graphql::parser::parse_query;
    use futures_util::FutureExt;

    use super::*;

    fn documents() -> Documents {
        Documents::new(Limits::default())
    }

    fn count(documents: &Documents) -> usize {
        documents.with(|known| known.documents.len())
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
        let documents = documents();
        for text in ["{ a }", "{ b }", "{ a }", "query A { a } query B { b }"] {
            let mut request = Request::new(text);
            documents.admit(&mut request).expect("within the limits");
            let parsed = request.parsed_query().expect("well-formed");
            let expected = parse_query(text).expect("well-formed");
            assert_eq!(operations(parsed), operations(&expected));
        }
        assert_eq!(count(&documents), 3);
    }

    #[test]
    fn neither_faulty_nor_long_nor_many_documents_are_kept() {
        let documents = documents();
        let long = format!("{{ a }} #{}", "x".repeat(DOCUMENT_BYTES_MAX));
        assert!(documents.admit(&mut Request::new("{")).is_err());
        assert!(documents.admit(&mut Request::new(long)).is_ok());
        assert_eq!(count(&documents), 0);
        for number in 0..1_000 {
            let mut request = Request::new(format!("{{ a{number} }}"));
            documents.admit(&mut request).expect("within the limits");
        }
        assert_eq!(count(&documents), COUNT_MAX.get());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_worker_is_left_while_long_documents_are_checked() {
        let documents = documents();
        let long = "x".repeat(DOCUMENT_BYTES_MAX + 1);
        let first = documents.worker(&long).await;
        let second = documents.worker(&long).await;
        assert!(documents.worker(&long).now_or_never().is_none());
        assert!(documents.worker("{ a }").now_or_never().is_some());
        drop(first);
        assert!(documents.worker(&long).now_or_never().is_some());
        drop(second);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let documents = documents();
        let fields = "a ".repeat(4_000);
        for number in 0..100 {
            let mut request = Request::new(format!("{{ a {{ {fields} b{number} }} }}"));
            documents.admit(&mut request).expect("within the limits");
            let (bytes, counted) = documents.with(|known| {
                let entries = known.documents.iter();
                let counted = entries.map(|(text, it)| bytes(text, it)).sum::<usize>();
                (known.bytes, counted)
            });
            assert_eq!(bytes, counted);
            assert!(bytes <= BYTES_MAX, "{bytes}");
        }
        assert!(count(&documents) > 1);
    }
}
