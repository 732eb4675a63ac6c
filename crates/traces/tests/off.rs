//! Traces that are off, or not recorded, allocate nothing.

use std::alloc::System;

use http::HeaderMap;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use traces::{Kind, TraceContext, Tracer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_span_that_is_not_recorded_allocates_nothing() {
    let tracer = Tracer::off();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let parent = TraceContext::parse(parent.as_bytes()).expect("valid");
    let mut headers = HeaderMap::new();
    let region = Region::new(ALLOCATOR);
    for _ in 0..100 {
        let mut span = tracer.root(Some(parent), "request", Kind::Server);
        span.set("text", "value");
        span.link(&parent);
        span.fail("timeout", "no answer");
        span.rename(|| "another name".to_owned());
        let child = span.child("fetch", Kind::Client);
        assert!(!child.is_recorded() && span.parent().is_none());
        assert!(!tracer.server(&mut headers, "HTTP").is_recorded());
        assert!(traces::current_parent().is_none());
        drop(traces::in_current(std::future::ready(())));
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    assert!(headers.is_empty());
}
