//! Subscribers receive each comment, with its post resolved by the other subgraph.

use e2e::{ClientEvent, Subscription, System, assert_projected};
use serde_json::{Value, json};

use crate::PROGRAM;

const COMMENT_ADDED: &str = "subscription($post: ID!) { commentAdded(postId: $post) { text createdAt post { title commentCount } } }";
const COMMENT_CHANGES: &str = "subscription($post: ID!, $after: String) {
    commentChanges(postId: $post, after: $after) {
        __typename
        ... on CommentAdded { cursor comment { id text } }
        ... on CommentEdited { cursor comment { id text edited } }
        ... on CommentDeleted { cursor commentId postId }
    }
}";

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_each_comment_with_its_post() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Watched").await;
    let other = graphql.create_post("Not watched").await;
    let mut added = Subscription::comments_of(graphql, COMMENT_ADDED, &post).await;

    for text in ["one", "two", "three"] {
        graphql
            .create_comment(&other, "not for the subscriber")
            .await;
        graphql.create_comment(&post, text).await;
    }
    for text in ["one", "two", "three"] {
        let data = added.next_data().await;
        let comment = &data["commentAdded"];
        assert_eq!(comment["text"], text);
        assert!(comment["createdAt"].is_string());
        assert_eq!(comment["post"]["title"], "Watched");
        assert!(comment["post"]["commentCount"].is_u64());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_in_order_and_go_on_from_a_cursor() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Watched").await;
    let mut changes = Subscription::comments_of(graphql, COMMENT_CHANGES, &post).await;

    let comment = graphql.create_comment(&post, "draft").await;
    graphql.update_comment(&comment, "final").await;
    graphql.delete_comment(&comment).await;

    let added = changes.next_data().await;
    let edited = changes.next_data().await;
    let deleted = changes.next_data().await;
    assert_eq!(
        without_cursor(&added),
        json!({
            "__typename": "CommentAdded", "comment": { "id": comment, "text": "draft" },
        })
    );
    assert_eq!(
        without_cursor(&edited),
        json!({
            "__typename": "CommentEdited", "comment": { "id": comment, "text": "final", "edited": true },
        })
    );
    assert_eq!(
        without_cursor(&deleted),
        json!({
            "__typename": "CommentDeleted", "commentId": comment, "postId": post,
        })
    );

    let after = &added["commentChanges"]["cursor"];
    let mut resumed = Subscription::start(
        graphql,
        COMMENT_CHANGES,
        json!({ "post": post, "after": after }),
    )
    .await;
    assert_eq!(resumed.next_data().await, edited);
    assert_eq!(resumed.next_data().await, deleted);
    assert_projected(graphql, &post).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_between_the_query_and_its_subscription_is_delivered_once() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Watched").await;
    graphql.create_comment(&post, "listed").await;
    let listed = "query($post: ID!) { post(id: $post) {
        commentChangesCursor
        comments(first: 10) { edges { node { text } } }
    } }";
    let list = graphql.data(listed, json!({ "post": post })).await;
    assert_eq!(
        list["post"]["comments"]["edges"],
        json!([{ "node": { "text": "listed" } }])
    );

    graphql.create_comment(&post, "in between").await;
    let after = &list["post"]["commentChangesCursor"];
    let variables = json!({ "post": post, "after": after });
    let mut changes = Subscription::start(graphql, COMMENT_CHANGES, variables).await;
    let mut event = changes.next_data().await;
    // A change that the list shows may come once more.
    if added_text(&event) == "listed" {
        event = changes.next_data().await;
    }
    assert_eq!(added_text(&event), "in between");
    graphql.create_comment(&post, "live").await;
    assert_eq!(added_text(&changes.next_data().await), "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_none_is_refused_and_never_starts_from_now() {
    let system = System::start_in_production(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Watched").await;
    let other = graphql.create_post("Other").await;
    let mut changes = Subscription::comments_of(graphql, COMMENT_CHANGES, &other).await;
    graphql.create_comment(&other, "for its cursor").await;
    let foreign = changes.next_data().await["commentChanges"]["cursor"].clone();
    let foreign = foreign.as_str().expect("a cursor");

    for (cursor, reason) in [
        ("bm90IGEgY3Vyc29y", "CURSOR_MALFORMED"),
        ("", "CURSOR_MALFORMED"),
        (foreign, "CURSOR_FOREIGN"),
        (&foreign[..foreign.len() / 2], "CURSOR_MALFORMED"),
        ("\u{0}\u{fffd}", "CURSOR_MALFORMED"),
    ] {
        let variables = json!({ "post": post, "after": cursor });
        let mut refused = Subscription::start(graphql, COMMENT_CHANGES, variables).await;
        let refusal = refused.next().await;
        assert_eq!(error_codes(&refusal), ["BAD_USER_INPUT"], "{cursor:?}");
        let errors = error_list(&refusal);
        assert_eq!(errors[0]["extensions"]["reason"], reason, "{cursor:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribing_to_an_unknown_post_is_an_error() {
    let system = System::start(PROGRAM).await;
    let unknown = json!({ "post": "0123456789abcdef01234567" });
    let mut refused = Subscription::start(system.graphql(), COMMENT_ADDED, unknown).await;
    assert_eq!(error_codes(&refused.next().await), ["NOT_FOUND"]);
    let malformed = json!({ "post": "not an id" });
    let mut refused = Subscription::start(system.graphql(), COMMENT_ADDED, malformed).await;
    assert_eq!(error_codes(&refused.next().await), ["BAD_USER_INPUT"]);
}

fn without_cursor(data: &Value) -> Value {
    let mut change = data["commentChanges"].clone();
    let cursor = change
        .as_object_mut()
        .and_then(|change| change.remove("cursor"));
    assert!(cursor.is_some_and(|cursor| cursor.as_str().is_some_and(|cursor| !cursor.is_empty())));
    change
}

fn added_text(data: &Value) -> &Value {
    &data["commentChanges"]["comment"]["text"]
}

/// The codes of a failed subscription, whether it failed as a whole or in its first result.
fn error_codes(event: &ClientEvent) -> Vec<&str> {
    let errors = error_list(event).as_array().expect("a list of errors");
    errors
        .iter()
        .filter_map(|error| error["extensions"]["code"].as_str())
        .collect()
}

fn error_list(event: &ClientEvent) -> &Value {
    match event {
        ClientEvent::Error(errors) => errors,
        ClientEvent::Next(result) => &result["errors"],
        other => panic!("not an error: {other:?}"),
    }
}
