//! How much one writer may write: a minute's comments, equal texts, links of new authors.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use futures_util::future::join_all;
use mongodb::IndexModel;
use mongodb::options::{Collation, CollationStrength};
use serde_json::{Value, json};
use subgraph::testing::{SECRET, Signed, TestService};

use crate::service::Comments;

const NAME: &str = "comments";
const CREATE: &str = "mutation ($input: CreateCommentInput!) { createComment(input: $input) {
    comment { id }
} }";
const EDIT: &str = "mutation ($input: UpdateCommentInput!) { updateComment(input: $input) {
    comment { id }
} }";
const HIDE: &str =
    "mutation ($id: ID!) { hideComment(input: { id: $id, reason: \"R\" }) { comment { id } } }";
const DELETE: &str = "mutation ($id: ID!) { deleteComment(input: { id: $id }) { id } }";

async fn start(flags: &[&str]) -> Comments {
    Comments::start_with(&with_people(flags)).await
}

/// Settings with which the gateway's claims count, and guests may write.
fn with_people<'f>(flags: &[&'f str]) -> Vec<&'f str> {
    let mut all = vec!["--subgraph-secret", SECRET, "--anonymous-writes=create"];
    all.extend(flags);
    all
}

fn person<'c>(service: &'c TestService, name: &str) -> Signed<'c> {
    service.person(NAME, &json!({ "sub": name, "name": name }))
}

/// The code of a write; empty when it succeeded.
async fn write(by: &Signed<'_>, input: Value) -> String {
    let answer = by.graphql(CREATE, json!({ "input": input })).await;
    let code = answer["errors"][0]["extensions"]["code"].as_str();
    code.unwrap_or_default().to_owned()
}

async fn count(comments: &Comments) -> u64 {
    let documents = comments.collection("comments");
    documents.count_documents(doc! {}).await.expect("counted")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_comments_of_a_minute_are_limited_on_all_posts_together() {
    let comments = start(&["--comment-limit-per-minute=2"]).await;
    let (post, other) = (comments.post().await, comments.post().await);
    let (ann, bob) = (person(&comments, "ann"), person(&comments, "bob"));
    let created = ann
        .data(CREATE, json!({ "input": { "postId": post, "text": "A" } }))
        .await;
    assert_eq!(
        write(&ann, json!({ "postId": other, "text": "B" })).await,
        ""
    );
    // Deleting gives nothing back.
    let id = &created["createComment"]["comment"]["id"];
    ann.data(DELETE, json!({ "id": id })).await;
    let refused = ann
        .graphql(CREATE, json!({ "input": { "postId": post, "text": "C" } }))
        .await;
    let extensions = &refused["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "TOO_MANY_COMMENTS", "{refused}");
    let seconds = extensions["retryAfter"].as_u64().expect("seconds");
    assert!((1..=60).contains(&seconds), "{refused}");
    assert_eq!(count(&comments).await, 1);
    // Others are not affected, and moderators and guests not limited.
    assert_eq!(
        write(&bob, json!({ "postId": post, "text": "D" })).await,
        ""
    );
    let moderator = json!({ "sub": "mo", "scope": "moderate" });
    for by in [comments.person(NAME, &moderator), comments.guest(NAME)] {
        for text in ["E", "F", "G"] {
            assert_eq!(
                write(&by, json!({ "postId": post, "text": text })).await,
                ""
            );
        }
    }
    // A minute ago is long ago.
    let writers = comments.collection("commentWriters");
    let past = bson::DateTime::from_millis(bson::DateTime::now().timestamp_millis() - 60_000);
    let writer = doc! { "_id": { "person": "ann" } };
    let moved = doc! { "$set": { "recent.$[].at": past } };
    writers.update_one(writer, moved).await.expect("updated");
    assert_eq!(
        write(&ann, json!({ "postId": post, "text": "H" })).await,
        ""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_holds_for_requests_at_the_same_time_at_two_instances() {
    let flags = ["--comment-limit-per-minute=5"];
    let comments = start(&flags).await;
    let post = comments.post().await;
    let second = comments.another(&with_people(&flags)).await;
    let (one, other) = (person(&comments, "ann"), person(&second, "ann"));
    let writes = (0..40).map(|number| {
        let by = if number % 2 == 0 { &one } else { &other };
        write(by, json!({ "postId": post, "text": number.to_string() }))
    });
    let codes = join_all(writes).await;
    let written = codes.iter().filter(|code| code.is_empty()).count();
    assert_eq!(written, 5, "{codes:?}");
    assert_eq!(count(&comments).await, 5);
    second.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_may_not_come_again_within_its_time() {
    let comments = start(&["--comment-repeat-within=1h"]).await;
    let (post, other) = (comments.post().await, comments.post().await);
    let (ann, bob) = (person(&comments, "ann"), person(&comments, "bob"));
    let guest = comments.guest(NAME);
    let text = |post: &str, text: &str| json!({ "postId": post, "text": text });
    assert_eq!(write(&ann, text(&post, "Buy  this")).await, "");
    for again in [text(&post, "Buy  this"), text(&other, "buy\nTHIS")] {
        assert_eq!(write(&ann, again).await, "TOO_MANY_COMMENTS");
    }
    assert_eq!(write(&ann, text(&post, "Buy that")).await, "");
    assert_eq!(write(&bob, text(&post, "Buy this")).await, "");
    // Guests are told apart by the post alone.
    assert_eq!(write(&guest, text(&post, "Buy this")).await, "");
    assert_eq!(
        write(&guest, text(&post, "Buy this")).await,
        "TOO_MANY_COMMENTS"
    );
    assert_eq!(write(&guest, text(&other, "Buy this")).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_share_the_limit_of_their_post() {
    let comments = start(&["--comment-limit-guests-per-minute=1"]).await;
    let (post, other) = (comments.post().await, comments.post().await);
    let guest = comments.guest(NAME);
    let input = |post: &str, author: &str| json!({ "postId": post, "text": "A", "author": author });
    assert_eq!(write(&guest, input(&post, "One")).await, "");
    assert_eq!(
        write(&guest, input(&post, "Two")).await,
        "TOO_MANY_COMMENTS"
    );
    assert_eq!(write(&guest, input(&other, "Two")).await, "");
    let ann = person(&comments, "ann");
    for text in ["B", "C"] {
        let input = json!({ "postId": post, "text": text });
        assert_eq!(write(&ann, input).await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_never_refused_for_its_own_first_write() {
    let flags = ["--comment-limit-per-minute=1", "--comment-repeat-within=1h"];
    let comments = start(&flags).await;
    let post = comments.post().await;
    let ann = person(&comments, "ann");
    let input = json!({ "postId": post, "text": "A", "idempotencyKey": "1" });
    let mut ids = Vec::new();
    for _ in 0..6 {
        let created = ann.data(CREATE, json!({ "input": input })).await;
        ids.push(created["createComment"]["comment"]["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    // Nor if it was noted, and then not written.
    let bob = person(&comments, "bob");
    let input = json!({ "postId": post, "text": "B", "idempotencyKey": "1" });
    assert_eq!(write(&bob, input.clone()).await, "");
    let comments_of_bob = doc! { "authorId": "bob" };
    let deleted = comments
        .collection("comments")
        .delete_one(comments_of_bob)
        .await;
    assert_eq!(deleted.expect("deleted").deleted_count, 1);
    assert_eq!(write(&bob, input).await, "");
    // Another key, or another text, is another comment.
    for input in [
        json!({ "postId": post, "text": "A", "idempotencyKey": "2" }),
        json!({ "postId": post, "text": "C", "idempotencyKey": "2" }),
    ] {
        assert_eq!(write(&ann, input).await, "TOO_MANY_COMMENTS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_and_writing_again_with_a_key_ends() {
    let comments = start(&["--comment-limit-per-minute=1"]).await;
    let post = comments.post().await;
    let ann = person(&comments, "ann");
    let input = json!({ "postId": post, "text": "A", "idempotencyKey": "1" });
    let mut written = 0;
    loop {
        let created = ann.graphql(CREATE, json!({ "input": input })).await;
        let id = &created["data"]["createComment"]["comment"]["id"];
        if id.is_null() {
            let code = &created["errors"][0]["extensions"]["code"];
            assert_eq!(code, "TOO_MANY_COMMENTS");
            break;
        }
        written += 1;
        ann.data(DELETE, json!({ "id": id })).await;
    }
    assert_eq!(written, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_authors_may_use_few_links() {
    let flags = [
        "--comment-new-author-time=1d",
        "--comment-new-author-links-max=1",
    ];
    let comments = start(&flags).await;
    let post = comments.post().await;
    let text = |text: &str| json!({ "postId": post, "text": text });
    let (one, two) = ("https://a.example", "https://a.example www.b.example");
    let ann = person(&comments, "ann");
    for by in [&ann, &comments.guest(NAME)] {
        assert_eq!(write(by, text(one)).await, "");
        assert_eq!(write(by, text(two)).await, "BAD_USER_INPUT");
    }
    // Nor by an edit.
    let documents = comments.collection("comments");
    let own = doc! { "authorId": "ann" };
    let found = documents.find_one(own.clone()).await.expect("found");
    let id = found.expect("hers").get_object_id("_id").expect("an id");
    let edit = json!({ "input": { "id": id.to_hex(), "text": two } });
    assert_eq!(ann.error_code(EDIT, edit.clone()).await, "BAD_USER_INPUT");
    let moderator = comments.person(NAME, &json!({ "sub": "mo", "scope": "moderate" }));
    assert_eq!(write(&moderator, text(two)).await, "");
    // Who wrote a day ago is not new any more, and is found by an index.
    let past = bson::DateTime::from_millis(bson::DateTime::now().timestamp_millis() - 86_400_001);
    let older = doc! { "$set": { "createdAt": past } };
    documents.update_one(own, older).await.expect("updated");
    comments.ready().await;
    let profile = comments.profile().await;
    assert_eq!(write(&ann, text(two)).await, "");
    ann.data(EDIT, edit).await;
    let look = doc! { "command.find": "comments", "command.filter.authorId": "ann" };
    let look = profile.find_one(look).await.expect("a profile");
    let look = look.expect("the look-up");
    let plan = look.get_str("planSummary").expect("a plan");
    assert!(plan.contains("authorId: 1, createdAt: 1"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_limits_nothing_is_noted() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let ann = person(&comments, "ann");
    for _ in 0..3 {
        let input = json!({ "postId": post, "text": "https://a.example" });
        assert_eq!(write(&ann, input).await, "");
    }
    comments.ready().await;
    let names = comments.database.database().list_collection_names().await;
    assert!(!names.expect("names").contains(&"commentWriters".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_finds_the_comment_of_its_key_and_writes_nothing() {
    let comments = start(&["--comment-limit-per-minute=1", "--hold-comments=always"]).await;
    let post = comments.post().await;
    let ann = person(&comments, "ann");
    let input = |text: &str| json!({ "postId": post, "text": text, "idempotencyKey": "1" });
    let retry = async || {
        let created = ann.data(CREATE, json!({ "input": input("A") })).await;
        created["createComment"]["comment"]["id"].clone()
    };
    let id = retry().await;
    // Until no further try passes as one of the same request.
    for _ in 0..2 {
        retry().await;
    }
    let keys = comments.collection("commentKeys");
    let before = keys.find_one(doc! {}).await.expect("found");
    assert_eq!(retry().await, id, "held");
    assert_eq!(write(&ann, input("B")).await, "CONFLICT");
    let moderator = comments.person(NAME, &json!({ "sub": "mo", "scope": "moderate" }));
    moderator.data(HIDE, json!({ "id": id })).await;
    assert_eq!(retry().await, id, "hidden");
    ann.data(DELETE, json!({ "id": id })).await;
    for text in ["A", "B"] {
        assert_eq!(write(&ann, input(text)).await, "TOO_MANY_COMMENTS");
    }
    assert_eq!(keys.find_one(doc! {}).await.expect("found"), before);
    let held = comments.collection("moderatedComments");
    assert_eq!(held.count_documents(doc! {}).await.expect("counted"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_written_does_not_count() {
    let flags = ["--comment-limit-per-minute=2", "--comment-repeat-within=1h"];
    let comments = start(&flags).await;
    let post = comments.post().await;
    let (ann, bob) = (person(&comments, "ann"), person(&comments, "bob"));
    comments.ready().await;
    let validate = async |validator| {
        let change = doc! { "collMod": "comments", "validator": validator };
        let database = comments.database.database();
        database.run_command(change).await.expect("changed");
    };
    let plain = |text: &str| json!({ "postId": post, "text": text });
    let keyed =
        |key: &str, text: &str| json!({ "postId": post, "text": text, "idempotencyKey": key });
    validate(doc! { "text": { "$ne": "A" } }).await;
    for _ in 0..5 {
        assert_eq!(write(&ann, plain("A")).await, "INTERNAL_SERVER_ERROR");
        assert_eq!(write(&bob, keyed("1", "A")).await, "INTERNAL_SERVER_ERROR");
    }
    validate(doc! {}).await;
    assert_eq!(write(&ann, plain("A")).await, "");
    assert_eq!(write(&bob, keyed("1", "A")).await, "");
    // Nor does a conflict, after which the text comes with another key.
    assert_eq!(write(&bob, keyed("1", "B")).await, "CONFLICT");
    assert_eq!(write(&bob, keyed("2", "B")).await, "");
    assert_eq!(write(&bob, keyed("3", "C")).await, "TOO_MANY_COMMENTS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_makes_no_wait_longer_than_the_window() {
    let comments = start(&["--comment-limit-per-minute=2"]).await;
    let post = comments.post().await;
    let ann = person(&comments, "ann");
    let text = |text: &str| json!({ "postId": post, "text": text });
    assert_eq!(write(&ann, text("A")).await, "");
    let later = bson::DateTime::from_millis(bson::DateTime::now().timestamp_millis() + 3_600_000);
    let moved = doc! { "$set": { "recent.$[].at": later } };
    let writers = comments.collection("commentWriters");
    writers
        .update_one(doc! {}, moved.clone())
        .await
        .expect("updated");
    // `COMMENT_REPEAT_WITHIN` is off, whatever the clock says.
    assert_eq!(write(&ann, text("A")).await, "");
    writers.update_one(doc! {}, moved).await.expect("updated");
    let refused = ann.graphql(CREATE, json!({ "input": text("B") })).await;
    let wait = refused["errors"][0]["extensions"]["retryAfter"].as_u64();
    assert!(wait.is_some_and(|wait| wait <= 60), "{refused}");
    // It goes on from there, and not at the old time. And what is refused writes nothing any more.
    let kept = writers.find_one(doc! {}).await.expect("found");
    let recent = kept.as_ref().and_then(|kept| kept.get_array("recent").ok());
    let first = recent.and_then(|recent| recent[0].as_document());
    let first = first.and_then(|entry| entry.get_datetime("at").ok());
    assert!(first.is_some_and(|at| *at < later), "{kept:?}");
    assert_eq!(write(&ann, text("C")).await, "TOO_MANY_COMMENTS");
    assert_eq!(writers.find_one(doc! {}).await.expect("found"), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_judged_by_exact_authors_names_and_rights() {
    let database = embedded_mongo::test_database().await;
    let mut collation = Collation::builder().locale("en").build();
    collation.strength = Some(CollationStrength::Primary);
    let created = database.database();
    let created = created.create_collection("comments").collation(collation);
    created.await.expect("created");
    let flags = with_people(&[
        "--comment-new-author-time=1d",
        "--comment-new-author-links-max=1",
    ]);
    let comments = Comments::start_on_with(database, &flags).await;
    let post = comments.post().await;
    let (ann, bob, guest) = (
        person(&comments, "ann"),
        person(&comments, "bob"),
        comments.guest(NAME),
    );
    let past = bson::DateTime::from_millis(0);
    let of = |author: Bson| doc! { "postId": ObjectId::new(), "authorId": author, "text": "T", "createdAt": past };
    let documents = comments.collection("comments");
    let others = [of("ANN".into()), of(vec!["ann"].into())];
    documents.insert_many(others).await.expect("inserted");
    let text = |text: &str| json!({ "postId": post, "text": text });
    let two = "https://a.example www.b.example";
    assert_eq!(write(&ann, text(two)).await, "BAD_USER_INPUT");
    let of_guest = json!({ "postId": post, "text": "www.a.example", "author": "www.b.example" });
    assert_eq!(write(&guest, of_guest).await, "BAD_USER_INPUT");
    // Who may not edit it learns that first.
    let created = ann.data(CREATE, json!({ "input": text("Mine") })).await;
    let id = &created["createComment"]["comment"]["id"];
    for (id, code) in [
        (id, "FORBIDDEN"),
        (&json!(ObjectId::new().to_hex()), "NOT_FOUND"),
    ] {
        let edit = json!({ "input": { "id": id, "text": two } });
        assert_eq!(bob.error_code(EDIT, edit).await, code);
    }
    let edit = json!({ "input": { "id": id, "text": two } });
    assert_eq!(ann.error_code(EDIT, edit).await, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_writers_that_cannot_be_made_prevents_no_other() {
    let database = embedded_mongo::test_database().await;
    let other = IndexModel::builder().keys(doc! { "until": 1 }).build();
    let writers = database.database().collection::<Document>("commentWriters");
    writers.create_index(other).await.expect("an index");
    let flags = with_people(&["--comment-limit-per-minute=1"]);
    let comments = Comments::start_on_with(database, &flags).await;
    comments.ready().await;
    let names = comments.collection("comments").list_index_names().await;
    assert!(names.expect("names").contains(&"undated".to_owned()));
}
