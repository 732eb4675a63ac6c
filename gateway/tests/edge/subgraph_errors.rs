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
async fn an_overload_that_leaves_no_data_is_503_and_says_when_to_try_again() {
    let news = Scripted::start(&[Act::Break(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\ncontent-length: 71\r\n\r\n{\"errors\":[{\"message\":\"try again\",\"extensions\":{\"code\":\"OVERLOADED\"}}]}",
    )])
    .await;
    let gateway = TestGateway::with(&[&news.instead_of("news")]).await;
    // The first leaves `data` null, the second an object of nulls.
    for query in ["{ greeting }", r#"{ header(name: "a") }"#] {
        for media in ["application/json", "application/graphql-response+json"] {
            let body = json!({ "query": query }).to_string();
            let request = gateway.post().header("accept", media).body(body);
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 503, "{query} as {media}");
            assert_eq!(answer.headers()["retry-after"], "1");
            let answer: serde_json::Value = answer.json().await.expect("JSON");
            let error = &answer["errors"][0];
            assert_eq!(error["message"], "try again", "{answer}");
            assert_eq!(error["extensions"]["code"], "OVERLOADED", "{answer}");
        }
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
