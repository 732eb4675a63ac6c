//! Automatic persisted queries and trusted documents.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::gateway::TestGateway;

fn hash(document: &str) -> String {
    Sha256::digest(document.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn ask(gateway: &TestGateway, query: Option<&str>, hash: Option<&str>) -> Value {
    let mut body = json!({});
    if let Some(query) = query {
        body["query"] = json!(query);
    }
    if let Some(hash) = hash {
        body["extensions"] = json!({"persistedQuery": {"version": 1, "sha256Hash": hash}});
    }
    let response = gateway
        .post()
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    response.json().await.expect("JSON")
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"]
        .as_str()
        .unwrap_or("none")
}

const DOCUMENT: &str = "{ greeting }";

#[tokio::test]
async fn a_document_is_known_by_its_hash_once_it_was_sent() {
    let gateway = TestGateway::with(&["--automatic-persisted-queries"]).await;
    let greeting = json!({"data": {"greeting": "hello you"}});
    let unknown = ask(&gateway, None, Some(&hash(DOCUMENT))).await;
    assert_eq!(code(&unknown), "PERSISTED_QUERY_NOT_FOUND");
    assert_eq!(unknown["errors"][0]["message"], "PersistedQueryNotFound");
    assert_eq!(
        ask(&gateway, Some(DOCUMENT), Some(&hash(DOCUMENT))).await,
        greeting
    );
    assert_eq!(ask(&gateway, None, Some(&hash(DOCUMENT))).await, greeting);
    let wrong = ask(&gateway, Some(DOCUMENT), Some(&hash("{ other }"))).await;
    assert_eq!(code(&wrong), "PERSISTED_QUERY_HASH_MISMATCH");

    let extensions = format!(
        "%7B%22persistedQuery%22:%7B%22version%22:1,%22sha256Hash%22:%22{}%22%7D%7D",
        hash(DOCUMENT)
    );
    let response = gateway
        .get(&format!("/graphql?extensions={extensions}"))
        .await;
    assert_eq!(response.json::<Value>().await.expect("JSON"), greeting);
}

/// `documentId` by POST and by GET, as GraphQL over HTTP's appendix A has it.
async fn ask_by_id(gateway: &TestGateway, query: Option<&str>, id: &str) -> Value {
    let mut body = json!({"documentId": id});
    if let Some(query) = query {
        body["query"] = json!(query);
    }
    let posted = gateway.post().body(body.to_string()).send().await;
    let posted: Value = posted.expect("an answer").json().await.expect("JSON");
    if query.is_none() {
        let got = gateway.get(&format!("/graphql?documentId={id}")).await;
        assert_eq!(got.json::<Value>().await.expect("JSON"), posted, "{id}");
    }
    posted
}

#[tokio::test]
async fn a_document_is_known_by_its_identifier() {
    let gateway = TestGateway::with(&["--automatic-persisted-queries"]).await;
    let id = format!("sha256:{}", hash(DOCUMENT));
    let greeting = json!({"data": {"greeting": "hello you"}});
    let unknown = ask_by_id(&gateway, None, &id).await;
    assert_eq!(code(&unknown), "PERSISTED_QUERY_NOT_FOUND");
    assert_eq!(unknown["errors"].as_array().map(Vec::len), Some(1));
    assert_eq!(ask_by_id(&gateway, Some(DOCUMENT), &id).await, greeting);
    assert_eq!(ask_by_id(&gateway, None, &id).await, greeting);
    // It is the same document as the one of Apollo's extension.
    assert_eq!(ask(&gateway, None, Some(&hash(DOCUMENT))).await, greeting);
    let wrong = ask_by_id(&gateway, Some("{ other }"), &id).await;
    assert_eq!(code(&wrong), "PERSISTED_QUERY_HASH_MISMATCH");
    let extensions = json!({"persistedQuery": {"version": 1, "sha256Hash": hash("{ other }")}});
    let two = json!({"documentId": id, "extensions": extensions}).to_string();
    let two = gateway.post().body(two).send().await.expect("an answer");
    assert_eq!(
        code(&two.json::<Value>().await.expect("JSON")),
        "BAD_REQUEST"
    );
}

#[tokio::test]
async fn the_trusted_list_is_asked_by_identifier() {
    let folder = TempDir::new().expect("a folder");
    let list = folder.path().join("trusted.json");
    let named = json!({"greet": DOCUMENT, "x-app:1": "{ again: greeting }"});
    std::fs::write(&list, named.to_string()).expect("written");
    let gateway = TestGateway::with(&[&format!("--trusted-documents={}", list.display())]).await;
    let greeting = json!({"data": {"greeting": "hello you"}});
    assert_eq!(ask_by_id(&gateway, None, "greet").await, greeting);
    let by_hash = format!("sha256:{}", hash(DOCUMENT));
    assert_eq!(ask_by_id(&gateway, None, &by_hash).await, greeting);
    let again = json!({"data": {"again": "hello you"}});
    assert_eq!(ask_by_id(&gateway, None, "x-app:1").await, again);
    for id in ["other", "sha256:greet", "md5:greet", ""] {
        let refused = ask_by_id(&gateway, None, id).await;
        assert_eq!(code(&refused), "PERSISTED_QUERY_NOT_IN_LIST", "{id}");
    }
}

#[tokio::test]
async fn hashes_are_off_by_default() {
    let gateway = TestGateway::start().await;
    let answer = ask(&gateway, None, Some(&hash(DOCUMENT))).await;
    assert_eq!(code(&answer), "PERSISTED_QUERY_NOT_SUPPORTED");
}

#[tokio::test]
async fn with_a_list_nothing_else_is_answered() {
    let folder = TempDir::new().expect("a folder");
    let list = folder.path().join("trusted.json");
    std::fs::write(&list, json!({"greet": DOCUMENT}).to_string()).expect("written");
    let gateway = TestGateway::with(&[&format!("--trusted-documents={}", list.display())]).await;
    let greeting = json!({"data": {"greeting": "hello you"}});
    assert_eq!(ask(&gateway, Some(DOCUMENT), None).await, greeting);
    assert_eq!(ask(&gateway, None, Some("greet")).await, greeting);
    assert_eq!(ask(&gateway, None, Some(&hash(DOCUMENT))).await, greeting);
    for (query, id) in [
        (Some("{ greeting }  "), None),
        (Some("{ __typename }"), None),
        (None, Some("other")),
    ] {
        assert_eq!(
            code(&ask(&gateway, query, id).await),
            "PERSISTED_QUERY_NOT_IN_LIST"
        );
    }
    // The same over a socket.
    let mut socket = gateway.subscribed("{ __typename }").await;
    let error = socket.next().await;
    assert_eq!(
        error["payload"][0]["extensions"]["code"],
        "PERSISTED_QUERY_NOT_IN_LIST"
    );
}
