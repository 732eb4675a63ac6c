//! How subgraph errors are masked outside development.

use serde_json::{Value, json};

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
    let shown = "--shown-error-codes=BAD_USER_INPUT,SUBSCRIPTION_LAGGED";
    let gateway = TestGateway::with(&[shown, &news.instead_of("news")]).await;
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
    let shown = "--shown-error-codes=OVERLOADED";
    let gateway = TestGateway::with(&[shown, &news.instead_of("news")]).await;
    // The first leaves `data` null, the second an object of nulls.
    for query in ["{ greeting }", r#"{ header(name: "a") }"#] {
        for media in ["application/json", "application/graphql-response+json"] {
            let body = json!({ "query": query }).to_string();
            let request = gateway.post().header("accept", media).body(body);
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 503, "{query} as {media}");
            assert_eq!(answer.headers()["retry-after"], "1");
            let answer: Value = answer.json().await.expect("JSON");
            let error = &answer["errors"][0];
            assert_eq!(error["message"], "try again", "{answer}");
            assert_eq!(error["extensions"]["code"], "OVERLOADED", "{answer}");
        }
    }
}

/// Before execution: nothing was begun.
const REFUSED: Act =
    Act::Answer(r#"{"errors":[{"message":"busy","extensions":{"code":"OVERLOADED"}}]}"#);

/// Sends a mutation; returns the status, `Retry-After`, and each error's code with its path.
async fn mutate(gateway: &TestGateway, mutation: &str) -> (u16, Option<String>, Value) {
    let body = json!({ "query": mutation }).to_string();
    let answer = gateway.post().body(body).send().await.expect("an answer");
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get("retry-after").cloned();
    let retry_after = retry_after.map(|it| it.to_str().expect("a text").to_owned());
    let answer: Value = answer.json().await.expect("JSON");
    assert_eq!(answer["data"], Value::Null, "{answer}");
    let errors = answer["errors"].as_array().expect("errors").iter();
    let errors = errors.map(|error| json!([error["extensions"]["code"], error["path"]]));
    (status, retry_after, errors.collect())
}

#[tokio::test]
async fn a_mutation_whose_root_fields_are_all_refused_is_503() {
    let news = Scripted::start(&[
        REFUSED,
        Act::Answer(
            r#"{"data":null,"errors":[{"message":"busy","path":["a"],"extensions":{"code":"OVERLOADED"}}]}"#,
        ),
        REFUSED,
    ])
    .await;
    let gateway = TestGateway::with(&[&news.instead_of("news")]).await;
    for mutation in [
        r#"mutation { a: publish(text: "a") { id } }"#,
        r#"mutation { a: publish(text: "a") { id length } }"#,
    ] {
        let (status, retry_after, errors) = mutate(&gateway, mutation).await;
        assert_eq!((status, retry_after.as_deref()), (503, Some("1")));
        assert_eq!(errors, json!([["OVERLOADED", ["a"]]]));
    }
    let both = r#"mutation { a: publish(text: "a") { id } b: publish(text: "b") { id } }"#;
    let (status, retry_after, errors) = mutate(&gateway, both).await;
    assert_eq!((status, retry_after.as_deref()), (503, Some("1")));
    assert_eq!(
        errors,
        json!([["OVERLOADED", ["a"]], ["OVERLOADED", ["b"]]])
    );
}

#[tokio::test]
async fn a_read_that_fails_after_a_write_does_not_ask_to_write_again() {
    let counts = Scripted::start(&[
        REFUSED,
        Act::Answer(
            r#"{"data":null,"errors":[{"message":"busy","path":["_entities",0,"length"],"extensions":{"code":"OVERLOADED"}}]}"#,
        ),
    ])
    .await;
    let gateway = TestGateway::with(&[&counts.instead_of("counts")]).await;
    let mutation = r#"mutation { publish(text: "a") { id length } }"#;
    for path in [json!(["publish"]), json!(["publish", "length"])] {
        let (status, retry_after, errors) = mutate(&gateway, mutation).await;
        assert_eq!((status, retry_after), (200, None), "{errors}");
        assert_eq!(errors, json!([["READ_AFTER_WRITE_FAILED", path]]));
    }
    assert_eq!(gateway.news.asked(), 2);

    // The same where the subgraph of the mutation reads after it wrote.
    let news = Scripted::start(&[Act::Answer(
        r#"{"data":null,"errors":[{"message":"busy","path":["publish","text"],"extensions":{"code":"OVERLOADED"}}]}"#,
    )])
    .await;
    let gateway = TestGateway::with(&[&news.instead_of("news")]).await;
    let mutation = r#"mutation { publish(text: "a") { text } }"#;
    let (status, retry_after, errors) = mutate(&gateway, mutation).await;
    assert_eq!((status, retry_after), (200, None), "{errors}");
    let expected = json!([["READ_AFTER_WRITE_FAILED", ["publish", "text"]]]);
    assert_eq!(errors, expected);
}

#[tokio::test]
async fn a_refused_root_field_beside_one_that_was_executed_is_no_503() {
    let busy = Scripted::start(&[REFUSED]).await;
    let gateway = TestGateway::with(&[&busy.instead_of("counts")]).await;
    for (mutation, refused) in [
        (
            r#"mutation { a: publish(text: "a") { id } b: recount }"#,
            "b",
        ),
        (
            r#"mutation { a: recount b: publish(text: "a") { id } }"#,
            "a",
        ),
    ] {
        let (status, retry_after, errors) = mutate(&gateway, mutation).await;
        assert_eq!((status, retry_after), (200, None), "{errors}");
        assert_eq!(errors, json!([["OVERLOADED", [refused]]]));
    }
    assert_eq!(gateway.news.asked(), 2);

    // Both in one request to one subgraph.
    let news = Scripted::start(&[Act::Answer(
        r#"{"data":null,"errors":[{"message":"busy","path":["b"],"extensions":{"code":"OVERLOADED"}}]}"#,
    )])
    .await;
    let gateway = TestGateway::with(&[&news.instead_of("news")]).await;
    let both = r#"mutation { a: publish(text: "a") { id } b: publish(text: "b") { id } }"#;
    let (status, retry_after, errors) = mutate(&gateway, both).await;
    assert_eq!((status, retry_after), (200, None), "{errors}");
    assert_eq!(errors[0], json!(["OVERLOADED", ["b"]]));
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

#[tokio::test]
async fn only_what_has_the_form_of_a_code_passes_the_mask() {
    let news = Scripted::start(&[
        Act::Answer(r#"{"errors":[{"message":"a","extensions":{"code":"no route to 10.0.0.7"}}]}"#),
        Act::Answer(r#"{"errors":[{"message":"a","extensions":{"code":{"host":"10.0.0.7"}}}]}"#),
        Act::Answer(r#"{"errors":[{"message":"a","extensions":{"code":"_HIDDEN"}}]}"#),
        Act::Answer(r#"{"errors":[{"message":"a","extensions":{"code":"A0123456789012345678901234567890123456789012345678901234567890123"}}]}"#),
        Act::Answer(r#"{"errors":[{"message":"a","extensions":{"code":"A012345678901234567890123456789012345678901234567890123456789012"}}]}"#),
        Act::Answer(r#"{"errors":[{"message":"a","extensions":{"code":"listed-by-the-operator"}}]}"#),
    ])
    .await;
    let news = news.instead_of("news");
    let shown = "--shown-error-codes=listed-by-the-operator";
    let gateway = TestGateway::with(&[&news, shown]).await;
    for expected in [
        "DOWNSTREAM_SERVICE_ERROR",
        "DOWNSTREAM_SERVICE_ERROR",
        "DOWNSTREAM_SERVICE_ERROR",
        "DOWNSTREAM_SERVICE_ERROR",
        "A012345678901234567890123456789012345678901234567890123456789012",
        "listed-by-the-operator",
    ] {
        let answer = gateway.query("{ greeting }").await;
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(*extensions, json!({"code": expected, "service": "news"}));
    }
}

#[tokio::test]
async fn a_refusal_quotes_little_of_what_the_client_sent() {
    let gateway = TestGateway::start().await;
    let name = "x".repeat(1_000);
    let queries = [
        format!("{{ {name} }}"),
        format!("{{ greeting({name}: 1) }}"),
        format!("{{ ...{name} }}"),
        format!("query({}: {name}) {{ greeting }}", "$a"),
    ];
    for query in queries {
        let answer = gateway.query(&query).await;
        let errors = answer["errors"].as_array().expect("errors").iter();
        let messages = errors.map(|error| error["message"].as_str().expect("text"));
        let longest = messages.max_by_key(|message| message.len());
        let longest = longest.expect("an error");
        assert_eq!(longest.chars().count(), 300, "{longest}");
        assert!(longest.ends_with("..."), "{longest}");
    }
}
