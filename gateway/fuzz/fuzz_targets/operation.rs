//! Whatever text a client sends as an operation, the gateway prepares it or says why not: it neither
//! panics nor takes longer than its own limit.
//!
//! The first byte chooses the supergraph: the project's own, or one with interface objects,
//! requirements, external keys, keys of interfaces, or progressive overrides.

#![no_main]

use std::{
    process::abort,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use gateway::{
    graph::{Graph, Settings},
    prepare::{self, Serving},
};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

const SUPERGRAPHS: [&str; 8] = [
    include_str!("../../../schema/supergraph.graphql"),
    include_str!("../../tests/it/federation/supergraphs/extended_implementation.graphql"),
    include_str!("../../tests/it/federation/supergraphs/external_ids.graphql"),
    include_str!("../../tests/it/federation/supergraphs/external_key.graphql"),
    include_str!("../../tests/it/federation/supergraphs/interface_keys.graphql"),
    include_str!("../../tests/it/federation/supergraphs/parents.graphql"),
    include_str!("../../tests/it/federation/supergraphs/pointer.graphql"),
    include_str!("../../tests/it/federation/supergraphs/progressive_override.graphql"),
];
/// Preparing ends by itself well before.
const TIME_LIMIT: Duration = Duration::from_secs(20);

struct Target {
    runtime: Runtime,
    graphs: [Arc<Serving>; 8],
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let load = |sdl| {
        let graph = Graph::load(sdl, Settings::default()).expect("the supergraph loads");
        Arc::new(Serving::new(graph))
    };
    Target {
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime"),
        graphs: SUPERGRAPHS.map(load),
    }
});

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, text)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let graph = &TARGET.graphs[usize::from(*choice) % SUPERGRAPHS.len()];
    let start = Instant::now();
    // Most are no operations; the refusal is as good an answer as a plan.
    let _ = TARGET
        .runtime
        .block_on(prepare::with_variables(graph, text, None, None));
    if start.elapsed() > TIME_LIMIT {
        eprintln!("no answer within {TIME_LIMIT:?}");
        abort();
    }
});
