//! Comments belong to who wrote them: who may write, edit and delete, and whose idempotency keys are whose.

use std::collections::HashSet;

use bson::oid::ObjectId;
use bson::{Document, doc};
use insta::assert_json_snapshot;
use mongodb::options::Collation;
use serde_json::{Value, json};
use subgraph::testing::rights::{Attempt, attempts};
use subgraph::testing::{SECRET, Signed};

use crate::service::Comments;

const NAME: &str = "comments";
const CREATE: &str = "mutation ($input: CreateCommentInput!) { createComment(input: $input) {
    comment { id author authorId writtenByGuest viewerCanEdit viewerCanDelete }
} }";
const EDIT: &str = "mutation ($input: UpdateCommentInput!) { updateComment(input: $input) {
    comment { id text authorId }
} }";
const DELETE: &str = "mutation ($id: ID!) { deleteComment(input: { id: $id }) { id } }";
const READ: &str = "query ($id: ID!) { comment(id: $id) {
    id updatedAt author authorId writtenByGuest viewerCanEdit viewerCanDelete
} }";
const VIEWER: &str = "{ viewer { id name isModerator } }";

async fn start(anonymous_writes: &str) -> Comments {
    start_on(embedded_mongo::test_database().await, anonymous_writes).await
}

async fn start_on(database: embedded_mongo::TestDatabase, anonymous_writes: &str) -> Comments {
    let flags = [
        format!("--subgraph-secret={SECRET}"),
        format!("--anonymous-writes={anonymous_writes}"),
    ];
    let flags = flags.each_ref().map(String::as_str);
    Comments::start_on_with(database, &flags).await
}

fn ann(comments: &Comments) -> Signed<'_> {
    comments.person(NAME, &json!({ "sub": "ann", "name": "Ann" }))
}

fn bob(comments: &Comments) -> Signed<'_> {
    comments.person(NAME, &json!({ "sub": "bob", "name": "Bob" }))
}

async fn created(by: &Signed<'_>, input: Value) -> Value {
    by.data(CREATE, json!({ "input": input })).await["createComment"]["comment"].take()
}

async fn stored(comments: &Comments, id: &Value) -> Option<Document> {
    let id = ObjectId::parse_str(id.as_str().expect("an id")).expect("an id");
    let documents = comments.collection("comments");
    let found = documents.find_one(doc! { "_id": id }).await;
    found.expect("found")
}

async fn count(comments: &Comments) -> u64 {
    let documents = comments.collection("comments");
    let counted = documents.count_documents(doc! {}).await;
    counted.expect("counted")
}

/// Tries everything in the table: what is told beforehand, what happens, and what is left.
async fn try_all(comments: &Comments, anonymous_writes: &str) {
    let post = ObjectId::parse_str(comments.post().await).expect("an id");
    for Attempt {
        claims,
        owner,
        code,
    } in attempts(anonymous_writes)
    {
        let viewer = match &claims {
            Some(claims) => comments.person(NAME, claims),
            None => comments.guest(NAME),
        };
        let case = format!("{claims:?} and {owner} with {anonymous_writes}");
        let now = bson::DateTime::now();
        let mut before = doc! {
            "_id": ObjectId::new(), "postId": post, "text": "Before", "author": "Ann",
            "createdAt": now, "updatedAt": now, "edited": false,
        };
        before.extend(owner);
        let documents = comments.collection("comments");
        documents.insert_one(&before).await.expect("inserted");
        let id = json!(before.get_object_id("_id").expect("an id").to_hex());

        let read = viewer.data(READ, json!({ "id": id })).await;
        let may = json!(code.is_none());
        assert_eq!(read["comment"]["viewerCanEdit"], may, "{case}");
        assert_eq!(read["comment"]["viewerCanDelete"], may, "{case}");
        let seen = &read["comment"]["updatedAt"];
        let edit = json!({ "input": { "id": id, "text": "After" } });
        let edit_seen = json!({ "input": { "id": id, "text": "After", "ifUpdatedAt": seen } });
        // Not its `updatedAt`: whoever may edit is told so, nobody else.
        let stale = "2001-01-01T00:00:00Z";
        let edit_stale = json!({ "input": { "id": id, "text": "After", "ifUpdatedAt": stale } });
        let conflict = viewer.error_code(EDIT, edit_stale).await;
        assert_eq!(conflict, code.unwrap_or("CONFLICT"), "{case}");
        match code {
            Some(code) => {
                assert_eq!(viewer.error_code(EDIT, edit).await, code, "{case}");
                assert_eq!(viewer.error_code(EDIT, edit_seen).await, code, "{case}");
                let delete = viewer.error_code(DELETE, json!({ "id": id })).await;
                assert_eq!(delete, code, "{case}");
                assert_eq!(stored(comments, &id).await, Some(before), "{case}");
            }
            None => {
                let edited = viewer.data(EDIT, edit_seen).await;
                let edited = &edited["updateComment"]["comment"];
                // An edit does not make it the editor's.
                assert_eq!(edited["text"], "After", "{case}");
                assert_eq!(edited["authorId"], read["comment"]["authorId"], "{case}");
                viewer.data(EDIT, edit).await;
                viewer.data(DELETE, json!({ "id": id })).await;
                assert_eq!(stored(comments, &id).await, None, "{case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_viewer_changes_what_the_table_allows() {
    for anonymous_writes in ["off", "create", "change"] {
        let comments = start(anonymous_writes).await;
        try_all(&comments, anonymous_writes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_exact_in_a_collection_that_ignores_case() {
    let database = embedded_mongo::test_database().await;
    let mut collation = Collation::builder().locale("en").build();
    collation.strength = Some(mongodb::options::CollationStrength::Primary);
    let created = database.database();
    let created = created.create_collection("comments").collation(collation);
    created.await.expect("created");
    let comments = start_on(database, "create").await;
    try_all(&comments, "create").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found_unless_nothing_may_be_changed() {
    let comments = start("create").await;
    let missing = "65f0c0ffee65f0c0ffee65f0";
    let edit = json!({ "input": { "id": missing, "text": "x" } });
    let delete = json!({ "id": missing });
    assert_eq!(
        ann(&comments).error_code(EDIT, edit.clone()).await,
        "NOT_FOUND"
    );
    assert_eq!(
        ann(&comments).error_code(DELETE, delete.clone()).await,
        "NOT_FOUND"
    );
    let guest = comments.guest(NAME);
    assert_eq!(guest.error_code(EDIT, edit).await, "UNAUTHENTICATED");
    assert_eq!(guest.error_code(DELETE, delete).await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_author_is_who_the_token_says() {
    let comments = start("create").await;
    let post = comments.post().await;
    let pretended = |author: &str| json!({ "postId": post, "text": "Text", "author": author });
    let mut own = created(&ann(&comments), pretended("Bob")).await;
    let long = created(&ann(&comments), pretended(&"x".repeat(5_000))).await;
    assert_eq!(long["author"], "Ann");
    let nameless = comments.person(NAME, &json!({ "sub": "ann", "name": "\u{0}" }));
    assert_eq!(
        created(&nameless, pretended("Bob")).await["author"],
        "Anonymous"
    );
    let mut guests = created(&comments.guest(NAME), pretended("Ann")).await;
    let too_long = json!({ "input": pretended(&"x".repeat(5_000)) });
    assert_eq!(
        comments.guest(NAME).error_code(CREATE, too_long).await,
        "BAD_USER_INPUT"
    );

    let of_own = stored(&comments, &own["id"]).await.expect("stored");
    assert_eq!(of_own.get_str("authorId").ok(), Some("ann"));
    assert!(!of_own.contains_key("guest"));
    let of_guest = stored(&comments, &guests["id"]).await.expect("stored");
    assert_eq!(of_guest.get_bool("guest").ok(), Some(true));
    assert!(!of_guest.contains_key("authorId"));

    let mut read = comments
        .guest(NAME)
        .data(READ, json!({ "id": own["id"] }))
        .await;
    for comment in [&mut own, &mut guests, &mut read["comment"]] {
        let fields = comment.as_object_mut().expect("an object");
        fields.retain(|field, _| field != "id" && field != "updatedAt");
    }
    assert_json_snapshot!([own, guests, read["comment"].take()], @r#"
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
      },
      {
        "author": "Ann",
        "authorId": "ann",
        "writtenByGuest": false,
        "viewerCanEdit": false,
        "viewerCanDelete": false
      }
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_writes_only_where_guests_may() {
    let comments = start("off").await;
    let input = json!({ "input": { "postId": comments.post().await, "text": "Text" } });
    let refused = comments.guest(NAME).error_code(CREATE, input.clone()).await;
    assert_eq!(refused, "UNAUTHENTICATED");
    assert_eq!(count(&comments).await, 0);
    ann(&comments).data(CREATE, input).await;
    for (anonymous_writes, is_theirs) in [("create", false), ("true", false), ("change", true)] {
        let comments = start(anonymous_writes).await;
        let input = json!({ "postId": comments.post().await, "text": "Text" });
        let written = created(&comments.guest(NAME), input).await;
        assert_eq!(written["writtenByGuest"], true);
        assert_eq!(written["viewerCanEdit"], is_theirs, "{anonymous_writes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_no_gateway_has_signed_count_for_nothing() {
    let comments = Comments::start_with(&["--anonymous-writes=create"]).await;
    let post = comments.post().await;
    let forged = comments.person(NAME, &json!({ "sub": "ann", "scope": "moderate" }));
    assert_eq!(forged.data(VIEWER, json!({})).await["viewer"], Value::Null);
    let written = created(&forged, json!({ "postId": post, "text": "Text" })).await;
    assert_eq!(written["writtenByGuest"], true);
    let refused = forged
        .error_code(DELETE, json!({ "id": written["id"] }))
        .await;
    assert_eq!(refused, "UNAUTHENTICATED");
    // Not even read.
    let odd = comments.with_claims(NAME, "{".to_owned());
    assert_eq!(odd.data(VIEWER, json!({})).await["viewer"], Value::Null);

    let mut socket = comments.websocket().await;
    forged.subscribe(&mut socket, "1", VIEWER, json!({})).await;
    let payload = socket.next_payload("1").await;
    assert_eq!(payload["data"]["viewer"], Value::Null, "{payload}");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_claims_refuse_their_own_request_and_no_other() {
    let comments = start("change").await;
    let input = json!({ "input": { "postId": comments.post().await, "text": "Text" } });
    let ann = ann(&comments);
    let mut socket = ann.websocket().await;
    for (number, claims) in [
        "{}",
        "[]",
        "\"ann\"",
        r#"{"name":"Ann","scope":"moderate"}"#,
        r#"{"sub":7}"#,
        r#"{"sub":""}"#,
        r#"{"sub":null}"#,
        r#"{"sub":"ann","scope":{}}"#,
        r#"{"sub":"ann","name":["Ann"]}"#,
        r#"{"sub":"ann","sub":"bob"}"#,
        &format!(r#"{{"sub":"{}"}}"#, "x".repeat(256)),
        &format!(r#"{{"sub":"ann","more":"{}"}}"#, "x".repeat(20_000)),
    ]
    .into_iter()
    .enumerate()
    {
        let odd = comments.with_claims(NAME, claims.to_owned());
        for (query, variables) in [(CREATE, input.clone()), (VIEWER, json!({}))] {
            let refused = odd.error_code(query, variables).await;
            assert_eq!(refused, "CLAIMS_REFUSED", "{claims}");
        }
        let id = number.to_string();
        odd.subscribe(&mut socket, &id, CREATE, input.clone()).await;
        let refused = socket.next().await;
        let code = &refused["payload"][0]["extensions"]["code"];
        assert_eq!(code, "CLAIMS_REFUSED", "{claims}: {refused}");
    }
    assert_eq!(count(&comments).await, 0);
    ann.subscribe(&mut socket, "good", CREATE, input).await;
    let payload = socket.next_payload("good").await;
    let comment = &payload["data"]["createComment"]["comment"];
    assert_eq!(comment["authorId"], "ann", "{payload}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_viewer_is_who_asks() {
    let comments = start("off").await;
    let moderator = json!({ "sub": "eve", "name": " Eve\n", "scope": ["a", "moderate"] });
    let nameless = json!({ "sub": "1", "iss": "https://a/" });
    let mut told = Vec::new();
    for viewer in [
        comments.person(NAME, &moderator),
        comments.person(NAME, &nameless),
        comments.guest(NAME),
    ] {
        told.push(viewer.data(VIEWER, json!({})).await);
    }
    assert_json_snapshot!(told, @r#"
    [
      {
        "viewer": {
          "id": "eve",
          "name": "Eve",
          "isModerator": true
        }
      },
      {
        "viewer": {
          "id": "https://a/ 1",
          "name": "Anonymous",
          "isModerator": false
        }
      },
      {
        "viewer": null
      }
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_their_owners() {
    let comments = start("create").await;
    let post = comments.post().await;
    let input = |text: &str| json!({ "postId": post, "text": text, "idempotencyKey": "k" });
    let (ann, bob, guest) = (ann(&comments), bob(&comments), comments.guest(NAME));
    // Another text, so that a shared key would be a conflict; and the same text, so that it would be shown.
    let mut ids = HashSet::new();
    for (by, text) in [(&guest, "Guest"), (&ann, "Same"), (&bob, "Same")] {
        let first = created(by, input(text)).await;
        assert_eq!(created(by, input(text)).await, first, "a retry");
        let other = json!({ "input": input("Other") });
        assert_eq!(by.error_code(CREATE, other).await, "CONFLICT");
        ids.insert(first["id"].to_string());
    }
    assert_eq!(ids.len(), 3);
    assert_eq!(count(&comments).await, 3);
    // A new token of the same person may have another name.
    let renamed = comments.person(NAME, &json!({ "sub": "ann", "name": "Ann B." }));
    assert!(ids.contains(&created(&renamed, input("Same")).await["id"].to_string()));
    // What a guest sends as a key is a text, and never somebody's.
    for key in [r#"{"owner":"ann","key":"k"}"#, "ann k", "ann\tk"] {
        let guess = json!({ "postId": post, "text": "Same", "idempotencyKey": key });
        let written = created(&guest, guess).await;
        assert!(ids.insert(written["id"].to_string()), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freed_key_gives_its_comment_to_nobody_else() {
    let comments = start("create").await;
    let post = comments.post().await;
    let input = json!({ "postId": post, "text": "Once", "idempotencyKey": "k" });
    let (ann, bob) = (ann(&comments), bob(&comments));
    let first = created(&ann, input.clone()).await;
    ann.data(DELETE, json!({ "id": first["id"] })).await;
    let of_bob = created(&bob, input.clone()).await;
    assert_ne!(of_bob["id"], first["id"]);
    let again = created(&ann, input).await;
    assert_eq!(again["id"], first["id"]);
    assert_eq!(again["authorId"], "ann");
    let refused = bob.error_code(DELETE, json!({ "id": again["id"] })).await;
    assert_eq!(refused, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_on_one_socket_get_their_own_rights() {
    let comments = start("create").await;
    let post = comments.post().await;
    let (ann, bob, guest) = (ann(&comments), bob(&comments), comments.guest(NAME));
    let eve = comments.person(NAME, &json!({ "sub": "eve", "scope": "moderate" }));
    let added = "subscription ($post: ID!) { commentAdded(postId: $post) {
        authorId viewerCanEdit viewerCanDelete
    } }";
    let changes = "subscription ($post: ID!, $after: String) {
        commentChanges(postId: $post, after: $after) { ... on CommentAdded {
            comment { authorId viewerCanEdit viewerCanDelete }
        } }
    }";
    let start = format!(
        "query ($of: [_Any!]!) {{ _entities(representations: $of) {{ ... on Post {{ {} }} }} }}",
        "commentChangesCursor"
    );
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    let cursor = guest.data(&start, of).await["_entities"][0]["commentChangesCursor"].take();
    let mut socket = guest.websocket().await;
    let viewers = [(&ann, true), (&bob, false), (&eve, true), (&guest, false)];
    for (number, (viewer, _)) in viewers.iter().enumerate() {
        let variables = json!({ "post": post, "after": cursor });
        let id = format!("changes {number}");
        viewer.subscribe(&mut socket, &id, changes, variables).await;
    }
    created(&ann, json!({ "postId": post, "text": "Text" })).await;
    let mut got = HashSet::new();
    for _ in &viewers {
        let message = socket.next().await;
        let id = message["id"].as_str().expect("an id");
        let number: usize = id["changes ".len()..].parse().expect("a number");
        let expected = json!({
            "authorId": "ann", "viewerCanEdit": viewers[number].1,
            "viewerCanDelete": viewers[number].1,
        });
        let comment = &message["payload"]["data"]["commentChanges"]["comment"];
        assert_eq!(*comment, expected, "{message}");
        got.insert(number);
    }
    assert_eq!(got.len(), viewers.len());

    // From now on alone: written until one arrives.
    let mut socket = guest.websocket().await;
    ann.subscribe(&mut socket, "added", added, json!({ "post": post }))
        .await;
    let event = async { socket.next_payload("added").await };
    let write = async {
        loop {
            created(&ann, json!({ "postId": post, "text": "Text" })).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let event = tokio::select! { event = event => event, () = write => unreachable!() };
    let expected = json!({ "authorId": "ann", "viewerCanEdit": true, "viewerCanDelete": true });
    assert_eq!(event["data"]["commentAdded"], expected);
}
