//! Bad input fails with a GraphQL error and a code. Nothing changes, and every service keeps running.

use e2e::{Answer, Service, System, comments_of, latest_of};
use serde_json::{Value, json};

use crate::PROGRAM;

const UNKNOWN_ID: &str = "0123456789abcdef01234567";
const CREATE_POST: &str =
    "mutation($input: CreatePostInput!) { createPost(input: $input) { post { id } } }";
const CREATE_COMMENT: &str =
    "mutation($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }";

struct Case {
    what: &'static str,
    body: String,
    code: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_input_gets_its_code_and_changes_nothing() {
    let system = System::start(PROGRAM).await;
    bad_input_gets_its_code_and_changes_nothing(system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_of_development_each_bad_input_gets_the_same_code() {
    let system = System::start_in_production(PROGRAM).await;
    let answer = system
        .graphql()
        .ask("{ __schema { queryType { name } } }", json!({}))
        .await;
    assert!(
        !answer.codes().is_empty(),
        "introspection is answered: this is no production"
    );
    bad_input_gets_its_code_and_changes_nothing(system).await;
}

async fn bad_input_gets_its_code_and_changes_nothing(mut system: System) {
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Unchanged").await;
    graphql.create_comment(&post, "unchanged").await;
    e2e::assert_projected(&graphql, &post).await;
    let before = (
        latest_of(&graphql, &post).await.expect("an answer"),
        comments_of(&graphql, &post).await.expect("an answer"),
    );

    for Case { what, body, code } in cases(&post) {
        let answer = graphql.post(body).await;
        let codes = answer.codes();
        assert!(!codes.is_empty(), "{what}: {}", answer.body);
        assert!(
            codes.iter().all(|found| found == code),
            "{what}: {}",
            answer.body
        );
        assert!(tells_why(&answer), "{what}: {}", answer.body);
    }

    let after = (
        latest_of(&graphql, &post).await.expect("an answer"),
        comments_of(&graphql, &post).await.expect("an answer"),
    );
    assert_eq!(before, after);
    let posts = graphql
        .data("{ posts { edges { node { id } } } }", json!({}))
        .await;
    assert_eq!(posts["posts"]["edges"].as_array().map(Vec::len), Some(1));
    for service in [Service::Posts, Service::Comments, Service::Gateway] {
        system.ready(service).await;
    }
}

fn cases(post: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |what, body: Value, code| {
        cases.push(Case {
            what,
            body: body.to_string(),
            code,
        })
    };
    let ask = |query: &str, variables: Value| json!({ "query": query, "variables": variables });
    let input = |query, input: Value| ask(query, json!({ "input": input }));
    let comment =
        |post: &str, text: &str| input(CREATE_COMMENT, json!({ "postId": post, "text": text }));

    let post_by_id = "query($id: ID!) { post(id: $id) { title } }";
    let comment_by_id = "query($id: ID!) { comment(id: $id) { text } }";
    case(
        "a malformed post id",
        ask(post_by_id, json!({ "id": "x" })),
        "BAD_USER_INPUT",
    );
    case(
        "a malformed comment id",
        ask(comment_by_id, json!({ "id": "../../etc" })),
        "BAD_USER_INPUT",
    );
    case(
        "an id that is an operator",
        ask(post_by_id, json!({ "id": { "$ne": null } })),
        "BAD_USER_INPUT",
    );
    case(
        "a comment on a malformed post id",
        comment("not an id", "text"),
        "BAD_USER_INPUT",
    );
    case(
        "a comment on a missing post",
        comment(UNKNOWN_ID, "text"),
        "NOT_FOUND",
    );

    let update =
        "mutation($input: UpdateCommentInput!) { updateComment(input: $input) { comment { id } } }";
    let delete = "mutation($input: DeleteCommentInput!) { deleteComment(input: $input) { id } }";
    let delete_post = "mutation($input: DeletePostInput!) { deletePost(input: $input) { id } }";
    case(
        "an edit of an unknown comment",
        input(update, json!({ "id": UNKNOWN_ID, "text": "t" })),
        "NOT_FOUND",
    );
    case(
        "a delete of an unknown comment",
        input(delete, json!({ "id": UNKNOWN_ID })),
        "NOT_FOUND",
    );
    case(
        "a delete of an unknown post",
        input(delete_post, json!({ "id": UNKNOWN_ID })),
        "NOT_FOUND",
    );

    case("an empty text", comment(post, ""), "BAD_USER_INPUT");
    case(
        "a blank text",
        comment(post, " \n\t\u{3000} "),
        "BAD_USER_INPUT",
    );
    case(
        "a text of 5001 characters",
        comment(post, &"é".repeat(5_001)),
        "BAD_USER_INPUT",
    );
    let blank_title = json!({ "title": "  ", "content": "c" });
    case(
        "a blank title",
        input(CREATE_POST, blank_title),
        "BAD_USER_INPUT",
    );
    let long_title = json!({ "title": "t".repeat(201), "content": "c" });
    case(
        "a title of 201 characters",
        input(CREATE_POST, long_title),
        "BAD_USER_INPUT",
    );
    let long_author = json!({ "title": "t", "content": "c", "author": "a".repeat(101) });
    case(
        "an author of 101 characters",
        input(CREATE_POST, long_author),
        "BAD_USER_INPUT",
    );

    case(
        "a number for a text",
        input(CREATE_COMMENT, json!({ "postId": post, "text": 1 })),
        "BAD_USER_INPUT",
    );
    case(
        "a text that is null",
        input(CREATE_COMMENT, json!({ "postId": post, "text": null })),
        "BAD_USER_INPUT",
    );
    let more = json!({ "postId": post, "text": "t", "isAdmin": true });
    case(
        "an unknown input field",
        input(CREATE_COMMENT, more),
        "BAD_USER_INPUT",
    );
    case(
        "no input at all",
        ask(CREATE_COMMENT, json!({})),
        "BAD_USER_INPUT",
    );
    case(
        "variables that are a list",
        ask(post_by_id, json!([1])),
        "BAD_REQUEST",
    );

    case(
        "an unknown field",
        ask("{ posts { nope } }", json!({})),
        "GRAPHQL_VALIDATION_FAILED",
    );
    case(
        "an entity look-up",
        ask(
            "{ _entities(representations: []) { __typename } }",
            json!({}),
        ),
        "GRAPHQL_VALIDATION_FAILED",
    );
    case(
        "half a document",
        ask("{ posts {", json!({})),
        "GRAPHQL_PARSE_FAILED",
    );
    case(
        "an empty document",
        ask("", json!({})),
        "GRAPHQL_PARSE_FAILED",
    );

    let page = |arguments: &str| {
        ask(
            &format!("{{ posts({arguments}) {{ edges {{ cursor }} }} }}"),
            json!({}),
        )
    };
    case(
        "a page of a million",
        page("first: 1000000"),
        "MAX_COST_EXCEEDED",
    );
    case("a page of 101", page("first: 101"), "BAD_USER_INPUT");
    case("a page of minus one", page("first: -1"), "BAD_USER_INPUT");
    case(
        "first and last",
        page("first: 1, last: 1"),
        "BAD_USER_INPUT",
    );
    case(
        "a cursor from nowhere",
        page(r#"first: 1, after: "bm93aGVyZQ==""#),
        "BAD_USER_INPUT",
    );
    case(
        "a cursor that is no text",
        page(r#"first: 1, after: "\u0000""#),
        "BAD_USER_INPUT",
    );

    cases.push(Case {
        what: "broken JSON",
        body: r#"{"query": "{ posts"#.to_owned(),
        code: "BAD_REQUEST",
    });
    cases.push(Case {
        what: "an empty body",
        body: String::new(),
        code: "BAD_REQUEST",
    });
    cases.push(Case {
        what: "JSON that is no request",
        body: "[1, 2]".to_owned(),
        code: "BAD_REQUEST",
    });
    let huge = comment(post, &"x".repeat(10_000_000)).to_string();
    cases.push(Case {
        what: "a body of 10 MB",
        body: huge,
        code: "REQUEST_TOO_LARGE",
    });
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_ids_are_null_in_queries() {
    let system = System::start(PROGRAM).await;
    let query = "query($id: ID!) { post(id: $id) { title } comment(id: $id) { text } }";
    let data = system
        .graphql()
        .data(query, json!({ "id": UNKNOWN_ID }))
        .await;
    assert_eq!(data, json!({ "post": null, "comment": null }));
}

/// Every error has a message for its reader, which tells nothing of the machinery.
fn tells_why(answer: &Answer) -> bool {
    let errors = answer.body["errors"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    errors.iter().all(|error| {
        let message = error["message"].as_str().unwrap_or_default();
        !message.is_empty() && !message.contains("panicked") && !message.contains("mongodb")
    })
}
