//! All transports share one pipeline: a request refused on one is refused on all of them, with the
//! same code.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{
    gateway::TestGateway,
    ways::{WAYS, Way},
};

fn query(text: impl Into<String>) -> Value {
    json!({"query": text.into()})
}

fn with_name(value: &Value) -> Value {
    json!({"query": "query($n: String) { greeting(name: $n) }", "variables": {"n": value}})
}

/// Every way refuses every request with its code, and counts it.
async fn refused(gateway: &TestGateway, cases: &[(&str, Value, &str)]) {
    let refusals = |code: &str| format!("gateway_refusals_total{{code=\"{code}\"}}");
    for (name, request, code) in cases {
        let before = gateway.metric(&refusals(code)).await;
        for way in WAYS {
            let began = Instant::now();
            assert_eq!(
                way.refusal(gateway, request).await,
                *code,
                "{name} by {way:?}"
            );
            println!("{name} by {way:?}: {code} after {:?}", began.elapsed());
        }
        assert_eq!(
            gateway.metric(&refusals(code)).await,
            before + WAYS.len() as f64,
            "{name}"
        );
    }
    assert_eq!(gateway.news.asked(), 0, "no subgraph is asked");
}

#[tokio::test]
async fn the_limits_of_operations_and_variables() {
    let gateway = TestGateway::with(&[
        "--tokens-max=80",
        "--depth-max=2",
        "--aliases-max=5",
        "--root-fields-max=8",
        "--directives-max=2",
        "--selections-max=20",
        "--variables-bytes-max=300",
        "--variables-depth-max=4",
        "--variables-list-max=10",
    ])
    .await;
    let bomb: String = (0..6)
        .map(|n| format!(" fragment F{n} on Message {{ ...F{0} ...F{0} }}", n + 1))
        .collect();
    let deep = "subscription { changes { message { text } } }";
    let nested_include = "... @include(if: true) { ".repeat(8) + "greeting" + &" }".repeat(8);
    let aliases: String = (0..6).map(|n| format!("a{n}: greeting ")).collect();
    let nested = |open: &str, close: &str| -> Value {
        let text = open.repeat(6) + "1" + &close.repeat(6);
        serde_json::from_str(&text).expect("JSON")
    };
    refused(
        &gateway,
        &[
            (
                "a token flood",
                query(format!("{{ {} }}", "greeting ".repeat(90))),
                "MAX_TOKENS_EXCEEDED",
            ),
            ("deep selections", query(deep), "MAX_DEPTH_EXCEEDED"),
            (
                "nested @include",
                query(format!("{{ {nested_include} }}")),
                "MAX_DEPTH_EXCEEDED",
            ),
            (
                "deep lists",
                query(format!("{{ greeting(name: {}", "[".repeat(20))),
                "MAX_DEPTH_EXCEEDED",
            ),
            (
                "an alias flood",
                query(format!("{{ {aliases} }}")),
                "MAX_ALIASES_EXCEEDED",
            ),
            (
                "a root field flood",
                query(format!("{{ {} }}", "greeting ".repeat(9))),
                "MAX_ROOT_FIELDS_EXCEEDED",
            ),
            (
                "a directive overload",
                query(format!("{{ greeting {} }}", "@skip(if: false) ".repeat(3))),
                "MAX_DIRECTIVES_EXCEEDED",
            ),
            (
                "a fragment bomb",
                query(format!(
                    "subscription {{ messages {{ ...F0 }} }}{bomb} fragment F6 on Message {{ text }}"
                )),
                "MAX_SELECTIONS_EXCEEDED",
            ),
            (
                "large variables",
                with_name(&json!("x".repeat(300))),
                "MAX_VARIABLES_EXCEEDED",
            ),
            (
                "deep lists in variables",
                with_name(&nested("[", "]")),
                "MAX_VARIABLES_EXCEEDED",
            ),
            (
                "deep objects in variables",
                with_name(&nested("{\"a\":", "}")),
                "MAX_VARIABLES_EXCEEDED",
            ),
            (
                "long lists in variables",
                with_name(&json!(vec![0; 11])),
                "MAX_VARIABLES_EXCEEDED",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_checks_of_operations() {
    let gateway = TestGateway::start().await;
    let hash = json!({"persistedQuery": {"version": 1, "sha256Hash": "0".repeat(64)}});
    refused(
        &gateway,
        &[
            ("no GraphQL", query("{"), "GRAPHQL_PARSE_FAILED"),
            (
                "an unknown field",
                query("{ nothing }"),
                "GRAPHQL_VALIDATION_FAILED",
            ),
            (
                "entities",
                query("{ _entities(representations: []) { __typename } }"),
                "GRAPHQL_VALIDATION_FAILED",
            ),
            (
                "a subgraph's SDL",
                query("{ _service { sdl } }"),
                "GRAPHQL_VALIDATION_FAILED",
            ),
            (
                "introspection",
                query("{ __schema { queryType { name } } }"),
                "INTROSPECTION_DISABLED",
            ),
            (
                "two operations",
                query("query A { greeting } query B { greeting }"),
                "OPERATION_RESOLUTION_FAILURE",
            ),
            ("a wrong variable", with_name(&json!(1)), "BAD_USER_INPUT"),
            (
                "a hash",
                json!({"extensions": hash}),
                "PERSISTED_QUERY_NOT_SUPPORTED",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_time_to_prepare() {
    let gateway = TestGateway::with(&["--prepare-timeout=0ms"]).await;
    // What was not ready in time goes on, and is there for the next one: each way its own operation.
    for way in WAYS {
        let request = query(format!("{{ {way:?}: greeting }}"));
        assert_eq!(
            way.refusal(&gateway, &request).await,
            "PREPARE_TIMEOUT",
            "{way:?}"
        );
    }
    assert_eq!(gateway.news.asked(), 0, "no subgraph is asked");
}

#[tokio::test]
async fn the_time_of_a_request() {
    let gateway = TestGateway::with(&["--request-timeout=50ms"]).await;
    for way in WAYS {
        let request = query("{ slow(milliseconds: 60000) }");
        assert_eq!(
            way.refusal(&gateway, &request).await,
            "REQUEST_TIMEOUT",
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn the_list_of_trusted_documents() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let list = folder.path().join("trusted.json");
    std::fs::write(&list, json!({"greet": "{ greeting }"}).to_string()).expect("written");
    let gateway = TestGateway::with(&[&format!("--trusted-documents={}", list.display())]).await;
    let other = query("{ greeting(name: \"x\") }");
    refused(
        &gateway,
        &[("another document", other, "PERSISTED_QUERY_NOT_IN_LIST")],
    )
    .await;
}

#[tokio::test]
async fn a_gateway_without_a_supergraph() {
    let gateway = TestGateway::without_supergraph(&[]).await;
    refused(
        &gateway,
        &[("a query", query("{ greeting }"), "SUPERGRAPH_UNAVAILABLE")],
    )
    .await;
}

#[tokio::test]
async fn the_size_of_a_request() {
    let gateway =
        TestGateway::with(&["--request-bytes-max=500", "--ws-message-bytes-max=500"]).await;
    let request = query(format!("{{ greeting(name: \"{}\") }}", "x".repeat(600)));
    for way in WAYS {
        if way == Way::WebSocket {
            let mut socket = gateway.socket().await;
            socket
                .send(json!({"id": "1", "type": "subscribe", "payload": request}))
                .await;
            assert_eq!(socket.closed().await.0, 1009);
            continue;
        }
        assert_eq!(
            way.refusal(&gateway, &request).await,
            "REQUEST_TOO_LARGE",
            "{way:?}"
        );
    }
    assert_eq!(gateway.news.asked(), 0, "no subgraph is asked");
}
