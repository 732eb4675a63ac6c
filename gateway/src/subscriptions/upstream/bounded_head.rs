//! Bounds the bytes that a subgraph may send before its response begins.

use std::{
    io::{Error, Result},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use graphql_transport::counted::{Count, Counted};

use crate::subgraphs::Stream;

/// A stream that fails when the bound is exceeded. `hyper` itself accepts any number of interim
/// heads (1xx).
pub(super) type BoundedHead = Counted<Stream, BytesLeft>;

/// The bytes that may still arrive before the response begins.
#[derive(Clone)]
pub(super) struct BytesLeft(Arc<AtomicUsize>);

impl BytesLeft {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes_max)))
    }

    /// Removes the bound, once the response has begun.
    pub(super) fn lift(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    /// Takes `bytes` from those left; false if there are too few.
    fn take(&self, bytes: usize) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        if left != usize::MAX {
            let rest = left.saturating_sub(bytes);
            // If the bound is removed at the same time, it stays removed.
            let order = Ordering::Relaxed;
            let _ = self.0.compare_exchange(left, rest, order, order);
        }
        bytes < left
    }
}

impl Count for BytesLeft {
    fn read(&mut self, bytes: &[u8]) -> Result<()> {
        match self.take(bytes.len()) {
            true => Ok(()),
            false => Err(Error::other("the answer has too many interim heads")),
        }
    }
}
