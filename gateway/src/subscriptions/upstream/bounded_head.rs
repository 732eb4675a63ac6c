//! A stream to a subgraph that ends where an answer does not begin in time, counted in bytes.

use std::{
    io::{Error, Result},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use graphql_transport::counted::{Count, Counted};

use crate::subgraphs::Stream;

/// `hyper` takes interim heads (1xx) without a bound.
pub(super) type BoundedHead = Counted<Stream, BytesLeft>;

/// The bytes that may still come before the answer.
#[derive(Clone)]
pub(super) struct BytesLeft(Arc<AtomicUsize>);

impl BytesLeft {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes_max)))
    }

    /// The answer has begun: from now on there is no bound.
    pub(super) fn lift(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    /// Whether so many more may come.
    fn take(&self, bytes: usize) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        if left != usize::MAX {
            let rest = left.saturating_sub(bytes);
            // Where it is lifted at the same time, it stays lifted.
            let order = Ordering::Relaxed;
            let _ = self.0.compare_exchange(left, rest, order, order);
        }
        bytes < left
    }
}

impl Count for BytesLeft {
    fn read(&mut self, bytes: usize) -> Result<()> {
        match self.take(bytes) {
            true => Ok(()),
            false => Err(Error::other("the answer has too many interim heads")),
        }
    }
}
