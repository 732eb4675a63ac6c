//! A blocked author writes nothing, from the block's answer on.

use bson::doc;
use mongodb::options::{Collation, CollationStrength};
use serde_json::{Value, json};

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

const LIST: &str = "query ($first: Int, $after: String, $last: Int, $before: String) {
    blockedAuthors(first: $first, after: $after, last: $last, before: $before) {
        edges { cursor node { authorId since reason } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}";

fn ids(page: &Value) -> Vec<&str> {
    let edges = page["blockedAuthors"]["edges"].as_array().expect("edges");
    let ids = edges.iter().map(|edge| edge["node"]["authorId"].as_str());
    ids.map(|id| id.expect("an id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn moderators_page_through_the_blocked_authors() {
    // Whatever the collection's collation is, ids are ordered byte by byte.
    let database = embedded_mongo::test_database().await;
    let mut collation = Collation::builder().locale("en").build();
    collation.strength = Some(CollationStrength::Secondary);
    let create = database.database();
    let create = create
        .create_collection("blockedAuthors")
        .collation(collation);
    create.await.expect("created");
    let comments = start_on(database, &[]).await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let blocks = comments.collection("blockedAuthors");
    let at = |second: i64| bson::DateTime::from_millis(second * 1_000);
    for block in [
        doc! { "_id": "new", "since": at(9), "reason": "spam" },
        doc! { "_id": "Zed", "since": at(5) },
        doc! { "_id": "amy", "since": at(5), "reason": 5 },
        doc! { "_id": "undated" },
        doc! { "_id": "also undated", "since": bson::Bson::Null },
        // They block, or nobody is blocked by them: no list has them.
        doc! { "_id": "odd", "since": "yesterday" },
        doc! { "_id": 5, "since": at(6) },
        doc! { "_id": "x".repeat(600), "since": at(6) },
    ] {
        blocks.insert_one(block).await.expect("inserted");
    }
    eve.data(BLOCK, json!({ "id": "newest" })).await;
    let expected = ["newest", "new", "amy", "Zed", "undated", "also undated"];

    let all = eve.data(LIST, json!({})).await;
    assert_eq!(ids(&all), expected);
    let node = &all["blockedAuthors"]["edges"][1]["node"];
    let new = json!({ "authorId": "new", "since": "1970-01-01T00:00:09.000Z", "reason": "spam" });
    assert_eq!(*node, new);
    for size in [1, 2, 4] {
        let (mut read, mut after) = (Vec::new(), Value::Null);
        loop {
            let page = eve
                .data(LIST, json!({ "first": size, "after": after }))
                .await;
            read.extend(ids(&page).into_iter().map(str::to_owned));
            let info = &page["blockedAuthors"]["pageInfo"];
            assert_eq!(info["hasPreviousPage"], after != Value::Null);
            if info["hasNextPage"] == false {
                break;
            }
            after = info["endCursor"].clone();
        }
        assert_eq!(read, expected, "pages of {size}");
        let (mut read, mut before) = (Vec::new(), Value::Null);
        loop {
            let page = eve
                .data(LIST, json!({ "last": size, "before": before }))
                .await;
            read.splice(0..0, ids(&page).into_iter().map(str::to_owned));
            let info = &page["blockedAuthors"]["pageInfo"];
            if info["hasPreviousPage"] == false {
                break;
            }
            before = info["startCursor"].clone();
        }
        assert_eq!(read, expected, "pages of {size} from the end");
    }

    let cursor = &all["blockedAuthors"]["pageInfo"]["endCursor"];
    for arguments in [
        json!({ "first": -1 }),
        json!({ "first": 101 }),
        json!({ "first": 1, "last": 1 }),
        json!({ "after": "x" }),
        json!({ "after": &cursor.as_str().expect("a cursor")[..14] }),
    ] {
        let code = eve.error_code(LIST, arguments.clone()).await;
        assert_eq!(code, "BAD_USER_INPUT", "{arguments}");
    }
    // Of another list.
    let other = json!({ "list": "OPEN", "after": cursor });
    assert_eq!(eve.error_code(QUEUE, other).await, "BAD_USER_INPUT");
    assert_eq!(ann.error_code(LIST, json!({})).await, "FORBIDDEN");
    let guest = comments.guest(NAME);
    assert_eq!(guest.error_code(LIST, json!({})).await, "UNAUTHENTICATED");
    eve.data(BLOCK, json!({ "id": "eve" })).await;
    assert_eq!(eve.error_code(LIST, json!({})).await, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_blocks_is_read_from_an_index() {
    let comments = start(&[]).await;
    let eve = eve(&comments);
    for id in ["ann", "bob", "cid", "dan"] {
        eve.data(BLOCK, json!({ "id": id })).await;
    }
    let profile = comments.profile().await;
    let page = eve.data(LIST, json!({ "first": 1 })).await;
    assert_eq!(ids(&page), ["dan"]);
    let list = doc! { "appName": "comments requests", "command.find": "blockedAuthors", "command.limit": 2 };
    let list = profile.find_one(list).await.expect("a profile");
    let plan = list.expect("the list's query");
    let plan = plan.get_str("planSummary").expect("a plan");
    assert_eq!(plan, "IXSCAN { since: -1, _id: -1 }");
}
