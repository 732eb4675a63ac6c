//! Whatever bytes a subgraph answers with, the client gets one valid JSON object with `data`, and no
//! value in it that the schema forbids to be null is null.
//!
//! The first byte chooses the operation: one whose answer can be handed on as it is, and one that is
//! read, completed and written again.

#![no_main]

use std::{
    panic,
    process::abort,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use gateway::{
    coerce::Variables,
    execute,
    graph::{Graph, Settings},
    prepare::{self, Prepared, Serving},
    request::ClientContext,
};
use graphql_transport::ClientKey;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::Runtime;

const SUPERGRAPH: &str = include_str!("../../../schema/supergraph.graphql");
const OPERATIONS: [&str; 2] = [
    "{ post(id: 1) { id title commentCount lastCommentAt latestComments { id text } } }",
    "{ p: post(id: 1) { n: commentCount ... on Post { id __typename } latestComments { t: text ... { id } } } \
       posts { edges { cursor node { id } } pageInfo { hasNextPage } } }",
];

struct Target {
    runtime: Runtime,
    serving: Arc<Serving>,
    prepared: [Arc<Prepared>; 2],
    client: ClientContext,
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        abort();
    }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let graph = Graph::load(SUPERGRAPH, Settings::default()).expect("the supergraph loads");
    let serving = Arc::new(Serving::new(graph));
    let prepared = OPERATIONS.map(|operation| {
        runtime
            .block_on(prepare::with_variables(&serving, operation, None, None))
            .expect("the operation is valid")
            .0
    });
    Target {
        runtime,
        serving,
        prepared,
        client: ClientContext {
            headers: Arc::default(),
            mutations_allowed: true,
            subscriptions_allowed: true,
            answers_deferred: false,
            key: ClientKey::default(),
        },
    }
});

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, answer)) = bytes.split_first() else {
        return;
    };
    let Target {
        runtime,
        serving,
        prepared,
        client,
    } = &*TARGET;
    let prepared = &prepared[usize::from(*choice) % 2];
    let variables = Variables::default();
    let answer = Bytes::copy_from_slice(answer);
    let response = runtime.block_on(execute::event(&serving.graph, prepared, &variables, answer, client));
    let response: Value = serde_json::from_slice(&response.body).expect("the response is JSON");
    let data = response.get("data").expect("the response has data");
    let posts = [data.get("post"), data.get("p")];
    for post in posts.into_iter().flatten().filter(|post| !post.is_null()) {
        assert!(post["id"].is_string(), "{response}");
        assert!(post["latestComments"].is_array(), "{response}");
    }
});
