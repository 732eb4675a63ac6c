//! Simulates a defect: code that logs a certain message panics instead.

use std::fmt::Debug;

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::{DefaultGuard, set_default},
};

/// Panics where `message` is logged on this thread, until the guard is dropped. A test's gateway runs
/// on the test's own thread, and other tests do not.
pub fn where_logged(message: &'static str) -> DefaultGuard {
    set_default(Defect(message))
}

struct Defect(&'static str);

impl Subscriber for Defect {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Search(self.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Search(&'static str);

impl Visit for Search {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let is_it = field.name() == "message" && format!("{value:?}") == self.0;
        assert!(!is_it, "a defect, made for a test");
    }
}
