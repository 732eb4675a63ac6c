//! Returns memory to the system when a thread has nothing to do.
//!
//! mimalloc has a heap for each thread. What other threads free in it comes back only when its own thread
//! allocates much, or requests it. Without that, a service that was busy for a minute would keep the memory
//! of that minute for as long as it is quiet.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A thread gives back at most once in this time: it takes a fraction of a millisecond.
const INTERVAL: Duration = Duration::from_secs(2);

thread_local! {
    static GIVEN_BACK: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// To be called on a thread that is about to wait.
pub(crate) fn give_back_at_times() {
    let now = Instant::now();
    let is_time = |last: Option<Instant>| last.is_none_or(|last| now >= last + INTERVAL);
    // A thread that ends has no such place any more.
    let _ = GIVEN_BACK.try_with(|last| {
        if is_time(last.get()) {
            last.set(Some(now));
            collect();
        }
    });
}

#[expect(
    unsafe_code,
    reason = "the bindings have no safe function; this one takes no pointer and may be called at any time"
)]
fn collect() {
    // Linked for this symbol. Where another allocator is used, its heaps are empty.
    use libmimalloc_sys as _;
    unsafe extern "C" {
        safe fn mi_collect(force: bool);
    }
    mi_collect(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_often_gives_back_at_times() {
        give_back_at_times();
        let first = GIVEN_BACK.get().expect("a first time");
        give_back_at_times();
        assert_eq!(GIVEN_BACK.get(), Some(first));
    }
}
