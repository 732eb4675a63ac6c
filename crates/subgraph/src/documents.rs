//! A cache of parsed and measured documents: a gateway sends the same few again and again.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Request;
use async_graphql::parser::types::ExecutableDocument;
use quick_cache::{Weighter, unsync::Cache};
use service::Metrics;
use service::prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{Admitted, LimitError, LimitSettings, Limits, answer};

/// Longer ones are parsed each time, and only by some of the workers, in bytes.
const DOCUMENT_BYTES_MAX: usize = 8 << 10;
/// What a token takes in memory once it is parsed, in bytes: a field of two letters is the worst.
const TOKEN_BYTES: usize = 512;

/// Parsed documents by their whole text, and the limits that they keep to. Clones share them.
#[derive(Clone)]
pub(crate) struct Documents {
    limits: Arc<Limits>,
    known: Arc<Mutex<Known>>,
    metrics: DocumentMetrics,
    /// One worker of the runtime is always left for others.
    workers: Arc<Semaphore>,
}

/// Held while a worker parses or validates a long document, without waiting for anything.
pub(crate) struct Worker(
    #[expect(dead_code, reason = "its end is what matters")] Option<OwnedSemaphorePermit>,
);

/// The metrics of the cache; by default they are not registered.
#[derive(Clone, Default)]
pub(crate) struct DocumentMetrics {
    documents: Gauge,
    bytes: Gauge,
}

impl DocumentMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            documents: metrics.register(
                "subgraph_documents",
                "Parsed documents that are kept",
                Gauge::default(),
            ),
            bytes: metrics.register(
                "subgraph_documents_bytes",
                "Bytes that the kept documents count for",
                Gauge::default(),
            ),
        }
    }
}

type Known = Cache<String, Arc<Admitted>, Weights>;

/// Documents share a number of bytes. Each counts for at least `bytes_min`, so that their number is bounded, too.
#[derive(Clone)]
struct Weights {
    bytes_min: usize,
}

impl Weighter<String, Arc<Admitted>> for Weights {
    fn weight(&self, text: &String, admitted: &Arc<Admitted>) -> u64 {
        bytes(text, admitted).max(self.bytes_min) as u64
    }
}

impl Documents {
    pub(crate) fn new(limits: Limits, metrics: DocumentMetrics) -> Self {
        let LimitSettings {
            documents_max,
            documents_bytes_max,
            ..
        } = limits.settings;
        let weights = Weights {
            bytes_min: documents_bytes_max.div_ceil(documents_max),
        };
        let known = Cache::with_weighter(documents_max, documents_bytes_max as u64, weights);
        Self {
            limits: Arc::new(limits),
            known: Arc::new(Mutex::new(known)),
            metrics,
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
        if let Some(known) = self.with(|known| known.get(text).cloned()) {
            return Ok(known);
        }
        let admitted = self.limits.admit(text)?;
        self.with(|known| {
            known.insert(text.to_owned(), Arc::clone(&admitted));
            self.metrics.documents.set(known.len() as i64);
            self.metrics.bytes.set(known.weight() as i64);
        });
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
        Documents::new(Limits::default(), DocumentMetrics::default())
    }

    fn count(documents: &Documents) -> usize {
        documents.with(|known| known.len())
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
        assert!((64..=128).contains(&count(&documents)));
        assert_eq!(documents.metrics.documents.get(), count(&documents) as i64);
    }

    #[test]
    fn the_document_in_use_stays() {
        let documents = documents();
        let keeps_one = |text: &str| documents.with(|known| known.get(text).is_some());
        let admit = |text: &str| documents.admit(&mut Request::new(text)).map(drop);
        admit("{ used }").expect("within the limits");
        for number in 0..1_000 {
            assert!(keeps_one("{ used }"), "after {number} more");
            admit(&format!("{{ a{number} }}")).expect("within the limits");
        }
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
            let bytes = documents.with(|known| known.weight());
            assert!(bytes <= 16 << 20, "{bytes}");
            assert_eq!(documents.metrics.bytes.get(), bytes as i64);
        }
        assert!(count(&documents) > 1);
    }
}
