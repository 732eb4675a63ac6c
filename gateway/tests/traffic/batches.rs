//! Several requests in one.

use serde_json::{Value, json};

use crate::support::gateway::TestGateway;

async fn sent(gateway: &TestGateway, body: &Value) -> (u16, Value) {
    let response = gateway.post().body(body.to_string()).send().await;
    let response = response.expect("an answer");
    let status = response.status().as_u16();
    (status, response.json().await.expect("JSON"))
}

fn code(answer: &Value) -> &str {
    let code = &answer["errors"][0]["extensions"]["code"];
    code.as_str().unwrap_or("none")
}

fn query(text: &str) -> Value {
    json!({ "query": text })
}

#[tokio::test]
async fn each_request_has_its_answer_in_its_place() {
    let gateway = TestGateway::with(&["--batch-max=5"]).await;
    let batch = json!([
        query("{ greeting }"),
        query("{ nothing }"),
        { "query": "mutation($text: String!) { publish(text: $text) { text } }", "variables": { "text": "x" } },
        query("subscription { messages { text } }"),
        5,
    ]);
    let (status, answers) = sent(&gateway, &batch).await;
    assert_eq!((status, answers.as_array().map(Vec::len)), (200, Some(5)));
    assert_eq!(answers[0], json!({"data": {"greeting": "hello you"}}));
    assert_eq!(code(&answers[1]), "GRAPHQL_VALIDATION_FAILED");
    assert_eq!(answers[2], json!({"data": {"publish": {"text": "x"}}}));
    assert_eq!(code(&answers[3]), "SUBSCRIPTION_FORBIDDEN");
    assert_eq!(code(&answers[4]), "BAD_REQUEST");
    // Nothing is deferred anywhere, in a batch neither.
    let deferred = json!([query("{ ... @defer { greeting } }")]);
    let (_, answers) = sent(&gateway, &deferred).await;
    assert_eq!(code(&answers[0]), "GRAPHQL_VALIDATION_FAILED");
}

#[tokio::test]
async fn batches_are_off_unless_they_are_on_and_have_a_bound() {
    let off = TestGateway::start().await;
    let two = json!([query("{ greeting }"), query("{ greeting }")]);
    let (status, answer) = sent(&off, &two).await;
    assert_eq!((status, code(&answer)), (400, "BAD_REQUEST"));
    let on = TestGateway::with(&["--batch-max=1"]).await;
    let (status, answer) = sent(&on, &two).await;
    assert_eq!((status, code(&answer)), (400, "BATCH_TOO_LARGE"));
    let (status, answer) = sent(&on, &json!([])).await;
    assert_eq!((status, code(&answer)), (400, "BAD_REQUEST"));
    let single = query("{ greeting }");
    assert_eq!(sent(&on, &single).await.0, 200);
}

#[tokio::test]
async fn each_request_is_charged_and_limited_as_if_it_came_alone() {
    let arguments = ["--batch-max=10", "--rate-limit=3/1h", "--depth-max=1"];
    let gateway = TestGateway::with(&arguments).await;
    let batch: Vec<Value> = (0..5).map(|_| query("{ greeting }")).collect();
    let (status, answers) = sent(&gateway, &json!(batch)).await;
    assert_eq!(status, 200);
    let answers = answers.as_array().expect("an array");
    let limited = answers.iter().filter(|it| code(it) == "RATE_LIMITED");
    assert_eq!(limited.count(), 2);
    // All of them are refused now: so is the batch.
    let response = gateway.post().body(json!(batch).to_string()).send().await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));

    let gateway = TestGateway::with(&["--batch-max=10", "--depth-max=1"]).await;
    let deep = json!([
        query("mutation { publish(text: \"x\") { text } }"),
        query("{ greeting }")
    ]);
    let (_, answers) = sent(&gateway, &deep).await;
    assert_eq!(code(&answers[0]), "MAX_DEPTH_EXCEEDED");
    assert_eq!(answers[1]["data"]["greeting"], "hello you");
}

#[tokio::test]
async fn a_batch_is_no_stream() {
    let gateway = TestGateway::with(&["--batch-max=10"]).await;
    let request = gateway.post().header("accept", "text/event-stream");
    let body = json!([query("{ greeting }")]).to_string();
    let response = request.body(body).send().await.expect("an answer");
    assert_eq!(response.status(), 406);
}
