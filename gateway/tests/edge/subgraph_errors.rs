//! What clients see of a subgraph's errors outside development.

use serde_json::json;

use crate::support::{
    gateway::TestGateway,
    scripted::{Act, Scripted},
};

#[tokio::test]
async fn those_meant_for_clients_keep_their_words_and_others_their_code_alone() {
    let news = Scripted::start(&[
        Act::Answer(
            r#"{"errors":[{"message":"the name is too long","extensions":{"code":"BAD_USER_INPUT","stack":"a"}}]}"#,
        ),
        Act::Answer(
            r#"{"errors":[{"message":"too slow","extensions":{"code":"SUBSCRIPTION_LAGGED","cursor":"c7","missed":3}}]}"#,
        ),
        Act::Answer(
            r#"{"errors":[{"message":"no route to 10.0.0.7","extensions":{"code":"DATABASE_DOWN","cursor":"c7"}}]}"#,
        ),
    ])
    .await;
    let gateway = TestGateway::with(&[&news.instead_of("news")]).await;
    for error in [
        json!({"message": "the name is too long", "extensions": {"code": "BAD_USER_INPUT", "service": "news"}}),
        json!({"message": "too slow", "extensions": {"code": "SUBSCRIPTION_LAGGED", "cursor": "c7", "missed": 3, "service": "news"}}),
        json!({"message": "the subgraph reported an error", "extensions": {"code": "DATABASE_DOWN", "service": "news"}}),
    ] {
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(answer, json!({"data": null, "errors": [error]}));
    }
}

#[tokio::test]
async fn an_answer_that_stops_half_way_is_given_up_in_time() {
    let news = Scripted::start(&[Act::Stall(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{\"data\":",
    )])
    .await;
    let arguments = [&*news.instead_of("news"), "--subgraph-timeout=100ms"];
    let gateway = TestGateway::with(&arguments).await;
    let answer = gateway.query("{ greeting }").await;
    assert_eq!(
        answer["errors"][0]["extensions"]["code"], "SUBREQUEST_TIMEOUT",
        "{answer}"
    );
}
