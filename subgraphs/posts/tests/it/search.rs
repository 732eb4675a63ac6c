//! Posts are found by their words, the best match first.

use std::pin::pin;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocumentBuf, doc};
use embedded_mongo::TestDatabase;
use futures_util::future::join_all;
use mongodb::IndexModel;
use serde_json::{Value, json};

use crate::moderation::Faulty;
use crate::service::Posts;

const SEARCH: &str = "query ($query: String!, $first: Int, $after: String) {
    searchPosts(query: $query, first: $first, after: $after) {
        edges { cursor node { id title } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}";

/// Waits until posts can be searched.
async fn searchable(posts: &Posts) {
    let any = json!({ "query": "any" });
    loop {
        let answer = posts.graphql(SEARCH, any.clone()).await;
        let Some(error) = answer["errors"].get(0) else {
            return;
        };
        let code = &error["extensions"]["code"];
        assert_eq!(code, "SEARCH_UNAVAILABLE", "{answer:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn start() -> Posts {
    let posts = Posts::start().await;
    searchable(&posts).await;
    posts
}

async fn insert(posts: &Posts, title: &str, content: &str) -> ObjectId {
    let id = ObjectId::new();
    let post = doc! { "_id": id, "title": title, "content": content };
    let inserted = posts.collection("posts").insert_one(post).await;
    inserted.expect("inserted");
    id
}

fn titles(page: &Value) -> Vec<&str> {
    let edges = page["searchPosts"]["edges"].as_array().expect("edges");
    let titles = edges.iter().map(|edge| edge["node"]["title"].as_str());
    titles.map(|title| title.expect("a title")).collect()
}

async fn found(posts: &Posts, query: &str) -> Vec<String> {
    let page = posts.data(SEARCH, json!({ "query": query })).await;
    titles(&page).into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_search_is_refused() {
    let posts = start().await;
    let cursor = posts.create("Title").await;
    let list = "{ posts { pageInfo { endCursor } } }";
    let of_list = posts.data(list, json!({})).await["posts"]["pageInfo"]["endCursor"].take();
    for arguments in [
        json!({ "query": "" }),
        json!({ "query": " \n\u{200b}" }),
        json!({ "query": "x".repeat(201) }),
        json!({ "query": "a\u{7}" }),
        json!({ "query": "a", "first": -1 }),
        json!({ "query": "a", "first": 101 }),
        json!({ "query": "a", "after": "x" }),
        json!({ "query": "a", "after": cursor }),
        json!({ "query": "a", "after": of_list }),
    ] {
        let code = posts.error_code(SEARCH, arguments.clone()).await;
        assert_eq!(code, "BAD_USER_INPUT", "{arguments}");
    }
    // Whatever is typed, and finds nothing.
    for query in [
        "\"",
        "-",
        "\"\"",
        "-Title",
        "$where",
        "nothing",
        "{ \"a\": 1 }",
    ] {
        assert_eq!(found(&posts, query).await, [] as [&str; 0], "{query:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_match_comes_first() {
    let posts = start().await;
    insert(&posts, "Tea", "How to brew coffee").await;
    insert(&posts, "Coffee", "How to brew it").await;
    insert(&posts, "Coffee and tea", "Which one?").await;
    insert(&posts, "Кофе", "Über «Kaffee»").await;
    assert_eq!(
        found(&posts, "coffee").await,
        ["Coffee", "Coffee and tea", "Tea"]
    );
    assert_eq!(found(&posts, "COFFEE tea").await[0], "Coffee and tea");
    assert_eq!(found(&posts, "coffee -tea").await, ["Coffee"]);
    assert_eq!(found(&posts, "\"brew coffee\"").await, ["Tea"]);
    for query in ["кофе", "КОФЕ", "uber", "kaffee"] {
        assert_eq!(found(&posts, query).await, ["Кофе"], "{query}");
    }
    // A post is found by its present words.
    let id = posts.create("Fresh").await;
    let edit = "mutation ($id: ID!) {
        updatePost(input: { id: $id, title: \"Stale\" }) { post { id } }
    }";
    posts.data(edit, json!({ "id": id })).await;
    assert_eq!(found(&posts, "fresh").await, [] as [&str; 0]);
    assert_eq!(found(&posts, "stale").await, ["Stale"]);
    let delete = "mutation ($id: ID!) { deletePost(input: { id: $id }) { id } }";
    posts.data(delete, json!({ "id": id })).await;
    assert_eq!(found(&posts, "stale").await, [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_each_post_once_while_others_come_and_go() {
    let posts = start().await;
    let mut expected = Vec::new();
    // Three of each score, of which the newer ones come first.
    for words in ["word", "word filler", "word filler filler"] {
        let mut alike = Vec::new();
        for number in 0..3 {
            let title = format!("{words} {number}");
            insert(&posts, &title, "Content").await;
            alike.insert(0, title);
        }
        expected.extend(alike);
    }
    for size in [1, 2, 4, 9, 20] {
        let (mut read, mut after) = (Vec::new(), Value::Null);
        loop {
            let variables = json!({ "query": "word", "first": size, "after": after });
            let page = posts.data(SEARCH, variables).await;
            read.extend(titles(&page).into_iter().map(str::to_owned));
            let info = &page["searchPosts"]["pageInfo"];
            assert_eq!(info["hasPreviousPage"], after != Value::Null);
            if info["hasNextPage"] == false {
                break;
            }
            after = info["endCursor"].clone();
        }
        assert_eq!(read, expected, "pages of {size}");
    }
    let first = posts
        .data(SEARCH, json!({ "query": "word", "first": 4 }))
        .await;
    let after = first["searchPosts"]["pageInfo"]["endCursor"].clone();
    // The post of the cursor is gone, a better one and a worse one have come.
    let stored = posts.collection("posts");
    let gone = stored.delete_one(doc! { "title": &expected[3] }).await;
    assert_eq!(gone.expect("deleted").deleted_count, 1);
    insert(&posts, "word", "word word word").await;
    insert(&posts, "Other", "a word").await;
    let rest = posts
        .data(SEARCH, json!({ "query": "word", "after": after }))
        .await;
    let mut worse = expected[4..].to_vec();
    worse.push("Other".to_owned());
    assert_eq!(titles(&rest), worse);
    let none = posts
        .data(SEARCH, json!({ "query": "word", "first": 0 }))
        .await;
    assert_eq!(titles(&none), [] as [&str; 0]);
    assert_eq!(none["searchPosts"]["pageInfo"]["hasNextPage"], true);
}

/// A database that another program has filled.
async fn filled(posts: Vec<Document>) -> TestDatabase {
    let database = embedded_mongo::test_database().await;
    let stored = database.database().collection::<Document>("posts");
    stored.insert_many(posts).await.expect("inserted");
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_programs_wrote_is_found_if_it_can_be_read() {
    let odd = |document: Document| {
        let mut odd = doc! { "_id": ObjectId::new(), "content": "odd word" };
        odd.extend(document);
        odd
    };
    let database = filled(vec![
        odd(doc! { "title": "Plain" }),
        // A language that MongoDB does not know, in the field that a text index reads by default.
        odd(doc! { "title": "Lojban", "language": "lojban" }),
        odd(doc! { "title": "Number", "language": 5 }),
        // These cannot be read as posts.
        odd(doc! { "title": 5 }),
        odd(doc! { "title": ["a", "list"] }),
        odd(doc! { "_id": "text", "title": "No ObjectId" }),
        odd(doc! { "title": "Dated", "createdAt": "yesterday" }),
        odd(doc! { "title": Bson::Null, "content": ["word", { "word": "word" }] }),
    ])
    .await;
    let posts = Posts::start_on(database).await;
    searchable(&posts).await;
    let mut read = found(&posts, "word").await;
    read.sort_unstable();
    assert_eq!(read, ["Lojban", "Number", "Plain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_not_utf8_do_not_prevent_the_search() {
    let database = embedded_mongo::test_database().await;
    let odd = doc! { "_id": ObjectId::new(), "title": "Odd", "content": "aXb word" };
    let mut bytes = RawDocumentBuf::try_from(&odd)
        .expect("a document")
        .into_bytes();
    let place = bytes.windows(3).position(|window| window == b"aXb");
    bytes[place.expect("the text") + 1] = 0xFF;
    let odd = RawDocumentBuf::from_bytes(bytes).expect("a document");
    let stored = database.database().collection::<RawDocumentBuf>("posts");
    stored.insert_one(odd).await.expect("inserted");
    let posts = Posts::start_on(database).await;
    searchable(&posts).await;
    insert(&posts, "Plain", "word").await;
    let mut read = found(&posts, "Word").await;
    read.sort_unstable();
    assert_eq!(read, ["Odd", "Plain"]);
}

fn text_index(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_index_of_another_program_is_used() {
    let post = doc! { "_id": ObjectId::new(), "title": "word", "content": "hidden" };
    let database = filled(vec![post]).await;
    let stored = database.database().collection::<Document>("posts");
    let theirs = stored.create_index(text_index(doc! { "title": "text" }));
    theirs.await.expect("created");
    let posts = Posts::start_on(database).await;
    searchable(&posts).await;
    assert_eq!(found(&posts, "word").await, ["word"]);
    assert_eq!(found(&posts, "hidden").await, [] as [&str; 0]);
    let names = posts.collection("posts").list_index_names().await;
    let names = names.expect("names");
    assert!(!names.contains(&"search".to_owned()), "{names:?}");
}

/// What guests may not read, they may not search either.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_index_with_other_fields_is_not_used() {
    for keys in [
        doc! { "$**": "text" },
        doc! { "title": "text", "notes": "text" },
    ] {
        let post = doc! { "_id": ObjectId::new(), "title": "T", "content": "C", "notes": "word" };
        let database = filled(vec![post]).await;
        let stored = database.database().collection::<Document>("posts");
        let theirs = stored.create_index(text_index(keys)).await;
        let theirs = theirs.expect("created").index_name;
        let posts = Posts::start_on(database).await;
        posts.ready().await;
        let word = json!({ "query": "word" });
        let refused = posts.error_code(SEARCH, word).await;
        assert_eq!(refused, "SEARCH_UNAVAILABLE");
        stored.drop_index(theirs).await.expect("dropped");
        let posts = Posts::start_on(posts.stop().await).await;
        searchable(&posts).await;
        assert_eq!(found(&posts, "word").await, [] as [&str; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_index_that_it_can_use_a_search_says_so_until_there_is_one() {
    let post = doc! { "_id": ObjectId::new(), "title": "word", "content": "C", "blog": 1 };
    let database = filled(vec![post]).await;
    let stored = database.database().collection::<Document>("posts");
    let theirs = stored.create_index(text_index(doc! { "blog": 1, "title": "text" }));
    let theirs = theirs.await.expect("created").index_name;
    // With metrics.
    let posts = Posts::start_on_with(database, &["--development"]).await;
    posts.ready().await;
    let word = json!({ "query": "word" });
    let refused = posts.error_code(SEARCH, word).await;
    assert_eq!(refused, "SEARCH_UNAVAILABLE");
    let metrics = async || {
        let metrics = posts.http().get(posts.url("/metrics")).send().await;
        metrics.expect("an answer").text().await.expect("a text")
    };
    assert!(metrics().await.contains("search_unavailable 1"));
    // Everything else goes on.
    posts.create("Other").await;
    stored.drop_index(theirs).await.expect("dropped");
    let posts = Posts::start_on(posts.stop().await).await;
    searchable(&posts).await;
    assert_eq!(found(&posts, "word").await, ["word"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_with_a_collation_is_searched_and_one_that_was_replaced() {
    let database = embedded_mongo::test_database().await;
    let german = mongodb::options::Collation::builder().locale("de").build();
    let create = database.database();
    let create = create.create_collection("posts").collation(german);
    create.await.expect("created");
    let posts = Posts::start_on(database).await;
    searchable(&posts).await;
    insert(&posts, "First", "word").await;
    insert(&posts, "Second", "word").await;
    assert_eq!(found(&posts, "word").await, ["Second", "First"]);
    posts.collection("posts").drop().await.expect("dropped");
    insert(&posts, "Third", "word").await;
    searchable(&posts).await;
    assert_eq!(found(&posts, "word").await, ["Third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_searches_end_and_leave_room_for_other_requests() {
    let faulty = Faulty::start().await;
    let guest = faulty.posts.guest("posts");
    let word = json!({ "query": "word" });
    while guest.graphql(SEARCH, word.clone()).await["errors"].is_array() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Longer than a search may take.
    let slow = doc! { "namespace": "acts.posts", "blockConnection": true, "blockTimeMS": 7_000 };
    let slow = faulty
        .set
        .fail_commands("posts requests", &["aggregate"], slow, 4);
    slow.await.expect("a fail point");
    let searches = (0..5).map(|_| guest.graphql(SEARCH, word.clone()));
    let mut searches = pin!(join_all(searches));
    let list = "{ posts(first: 1) { edges { cursor } } }";
    tokio::select! {
        searched = &mut searches => panic!("they leave no room: {searched:?}"),
        listed = guest.data(list, json!({})) => drop(listed),
    }
    let refused = searches.await;
    let mut messages: Vec<_> = refused
        .iter()
        .map(|answer| {
            let error = &answer["errors"][0];
            assert_eq!(error["extensions"]["code"], "OVERLOADED", "{answer:#}");
            error["message"].as_str().expect("a text")
        })
        .collect();
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages.len(), 2, "too slow, or no turn: {messages:?}");
    assert_eq!(titles(&guest.data(SEARCH, word).await), [] as [&str; 0]);
}
