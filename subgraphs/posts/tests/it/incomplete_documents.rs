//! Documents that lack fields or cannot be read: lists and counts have all others.

use bson::oid::ObjectId;
use bson::{Document, doc};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::service::Posts;

const LIST: &str = "{ posts(orderBy: OLDEST_FIRST) { edges { node {
    title content author createdAt commentCount latestComments { text author createdAt }
} } } }";
const PAGE: &str = "query ($first: Int, $after: String, $last: Int, $before: String) {
    posts(first: $first, after: $after, last: $last, before: $before) {
        edges { node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}";

/// An id of the given second of 2023.
fn id(second: u32) -> ObjectId {
    ObjectId::from_parts(1_700_000_000 + second, [0; 5], [0; 3])
}

async fn insert(posts: &Posts, collection: &str, documents: impl IntoIterator<Item = Document>) {
    posts
        .collection(collection)
        .insert_many(documents)
        .await
        .expect("inserted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_document_lacks_is_completed() {
    let posts = Posts::start().await;
    insert(
        &posts,
        "posts",
        [
            doc! { "_id": id(1) },
            doc! { "_id": id(2), "title": "Null", "content": null, "author": null, "createdAt": null },
        ],
    )
    .await;
    insert(
        &posts,
        "comments",
        [
            doc! { "_id": id(3), "postId": id(1) },
            doc! { "_id": id(4), "postId": id(1), "text": null, "author": null, "createdAt": null },
        ],
    )
    .await;
    let listed = posts
        .until(LIST, json!({}), |data| {
            data["posts"]["edges"][0]["node"]["commentCount"] == 2
        })
        .await;
    assert_json_snapshot!(listed["posts"]["edges"], @r#"
    [
      {
        "node": {
          "title": "",
          "content": "",
          "author": "Anonymous",
          "createdAt": "2023-11-14T22:13:21.000Z",
          "commentCount": 2,
          "latestComments": [
            {
              "text": "",
              "author": "Anonymous",
              "createdAt": "2023-11-14T22:13:24.000Z"
            },
            {
              "text": "",
              "author": "Anonymous",
              "createdAt": "2023-11-14T22:13:23.000Z"
            }
          ]
        }
      },
      {
        "node": {
          "title": "Null",
          "content": "",
          "author": "Anonymous",
          "createdAt": "2023-11-14T22:13:22.000Z",
          "commentCount": 0,
          "latestComments": []
        }
      }
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_comments_are_counted_as_they_come_and_when_all_were_there_before() {
    let documents = || {
        [
            doc! { "_id": id(2), "postId": id(1) },
            doc! { "_id": id(3), "postId": id(1), "text": 5 },
            doc! { "_id": id(4), "postId": id(1), "text": "Not shown", "edited": "yes" },
            doc! { "_id": id(5), "postId": id(1).to_hex(), "text": "Good" },
        ]
    };
    let counted = |data: &Value| data["posts"]["edges"][0]["node"]["commentCount"] == 2;
    let posts = Posts::start().await;
    insert(&posts, "posts", [doc! { "_id": id(1) }]).await;
    insert(&posts, "comments", documents()).await;
    let as_they_came = posts.until(LIST, json!({}), counted).await;

    let database = embedded_mongo::test_database().await;
    let (posts, comments) = (
        database.database().collection::<Document>("posts"),
        database.database().collection::<Document>("comments"),
    );
    let post = doc! { "_id": id(1) };
    posts.insert_one(post).await.expect("inserted");
    comments.insert_many(documents()).await.expect("inserted");
    let posts = Posts::start_on(database).await;
    let from_before = posts.until(LIST, json!({}), counted).await;
    assert_eq!(from_before, as_they_came);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_left_out() {
    let posts = Posts::start().await;
    let dated = |second, mut document: Document| {
        document.extend(doc! { "_id": id(second), "createdAt": id(second).timestamp() });
        document
    };
    let unreadable = (0..5).map(|second| dated(second, doc! { "title": 5 }));
    insert(&posts, "posts", unreadable).await;
    insert(&posts, "posts", [doc! { "_id": "not an id" }]).await;
    insert(&posts, "posts", [6, 7].map(|second| dated(second, doc! {}))).await;

    // More take places in the page than it has.
    let arguments = json!({ "last": 1 });
    let page = posts.data(PAGE, arguments).await["posts"].take();
    assert_eq!(ids(&page), [id(6).to_hex()]);
    assert_eq!(page["pageInfo"]["hasPreviousPage"], true);
    let before = json!({ "last": 1, "before": page["pageInfo"]["startCursor"] });
    let page = posts.data(PAGE, before).await["posts"].take();
    assert_eq!(ids(&page), [id(7).to_hex()]);
    assert_eq!(page["pageInfo"]["hasPreviousPage"], false);

    let by_id = "query ($id: ID!) { post(id: $id) { title } }";
    let single = posts.data(by_id, json!({ "id": id(1).to_hex() })).await;
    assert_eq!(single, json!({ "post": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_pass_each_undated_post_once() {
    let posts = Posts::start().await;
    for title in ["A", "B"] {
        posts.create(title).await;
    }
    // These stay undated: the server refuses every update of them.
    let database = posts.database.database();
    let titled = doc! { "$jsonSchema": { "required": ["title"] } };
    insert(
        &posts,
        "posts",
        (1..=3).map(|second| doc! { "_id": id(second) }),
    )
    .await;
    let refuse = doc! { "collMod": "posts", "validator": titled };
    database.run_command(refuse).await.expect("a validator");
    let undate = doc! { "$unset": { "createdAt": 1 } };
    posts
        .collection("posts")
        .update_many(doc! { "title": null }, undate)
        .bypass_document_validation(true)
        .await
        .expect("undated again");

    for (size, cursor, end, more) in [
        ("first", "after", "endCursor", "hasNextPage"),
        ("last", "before", "startCursor", "hasPreviousPage"),
    ] {
        let (mut seen, mut place) = (Vec::new(), Value::Null);
        loop {
            let page = posts.data(PAGE, json!({ size: 1, cursor: place })).await["posts"].take();
            seen.extend(ids(&page));
            if page["pageInfo"][more] != true {
                break;
            }
            assert!(seen.len() < 10, "{size}: {seen:?}");
            place = page["pageInfo"][end].clone();
        }
        let total = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((total, seen.len()), (5, 5), "{size}");
    }
}

fn ids(page: &Value) -> Vec<String> {
    let edges = page["edges"].as_array().expect("edges");
    edges
        .iter()
        .map(|edge| edge["node"]["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_comment_that_cannot_be_read_spoils_no_other() {
    let posts = Posts::start().await;
    insert(&posts, "posts", [doc! { "_id": id(1) }]).await;
    let post = id(1).to_hex();
    for text in ["First", "Second"] {
        posts.comment(&post, text).await;
    }
    let latest = "{ posts { edges { node { latestComments { text } } } } }";
    let texts = |data: &Value| data["posts"]["edges"][0]["node"]["latestComments"].clone();
    let both = json!([{ "text": "Second" }, { "text": "First" }]);
    posts
        .until(latest, json!({}), |data| texts(data) == both)
        .await;

    let stored = posts.collection("posts").find_one(doc! {}).await;
    let stored = stored.expect("read").expect("a post");
    let generations = stored.get_document("discussion").expect("the state");
    let (generation, _) = generations.iter().next().expect("a generation");
    let broken = format!("discussion.{generation}.latest.0.text");
    posts
        .collection("posts")
        .update_one(doc! {}, doc! { "$set": { broken: 5 } })
        .await
        .expect("updated");
    let rest = json!([{ "text": "First" }]);
    posts
        .until(latest, json!({}), |data| texts(data) == rest)
        .await;
}
