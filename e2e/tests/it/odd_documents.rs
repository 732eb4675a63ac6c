//! Documents that other programs wrote: whatever they contain, every view treats them the same way and works on.

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, Timestamp, doc};
use changefeed::FromDocument;
use e2e::{ClientEvent, Graphql, Service, Subscription, System, eventually};
use embedded_mongo::test_database;
use mongodb::{Collection, Database};
use serde_json::{Value, json};
use subgraph::StoredComment;

use crate::PROGRAM;

const VIEWS: &str = "query($id: ID!) { post(id: $id) {
    commentCount latestComments(first: 20) { id } comments(first: 100) { edges { node { id text createdAt } } }
} }";
const CHANGES: &str =
    "subscription($post: ID!, $after: String) { commentChanges(postId: $post, after: $after) {
    __typename ... on CommentAdded { comment { id } } ... on CommentEdited { comment { id } }
    ... on CommentDeleted { commentId }
} }";
const LAST: &str = "the last one";

/// A post, the comments about it that nobody doubts, and one odd document.
struct Case {
    name: &'static str,
    post: ObjectId,
    good: ObjectId,
    odd: Vec<RawDocumentBuf>,
}

impl Case {
    fn new(name: &'static str, odd: impl FnOnce(ObjectId) -> Document) -> Self {
        Self::raw(name, |post| vec![raw(&odd(post))])
    }

    fn raw(name: &'static str, odd: impl FnOnce(ObjectId) -> Vec<RawDocumentBuf>) -> Self {
        let post = ObjectId::new();
        Self {
            name,
            post,
            good: ObjectId::new(),
            odd: odd(post),
        }
    }

    /// The comment in the place of the odd document once somebody has repaired it.
    fn repaired(&self, odd: &RawDocumentBuf) -> RawDocumentBuf {
        let id = Bson::try_from(odd.get("_id").expect("well-formed").expect("an id"));
        raw(&doc! {
            "_id": id.expect("an id"), "postId": self.post, "text": "repaired", "createdAt": DateTime::now(),
        })
    }

    /// The ids of all comments that can be read.
    fn expected(&self) -> Vec<String> {
        let odd = self
            .odd
            .iter()
            .filter_map(|odd| StoredComment::from_document(odd).ok());
        let odd = odd
            .filter(|comment| comment.post_id == self.post)
            .map(|comment| comment.id);
        sorted(odd.chain([self.good]).map(|id| id.to_hex()))
    }
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("a document")
}

/// Replaces bytes of a document by as many others.
fn with_bytes(document: &Document, from: &[u8], to: &[u8]) -> RawDocumentBuf {
    let mut bytes = raw(document).into_bytes();
    let place = bytes.windows(from.len()).position(|window| window == from);
    let place = place.expect("the bytes are there");
    bytes[place..place + to.len()].copy_from_slice(to);
    RawDocumentBuf::from_bytes(bytes).expect("framed")
}

fn cases() -> Vec<Case> {
    let now = DateTime::now();
    let comment = move |post: ObjectId| {
        doc! { "_id": ObjectId::new(), "postId": post, "text": "odd", "author": "Eve", "createdAt": now }
    };
    let with = move |post: ObjectId, changes: Document| {
        let mut document = comment(post);
        document.extend(changes);
        document
    };
    let binary = || Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0xFF, 0],
    };
    let without = move |post: ObjectId, field: &str| {
        let mut document = comment(post);
        document.remove(field);
        document
    };
    vec![
        Case::new("nothing odd", comment),
        Case::new("postId in a list", |post| {
            with(post, doc! { "postId": [post] })
        }),
        Case::new("postId in a list twice", |post| {
            with(post, doc! { "postId": [post, post] })
        }),
        Case::new("postId in a list in a list", |post| {
            with(post, doc! { "postId": [[post]] })
        }),
        Case::new("postId as text", |post| {
            with(post, doc! { "postId": post.to_hex() })
        }),
        Case::new("postId as capital text", |post| {
            with(post, doc! { "postId": post.to_hex().to_uppercase() })
        }),
        Case::new("postId as text with a blank", |post| {
            with(post, doc! { "postId": format!("{post} ") })
        }),
        Case::new("postId in a document", |post| {
            with(post, doc! { "postId": { "$oid": post.to_hex() } })
        }),
        Case::new("postId null", |post| {
            with(post, doc! { "postId": Bson::Null })
        }),
        Case::new("no postId", |post| without(post, "postId")),
        Case::new("text as Binary", |post| {
            with(post, doc! { "text": binary() })
        }),
        Case::new("author as Binary", |post| {
            with(post, doc! { "author": binary() })
        }),
        Case::new("text as a number", |post| with(post, doc! { "text": 5 })),
        Case::new("text as a list", |post| {
            with(post, doc! { "text": ["odd"] })
        }),
        Case::new("text as a Symbol", |post| {
            with(post, doc! { "text": Bson::Symbol("odd".to_owned()) })
        }),
        Case::new("text undefined", |post| {
            with(post, doc! { "text": Bson::Undefined })
        }),
        Case::new("text null", |post| {
            with(post, doc! { "text": Bson::Null, "author": Bson::Null })
        }),
        Case::new("no text", |post| without(post, "text")),
        Case::raw("text that is not UTF-8", |post| {
            vec![with_bytes(
                &with(post, doc! { "text": "aXYb" }),
                b"aXYb",
                b"a\xFF\xFEb",
            )]
        }),
        Case::raw("a name that is not UTF-8", |post| {
            vec![with_bytes(
                &with(post, doc! { "XYZ": 1, "edited": true }),
                b"XYZ",
                b"\xFF\xFEZ",
            )]
        }),
        Case::raw("text twice", |post| {
            vec![with_bytes(
                &with(post, doc! { "xext": 5 }),
                b"xext",
                b"text",
            )]
        }),
        Case::raw("text twice, the first one odd", |post| {
            let document =
                doc! { "_id": ObjectId::new(), "postId": post, "text": 5, "xext": "good" };
            vec![with_bytes(&document, b"xext", b"text")]
        }),
        Case::new("idempotency as text", |post| {
            with(post, doc! { "idempotency": "key" })
        }),
        Case::new("idempotency as a document", |post| {
            with(post, doc! { "idempotency": { "key": 5 } })
        }),
        Case::new("createdAt as text", |post| {
            with(post, doc! { "createdAt": "2026-01-01" })
        }),
        Case::new("createdAt after year 9999", |post| {
            with(
                post,
                doc! { "createdAt": DateTime::from_millis(1_796_000_000_000_000) },
            )
        }),
        Case::new("createdAt before year 0", |post| {
            with(
                post,
                doc! { "createdAt": DateTime::from_millis(-62_167_219_200_001) },
            )
        }),
        Case::new("createdAt in year 1", |post| {
            with(
                post,
                doc! { "createdAt": DateTime::from_millis(-62_135_596_800_000) },
            )
        }),
        Case::new("createdAt at the end of time", |post| {
            with(post, doc! { "createdAt": DateTime::MAX })
        }),
        Case::new("createdAt in a list", |post| {
            with(post, doc! { "createdAt": [now] })
        }),
        Case::new("createdAt as a timestamp", |post| {
            with(
                post,
                doc! { "createdAt": Timestamp { time: 1, increment: 1 } },
            )
        }),
        Case::new("updatedAt as a number", |post| {
            with(post, doc! { "updatedAt": 1 })
        }),
        Case::new("edited as text", |post| {
            with(post, doc! { "edited": "yes" })
        }),
        Case::new("_id as text", |post| {
            with(post, doc! { "_id": format!("of {post}") })
        }),
        Case::new("_id as a document", |post| {
            with(post, doc! { "_id": { "post": post } })
        }),
        Case::new("text that begins with a dollar", |post| {
            with(post, doc! { "text": "$$ROOT" })
        }),
        Case::new("a text of 64 KiB", |post| {
            with(post, doc! { "text": "x".repeat(64 << 10) })
        }),
        Case::new("a text of more", |post| {
            with(post, doc! { "text": "x".repeat((64 << 10) + 1) })
        }),
        Case::new("an author of 9 KB", |post| {
            with(post, doc! { "author": "x".repeat(9_000) })
        }),
        Case::new("a filler of 7 MB", |post| {
            with(post, doc! { "filler": "x".repeat(7 << 20) })
        }),
        Case::raw("three texts of 7 MB", |post| {
            (0..3)
                .map(|_| raw(&with(post, doc! { "text": "x".repeat(7 << 20) })))
                .collect()
        }),
    ]
}

async fn insert_posts(database: &Database, cases: &[Case]) {
    let posts = cases
        .iter()
        .map(|case| doc! { "_id": case.post, "title": case.name, "content": "Content" });
    let stored: Collection<Document> = database.collection("posts");
    stored.insert_many(posts).await.expect("stored");
    let good = cases.iter().map(|case| {
        doc! { "_id": case.good, "postId": case.post, "text": "good", "createdAt": DateTime::now() }
    });
    let comments: Collection<Document> = database.collection("comments");
    comments.insert_many(good).await.expect("stored");
}

async fn insert_odd(database: &Database, cases: &[Case]) {
    let comments: Collection<RawDocumentBuf> = database.collection("comments");
    for odd in cases.iter().flat_map(|case| &case.odd) {
        comments
            .insert_one(odd)
            .await
            .expect("the server takes any document");
    }
}

/// Waits until the count, the newest comments and the list of every post agree with what can be read.
async fn assert_views(graphql: &Graphql, cases: &[Case], when: &str) {
    for case in cases {
        let expected = case.expected();
        eventually(&format!("{when}: all views of {}", case.name), || async {
            let answer = graphql
                .ask(VIEWS, json!({ "id": case.post.to_hex() }))
                .await
                .body;
            let post = &answer["data"]["post"];
            let latest = sorted(ids(&post["latestComments"], |comment| &comment["id"]));
            let list = sorted(ids(&post["comments"]["edges"], |edge| &edge["node"]["id"]));
            let agree = answer["errors"].is_null()
                && post["commentCount"] == expected.len()
                && latest == expected
                && list == expected;
            agree
                .then_some(())
                .ok_or_else(|| format!("{answer} instead of {expected:?}"))
        })
        .await;
    }
}

fn ids(list: &Value, id: impl Fn(&Value) -> &Value) -> Vec<String> {
    let list = list.as_array().cloned().unwrap_or_default();
    list.iter()
        .map(|item| id(item).as_str().unwrap_or_default().to_owned())
        .collect()
}

fn sorted(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<String> = ids.into_iter().collect();
    ids.sort_unstable();
    ids
}

/// What a subscriber of the post is told while each odd document comes, is repaired, spoiled again and
/// deleted.
fn expected_events(case: &Case) -> Vec<String> {
    let mut events = Vec::new();
    for odd in &case.odd {
        let repaired = case.repaired(odd);
        let states = [None, Some(odd), Some(&repaired), Some(odd), None];
        for pair in states.windows(2) {
            let comment = |state: Option<&RawDocumentBuf>| {
                let comment = StoredComment::from_document(state?).ok()?;
                (comment.post_id == case.post).then_some(comment.id)
            };
            let event = match (comment(pair[0]), comment(pair[1])) {
                (None, None) => continue,
                (None, Some(id)) => format!("CommentAdded {id}"),
                (Some(_), Some(id)) => format!("CommentEdited {id}"),
                (Some(id), None) => format!("CommentDeleted {id}"),
            };
            events.push(event);
        }
    }
    events
}

async fn subscribe(graphql: &Graphql, case: &Case) -> Subscription {
    let cursor = "query($id: ID!) { post(id: $id) { commentChangesCursor } }";
    let post = case.post.to_hex();
    let data = graphql.data(cursor, json!({ "id": post })).await;
    let after = &data["post"]["commentChangesCursor"];
    Subscription::start(graphql, CHANGES, json!({ "post": post, "after": after })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_judges_them_alike_as_they_come_and_after_a_rebuild() {
    let system = System::start(PROGRAM).await;
    let (graphql, database, cases) = (system.graphql(), system.database().await, cases());
    insert_posts(&database, &cases).await;
    insert_odd(&database, &cases).await;
    assert_views(graphql, &cases, "as they came").await;
    let told = system.command(Service::Posts, &["--rebuild"]).await;
    assert!(told.ends_with("generation 2 serves instead of 1"), "{told}");
    assert_views(graphql, &cases, "after a rebuild").await;
    let odd = system
        .metric(
            Service::Posts,
            "changefeed_projection_unreadable_documents_total",
        )
        .await;
    assert!(odd > 0.0, "they are counted");
    let letters = database.collection::<Document>("changefeed_dead_letters");
    assert_eq!(letters.count_documents(doc! {}).await.expect("counted"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_judges_them_alike_at_a_first_start_and_the_audit_agrees() {
    let throwaway = test_database().await;
    let cases = cases();
    insert_posts(&throwaway.database(), &cases).await;
    insert_odd(&throwaway.database(), &cases).await;
    let mut system = System::new(PROGRAM, throwaway.uri().to_owned());
    system
        .run_with(Service::Posts, &[("PROJECTION_AUDIT_INTERVAL", "1s")])
        .await;
    system.run_all().await;
    assert_views(system.graphql(), &cases, "at a first start").await;
    let system = &system;
    eventually("most posts were audited", || async {
        let audited = system
            .metric(Service::Posts, "changefeed_projection_audited_total")
            .await;
        (audited >= 30.0)
            .then_some(())
            .ok_or_else(|| format!("{audited} were"))
    })
    .await;
    let divergences = "changefeed_projection_divergences_total";
    assert_eq!(system.metric(Service::Posts, divergences).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_hear_of_what_can_be_read_and_of_nothing_else() {
    let system = System::start(PROGRAM).await;
    let (graphql, database, cases) = (system.graphql(), system.database().await, cases());
    insert_posts(&database, &cases).await;
    let comments: Collection<RawDocumentBuf> = database.collection("comments");
    let mut subscriptions = Vec::new();
    for case in &cases {
        subscriptions.push(subscribe(graphql, case).await);
    }
    for (case, subscription) in cases.iter().zip(&mut subscriptions) {
        for odd in &case.odd {
            let id = Bson::try_from(odd.get("_id").expect("well-formed").expect("an id"));
            let one = doc! { "_id": id.expect("an id") };
            comments.insert_one(odd).await.expect("inserted");
            for state in [&case.repaired(odd), odd] {
                comments
                    .replace_one(one.clone(), state)
                    .await
                    .expect("replaced");
            }
            comments.delete_one(one).await.expect("deleted");
        }
        let last = graphql.create_comment(&case.post.to_hex(), LAST).await;
        let mut events = Vec::new();
        loop {
            let event = match subscription.next().await {
                ClientEvent::Next(result) if result["errors"].is_null() => {
                    result["data"]["commentChanges"].clone()
                }
                // Of the largest changes only the last one stays in memory.
                ClientEvent::Next(result)
                    if result["errors"][0]["extensions"]["code"] == "SUBSCRIPTION_LAGGED" =>
                {
                    let after = result["errors"][0]["extensions"]["cursor"].clone();
                    let again = json!({ "post": case.post.to_hex(), "after": after });
                    *subscription = Subscription::start(graphql, CHANGES, again).await;
                    continue;
                }
                other => panic!("{}: {other:?}", case.name),
            };
            let id = event["comment"]["id"]
                .as_str()
                .or(event["commentId"].as_str());
            let id = id.expect("an id");
            if id == last {
                break;
            }
            events.push(format!(
                "{} {id}",
                event["__typename"].as_str().expect("a type")
            ));
        }
        assert_eq!(events, expected_events(case), "{}", case.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_that_moves_is_added_to_its_new_post() {
    let system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql(), system.database().await);
    let (from, to) = (
        graphql.create_post("From").await,
        graphql.create_post("To").await,
    );
    let added = "subscription($post: ID!) { commentAdded(postId: $post) { text } }";
    let mut added = Subscription::comments_of(graphql, added, &to).await;
    let comment = graphql.create_comment(&from, "moves").await;
    let one = doc! { "_id": ObjectId::parse_str(&comment).expect("an id") };
    let moved = doc! { "$set": { "postId": ObjectId::parse_str(&to).expect("an id") } };
    let comments: Collection<Document> = database.collection("comments");
    comments.update_one(one, moved).await.expect("moved");
    let event = added.next_data().await;
    assert_eq!(event["commentAdded"]["text"], "moves");
}
