//! What other programs, crashes and overtaken requests leave in `moderatedComments`.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use serde_json::{Value, json};

use crate::moderators::*;
use crate::service::Comments;

fn object_id(id: &Value) -> ObjectId {
    ObjectId::parse_str(id["id"].as_str().expect("an id")).expect("an id")
}

async fn leave(comments: &Comments, entry: Document) {
    let entries = comments.collection("moderatedComments");
    let of_id = doc! { "_id": entry.get("_id").cloned() };
    let put = entries.replace_one(of_id, entry).upsert(true);
    put.await.expect("written");
}

/// An entry of what is in moderation.
fn kept(id: ObjectId, state: &str, comment: Document) -> Document {
    let list = if state == "HELD" { "OPEN" } else { "HIDDEN" };
    doc! {
        "_id": id, "postId": ObjectId::new(), "state": state, "list": list,
        "createdAt": bson::DateTime::now(), "comment": comment,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_past_what_cannot_be_read() {
    let comments = start(&["--hold-comments=always"]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let older = written(&ann, &post, "Older").await;
    let hidden = written(&ann, &post, "Hidden").await;
    eve.data(HIDE, hidden.clone()).await;
    for _ in 0..3 {
        let id = ObjectId::new();
        // As readable as a plain filter sees it.
        leave(&comments, kept(id, "HELD", doc! { "_id": id, "postId": 5 })).await;
        leave(
            &comments,
            kept(id, "HELD", doc! { "_id": ObjectId::new(), "postId": id }),
        )
        .await;
        let mut odd = kept(ObjectId::new(), "HIDDEN", doc! {});
        odd.insert("state", "VISIBLE");
        leave(&comments, odd).await;
    }
    for (list, expected) in [("OPEN", &older), ("HIDDEN", &hidden)] {
        let variables = json!({ "list": list, "first": 1 });
        let read = eve.data(QUEUE, variables).await["moderationQueue"].take();
        assert_eq!(
            read["edges"][0]["node"]["commentId"], expected["id"],
            "{list}"
        );
        assert_eq!(read["pageInfo"]["hasNextPage"], false, "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_comments_are_gone_is_no_end() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (bob, eve) = (bob(&comments), eve(&comments));
    let mut ids = Vec::new();
    for number in 0..4 {
        let id = written(&ann(&comments), &post, &format!("{number}")).await;
        bob.data(REPORT, id.clone()).await;
        ids.push(id);
    }
    // By another program, which knows nothing of reports.
    let newest = ids[1..].iter().map(object_id).collect::<Vec<_>>();
    let gone = doc! { "_id": { "$in": newest } };
    let stored = comments.collection("comments");
    stored.delete_many(gone).await.expect("deleted");
    let read = eve.data(QUEUE, json!({ "first": 1 })).await["moderationQueue"].take();
    assert_eq!(read["edges"][0]["node"]["commentId"], ids[0]["id"]);
    let entries = comments.collection("moderatedComments");
    assert_eq!(entries.count_documents(doc! {}).await.expect("counted"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_finds_its_way_past_an_entry_that_cannot_be_used() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (bob, eve) = (bob(&comments), eve(&comments));
    let odd = [
        doc! { "state": "odd" },
        doc! { "state": Bson::Null },
        doc! { "state": "HELD", "list": "OPEN", "comment": 5 },
        doc! { "state": "HIDDEN", "list": "HIDDEN", "comment": { "_id": 5 } },
        doc! { "state": "VISIBLE", "list": "HIDDEN" },
        doc! { "state": "VISIBLE", "reports": 5, "reporters": "all", "createdAt": "now", "reason": 5 },
        doc! { "state": "VISIBLE", "list": "OPEN", "reports": [5], "reporters": { "a": 1 } },
    ];
    for (number, mut entry) in odd.into_iter().enumerate() {
        let id = written(&ann(&comments), &post, &format!("{number}")).await;
        entry.insert("_id", object_id(&id));
        leave(&comments, entry).await;
        bob.data(REPORT, id.clone()).await;
        let waiting = queue(&eve, "OPEN").await;
        assert_eq!(waiting[0]["commentId"], id["id"], "{number}");
        assert_eq!(waiting[0]["reportCount"], 1, "{number}");
        eve.data(RESTORE, id).await;
    }
}

/// The request that was overtaken could not take its copy back.
#[tokio::test(flavor = "multi_thread")]
async fn a_comment_in_both_places_stays_in_moderation() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (ann, bob, eve) = (ann(&comments), bob(&comments), eve(&comments));
    let stored = comments.collection("comments");
    for (number, act) in ["retry", REPORT, HIDE, RESTORE, EDIT, DELETE]
        .into_iter()
        .enumerate()
    {
        let text = format!("{number}");
        let input = json!({ "input": { "postId": post, "text": text, "idempotencyKey": text } });
        let created = ann.data(CREATE, input.clone()).await;
        let id = json!({ "id": created["createComment"]["comment"]["id"] });
        let of_id = doc! { "_id": object_id(&id) };
        let copy: Document = stored
            .find_one(of_id.clone())
            .await
            .expect("found")
            .expect("a comment");
        eve.data(HIDE, id.clone()).await;
        stored.insert_one(copy).await.expect("inserted");
        assert_eq!(places(&comments, &id["id"]).await, (1, 1));
        let expected = match act {
            "retry" => {
                let again = ann.data(CREATE, input).await;
                assert_eq!(again["createComment"]["comment"]["status"], "HIDDEN");
                (0, 1)
            }
            REPORT => {
                assert_eq!(bob.error_code(REPORT, id.clone()).await, "NOT_FOUND");
                (0, 1)
            }
            HIDE => {
                eve.data(HIDE, id.clone()).await;
                (0, 1)
            }
            RESTORE => {
                eve.data(RESTORE, id.clone()).await;
                assert_eq!(
                    act_names(&comments).await.last().expect("an act"),
                    "RESTORE"
                );
                (1, 0)
            }
            EDIT => {
                let edit = json!({ "input": { "id": id["id"], "text": "Tidy" } });
                assert_eq!(eve.error_code(EDIT, edit).await, "FORBIDDEN");
                eve.data(HIDE, id.clone()).await;
                (0, 1)
            }
            _ => {
                eve.data(DELETE, id.clone()).await;
                (0, 0)
            }
        };
        assert_eq!(places(&comments, &id["id"]).await, expected, "{act}");
    }
}

/// The report is written when its comment is just being deleted: it does not stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_comes_too_late_leaves_nothing() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let entries = comments.collection("moderatedComments");
    for _ in 0..20 {
        let id = written(&ann(&comments), &post, "Text").await;
        let (ann, bob) = (ann(&comments), bob(&comments));
        let (_, _) = tokio::join!(bob.graphql(REPORT, id.clone()), ann.data(DELETE, id));
        assert_eq!(entries.count_documents(doc! {}).await.expect("counted"), 0);
    }
}
