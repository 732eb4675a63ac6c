//! How long prepared operations stay in the cache.

use serde_json::json;

use crate::support::{eventually, gateway::TestGateway};

#[tokio::test]
async fn what_was_asked_for_once_is_forgotten_and_what_comes_back_stays() {
    let gateway = TestGateway::with(&["--prepared-operations-new-time=3s"]).await;
    let ask = async |query: &str| {
        let answer = gateway.query(query).await;
        assert_eq!(
            answer,
            json!({"data": {"greeting": "hello you"}}),
            "{query}"
        );
    };
    let kept = async || gateway.metric("gateway_prepared_operations").await;
    ask("query Once { greeting }").await;
    assert_eq!(kept().await, 1.0);
    eventually("it is forgotten", || async { kept().await == 0.0 }).await;
    let bytes = gateway.metric("gateway_prepared_operations_bytes").await;
    assert_eq!(bytes, 0.0);
    ask("query Once { greeting }").await;
    ask("query Other { greeting }").await;
    // Both were requested, and one of them twice.
    assert_eq!(kept().await, 2.0);
    eventually("the other one is forgotten", || async {
        kept().await == 1.0
    })
    .await;
    let misses = "gateway_prepared_operation_misses_total";
    let before = gateway.metric(misses).await;
    ask("query Once { greeting }").await;
    assert_eq!(gateway.metric(misses).await, before);
}
