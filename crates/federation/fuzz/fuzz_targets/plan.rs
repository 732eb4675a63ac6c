//! Whatever supergraph and operation come in, there is a plan or a reason: no panic, and no more time
//! than the deadline allows.
//!
//! The input is an SDL and an operation with a line of `#` between them; without one it is an operation
//! over the project's own supergraph.

#![no_main]

use std::{
    process::abort,
    time::{Duration, Instant},
};

use apollo_compiler::ExecutableDocument;
use federation::{Operation, PlanOptions, Supergraph, plan};
use libfuzzer_sys::fuzz_target;

const OWN: &str = include_str!("../../../../schema/supergraph.graphql");
const DEADLINE: Duration = Duration::from_secs(5);
/// The parser and the validator have no deadline.
const TIME_LIMIT: Duration = Duration::from_secs(20);

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (sdl, query) = text.split_once("\n#\n").unwrap_or((OWN, text));
    let start = Instant::now();
    let Ok(supergraph) = Supergraph::parse(sdl) else {
        return;
    };
    let schema = supergraph.api_schema();
    let Ok(document) = ExecutableDocument::parse_and_validate(schema, query, "query.graphql")
    else {
        return;
    };
    for operation in document.operations.iter() {
        let Ok(operation) = Operation::new(&supergraph, &document, operation) else {
            continue;
        };
        let options = PlanOptions::default().deadline(Instant::now() + DEADLINE);
        if let Ok(plan) = plan(&supergraph, &operation, options) {
            let _ = plan.to_string();
        }
    }
    if start.elapsed() > TIME_LIMIT {
        eprintln!("no plan within {TIME_LIMIT:?}");
        abort();
    }
});
