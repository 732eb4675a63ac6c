//! Posts belong to who wrote them: who may write, edit and delete.

use bson::oid::ObjectId;
use bson::{Document, doc};
use insta::assert_json_snapshot;
use mongodb::options::{Collation, CollationStrength};
use serde_json::{Value, json};
use subgraph::testing::rights::{Attempt, attempts};
use subgraph::testing::{SECRET, Signed};

use crate::service::Posts;

const NAME: &str = "posts";
const CREATE: &str = "mutation ($input: CreatePostInput!) { createPost(input: $input) {
    post { id author authorId writtenByGuest viewerCanEdit viewerCanDelete }
} }";
const EDIT: &str = "mutation ($input: UpdatePostInput!) { updatePost(input: $input) {
    post { id title authorId }
} }";
const DELETE: &str = "mutation ($id: ID!) { deletePost(input: { id: $id }) { id } }";
const READ: &str = "query ($id: ID!) { post(id: $id) {
    id updatedAt author authorId writtenByGuest viewerCanEdit viewerCanDelete
} }";

async fn start(anonymous_writes: &str) -> Posts {
    start_on(embedded_mongo::test_database().await, anonymous_writes).await
}

async fn start_on(database: embedded_mongo::TestDatabase, anonymous_writes: &str) -> Posts {
    let flags = [
        format!("--subgraph-secret={SECRET}"),
        format!("--anonymous-writes={anonymous_writes}"),
    ];
    let flags = flags.each_ref().map(String::as_str);
    Posts::start_on_with(database, &flags).await
}

fn ann(posts: &Posts) -> Signed<'_> {
    posts.person(NAME, &json!({ "sub": "ann", "name": "Ann" }))
}

async fn created(by: &Signed<'_>, author: &str) -> Value {
    let input = json!({ "title": "Title", "content": "Content", "author": author });
    by.data(CREATE, json!({ "input": input })).await["createPost"]["post"].take()
}

async fn stored(posts: &Posts, id: &Value) -> Option<Document> {
    let id = ObjectId::parse_str(id.as_str().expect("an id")).expect("an id");
    let documents = posts.collection("posts");
    let found = documents.find_one(doc! { "_id": id }).await;
    found.expect("found")
}

/// Tries everything in the table: what is told beforehand, what happens, and what is left.
async fn try_all(posts: &Posts, anonymous_writes: &str) {
    for Attempt {
        claims,
        owner,
        code,
    } in attempts(anonymous_writes)
    {
        let viewer = match &claims {
            Some(claims) => posts.person(NAME, claims),
            None => posts.guest(NAME),
        };
        let case = format!("{claims:?} and {owner} with {anonymous_writes}");
        let now = bson::DateTime::now();
        let post = ObjectId::new();
        let mut before = doc! {
            "_id": post, "title": "Before", "content": "Content", "author": "Ann",
            "createdAt": now, "updatedAt": now,
        };
        before.extend(owner);
        let documents = posts.collection("posts");
        documents.insert_one(&before).await.expect("inserted");
        let id = json!(post.to_hex());

        let read = viewer.data(READ, json!({ "id": id })).await;
        let may = json!(code.is_none());
        assert_eq!(read["post"]["viewerCanEdit"], may, "{case}");
        assert_eq!(read["post"]["viewerCanDelete"], may, "{case}");
        let seen = &read["post"]["updatedAt"];
        let edit = json!({ "input": { "id": id, "title": "After" } });
        let edit_seen = json!({ "input": { "id": id, "title": "After", "ifUpdatedAt": seen } });
        // Not its `updatedAt`: whoever may edit is told so, nobody else.
        let stale = "2001-01-01T00:00:00Z";
        let edit_stale = json!({ "input": { "id": id, "title": "After", "ifUpdatedAt": stale } });
        let conflict = viewer.error_code(EDIT, edit_stale).await;
        assert_eq!(conflict, code.unwrap_or("CONFLICT"), "{case}");
        let marks = posts.collection("deletedPosts");
        match code {
            Some(code) => {
                assert_eq!(viewer.error_code(EDIT, edit).await, code, "{case}");
                assert_eq!(viewer.error_code(EDIT, edit_seen).await, code, "{case}");
                let delete = viewer.error_code(DELETE, json!({ "id": id })).await;
                assert_eq!(delete, code, "{case}");
                let left = stored(posts, &id).await.expect("it is still there");
                for (field, value) in &before {
                    assert_eq!(left.get(field), Some(value), "{case}");
                }
                // The comments subgraph would look at its comments.
                let marked = marks.find_one(doc! { "_id": post }).await;
                assert_eq!(marked.expect("found"), None, "{case}");
            }
            None => {
                let edited = viewer.data(EDIT, edit_seen).await;
                let edited = &edited["updatePost"]["post"];
                // An edit does not make it the editor's.
                assert_eq!(edited["title"], "After", "{case}");
                assert_eq!(edited["authorId"], read["post"]["authorId"], "{case}");
                viewer.data(EDIT, edit).await;
                viewer.data(DELETE, json!({ "id": id })).await;
                assert_eq!(stored(posts, &id).await, None, "{case}");
                let marked = marks.find_one(doc! { "_id": post }).await;
                assert!(marked.expect("found").is_some(), "{case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_viewer_changes_what_the_table_allows() {
    for anonymous_writes in ["off", "create", "change"] {
        let posts = start(anonymous_writes).await;
        try_all(&posts, anonymous_writes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_exact_in_a_collection_that_ignores_case() {
    let database = embedded_mongo::test_database().await;
    let mut collation = Collation::builder().locale("en").build();
    collation.strength = Some(CollationStrength::Primary);
    let created = database.database();
    let created = created.create_collection("posts").collation(collation);
    created.await.expect("created");
    let posts = start_on(database, "create").await;
    try_all(&posts, "create").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found_unless_nothing_may_be_changed() {
    let posts = start("create").await;
    let missing = "65f0c0ffee65f0c0ffee65f0";
    let edit = json!({ "input": { "id": missing, "title": "x" } });
    let delete = json!({ "id": missing });
    assert_eq!(
        ann(&posts).error_code(EDIT, edit.clone()).await,
        "NOT_FOUND"
    );
    assert_eq!(
        ann(&posts).error_code(DELETE, delete.clone()).await,
        "NOT_FOUND"
    );
    let guest = posts.guest(NAME);
    assert_eq!(guest.error_code(EDIT, edit).await, "UNAUTHENTICATED");
    assert_eq!(guest.error_code(DELETE, delete).await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_author_is_who_the_token_says() {
    let posts = start("create").await;
    let mut own = created(&ann(&posts), "Bob").await;
    assert_eq!(
        created(&ann(&posts), &"x".repeat(5_000)).await["author"],
        "Ann"
    );
    let mut guests = created(&posts.guest(NAME), "Ann").await;
    let of_own = stored(&posts, &own["id"]).await.expect("stored");
    assert_eq!(of_own.get_str("authorId").ok(), Some("ann"));
    assert!(!of_own.contains_key("guest"));
    let of_guest = stored(&posts, &guests["id"]).await.expect("stored");
    assert_eq!(of_guest.get_bool("guest").ok(), Some(true));
    assert!(!of_guest.contains_key("authorId"));
    for post in [&mut own, &mut guests] {
        let fields = post.as_object_mut().expect("an object");
        fields.retain(|field, _| field != "id");
    }
    assert_json_snapshot!([own, guests], @r#"
    [
      {
        "author": "Ann",
        "authorId": "ann",
        "writtenByGuest": false,
        "viewerCanEdit": true,
        "viewerCanDelete": true
      },
      {
        "author": "Ann",
        "authorId": null,
        "writtenByGuest": true,
        "viewerCanEdit": false,
        "viewerCanDelete": false
      }
    ]
    "#);
    let list =
        "{ posts { edges { node { authorId writtenByGuest viewerCanEdit } } } viewer { id } }";
    let list = ann(&posts).data(list, json!({})).await;
    let nodes = list["posts"]["edges"].as_array().expect("a list").iter();
    let own = nodes.filter(|edge| edge["node"]["viewerCanEdit"] == true);
    assert_eq!(own.count(), 2, "{list}");
    assert_eq!(list["viewer"]["id"], "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_writes_only_where_guests_may() {
    let posts = start("off").await;
    let input = json!({ "input": { "title": "Title", "content": "Content" } });
    let refused = posts.guest(NAME).error_code(CREATE, input).await;
    assert_eq!(refused, "UNAUTHENTICATED");
    let counted = posts.collection("posts").count_documents(doc! {}).await;
    assert_eq!(counted.expect("counted"), 0);
    created(&ann(&posts), "Ann").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_of_a_post_get_their_own_rights() {
    let posts = start("create").await;
    let ann = ann(&posts);
    let post = created(&ann, "Ann").await["id"].take();
    let updated = "subscription ($id: ID!) { postUpdated(id: $id) {
        title authorId viewerCanEdit viewerCanDelete
    } }";
    let bob = posts.person(NAME, &json!({ "sub": "bob" }));
    let mut socket = ann.websocket().await;
    for (viewer, is_own) in [(&ann, true), (&bob, false), (&posts.guest(NAME), false)] {
        let id = format!("{is_own}");
        viewer
            .subscribe(&mut socket, &id, updated, json!({ "id": post }))
            .await;
        let event = async { socket.next_payload(&id).await };
        let write = async {
            loop {
                let edit = json!({ "input": { "id": post, "title": "After" } });
                ann.data(EDIT, edit).await;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let event = tokio::select! { event = event => event, () = write => unreachable!() };
        let expected = json!({
            "title": "After", "authorId": "ann", "viewerCanEdit": is_own,
            "viewerCanDelete": is_own,
        });
        assert_eq!(event["data"]["postUpdated"], expected);
        drop(std::mem::replace(&mut socket, ann.websocket().await));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_writes_no_posts_and_may_delete_them() {
    let posts = start("create").await;
    let post = created(&ann(&posts), "Ann").await;
    let blocks = posts.collection("blockedAuthors");
    blocks
        .insert_one(doc! { "_id": "ann" })
        .await
        .expect("blocked");
    let create = json!({ "input": { "title": "Title", "content": "Content" } });
    let edit = json!({ "input": { "id": post["id"], "title": "Other" } });
    for (query, variables) in [(CREATE, create), (EDIT, edit.clone())] {
        let refused = ann(&posts).graphql(query, variables).await;
        let extensions = &refused["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "FORBIDDEN");
        assert_eq!(extensions["reason"], "AUTHOR_BLOCKED");
    }
    created(&posts.guest(NAME), "Ann").await;
    let unblocked = blocks.delete_one(doc! { "_id": "ann" }).await;
    assert_eq!(unblocked.expect("unblocked").deleted_count, 1);
    ann(&posts).data(EDIT, edit).await;
    blocks
        .insert_one(doc! { "_id": "ann" })
        .await
        .expect("blocked");
    // A moderator who is blocked has no other rights.
    let of_guest = created(&posts.guest(NAME), "Guest").await;
    let claims = json!({ "sub": "ann", "name": "Ann", "scope": "moderate" });
    let blocked = posts.person(NAME, &claims);
    let delete = json!({ "id": of_guest["id"] });
    assert_eq!(blocked.error_code(DELETE, delete).await, "FORBIDDEN");
    ann(&posts).data(DELETE, json!({ "id": post["id"] })).await;
    assert_eq!(stored(&posts, &post["id"]).await, None);
}
