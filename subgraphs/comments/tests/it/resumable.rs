//! The contract of resumable subscriptions (`docs/resumable-subscriptions.md`).

use bson::{Document, doc, oid::ObjectId};
use embedded_mongo::{Options, ReplicaSet};
use serde_json::{Value, json};
use subgraph::testing::Socket;

use crate::moderators::{NAME, ann, eve, second_at, start, written};
use crate::service::Comments;

const CHANGES: &str = "subscription ($post: ID!) {
    commentChanges(postId: $post) {
        __typename
        ... on CommentAdded { cursor comment { text } }
        ... on CommentEdited { cursor comment { text } }
        ... on CommentDeleted { cursor commentId }
    }
}";
const ADDED: &str = "subscription ($post: ID!) { commentAdded(postId: $post) { text } }";
const QUEUE_CHANGES: &str = "subscription {
    moderationChanges { ... on ModerationEntered { entry { comment { text } } } }
}";

fn asking(query: &str, post: &str, after: Option<&str>) -> Value {
    let delivery = json!({ "version": 1, "after": after });
    json!({ "query": query, "variables": { "post": post }, "extensions": { "delivery": delivery } })
}

async fn subscribed(comments: &Comments, payload: &Value) -> Socket {
    let mut socket = comments.websocket().await;
    let message = json!({ "id": "1", "type": "subscribe", "payload": payload });
    socket.send(message).await;
    socket
}

/// The cursor of a first frame.
async fn stands(socket: &mut Socket) -> String {
    let frame = socket.next_payload("1").await;
    let expected = json!({ "version": 1, "asked": "AT_LEAST_ONCE", "kept": "AT_LEAST_ONCE" });
    assert_eq!(frame["extensions"]["delivery"], expected, "{frame}");
    assert_eq!((&frame["data"], frame.get("errors")), (&Value::Null, None));
    cursor(&frame)
}

fn cursor(message: &Value) -> String {
    let cursor = message["extensions"]["cursor"].as_str();
    cursor.unwrap_or_else(|| panic!("{message}")).to_owned()
}

async fn refusal(socket: &mut Socket) -> Value {
    let mut message = socket.next().await;
    assert_eq!(message["type"], "error", "{message}");
    message["payload"][0]["extensions"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_cursor_here_is_refused_without_a_first_frame() {
    let comments = Comments::start().await;
    let (post, other) = (comments.post().await, comments.post().await);
    let foreign = comments.cursor(&other).await;
    let foreign = foreign.as_str();
    let forged = format!("{}A", &foreign[..foreign.len() - 1]);
    for (after, reason) in [
        (foreign, "CURSOR_FOREIGN"),
        (&forged, "CURSOR_FORGED"),
        ("Zm9yZ2Vk", "CURSOR_MALFORMED"),
    ] {
        let mut socket = subscribed(&comments, &asking(CHANGES, &post, Some(after))).await;
        let refused = refusal(&mut socket).await;
        assert_eq!(refused["code"], "BAD_USER_INPUT", "{refused}");
        if after != forged {
            assert_eq!(refused["reason"], reason, "{refused}");
        }
    }
    for delivery in [json!([]), json!({ "version": 1, "after": "a\nb" })] {
        let mut payload = asking(CHANGES, &post, None);
        payload["extensions"]["delivery"] = delivery;
        let mut socket = subscribed(&comments, &payload).await;
        let refused = refusal(&mut socket).await;
        assert_eq!(refused["code"], "BAD_USER_INPUT", "{refused}");
        // It means nothing to a query.
        payload["query"] = json!("{ __typename }");
        payload["variables"] = json!({});
        let mut socket = subscribed(&comments, &payload).await;
        assert_eq!(
            socket.next_payload("1").await["data"]["__typename"],
            "Query"
        );
    }
    // A post that does not exist has no subscription that could stand.
    let missing = "0".repeat(24);
    let mut socket = subscribed(&comments, &asking(CHANGES, &missing, None)).await;
    assert_eq!(refusal(&mut socket).await["code"], "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_after_the_first_frame_and_each_event_has_its_own_cursor() {
    const COUNT: usize = 25;
    let comments = Comments::start().await;
    let post = comments.post().await;
    // A subscription may stand before a change that was just acknowledged: so this one has arrived.
    let mut earlier = subscribed(&comments, &asking(CHANGES, &post, None)).await;
    stands(&mut earlier).await;
    comments.comment(&post, "before").await;
    earlier.next_payload("1").await;
    let mut new = subscribed(&comments, &asking(CHANGES, &post, None)).await;
    let begin = stands(&mut new).await;
    let plain = json!({ "query": CHANGES, "variables": { "post": post } });
    let mut old = subscribed(&comments, &plain).await;
    let mut cursors = vec![begin];
    let texts: Vec<String> = (0..COUNT).map(|number| format!("text {number}")).collect();
    for text in &texts {
        comments.comment(&post, text).await;
    }
    let mut events = Vec::new();
    for text in &texts {
        let event = new.next_payload("1").await;
        let change = &event["data"]["commentChanges"];
        assert_eq!(change["comment"]["text"], **text);
        assert_eq!(change["cursor"], cursor(&event));
        cursors.push(cursor(&event));
        events.push(event);
    }
    // An old client sees the same without any of it.
    loop {
        let event = old.next_payload("1").await;
        assert_eq!(event.get("extensions"), None, "{event}");
        if event["data"] == events[COUNT - 1]["data"] {
            break;
        }
    }
    for passed in [0, 1, COUNT - 1] {
        let after = Some(&*cursors[passed]);
        let mut again = subscribed(&comments, &asking(CHANGES, &post, after)).await;
        assert_eq!(stands(&mut again).await, cursors[passed]);
        for expected in &events[passed..] {
            assert_eq!(again.next_payload("1").await, *expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_without_a_cursor_in_the_schema_has_it_in_the_extensions() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let mut added = subscribed(&comments, &asking(ADDED, &post, None)).await;
    let begin = stands(&mut added).await;
    comments.comment(&post, "A").await;
    comments.comment(&post, "B").await;
    for after in [None, Some(begin)] {
        let mut socket = match after {
            None => added,
            Some(begin) => {
                let mut again = subscribed(&comments, &asking(ADDED, &post, Some(&begin))).await;
                stands(&mut again).await;
                again
            }
        };
        for text in ["A", "B"] {
            let event = socket.next_payload("1").await;
            assert_eq!(event["data"]["commentAdded"]["text"], text);
            cursor(&event);
        }
        added = socket;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_learns_that_the_database_hangs_and_misses_nothing() {
    let mut set = ReplicaSet::start(Options::default()).await.expect("a node");
    let uri = set.uri_for("hangs");
    let comments = second_at(&uri, &[]).await;
    comments.ready().await;
    let client = mongodb::Client::with_uri_str(&uri).await;
    let database = client.expect("a client").database("hangs");
    let post = ObjectId::new();
    let posts = database.collection::<Document>("posts");
    let inserted = posts.insert_one(doc! { "_id": post }).await;
    inserted.expect("a post");
    let post = post.to_hex();

    let ann = ann(&comments);
    let subscribed = async |payload: &Value| {
        let mut socket = ann.websocket().await;
        let message = json!({ "id": "1", "type": "subscribe", "payload": payload });
        socket.send(message).await;
        socket
    };
    let mut payload = asking(CHANGES, &post, None);
    let mut plain = subscribed(&payload).await;
    stands(&mut plain).await;
    payload["extensions"]["delivery"]["status"] = json!(true);
    let mut socket = subscribed(&payload).await;
    let status = async |socket: &mut Socket| {
        let message = socket.next_payload("1").await;
        assert_eq!(message["data"], Value::Null, "{message}");
        message["extensions"]["delivery"]["status"].clone()
    };
    assert_eq!(status(&mut socket).await, "LIVE");
    set.pause_node(0);
    assert_eq!(status(&mut socket).await, "INTERRUPTED");
    set.resume_node(0);
    assert_eq!(status(&mut socket).await, "LIVE");
    written(&ann, &post, "After").await;
    for socket in [&mut socket, &mut plain] {
        let event = socket.next_payload("1").await;
        assert_eq!(event["data"]["commentChanges"]["comment"]["text"], "After");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_comes_back_after_its_last_event() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let read = async |last_event_id: &str, end: &str| {
        let request = comments.http().post(comments.url("/graphql"));
        let request = request.header("accept", "text/event-stream");
        let request = request.header("content-type", "application/json");
        let request = request.header("last-event-id", last_event_id);
        let body = asking(ADDED, &post, None).to_string();
        let mut response = request.body(body).send().await.expect("an answer");
        let mut text = String::new();
        while !text.contains(end) {
            let bytes = response.chunk().await.expect("a stream").expect("more");
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        text
    };
    let id_of = |text: &str| -> String {
        let id = text.lines().find_map(|line| line.strip_prefix("id: "));
        id.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let first = read("", "AT_LEAST_ONCE").await;
    comments.comment(&post, "A").await;
    let begin = id_of(&first);
    let again = read(&begin, "\"A\"").await;
    assert_eq!(id_of(&again), begin);
    assert_eq!(again.matches("\nid: ").count(), 2, "{again}");
    let refused = read("two words", "errors").await;
    assert!(refused.contains("BAD_USER_INPUT"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moderators_queue_says_that_it_stands() {
    let comments = start(&["--hold-comments=always"]).await;
    let (post, eve) = (comments.post().await, eve(&comments));
    let mut socket = eve.websocket().await;
    let asked = Some(json!({ "version": 1 }));
    eve.subscribe_with(&mut socket, "1", QUEUE_CHANGES, json!({}), asked)
        .await;
    let begin = stands(&mut socket).await;
    written(&ann(&comments), &post, "Held").await;
    let event = socket.next_payload("1").await;
    let text = &event["data"]["moderationChanges"]["entry"]["comment"]["text"];
    assert_eq!(text, "Held", "{event}");
    assert_ne!(cursor(&event), begin);
    // A guest gets no first frame.
    let guest = comments.guest(NAME);
    let mut socket = guest.websocket().await;
    let asked = Some(json!({ "version": 1 }));
    guest
        .subscribe_with(&mut socket, "1", QUEUE_CHANGES, json!({}), asked)
        .await;
    assert_eq!(refusal(&mut socket).await["code"], "UNAUTHENTICATED");
}
