//! Bad input fails with a code, nothing changes, and the service keeps running.

use serde_json::json;

use crate::service::Posts;

const CREATE: &str =
    "mutation ($input: CreatePostInput!) { createPost(input: $input) { post { id } } }";
const UPDATE: &str =
    "mutation ($input: UpdatePostInput!) { updatePost(input: $input) { post { id } } }";
const POST: &str = "query ($id: ID!) { post(id: $id) { id } }";
const UNKNOWN: &str = "65f0c0ffee65f0c0ffee65f0";

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_checked() {
    let posts = Posts::start().await;
    let long = |chars| "é".repeat(chars);
    for input in [
        json!({ "title": "", "content": "C" }),
        json!({ "title": " \n", "content": "C" }),
        json!({ "title": long(201), "content": "C" }),
        json!({ "title": "T", "content": long(20_001) }),
        json!({ "title": "T", "content": "C", "author": long(101) }),
        json!({ "title": "T", "content": "C", "author": "" }),
    ] {
        let code = posts.error_code(CREATE, json!({ "input": input })).await;
        assert_eq!(code, "BAD_USER_INPUT", "{input}");
    }
    let longest = json!({ "title": long(200), "content": long(20_000), "author": long(100) });
    posts.data(CREATE, json!({ "input": longest })).await;

    let all = posts
        .data("{ posts { edges { node { id } } } }", json!({}))
        .await;
    assert_eq!(all["posts"]["edges"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_checked() {
    let posts = Posts::start().await;
    for malformed in ["", "1", "65f0c0ffee65f0c0ffee65fz", "'; drop"] {
        assert_eq!(
            posts.error_code(POST, json!({ "id": malformed })).await,
            "BAD_USER_INPUT"
        );
    }
    assert_eq!(
        posts.data(POST, json!({ "id": UNKNOWN })).await["post"],
        json!(null)
    );
    let nothing = json!({ "input": { "id": UNKNOWN } });
    assert_eq!(posts.error_code(UPDATE, nothing).await, "BAD_USER_INPUT");
    let unknown = json!({ "input": { "id": UNKNOWN, "title": "T" } });
    assert_eq!(posts.error_code(UPDATE, unknown).await, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn page_arguments_are_checked() {
    let posts = Posts::start().await;
    for arguments in [
        "first: 1000000",
        "first: -1",
        "last: 101",
        "first: 1, last: 1",
        "after: \"from nowhere\"",
        "before: \"AWMAAAGLz-VoAGXwwP_uZfDA_-5l8A\"",
    ] {
        let query = format!("{{ posts({arguments}) {{ pageInfo {{ endCursor }} }} }}");
        assert_eq!(
            posts.error_code(&query, json!({})).await,
            "BAD_USER_INPUT",
            "{arguments}"
        );
    }
    let id = posts.create("T").await;
    let latest = "query ($id: ID!) { post(id: $id) { latestComments(first: 21) { id } } }";
    assert_eq!(
        posts.error_code(latest, json!({ "id": id })).await,
        "BAD_USER_INPUT"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_checked() {
    let posts = Posts::start().await;
    let deep = format!("{{ __schema {{ types {} }} }}", nested("fields { type", 30));
    for (query, expected) in [
        ("{ posts { unknown } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ post(id: 1.5) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "{ posts(first: \"ten\") { pageInfo { endCursor } } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("{ posts", "GRAPHQL_PARSE_FAILED"),
        (
            "subscription { postAdded { id } }",
            "SUBSCRIPTION_FORBIDDEN",
        ),
        (deep.as_str(), "MAX_DEPTH_EXCEEDED"),
    ] {
        assert_eq!(
            posts.error_code(query, json!({})).await,
            expected,
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_checked() {
    let posts = Posts::start().await;
    let huge = json!({ "query": "{ __typename }", "variables": { "x": "x".repeat(10 << 20) } });
    for (body, status, code) in [
        ("{\"query\": ".to_owned(), 400, "BAD_REQUEST"),
        (String::new(), 400, "BAD_REQUEST"),
        ("null".to_owned(), 400, "BAD_REQUEST"),
        ("[]".to_owned(), 400, "BAD_REQUEST"),
        ("{}".to_owned(), 400, "BAD_REQUEST"),
        (huge.to_string(), 413, "REQUEST_TOO_LARGE"),
    ] {
        let shown: String = body.chars().take(20).collect();
        let (found, response) = posts.post(body).await;
        assert_eq!(found, status, "{shown}");
        assert_eq!(response["errors"][0]["extensions"]["code"], code, "{shown}");
    }
    posts.data("{ __typename }", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_reads_and_does_not_write() {
    let posts = Posts::start().await;
    let get = async |query: &str| {
        let url = reqwest::Url::parse_with_params(&posts.url("/graphql"), [("query", query)]);
        let request = posts.http().get(url.expect("an address"));
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (
            status,
            response.json::<serde_json::Value>().await.expect("JSON"),
        )
    };
    assert_eq!(
        get("{ __typename }").await,
        (200, json!({ "data": { "__typename": "Query" } }))
    );
    let (status, response) =
        get("mutation { createPost(input: { title: \"T\", content: \"C\" }) { post { id } } }")
            .await;
    assert_eq!(status, 405);
    assert_eq!(
        response["errors"][0]["extensions"]["code"],
        "MUTATION_FORBIDDEN"
    );
}

fn nested(opening: &str, times: usize) -> String {
    let depth = opening.matches('{').count();
    format!(
        "{{ {} name {} }}",
        format!("{opening} {{ ").repeat(times),
        "} ".repeat((depth + 1) * times)
    )
}
