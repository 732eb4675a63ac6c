//! Prepares operations that are all new: what the `cold` workload of `bench gateway` costs, without a network.
//!
//! ```sh
//! cargo build --release -p gateway --example prepare_cold
//! valgrind --tool=callgrind target/release/examples/prepare_cold 100
//! ```

use std::{sync::Arc, time::Instant};

use gateway::{
    graph::{Graph, Settings},
    prepare::{self, Serving},
};

const SUPERGRAPH: &str = include_str!("prepare_cold/supergraph.graphql");

fn operation(index: usize) -> String {
    let weight = ["weight", "price"][index % 2];
    let stock = match index % 3 {
        0 => "inStock",
        _ => "shippingEstimate",
    };
    format!(
        "query Cold{index} {{ topProducts(first: {first}) {{ upc a{index}: name {weight} {stock} \
         reviews {{ id b{index}: body author {{ id name c{index}: username }} }} }} }}",
        first = index % 5 + 1,
    )
}

fn main() {
    let count = std::env::args().nth(1);
    let count = count.and_then(|count| count.parse().ok()).unwrap_or(1_000);
    let graph = Graph::load(SUPERGRAPH, Settings::default()).expect("the supergraph loads");
    let serving = Arc::new(Serving::new(graph));
    let operations: Vec<String> = (0..count).map(operation).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let begin = Instant::now();
    runtime.block_on(async {
        for operation in &operations {
            let prepared = prepare::with_variables(&serving, operation, None, None).await;
            assert!(prepared.is_ok(), "{operation}");
        }
    });
    let each = begin.elapsed() / u32::try_from(count).unwrap_or(u32::MAX).max(1);
    println!("{count} operations, {each:?} each");
}
