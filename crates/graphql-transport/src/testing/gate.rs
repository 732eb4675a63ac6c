//! Holds the resolvers of a test's schema.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

/// Counts the resolvers that begin, and holds them until it is opened.
#[derive(Clone)]
pub struct Gate {
    begun: Arc<AtomicUsize>,
    open: Arc<Semaphore>,
}

impl Gate {
    /// One that holds every resolver.
    pub fn closed() -> Self {
        Self {
            begun: Arc::default(),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    /// A resolver begins, and goes on when the gate is open.
    pub async fn pass(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        // It is opened by being closed.
        let _ = self.open.acquire().await;
    }

    /// Resolvers that have begun.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// From now on nothing is held.
    pub fn open(&self) {
        self.open.close();
    }
}
