//! Remembers the sizes of an operation's last execution, so that the next one can allocate its
//! memory in one piece.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One size of the last execution.
#[derive(Debug, Default)]
pub struct LastSize(AtomicUsize);

impl LastSize {
    /// The largest size to expect: a single large execution must not make all later ones allocate
    /// as much.
    const ADVANCE_MAX: usize = 128 * 1024;

    /// The size to allocate in advance.
    pub fn expected(&self) -> usize {
        self.0.load(Ordering::Relaxed).min(Self::ADVANCE_MAX)
    }

    /// The size of the last execution; 0 before the first one.
    pub fn last(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Records the size of this execution.
    pub fn was(&self, size: usize) {
        // Usually it is unchanged: not writing it keeps the cache line shared between processors.
        if self.0.load(Ordering::Relaxed) != size {
            self.0.store(size, Ordering::Relaxed);
        }
    }
}

/// The sizes of an execution.
#[derive(Debug, Default)]
pub struct Sizes {
    /// Bytes of the client's response.
    pub answer: LastSize,
    /// Objects in the response store.
    pub objects: LastSize,
    /// Fields of these objects.
    pub fields: LastSize,
    /// Items of all lists in the store.
    pub values: LastSize,
    /// Interned objects: those found again by their bytes.
    pub interned: LastSize,
}
