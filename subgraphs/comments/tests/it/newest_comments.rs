//! The first page of posts' comments from memory: it is what the database has.

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use changefeed::OperationTime;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::{ClientSession, Collection};
use serde_json::{Value, json};
use subgraph::testing::{Signed, TestService};

use crate::moderators::{HIDE, RESTORE, ann, eve, start, write};
use crate::service::{Comments, texts};

const PATIENCE: Duration = Duration::from_secs(30);
/// Pages are kept.
pub const ON: &str = "--newest-comments-bytes-max=33554432";
const READ: &str = "query ($of: [_Any!]!, $first: Int, $time: String) {
    _entities(representations: $of) { ... on Post {
        comments(first: $first, operationTime: $time) {
            edges { node { id text author } } pageInfo { hasNextPage }
        }
    } }
}";
pub const CREATE: &str = "mutation ($post: ID!, $text: String!) {
    createComment(input: { postId: $post, text: $text }) { comment { id } operationTime }
}";
const EDIT: &str = "mutation ($id: ID!, $text: String!) {
    updateComment(input: { id: $id, text: $text }) { operationTime }
}";
const DELETE: &str = "mutation ($id: ID!) { deleteComment(input: { id: $id }) { operationTime } }";
const REACT: &str = "mutation ($id: ID!) {
    setReaction(input: { commentId: $id, reaction: LIKE }) { comment { id } }
}";

pub async fn read(service: &TestService, post: &str, first: usize, time: Option<String>) -> Value {
    let of = json!([{ "__typename": "Post", "id": post }]);
    let variables = json!({ "of": of, "first": first, "time": time });
    service.data(READ, variables).await["_entities"][0]["comments"].take()
}

async fn first(comments: &Comments, post: &str) -> String {
    texts(&read(comments, post, 3, None).await).join(" ")
}

/// How many pages were read from there.
pub async fn reads(service: &TestService, from: &str) -> u64 {
    metric(
        service,
        &format!("comments_newest_reads_total{{from=\"{from}\"}}"),
    )
    .await
}

pub async fn metric(service: &TestService, name: &str) -> u64 {
    let request = service.http().get(service.url("/metrics")).send();
    let text = request.await.expect("an answer").text().await;
    let text = text.expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name}: {text}"));
    line.trim().parse().expect("a number")
}

pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

fn oid(id: &str) -> ObjectId {
    ObjectId::parse_str(id).expect("an id")
}

/// A comment as another program may write it.
pub fn document(post: &str, text: &str) -> Document {
    doc! { "_id": ObjectId::new(), "postId": oid(post), "text": text, "createdAt": bson::DateTime::now() }
}

/// Writes as another program, and returns when that was.
async fn elsewhere(
    comments: &Comments,
    write: impl AsyncFnOnce(Collection<Document>, &mut ClientSession),
) -> Option<String> {
    let session = comments.database.client().start_session().await;
    let mut session = session.expect("a session");
    write(comments.collection("comments"), &mut session).await;
    OperationTime::of(&session).map(|time| time.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_readers_ask_no_database() {
    let comments = Comments::start_with(&[ON]).await;
    let post = comments.post().await;
    for text in ["A", "B", "C", "D"] {
        comments.comment(&post, text).await;
    }
    assert_eq!(first(&comments, &post).await, "D C B");
    let profile = comments.profile().await;
    for _ in 0..10 {
        let page = read(&comments, &post, 3, None).await;
        assert_eq!(texts(&page), ["D", "C", "B"]);
        assert_eq!(page["pageInfo"]["hasNextPage"], true);
    }
    assert_eq!(texts(&read(&comments, &post, 100, None).await).len(), 4);
    let asked = doc! { "appName": "comments requests", "command.aggregate": "comments" };
    let queries = profile.count_documents(asked).await;
    assert_eq!(queries.expect("a count"), 0);
    assert_eq!(reads(&comments, "load").await, 1);
    assert_eq!(reads(&comments, "memory").await, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_readers_is_one_load() {
    let comments = Comments::start_with(&[ON]).await;
    let post = comments.post().await;
    comments.comment(&post, "A").await;
    let profile = comments.profile().await;
    let crowd = (0..50).map(|_| first(&comments, &post));
    assert!(join_all(crowd).await.iter().all(|texts| texts == "A"));
    let asked = doc! { "appName": "comments requests", "command.aggregate": "comments" };
    let queries = profile.count_documents(asked).await;
    // Two readers may find nothing before the first one's load has begun.
    assert!(queries.expect("a count") <= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_writes_are_in_the_next_page() {
    let comments = start(&[ON]).await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let post = comments.post().await;
    let query = "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
        comments(first: 3) { edges { node { text viewerReaction reactions { count } } } }
    } } }";
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    let list =
        async |by: &Signed<'_>| by.data(query, of.clone()).await["_entities"][0]["comments"].take();
    let hers = async || texts(&list(&ann).await).join(" ");
    let (a, b) = (write(&ann, &post, "A").await, write(&ann, &post, "B").await);
    assert_eq!(hers().await, "B A");
    let c = write(&ann, &post, "C").await;
    assert_eq!(hers().await, "C B A");
    let edit = json!({ "id": b["id"], "text": "b" });
    ann.data(EDIT, edit).await;
    assert_eq!(hers().await, "C b A");
    ann.data(DELETE, json!({ "id": c["id"] })).await;
    assert_eq!(hers().await, "b A");
    eve.data(HIDE, json!({ "id": b["id"] })).await;
    assert_eq!(hers().await, "A");
    eve.data(RESTORE, json!({ "id": b["id"] })).await;
    assert_eq!(hers().await, "b A");
    ann.data(REACT, json!({ "id": a["id"] })).await;
    let a_of = |list: &Value| list["edges"][1]["node"].clone();
    let (anns, eves) = (a_of(&list(&ann).await), a_of(&list(&eve).await));
    assert_eq!(anns["reactions"], json!([{ "count": 1 }]));
    assert_eq!(anns["viewerReaction"], "LIKE");
    assert_eq!(eves["viewerReaction"], Value::Null);
    ann.data(DELETE, json!({ "id": a["id"] })).await;
    assert_eq!(hers().await, "b");
    assert!(reads(&comments, "memory").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_writes_are_there_behind_their_time() {
    let comments = Comments::start_with(&[ON]).await;
    let another = comments.another(&[ON]).await;
    let post = comments.post().await;
    comments.comment(&post, "A").await;
    assert_eq!(first(&comments, &post).await, "A");
    for number in 0..50 {
        let text = format!("T{number}");
        let create = json!({ "post": post, "text": text });
        let created = another.data(CREATE, create).await["createComment"].take();
        let time = created["operationTime"].as_str().map(str::to_owned);
        let seen = texts(&read(&comments, &post, 3, time).await);
        assert_eq!(seen[0], text);
    }
    assert!(reads(&comments, "memory").await > 20);
    let of = json!([{ "__typename": "Post", "id": post }]);
    let wrong = json!({ "of": of, "time": "soon" });
    assert_eq!(comments.error_code(READ, wrong).await, "BAD_USER_INPUT");
    another.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_other_programs_write_is_read_as_the_database_has_it() {
    let comments = Comments::start_with(&[ON]).await;
    let (post, other) = (comments.post().await, comments.post().await);
    comments.comment(&post, "A").await;
    comments.comment(&other, "Z").await;
    let of = async |post: &str, time| texts(&read(&comments, post, 3, time).await).join(" ");
    assert_eq!(of(&post, None).await, "A");
    assert_eq!(of(&other, None).await, "Z");

    let (b, c) = (document(&post, "B"), document(&post, "C"));
    let both = [b.clone(), c.clone()];
    let time = elsewhere(&comments, async |collection, session| {
        let inserted = collection.insert_many(both).session(session);
        inserted.await.expect("inserted");
    });
    assert_eq!(of(&post, time.await).await.len(), "C B A".len());
    let set = |of: &Document, set: Document| {
        let filter = doc! { "_id": of.get("_id") };
        elsewhere(&comments, async move |collection, session| {
            let updated = collection.update_one(filter, set).session(session);
            assert_eq!(updated.await.expect("updated").modified_count, 1);
        })
    };
    // To another post, by its id as text.
    let time = set(&b, doc! { "$set": { "postId": &other } }).await;
    assert_eq!(of(&other, time.clone()).await, "B Z");
    assert_eq!(of(&post, time).await, "C A");
    // What cannot be read is as if it were not there.
    let time = set(&c, doc! { "$set": { "text": 5 } }).await;
    assert_eq!(of(&post, time).await, "A");
    let time = set(&c, doc! { "$set": { "text": "c" } }).await;
    assert_eq!(of(&post, time).await, "c A");
    // To the end of the list.
    let time = set(&c, doc! { "$unset": { "createdAt": 1 } }).await;
    assert!(matches!(of(&post, time).await.as_str(), "A c" | "c A"));
    let time = set(&c, doc! { "$set": { "createdAt": bson::DateTime::MAX } }).await;
    assert_eq!(of(&post, time).await, "A", "no date that can be written");
    // Several in one transaction.
    let time = elsewhere(&comments, async |collection, session| {
        session.start_transaction().await.expect("begun");
        let (one, two) = (document(&post, "1"), document(&other, "2"));
        for document in [one, two] {
            let inserted = collection.insert_one(document).session(&mut *session);
            inserted.await.expect("inserted");
        }
        session.commit_transaction().await.expect("committed");
    });
    let time = time.await;
    assert_eq!(of(&post, time.clone()).await, "1 A");
    assert_eq!(of(&other, time).await, "2 B Z");
    // An event too large to be sent.
    let d = document(&post, "D");
    let large = "x".repeat(9 << 20);
    let time = elsewhere(&comments, async |collection, session| {
        let mut large_one = d.clone();
        large_one.insert("large", &large);
        let inserted = collection.insert_one(large_one).session(session);
        inserted.await.expect("inserted");
    });
    assert_eq!(of(&post, time.await).await, "D 1 A");
    let time = set(&d, doc! { "$set": { "text": "d" } }).await;
    assert_eq!(of(&post, time).await, "d 1 A");
    // All at once.
    let time = elsewhere(&comments, async |collection, session| {
        let deleted = collection.delete_many(doc! {}).session(session);
        deleted.await.expect("deleted");
    });
    let time = time.await;
    assert_eq!(of(&post, time.clone()).await, "");
    assert_eq!(of(&other, time).await, "");
    assert!(reads(&comments, "memory").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_without_images_drop_what_they_may_have_changed() {
    let comments = Comments::start_with(&[ON]).await;
    let post = comments.post().await;
    comments.comment(&post, "A").await;
    let id = comments.comment(&post, "B").await;
    assert_eq!(first(&comments, &post).await, "B A");
    let database = comments.database.database();
    let without =
        doc! { "collMod": "comments", "changeStreamPreAndPostImages": { "enabled": false } };
    database.run_command(without).await.expect("disabled");
    let time = elsewhere(&comments, async |collection, session| {
        let set = doc! { "$set": { "text": "b" } };
        let updated = collection.update_one(doc! { "_id": oid(&id) }, set);
        updated.session(session).await.expect("updated");
    });
    let seen = texts(&read(&comments, &post, 3, time.await).await);
    assert_eq!(seen, ["b", "A"]);
    let time = elsewhere(&comments, async |collection, session| {
        let deleted = collection.delete_one(doc! { "_id": oid(&id) });
        deleted.session(session).await.expect("deleted");
    });
    let seen = texts(&read(&comments, &post, 3, time.await).await);
    assert_eq!(seen, ["A"]);
    assert!(metric(&comments, "comments_newest_doubtful_total").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_vanishes_takes_its_pages_along() {
    let comments = Comments::start_with(&[ON]).await;
    let post = comments.post().await;
    comments.comment(&post, "A").await;
    assert_eq!(first(&comments, &post).await, "A");
    let collection = comments.collection("comments");
    collection.drop().await.expect("dropped");
    until("the page is empty", async || {
        first(&comments, &post).await.is_empty()
    })
    .await;
    let inserted = collection.insert_one(document(&post, "B")).await;
    inserted.expect("inserted");
    until("the new comment is there", async || {
        first(&comments, &post).await == "B"
    })
    .await;
    let before = reads(&comments, "memory").await;
    until("memory is used again", async || {
        assert_eq!(first(&comments, &post).await, "B");
        reads(&comments, "memory").await > before
    })
    .await;
    comments.comment(&post, "C").await;
    assert_eq!(first(&comments, &post).await, "C B");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_no_more_than_they_may() {
    let bytes_max = 100_000;
    let flag = format!("--newest-comments-bytes-max={bytes_max}");
    let comments = Comments::start_with(&[&flag]).await;
    let mut posts = Vec::new();
    let mut documents = Vec::new();
    for _ in 0..200 {
        let post = ObjectId::new().to_hex();
        documents.extend((0..3).map(|_| document(&post, &"x".repeat(300))));
        posts.push(post);
    }
    let inserted = comments.collection("comments").insert_many(documents).await;
    inserted.expect("inserted");
    for post in &posts {
        assert_eq!(texts(&read(&comments, post, 2, None).await).len(), 2);
        assert!(metric(&comments, "comments_newest_bytes").await <= bytes_max);
    }
    assert!(metric(&comments, "comments_newest_evicted_total").await > 0);
    assert!(metric(&comments, "comments_newest_pages").await > 10);
}

/// Another time, so many seconds later.
fn later(time: &Value, seconds: u64) -> String {
    let time = u64::from_str_radix(time.as_str().expect("a time"), 16);
    let time = time.expect("a number") + (seconds << 32);
    format!("{time:016x}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_counts_for_every_order_and_page_that_the_database_reads() {
    const READ: &str = "query ($of: [_Any!]!, $order: CommentOrder, $time: String) {
        _entities(representations: $of) { ... on Post {
            comments(first: 2, orderBy: $order, operationTime: $time) {
                edges { node { text } } pageInfo { endCursor }
            }
        } }
    }";
    const NEXT: &str = "query ($of: [_Any!]!, $after: String, $time: String) {
        _entities(representations: $of) { ... on Post {
            comments(first: 2, after: $after, operationTime: $time) { edges { node { text } } }
        } }
    }";
    let comments = Comments::start_with(&["--newest-comments-bytes-max=0"]).await;
    let post = comments.post().await;
    for text in ["A", "B"] {
        comments.comment(&post, text).await;
    }
    let create = json!({ "post": post, "text": "C" });
    let created = comments.data(CREATE, create).await["createComment"].take();
    let time = &created["operationTime"];
    let of = json!([{ "__typename": "Post", "id": post }]);
    let profile = comments.profile().await;
    let list = |mut data: Value| data["_entities"][0]["comments"].take();
    let in_order = async |order: &str| {
        let variables = json!({ "of": of, "order": order, "time": time });
        list(comments.data(READ, variables).await)
    };
    let newest = in_order("NEWEST_FIRST").await;
    assert_eq!(texts(&newest), ["C", "B"]);
    assert_eq!(texts(&in_order("OLDEST_FIRST").await), ["A", "B"]);
    assert_eq!(texts(&in_order("MOST_REPLIED").await), ["C", "B"]);
    let after = &newest["pageInfo"]["endCursor"];
    let next = json!({ "of": of, "after": after, "time": time });
    assert_eq!(texts(&list(comments.data(NEXT, next).await)), ["A"]);
    let causal = doc! {
        "appName": "comments requests",
        "command.readConcern.level": "majority",
        "command.readConcern.afterClusterTime": { "$exists": true },
    };
    let queries = profile.count_documents(causal).await;
    assert_eq!(queries.expect("a count"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_has_not_come_is_refused() {
    for flag in [ON, "--newest-comments-bytes-max=0"] {
        let comments = Comments::start_with(&[flag]).await;
        let post = comments.post().await;
        let create = json!({ "post": post, "text": "A" });
        let created = comments.data(CREATE, create).await["createComment"].take();
        assert_eq!(first(&comments, &post).await, "A");
        let time = &created["operationTime"];
        let of = json!([{ "__typename": "Post", "id": post }]);
        let at = |time: String| json!({ "of": of, "time": time });
        let far = [later(time, 3_600), "ffffffffffffffff".to_owned()];
        for far in far {
            assert_eq!(comments.error_code(READ, at(far)).await, "BAD_USER_INPUT");
        }
        // The clocks of a cluster's parts differ.
        let near = later(time, 30);
        let code = comments.error_code(READ, at(near)).await;
        assert_eq!(code, "PROJECTION_BEHIND");
        for first in ["0000000000000000", "0000000000000001", "0000000100000000"] {
            let seen = read(&comments, &post, 3, Some(first.to_owned())).await;
            assert_eq!(texts(&seen), ["A"], "{first}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_every_page_is_a_query() {
    let comments = Comments::start_with(&["--newest-comments-bytes-max=0"]).await;
    let post = comments.post().await;
    comments.comment(&post, "A").await;
    let profile = comments.profile().await;
    for _ in 0..3 {
        assert_eq!(first(&comments, &post).await, "A");
    }
    let asked = doc! { "appName": "comments requests", "command.aggregate": "comments" };
    let queries = profile.count_documents(asked).await;
    assert_eq!(queries.expect("a count"), 3);
    assert_eq!(metric(&comments, "comments_newest_pages").await, 0);
}

/// A source of numbers that is the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What the database has, as [`READ`] answers it.
async fn in_database(comments: &Comments, post: &str, first: usize) -> Value {
    let filter = doc! { "postId": { "$in": [Bson::from(oid(post)), Bson::from(post)] }, "text": { "$type": "string" } };
    let collection = comments.collection("comments");
    let found = collection.find(filter);
    let found = found.sort(doc! { "createdAt": -1, "_id": -1 });
    let found: Vec<Document> = found
        .await
        .expect("found")
        .try_collect()
        .await
        .expect("read");
    let edges = found.iter().take(first).map(|it| {
        let id = it.get_object_id("_id").expect("an id").to_hex();
        let author = it.get_str("author").unwrap_or("Anonymous");
        json!({ "node": { "id": id, "text": it.get_str("text").expect("a text"), "author": author } })
    });
    let edges: Vec<_> = edges.collect();
    json!({ "edges": edges, "pageInfo": { "hasNextPage": found.len() > first } })
}

/// One client's random changes of its own two posts, by the API of two instances and as another program. After each,
/// its read has exactly what the database has.
async fn change_and_compare(comments: Arc<Comments>, another: Arc<TestService>, seed: u64) {
    let mut random = Random(seed);
    let posts = [comments.post().await, comments.post().await];
    let mut ids: Vec<String> = Vec::new();
    for step in 0..80 {
        let by: &TestService = match random.below(2) {
            0 => &comments,
            _ => &another,
        };
        let post = &posts[random.below(2) as usize];
        let place = random.below(ids.len().max(1) as u64) as usize;
        let text = format!("{seed} {step}");
        let time = match random.below(10) {
            0..4 => {
                let create = json!({ "post": post, "text": text });
                let mut created = by.data(CREATE, create).await["createComment"].take();
                ids.push(created["comment"]["id"].as_str().expect("an id").to_owned());
                created["operationTime"].take()
            }
            _ if ids.is_empty() => continue,
            4..6 => {
                let edit = json!({ "id": ids[place], "text": text });
                by.data(EDIT, edit).await["updateComment"]["operationTime"].take()
            }
            6 => {
                let delete = json!({ "id": ids.remove(place) });
                by.data(DELETE, delete).await["deleteComment"]["operationTime"].take()
            }
            7 => {
                let documents = (0..3).map(|_| document(post, &text));
                let documents: Vec<_> = documents.collect();
                let new = documents.iter().map(|it| it.get_object_id("_id"));
                ids.extend(new.map(|id| id.expect("an id").to_hex()));
                let time = elsewhere(&comments, async |collection, session| {
                    let inserted = collection.insert_many(documents).session(session);
                    inserted.await.expect("inserted");
                });
                json!(time.await)
            }
            _ => {
                // To the other post, or to another date.
                let filter = doc! { "_id": oid(&ids[place]) };
                let set = match random.below(2) {
                    0 => doc! { "postId": oid(post) },
                    _ => {
                        doc! { "createdAt": bson::DateTime::from_millis(random.below(1_000) as i64) }
                    }
                };
                let time = elsewhere(&comments, async |collection, session| {
                    let updated = collection.update_one(filter, doc! { "$set": set });
                    updated.session(session).await.expect("updated");
                });
                json!(time.await)
            }
        };
        let time = time.as_str().map(str::to_owned);
        for post in &posts {
            let size = 1 + random.below(6) as usize;
            let expected = in_database(&comments, post, size).await;
            let seen = read(&comments, post, size, time.clone()).await;
            assert_eq!(seen, expected, "seed {seed}, step {step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_behind_a_time_are_exact_whatever_happens() {
    let comments = Arc::new(Comments::start_with(&[ON]).await);
    let another = Arc::new(comments.another(&[ON]).await);
    let clients = (1..=6).map(|seed| {
        let (comments, another) = (comments.clone(), another.clone());
        tokio::spawn(change_and_compare(comments, another, seed))
    });
    for client in join_all(clients).await {
        client.expect("exact");
    }
    let (memory, load, database) = (
        reads(&comments, "memory").await,
        reads(&comments, "load").await,
        reads(&comments, "database").await,
    );
    assert!(
        memory > (memory + load + database) / 2,
        "memory {memory}, load {load}, database {database}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_and_the_cursor_beside_it_miss_nothing() {
    const BOTH: &str = "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
        comments(first: 100) { edges { node { text } } } commentChangesCursor
    } } }";
    const CHANGES: &str = "subscription ($post: ID!, $after: String) {
        commentChanges(postId: $post, after: $after) { ... on CommentAdded { comment { text } } }
    }";
    const WRITTEN: usize = 60;
    let comments = Arc::new(Comments::start_with(&[ON]).await);
    let post = comments.post().await;
    let (writer, written_to) = (comments.clone(), post.clone());
    let writing = tokio::spawn(async move {
        for number in 0..WRITTEN {
            writer.comment(&written_to, &number.to_string()).await;
        }
    });
    let of = json!([{ "__typename": "Post", "id": post }]);
    while !writing.is_finished() {
        let mut both = comments.data(BOTH, json!({ "of": of })).await["_entities"][0].take();
        let mut seen = texts(&both["comments"]);
        let after = both["commentChangesCursor"].take();
        let resume = json!({ "post": post, "after": after });
        let mut live = comments.subscribe(CHANGES, resume).await;
        while !seen.contains(&(WRITTEN - 1).to_string()) {
            let next = live.next_payload("1").await;
            let text = &next["data"]["commentChanges"]["comment"]["text"];
            seen.push(text.as_str().expect("a text").to_owned());
        }
        let mut numbers: Vec<usize> = seen
            .iter()
            .map(|it| it.parse().expect("a number"))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, (0..WRITTEN).collect::<Vec<_>>());
    }
    writing.await.expect("written");
}
