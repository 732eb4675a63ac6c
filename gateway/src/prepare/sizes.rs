//! How much an operation took when it was executed last: the next time is likely the same, and can
//! take its memory in one piece.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One quantity of the last execution.
#[derive(Debug, Default)]
pub struct LastSize(AtomicUsize);

impl LastSize {
    /// What is taken in advance at most: a single giant must not make giants of all that follow.
    const ADVANCE_MAX: usize = 128 * 1024;

    /// What to take in advance.
    pub fn expected(&self) -> usize {
        self.0.load(Ordering::Relaxed).min(Self::ADVANCE_MAX)
    }

    /// What it was the last time; 0 before.
    pub fn last(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Tells what it was this time.
    pub fn was(&self, size: usize) {
        // Most often it is what it was: then the processors need not tell each other.
        if self.0.load(Ordering::Relaxed) != size {
            self.0.store(size, Ordering::Relaxed);
        }
    }
}

/// The quantities of an execution.
#[derive(Debug, Default)]
pub struct Sizes {
    /// Bytes of the answer.
    pub answer: LastSize,
    /// Objects read.
    pub objects: LastSize,
    /// Their fields.
    pub fields: LastSize,
    /// Entries of lists.
    pub values: LastSize,
    /// Objects remembered by their bytes.
    pub interned: LastSize,
}
