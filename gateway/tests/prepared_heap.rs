//! The cache's estimate of the memory of prepared operations matches the memory that is allocated.

#[path = "../src/test_supergraph.rs"]
mod test_supergraph;

use std::{alloc::System, sync::Arc};

use gateway::{
    graph::{Graph, Settings},
    prepare::{self, Serving, cache::CacheBounds},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Documents of each kind: enough that what they share does not matter.
const DOCUMENTS: usize = 20;

fn supergraph() -> String {
    let fields: String = (0..40)
        .map(|index| format!("f{index}: String @join__field(graph: A) "))
        .collect();
    let far: String = (0..10)
        .map(|index| format!("far{index}: Int @join__field(graph: B) "))
        .collect();
    let types = format!(
        "enum Color @join__type(graph: A) {{ RED @join__enumValue(graph: A) GREEN @join__enumValue(graph: A) }}
         type Query @join__type(graph: A) @join__type(graph: B) {{
           item(n: Int, s: String): Item @join__field(graph: A)
           any: Any @join__field(graph: A)
         }}
         union Any @join__type(graph: A) @join__unionMember(graph: A, member: \"Item\") @join__unionMember(graph: A, member: \"Other\") = Item | Other
         type Other @join__type(graph: A) {{ id: ID any: Any color: Color }}
         type Item @join__type(graph: A, key: \"id\") @join__type(graph: B, key: \"id\") {{
           id: ID! other: Item @join__field(graph: A) {fields} {far}
         }}"
    );
    test_supergraph::supergraph(&["a", "b"], &types)
}

fn serving(settings: Settings) -> Arc<Serving> {
    let graph = Graph::load(&supergraph(), settings).expect("the supergraph loads");
    Arc::new(Serving::new(graph))
}

/// Selections inside each other, so many levels deep.
fn nested(levels: usize, before: &str, below: &str, after: &str) -> String {
    (0..levels).fold(before.to_owned(), |inner, _| {
        format!("{before} {below} {{ {inner} }} {after}")
    })
}

fn kinds() -> Vec<(&'static str, String)> {
    let fields: String = (0..40).map(|index| format!("f{index} ")).collect();
    let far: String = (0..10).map(|index| format!("far{index} ")).collect();
    let all = format!("{fields} {far}");
    let variables: String = (0..50)
        .map(|index| format!("$v{index}: Int = {index} "))
        .collect();
    let uses: String = (0..50)
        .map(|index| format!("a{index}: item(n: $v{index}) {{ id }} "))
        .collect();
    let on_types = "... on Item { f0 f1 f2 } ... on Other { id color }";
    let any = nested(20, on_types, "... on Other { any", "}");
    vec![
        (
            "one fetch",
            format!("{{ item {{ {} }} }}", nested(25, &fields, "other", "")),
        ),
        (
            "entities",
            format!("{{ item {{ {} }} }}", nested(25, &all, "other", "")),
        ),
        ("variables", format!("({variables}) {{ {uses} }}")),
        ("types", format!("{{ any {{ {any} }} }}")),
        (
            "small",
            "{ item(n: 1, s: \"text\") { id f0 other { far0 } } }".to_owned(),
        ),
        (
            "introspection",
            "{ __schema { types { name fields { name type { name } } } } item { id } }".to_owned(),
        ),
    ]
}

/// The cache is full after some of these documents; the others make room for each other.
const BYTES_MAX: usize = 2 * 1024 * 1024;
const MANY_DOCUMENTS: usize = 40;

/// Bytes that are allocated now.
fn allocated() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

/// One test after another: the allocator counts for all.
#[tokio::test]
async fn what_is_held_is_known_and_bounded() {
    the_estimate_of_what_is_held_is_within_a_quarter_of_the_truth().await;
    many_documents_hold_no_more_than_the_cache_may().await;
}

async fn many_documents_hold_no_more_than_the_cache_may() {
    let settings = Settings {
        prepared: CacheBounds {
            bytes_max: BYTES_MAX,
            ..CacheBounds::default()
        },
        ..Settings::default()
    };
    let serving = serving(settings);
    let (kind, text) = kinds().swap_remove(1);
    let before = allocated();
    for index in 0..MANY_DOCUMENTS {
        let document = format!("query Q{index}{text}");
        let prepared = prepare::with_variables(&serving, &document, None, None).await;
        drop(prepared.expect("prepared"));
    }
    let held = allocated() - before;
    println!("{MANY_DOCUMENTS} documents, {kind}: {held} bytes held of at most {BYTES_MAX}");
    let metrics = &serving.graph.settings().prepare_metrics;
    assert!((1..MANY_DOCUMENTS as i64).contains(&metrics.kept.get()));
    assert!(metrics.kept_bytes.get() <= BYTES_MAX as i64);
    assert!(held <= BYTES_MAX as isize * 4 / 3);
}

async fn the_estimate_of_what_is_held_is_within_a_quarter_of_the_truth() {
    let mut wrong = Vec::new();
    for report_cost in [false, true] {
        let settings = Settings {
            report_cost,
            // All of them, though each is asked for once.
            prepared: CacheBounds {
                new_bytes_max: usize::MAX,
                ..CacheBounds::default()
            },
            ..Settings::default()
        };
        let serving = serving(settings);
        let prepared = async |name: &str, text: &str| {
            let document = format!("query {name}{text}");
            let prepared = prepare::with_variables(&serving, &document, None, None).await;
            drop(prepared.unwrap_or_else(|error| panic!("{error}: {document:.200}")));
        };
        for (kind, text) in kinds() {
            prepared("Warm", &text).await;
            let bytes = || serving.graph.settings().prepare_metrics.kept_bytes.get() as isize;
            let (held, said) = (allocated(), bytes());
            for index in 0..DOCUMENTS {
                prepared(&format!("Q{index}"), &text).await;
            }
            let (held, said) = (allocated() - held, bytes() - said);
            let ratio = said as f64 / held as f64;
            let line = format!(
                "{kind} ({} bytes, report_cost: {report_cost}): {} bytes held, {} said, {ratio:.2}",
                text.len(),
                held / DOCUMENTS as isize,
                said / DOCUMENTS as isize
            );
            println!("{line}");
            if !(0.75..=1.33).contains(&ratio) {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
