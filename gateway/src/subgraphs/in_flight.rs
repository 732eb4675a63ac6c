//! Identical queries in flight to one subgraph share one request.
//!
//! Nobody owns a shared request: whoever waits for its answer drives it. A client that goes away
//! leaves it to the others, and the last one to leave takes it along.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use http::HeaderMap;

use super::{FetchError, HttpAnswer, Subgraph};

type Exchange = BoxFuture<'static, Result<HttpAnswer, FetchError>>;

/// What two queries must have in common to be one: compared whole, so that none is ever answered
/// with what another one asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedQuery {
    /// The body, to the byte.
    pub body: Bytes,
    /// The client's headers that can make a difference to the answer.
    pub relevant_headers: HeaderMap,
}

impl Hash for SharedQuery {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Equal queries have equal bodies; headers have no order to hash them by.
        self.body.hash(state);
    }
}

/// The queries in flight to one subgraph.
#[derive(Default)]
pub(super) struct InFlight {
    exchanges: Mutex<HashMap<Arc<SharedQuery>, WeakShared<Exchange>>>,
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<SharedQuery>, WeakShared<Exchange>>> {
        self.exchanges
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Subgraph {
    /// Sends a query, or waits with others for the answer to the same one. `lines` are sent if it is
    /// the first. The time limit counts from now, whenever the shared request began.
    ///
    /// # Errors
    /// When there is no whole answer within the limits. The failure of a request that others began
    /// is not yet this one's: it is sent once more, shared again by all who need it.
    pub async fn send_shared(
        self: &Arc<Self>,
        query: SharedQuery,
        lines: Vec<u8>,
        want_headers: bool,
    ) -> Result<HttpAnswer, FetchError> {
        let query = Arc::new(query);
        let (exchange, is_first) = self.join(&query, lines.clone(), want_headers);
        if is_first {
            // It has its time limit itself.
            return exchange.await;
        }
        let answer = async {
            match exchange.await {
                Err(_) => self.join(&query, lines, want_headers).0.await,
                answer => answer,
            }
        };
        tokio::time::timeout(self.timeout, answer)
            .await
            .unwrap_or(Err(FetchError::Timeout(self.timeout)))
    }

    /// The exchange for this query, and whether it begins here.
    fn join(
        self: &Arc<Self>,
        query: &Arc<SharedQuery>,
        lines: Vec<u8>,
        want_headers: bool,
    ) -> (Shared<Exchange>, bool) {
        let mut exchanges = self.in_flight.lock();
        if let Some(exchange) = exchanges.get(query).and_then(WeakShared::upgrade) {
            self.metrics.shared.inc();
            return (exchange, false);
        }
        let entry = Entry {
            subgraph: Arc::clone(self),
            query: Arc::clone(query),
        };
        let exchange = async move {
            let subgraph = &entry.subgraph;
            subgraph
                .send(&entry.query.body, &lines, false, want_headers)
                .await
        };
        let exchange = exchange.boxed().shared();
        // An abandoned exchange may still have its entry: the new one takes the entry over, key and
        // all, so that the old one no longer knows it as its own.
        exchanges.remove(query);
        if let Some(weak) = exchange.downgrade() {
            exchanges.insert(Arc::clone(query), weak);
        }
        (exchange, true)
    }
}

/// An exchange's place among those in flight, given up when it is answered or abandoned: who asks
/// later gets an answer from later.
struct Entry {
    subgraph: Arc<Subgraph>,
    query: Arc<SharedQuery>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut exchanges = self.subgraph.in_flight.lock();
        let is_own = exchanges
            .get_key_value(&self.query)
            .is_some_and(|(query, _)| Arc::ptr_eq(query, &self.query));
        if is_own {
            exchanges.remove(&self.query);
        }
    }
}
