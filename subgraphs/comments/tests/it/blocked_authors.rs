//! A blocked author writes nothing, from the block's answer on.

use bson::doc;
use mongodb::options::{Collation, CollationStrength};
use serde_json::json;

use crate::moderators::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_author_writes_nothing_and_may_delete() {
    let one = start(&[]).await;
    let other = second(&one, &[]).await;
    let post = one.post().await;
    let (eve, bob) = (eve(&one), bob(&one));
    let id = written(&ann(&one), &post, "Text").await;
    let of_bob = written(&bob, &post, "Bob's").await;
    let blocked = eve.data(BLOCK, json!({ "id": "ann" })).await;
    let again = json!({ "id": "ann", "reason": "another" });
    assert_eq!(eve.data(BLOCK, again).await, blocked, "the first block");
    assert_eq!(blocked["blockAuthor"]["block"]["reason"], "spam");
    // At once, on every instance.
    for instance in [&**one, &other] {
        let ann = ann(instance);
        let create = json!({ "input": { "postId": post, "text": "More" } });
        let edit = json!({ "input": { "id": id["id"], "text": "Other" } });
        for (query, variables) in [(CREATE, create), (EDIT, edit), (REPORT, of_bob.clone())] {
            let refused = ann.graphql(query, variables).await;
            let extensions = &refused["errors"][0]["extensions"];
            assert_eq!(extensions["code"], "FORBIDDEN", "{query}");
            assert_eq!(extensions["reason"], "AUTHOR_BLOCKED", "{query}");
        }
        // Ids are compared byte by byte.
        let input = json!({ "input": { "postId": post, "text": "Other" } });
        named(instance, "Ann").data(CREATE, input).await;
    }
    bob.data(REPORT, id.clone()).await;
    assert_eq!(queue(&eve, "OPEN").await[0]["authorIsBlocked"], true);
    ann(&one).data(DELETE, id).await;

    for _ in 0..2 {
        eve.data(UNBLOCK, json!({ "id": "ann" })).await;
    }
    written(&ann(&other), &post, "Again").await;
    assert_eq!(act_names(&one).await, ["BLOCK", "UNBLOCK"]);
    other.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_block_at_once_leave_one_line() {
    let one = start(&[]).await;
    let other = second(&one, &[]).await;
    let eves = [eve(&one), eve(&other)];
    let blocks = (0..8).map(|number| eves[number % 2].data(BLOCK, json!({ "id": "ann" })));
    let answers = futures_util::future::join_all(blocks).await;
    assert!(answers.iter().all(|it| it == &answers[0]), "{answers:#?}");
    assert_eq!(act_names(&one).await, ["BLOCK"]);
    other.stop().await.expect("a clean end");
}

/// As another program may leave it.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_blocks_whatever_it_holds() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let blocks = comments.collection("blockedAuthors");
    let odd = doc! { "_id": "ann", "since": "ever", "reason": 5 };
    blocks.insert_one(odd).await.expect("inserted");
    let input = json!({ "input": { "postId": post, "text": "Text" } });
    assert_eq!(ann(&comments).error_code(CREATE, input).await, "FORBIDDEN");
    let block = eve(&comments).data(BLOCK, json!({ "id": "ann" })).await;
    let expected = json!({ "authorId": "ann", "since": null, "reason": null });
    assert_eq!(block["blockAuthor"]["block"], expected);
}

/// A moderator who is blocked moderates no more, and cannot undo it.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_moderator_has_the_rights_of_a_blocked_author() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let eve = eve(&comments);
    let claims = json!({ "sub": "mallory", "name": "Mallory", "scope": "moderate" });
    let mallory = comments.person(NAME, &claims);
    let id = written(&ann(&comments), &post, "Ann's").await;
    let own = written(&mallory, &post, "Own").await;
    eve.data(BLOCK, json!({ "id": "mallory" })).await;
    let (author, edit) = (
        json!({ "id": "mallory" }),
        json!({ "input": { "id": id["id"], "text": "Other" } }),
    );
    for (query, variables) in [
        (HIDE, &id),
        (RESTORE, &id),
        (EDIT, &edit),
        (DELETE, &id),
        (BLOCK, &author),
        (UNBLOCK, &author),
    ] {
        let refused = mallory.error_code(query, variables.clone()).await;
        assert_eq!(refused, "FORBIDDEN", "{query}");
    }
    let queue = "{ moderationQueue { edges { node { commentId } } } }";
    assert_eq!(mallory.error_code(queue, json!({})).await, "FORBIDDEN");
    mallory.data(DELETE, own).await;
    assert_eq!(texts(&comments, &post).await, ["Ann's"]);
    assert_eq!(act_names(&comments).await, ["BLOCK"]);
}

/// As another program may have made the collection.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_compared_byte_by_byte_whatever_the_collection_does() {
    let database = embedded_mongo::test_database().await;
    let ignoring_case = Collation::builder()
        .locale("en")
        .strength(CollationStrength::Secondary);
    let stored = database.database();
    let create = stored.create_collection("blockedAuthors");
    create
        .collation(ignoring_case.build())
        .await
        .expect("created");
    let comments = start_on(database, &[]).await;
    let post = comments.post().await;
    let eve = eve(&comments);
    eve.data(BLOCK, json!({ "id": "ann" })).await;
    eve.data(UNBLOCK, json!({ "id": "Ann" })).await;
    written(&named(&comments, "ANN"), &post, "Text").await;
    let input = json!({ "input": { "postId": post, "text": "Text" } });
    assert_eq!(ann(&comments).error_code(CREATE, input).await, "FORBIDDEN");
}
