//! Moderation through the gateway: the posts follow, readers see each move once, and the queue is the moderators'.

use e2e::{ClientEvent, Graphql, Subscription, eventually};
use serde_json::{Value, json};

use crate::owners::Signed;

const CHANGES: &str = "subscription($post: ID!) { commentChanges(postId: $post) {
    __typename
    ... on CommentAdded { comment { text status } }
    ... on CommentDeleted { commentId }
} }";
const QUEUE_CHANGES: &str = "subscription($after: String) { moderationChanges(after: $after) {
    __typename
    ... on ModerationEntered { cursor entry { commentId comment { text post { title } } } }
    ... on ModerationLeft { cursor commentId }
} }";
const QUEUE: &str = "{ moderationChangesCursor moderationQueue { edges { node {
    commentId reportReasons comment { text post { title } }
} } } }";

async fn act(by: &Graphql, name: &str, id: &str) -> String {
    let act = format!(
        "mutation($id: ID!) {{ {name}(input: {{ id: $id, reason: \"rude\" }}) {{
            comment {{ status }} operationTime
        }} }}"
    );
    let mut done = by.data(&act, json!({ "id": id })).await;
    done[name]["operationTime"]
        .take()
        .as_str()
        .expect("a time")
        .to_owned()
}

/// What a post shows of its comments once it shows a change.
async fn shown(by: &Graphql, post: &str, since: &str) -> Value {
    let query = "query($id: ID!, $since: String) { post(id: $id, operationTime: $since) {
        commentCount latestComments { text status }
    } }";
    let variables = json!({ "id": post, "since": since });
    by.data(query, variables).await["post"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_and_readers_follow_what_moderators_decide() {
    let signed = Signed::start().await;
    let (ann, bob) = (
        signed.person("ann", "Ann", ""),
        signed.person("bob", "Bob", ""),
    );
    let (eve, guest) = (signed.person("eve", "Eve", "moderate"), signed.guest());
    let post = ann.create_post("Ann's").await;
    let mut live = Subscription::comments_of(&guest, CHANGES, &post).await;
    let first = ann.create_comment(&post, "First").await;
    live.next_data().await;

    let hidden = act(&eve, "hideComment", &first).await;
    let read = shown(&guest, &post, &hidden).await;
    let count_without = read["commentCount"].as_i64().expect("a number");
    assert_ne!(read["latestComments"][0]["text"], "First");
    let deleted = json!({ "__typename": "CommentDeleted", "commentId": first });
    assert_eq!(live.next_data().await["commentChanges"], deleted);

    let restored = act(&eve, "restoreComment", &first).await;
    let read = shown(&guest, &post, &restored).await;
    assert_eq!(read["commentCount"], count_without + 1);
    let latest = json!({ "text": "First", "status": "VISIBLE" });
    assert_eq!(read["latestComments"][0], latest);
    let added = json!({ "__typename": "CommentAdded", "comment": latest });
    assert_eq!(live.next_data().await["commentChanges"], added);
    bob.create_comment(&post, "Last").await;
    let last = live.next_data().await;
    assert_eq!(
        last["commentChanges"]["comment"]["text"], "Last",
        "and no more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_live_and_for_moderators_alone() {
    let signed = Signed::start().await;
    let (ann, eve, guest) = (
        signed.person("ann", "Ann", ""),
        signed.person("eve", "Eve", "moderate"),
        signed.guest(),
    );
    let post = ann.create_post("Ann's").await;
    let comment = ann.create_comment(&post, "Text").await;
    let start = eve.data(QUEUE, json!({})).await["moderationChangesCursor"].take();
    let after = json!({ "after": start });
    let mut live = Subscription::start(&eve, QUEUE_CHANGES, after.clone()).await;
    let report = "mutation($id: ID!) {
        reportComment(input: { id: $id, reason: \"rude\" }) { comment { id } }
    }";
    ann.data(report, json!({ "id": comment })).await;
    let mut entered = live.next_data().await["moderationChanges"].take();
    entered["cursor"].take();
    let entry = json!({
        "commentId": comment, "comment": { "text": "Text", "post": { "title": "Ann's" } },
    });
    let expected = json!({ "__typename": "ModerationEntered", "cursor": null, "entry": entry });
    assert_eq!(entered, expected);

    // While hers runs, nobody else's joins it.
    for (client, code) in [(&ann, "FORBIDDEN"), (&guest, "UNAUTHENTICATED")] {
        let nothing_tagged = "subscription($after: String) {
            moderationChanges(after: $after) { __typename }
        }";
        for query in [QUEUE_CHANGES, nothing_tagged] {
            let mut refused = Subscription::start(client, query, after.clone()).await;
            let refused = match refused.next().await {
                ClientEvent::Error(errors) => errors,
                ClientEvent::Next(result) => result["errors"].clone(),
                other => panic!("not an error: {other:?}"),
            };
            assert_eq!(refused[0]["extensions"]["code"], code, "{refused}");
        }
        assert_eq!(client.ask(QUEUE, json!({})).await.codes()[0], code);
    }
    act(&eve, "restoreComment", &comment).await;
    let left = live.next_data().await["moderationChanges"].take();
    assert_eq!(left["__typename"], "ModerationLeft");
    eventually("the queue is empty", || async {
        let read = eve.data(QUEUE, json!({})).await;
        let edges = read["moderationQueue"]["edges"].as_array().map(Vec::len);
        (edges == Some(0)).then_some(()).ok_or(read.to_string())
    })
    .await;
}
