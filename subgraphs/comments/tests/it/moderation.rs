//! Moderators hide and restore comments; each act leaves a line, and nobody else may.

use bson::oid::ObjectId;
use bson::{Document, doc};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::moderators::*;

#[tokio::test(flavor = "multi_thread")]
async fn only_moderators_moderate() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let id = written(&ann(&comments), &post, "Text").await;
    let list = json!({ "list": "OPEN" });
    let author = json!({ "id": "ann" });
    let cursor = "{ moderationChangesCursor }";
    let blocked = "{ blockedAuthors { edges { cursor } } }";
    for (query, variables) in [
        (HIDE, &id),
        (RESTORE, &id),
        (BLOCK, &author),
        (UNBLOCK, &author),
        (QUEUE, &list),
        (cursor, &list),
        (blocked, &list),
    ] {
        let guest = comments.guest(NAME);
        let refused = guest.error_code(query, variables.clone()).await;
        assert_eq!(refused, "UNAUTHENTICATED", "{query}");
        for person in [ann(&comments), bob(&comments)] {
            let refused = person.error_code(query, variables.clone()).await;
            assert_eq!(refused, "FORBIDDEN", "{query}");
        }
    }
    let changes = "subscription { moderationChanges { __typename } }";
    for (viewer, code) in [
        (comments.guest(NAME), "UNAUTHENTICATED"),
        (ann(&comments), "FORBIDDEN"),
    ] {
        let mut socket = viewer.websocket().await;
        viewer.subscribe(&mut socket, "1", changes, json!({})).await;
        let message = socket.next().await;
        let extensions = &message["payload"][0]["extensions"];
        assert_eq!(extensions["code"], code, "{message}");
    }
    assert_eq!(texts(&comments, &post).await, ["Text"]);
    assert!(acts(&comments).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn reasons_and_ids_are_checked() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let id = written(&ann(&comments), &post, "Text").await["id"].take();
    let eve = eve(&comments);
    for reason in [String::new(), " ".to_owned(), "x".repeat(501)] {
        let variables = json!({ "id": id, "reason": reason });
        for query in [HIDE, RESTORE, REPORT, BLOCK, DELETE] {
            let refused = eve.error_code(query, variables.clone()).await;
            assert_eq!(refused, "BAD_USER_INPUT", "{query} {reason:?}");
        }
    }
    let edit = json!({ "input": { "id": id, "text": "Other", "reason": " " } });
    assert_eq!(eve.error_code(EDIT, edit).await, "BAD_USER_INPUT");
    for author in [String::new(), "x".repeat(512)] {
        for query in [BLOCK, UNBLOCK] {
            let refused = eve.error_code(query, json!({ "id": author })).await;
            assert_eq!(refused, "BAD_USER_INPUT", "{query}");
        }
    }
    let missing = json!({ "id": "65f0c0ffee65f0c0ffee65f0" });
    for query in [HIDE, RESTORE, REPORT] {
        let refused = eve.error_code(query, missing.clone()).await;
        assert_eq!(refused, "NOT_FOUND", "{query}");
    }
    assert!(acts(&comments).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_comment_is_nowhere_and_comes_back_whole() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let first = written(&ann, &post, "First").await;
    written(&ann, &post, "Second").await;
    // What other programs keep in the document, and text that is not UTF-8, must not be lost.
    let of_first =
        doc! { "_id": ObjectId::parse_str(first["id"].as_str().expect("an id")).expect("an id") };
    let stored = comments.collection("comments");
    let extra = doc! { "$set": { "likes": [1, 2], "state": "ours", "comment": { "a": 1 } } };
    stored
        .update_one(of_first.clone(), extra)
        .await
        .expect("set");
    let before: Option<Document> = stored.find_one(of_first.clone()).await.expect("found");

    let hidden = eve.data(HIDE, first.clone()).await;
    assert_eq!(hidden["hideComment"]["comment"]["status"], "HIDDEN");
    assert_eq!(texts(&comments, &post).await, ["Second"]);
    for viewer in [&ann, &eve, &comments.guest(NAME)] {
        let read = viewer.data(READ, first.clone()).await;
        assert_eq!(read["comment"], Value::Null);
        let of = json!({ "of": [{ "__typename": "Comment", "id": first["id"] }] });
        let query = "query ($of: [_Any!]!) { _entities(representations: $of) { __typename } }";
        assert_eq!(viewer.data(query, of).await["_entities"], json!([null]));
    }
    // Its author learns why it cannot be edited, others only that it is not there.
    let edit = json!({ "input": { "id": first["id"], "text": "Other" } });
    let refused = ann.graphql(EDIT, edit.clone()).await;
    let extensions = &refused["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "FORBIDDEN");
    assert_eq!(extensions["reason"], "COMMENT_HIDDEN");
    let bob = bob(&comments);
    assert_eq!(bob.error_code(EDIT, edit).await, "NOT_FOUND");
    assert_eq!(bob.error_code(DELETE, first.clone()).await, "NOT_FOUND");
    assert_eq!(bob.error_code(REPORT, first.clone()).await, "NOT_FOUND");

    let again = eve
        .data(HIDE, json!({ "id": first["id"], "reason": "other" }))
        .await;
    assert_eq!(again["hideComment"]["comment"]["status"], "HIDDEN");
    let entry = &queue(&eve, "HIDDEN").await[0];
    assert_eq!(entry["reason"], "spam", "the first one");
    assert_eq!(entry["moderator"], "Eve");
    assert_eq!(entry["comment"]["text"], "First");
    assert!(queue(&eve, "OPEN").await.is_empty());

    for _ in 0..2 {
        let restored = eve.data(RESTORE, first.clone()).await;
        assert_eq!(restored["restoreComment"]["comment"]["status"], "VISIBLE");
    }
    assert_eq!(texts(&comments, &post).await, ["Second", "First"]);
    assert_eq!(stored.find_one(of_first).await.expect("found"), before);
    assert!(queue(&eve, "HIDDEN").await.is_empty());
    assert_eq!(act_names(&comments).await, ["HIDE", "RESTORE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_leaves_a_line() {
    let comments = start(&["--hold-comments=always"]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let id = written(&ann, &post, "Text").await;
    eve.data(RESTORE, id.clone()).await;
    bob(&comments).data(REPORT, id.clone()).await;
    eve.data(RESTORE, json!({ "id": id["id"], "reason": "fine" }))
        .await;
    eve.data(HIDE, id.clone()).await;
    eve.data(RESTORE, id.clone()).await;
    let edit = json!({ "input": { "id": id["id"], "text": "Tidy", "reason": "rude" } });
    // The second one, as a request that is sent again, changes nothing.
    let edited = eve.data(EDIT, edit.clone()).await;
    assert_eq!(eve.data(EDIT, edit).await, edited);
    eve.data(DELETE, json!({ "id": id["id"], "reason": "spam" }))
        .await;
    for query in [BLOCK, BLOCK, UNBLOCK, UNBLOCK] {
        eve.data(query, json!({ "id": "ann" })).await;
    }
    // What moderators do to their own is no act, and no transaction.
    let own = written(&eve, &post, "Own").await;
    let profile = comments.profile().await;
    let edit = json!({ "input": { "id": own["id"], "text": "Mine", "reason": "no act" } });
    eve.data(EDIT, edit).await;
    eve.data(DELETE, own).await;
    let transactions = doc! {
        "appName": "comments requests", "command.startTransaction": true,
    };
    let transactions = profile.count_documents(transactions).await;
    assert_eq!(transactions.expect("counted"), 0);
    let mut acts = acts(&comments).await;
    for act in &mut acts {
        if let Ok(comment) = act.get_object_id("commentId") {
            assert_eq!(comment.to_hex(), id["id"]);
            assert_eq!(act.get_object_id("postId").expect("a post").to_hex(), post);
        }
        act.remove("commentId");
        act.remove("postId");
        assert_eq!(act.remove("by"), Some("eve".into()));
        assert_eq!(act.remove("name"), Some("Eve".into()));
        assert_eq!(act.remove("authorId"), Some("ann".into()));
    }
    assert_json_snapshot!(acts, @r#"
    [
      {
        "act": "APPROVE"
      },
      {
        "act": "SETTLE_REPORTS",
        "reason": "fine"
      },
      {
        "act": "HIDE",
        "reason": "spam"
      },
      {
        "act": "RESTORE"
      },
      {
        "act": "EDIT",
        "reason": "rude"
      },
      {
        "act": "DELETE",
        "reason": "spam"
      },
      {
        "act": "BLOCK",
        "reason": "spam"
      },
      {
        "act": "UNBLOCK"
      }
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_hide_and_restore_at_once_keep_one_comment() {
    let one = start(&[]).await;
    let post = one.post().await;
    let id = written(&ann(&one), &post, "Text").await;
    let other = second(&one, &[]).await;
    let (eve, eva) = (eve(&one), eve(&other));
    for _ in 0..20 {
        let acts = (0..4).map(|number| {
            let (by, query) = match number {
                0 => (&eve, HIDE),
                1 => (&eva, RESTORE),
                2 => (&eva, HIDE),
                _ => (&eve, RESTORE),
            };
            by.data(query, id.clone())
        });
        futures_util::future::join_all(acts).await;
        let (visible, kept) = places(&one, &id["id"]).await;
        assert_eq!(visible + kept, 1, "{visible} visible, {kept} kept");
    }
    eve.data(RESTORE, id.clone()).await;
    assert_eq!(places(&one, &id["id"]).await, (1, 0));
    // Each act that changed something left one line: they alternate.
    let names = act_names(&one).await;
    let turns = names.iter().enumerate();
    for (number, name) in turns {
        assert_eq!(name, ["HIDE", "RESTORE"][number % 2], "{names:?}");
    }
    other.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_is_deleted_whatever_moderators_do() {
    let comments = start(&["--hold-comments=always"]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    for hides in [false, true] {
        let id = written(&ann, &post, "Text").await;
        if hides {
            eve.data(HIDE, id.clone()).await;
        }
        assert_eq!(
            bob(&comments).error_code(DELETE, id.clone()).await,
            "NOT_FOUND"
        );
        ann.data(DELETE, id.clone()).await;
        assert_eq!(places(&comments, &id["id"]).await, (0, 0));
        assert_eq!(ann.error_code(DELETE, id.clone()).await, "NOT_FOUND");
        assert_eq!(eve.error_code(RESTORE, id.clone()).await, "NOT_FOUND");
        assert_eq!(eve.error_code(HIDE, id).await, "NOT_FOUND");
    }
    let entries = comments.collection("moderatedComments");
    assert_eq!(entries.count_documents(doc! {}).await.expect("counted"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_not_moderated_and_spoils_no_list() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let eve = eve(&comments);
    let odd = ObjectId::new();
    let stored = comments.collection("comments");
    stored
        .insert_one(doc! { "_id": odd, "postId": 5 })
        .await
        .expect("inserted");
    let odd = json!({ "id": odd.to_hex() });
    assert_eq!(eve.error_code(HIDE, odd.clone()).await, "NOT_FOUND");
    assert_eq!(eve.error_code(REPORT, odd).await, "NOT_FOUND");

    let id = written(&ann(&comments), &post, "Text").await;
    bob(&comments).data(REPORT, id.clone()).await;
    let now = bson::DateTime::now();
    let entries = comments.collection("moderatedComments");
    for odd in [
        doc! { "_id": "odd", "postId": ObjectId::new(), "state": "HELD" },
        doc! { "_id": ObjectId::new(), "postId": ObjectId::new(), "state": "odd" },
        doc! { "_id": ObjectId::new(), "postId": ObjectId::new(), "state": "HELD" },
        doc! { "_id": ObjectId::new(), "postId": ObjectId::new(), "state": "HELD", "comment": 5 },
        doc! { "_id": ObjectId::new(), "postId": ObjectId::new(), "state": "HELD",
        "comment": { "_id": 5 } },
        doc! { "_id": ObjectId::new(), "postId": ObjectId::new(), "state": "VISIBLE", "reports": 5 },
    ] {
        let mut odd = odd;
        odd.extend(doc! { "list": "OPEN", "createdAt": now });
        entries.insert_one(odd).await.expect("inserted");
    }
    let entry = &queue(&eve, "OPEN").await[0];
    assert_eq!(entry["commentId"], id["id"]);
    // The entry whose comment is gone was removed.
    let orphans = entries.count_documents(doc! { "reports": 5 }).await;
    assert_eq!(orphans.expect("counted"), 0);
}

/// Between a look at the comment and the first write its author could edit it, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn hiding_and_deleting_begin_with_the_write() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let profile = comments.profile().await;
    for act in [HIDE, DELETE] {
        let id = written(&ann, &post, "Text").await;
        eve.data(act, id).await;
    }
    let of = |command: &str| {
        profile.count_documents(doc! {
            "appName": "comments requests", format!("command.{command}"): "comments",
            // Comments are inserted by the same command.
            "command.upsert": { "$ne": true },
        })
    };
    let (looks, writes) = (of("find").await, of("findAndModify").await);
    // The deletion first looks, in one write, whether it is the moderator's own.
    assert_eq!((looks.expect("a count"), writes.expect("a count")), (0, 3));
}

/// Transactions read at the primary, whatever the URI says.
#[tokio::test(flavor = "multi_thread")]
async fn acts_and_refusals_go_on_where_the_uri_prefers_secondaries() {
    let one = start(&[]).await;
    let post = one.post().await;
    let uri = one.database.uri();
    let separator = if uri.contains('?') { '&' } else { '?' };
    let uri = format!("{uri}{separator}readPreference=secondaryPreferred");
    let other = second_at(&uri, &[]).await;
    let (ann, eve) = (ann(&other), eve(&other));
    let id = written(&ann, &post, "Text").await;
    for act in [HIDE, RESTORE] {
        eve.data(act, id.clone()).await;
    }
    let edit = json!({ "input": { "id": id["id"], "text": "Other" } });
    assert_eq!(bob(&other).error_code(EDIT, edit).await, "FORBIDDEN");
    eve.data(BLOCK, json!({ "id": "ann" })).await;
    assert_eq!(act_names(&one).await, ["HIDE", "RESTORE", "BLOCK"]);
    other.stop().await.expect("a clean end");
}

/// Where it is hidden, the deletion is a transaction like an act.
#[tokio::test(flavor = "multi_thread")]
async fn a_moderators_own_hidden_comment_is_deleted_without_a_line() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let eve = eve(&comments);
    let own = written(&eve, &post, "Own").await;
    eve.data(HIDE, own.clone()).await;
    eve.data(DELETE, own.clone()).await;
    assert_eq!(places(&comments, &own["id"]).await, (0, 0));
    assert_eq!(act_names(&comments).await, ["HIDE"]);
}
