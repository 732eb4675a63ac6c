//! Lets identical queries in flight to one subgraph share one request.
//!
//! All callers that wait for a shared request drive it. It continues when one of them leaves, and
//! is cancelled with the last one.

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

use super::{Caller, FetchError, HttpResponse, Subgraph};
use crate::sparse::ShrinkIfSparse;

type Exchange = BoxFuture<'static, Result<HttpResponse, FetchError>>;

/// What two queries must have in common to share a request. It is compared in full, so that no
/// query ever gets the response to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedQuery {
    /// The body, which must be equal byte for byte.
    pub body: Bytes,
    /// The client's headers that can affect the response.
    pub relevant_headers: HeaderMap,
}

impl Hash for SharedQuery {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Headers have no fixed order, so only the body is hashed.
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
    /// Sends a query in the client's turn, or waits for the response to the same one in flight.
    /// `lines` are sent if it is the first. The time limit counts from this call.
    ///
    /// # Errors
    /// If there is no whole response within the limits. When a request fails that another caller
    /// started, the query is sent once more, again shared.
    pub async fn send_shared(
        self: &Arc<Self>,
        caller: Caller,
        query: SharedQuery,
        lines: Vec<u8>,
        want_headers: bool,
    ) -> Result<HttpResponse, FetchError> {
        let query = Arc::new(query);
        let (exchange, is_first) = self.join(caller, &query, lines.clone(), want_headers);
        if is_first {
            // The request has its own time limit.
            return exchange.await;
        }
        let answer = async {
            match exchange.await {
                Err(_) => self.join(caller, &query, lines, want_headers).0.await,
                answer => answer,
            }
        };
        tokio::time::timeout(self.timeout, answer)
            .await
            .unwrap_or(Err(FetchError::Timeout(self.timeout)))
    }

    /// The exchange for this query, and whether this call starts it.
    fn join(
        self: &Arc<Self>,
        caller: Caller,
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
                .send(caller, &entry.query.body, &lines, false, want_headers)
                .await
        };
        let exchange = exchange.boxed().shared();
        // An abandoned exchange may still have its entry. The new one replaces it, key included, so
        // that the old one does not remove it later.
        exchanges.remove(query);
        if let Some(weak) = exchange.downgrade() {
            exchanges.insert(Arc::clone(query), weak);
        }
        (exchange, true)
    }
}

/// The entry of an exchange in flight. It is removed when the exchange ends or is abandoned, so
/// that later queries are sent again.
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
            exchanges.shrink_if_sparse();
        }
    }
}
