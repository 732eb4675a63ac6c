//! The list of posts, page by page, in both directions and both orders.

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::service::Posts;

const PAGE: &str =
    "query ($first: Int, $after: String, $last: Int, $before: String, $orderBy: PostOrder, $textBytesMax: Int) {
    posts(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy, textBytesMax: $textBytesMax) {
        edges { cursor node { title } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}";

/// The titles of a page and whether the list goes on before and after it: `<- B C ->`.
fn sketch(page: &Value) -> String {
    let titles: Vec<_> = page["edges"]
        .as_array()
        .expect("edges")
        .iter()
        .map(|edge| edge["node"]["title"].as_str().expect("a title"))
        .collect();
    let info = &page["pageInfo"];
    let before = if info["hasPreviousPage"] == true {
        "<- "
    } else {
        ""
    };
    let after = if info["hasNextPage"] == true {
        " ->"
    } else {
        ""
    };
    format!("{before}{}{after}", titles.join(" "))
}

async fn page(posts: &Posts, arguments: Value) -> Value {
    posts.data(PAGE, arguments).await["posts"].take()
}

async fn five_posts() -> Posts {
    let posts = Posts::start().await;
    for title in ["A", "B", "C", "D", "E"] {
        posts.create(title).await;
    }
    posts
}

#[tokio::test(flavor = "multi_thread")]
async fn forwards_from_the_newest() {
    let posts = five_posts().await;
    let first = page(&posts, json!({ "first": 2 })).await;
    let after = |page: &Value| page["pageInfo"]["endCursor"].clone();
    let second = page(&posts, json!({ "first": 2, "after": after(&first) })).await;
    let third = page(&posts, json!({ "first": 2, "after": after(&second) })).await;
    let nothing = page(&posts, json!({ "first": 2, "after": after(&third) })).await;
    let pages: Vec<_> = [first, second, third, nothing].iter().map(sketch).collect();
    assert_json_snapshot!(pages, @r#"
    [
      "E D ->",
      "<- C B ->",
      "<- A",
      "<- "
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn backwards_from_the_oldest() {
    let posts = five_posts().await;
    let last = page(&posts, json!({ "last": 2 })).await;
    let before = |page: &Value| page["pageInfo"]["startCursor"].clone();
    let middle = page(&posts, json!({ "last": 2, "before": before(&last) })).await;
    let start = page(&posts, json!({ "last": 2, "before": before(&middle) })).await;
    let pages: Vec<_> = [last, middle, start].iter().map(sketch).collect();
    assert_json_snapshot!(pages, @r#"
    [
      "<- B A",
      "<- D C ->",
      "E ->"
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_first() {
    let posts = five_posts().await;
    let oldest = "OLDEST_FIRST";
    let first = page(&posts, json!({ "first": 3, "orderBy": oldest })).await;
    let after = &first["pageInfo"]["endCursor"];
    let rest = page(
        &posts,
        json!({ "first": 3, "after": after, "orderBy": oldest }),
    )
    .await;
    let last = page(&posts, json!({ "last": 2, "orderBy": oldest })).await;
    let pages: Vec<_> = [&first, &rest, &last].into_iter().map(sketch).collect();
    assert_json_snapshot!(pages, @r#"
    [
      "A B C ->",
      "<- D E",
      "<- D E"
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_cursors() {
    let posts = five_posts().await;
    let all = page(&posts, json!({})).await;
    let cursor = |place: usize| all["edges"][place]["cursor"].clone();
    let between = json!({ "after": cursor(0), "before": cursor(4) });
    let inner = page(&posts, between).await;
    let narrow = page(
        &posts,
        json!({ "first": 2, "after": cursor(0), "before": cursor(4) }),
    )
    .await;
    let pages: Vec<_> = [&all, &inner, &narrow].into_iter().map(sketch).collect();
    assert_json_snapshot!(pages, @r#"
    [
      "E D C B A",
      "<- D C B ->",
      "<- D C ->"
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_outlives_its_post() {
    let posts = five_posts().await;
    let first = page(&posts, json!({ "first": 2 })).await;
    let found = posts
        .data("{ posts(first: 2) { edges { node { id } } } }", json!({}))
        .await;
    for place in [0, 1] {
        let id = &found["posts"]["edges"][place]["node"]["id"];
        posts
            .data(
                "mutation ($id: ID!) { deletePost(input: { id: $id }) { id } }",
                json!({ "id": id }),
            )
            .await;
    }
    let after = &first["pageInfo"]["endCursor"];
    let second = page(&posts, json!({ "first": 2, "after": after })).await;
    assert_eq!(sketch(&second), "C B ->");
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_of_the_same_millisecond_are_neither_lost_nor_doubled() {
    let posts = Posts::start().await;
    let now = bson::DateTime::now();
    let same: Vec<_> = (0..7)
        .map(|n| bson::doc! { "title": n.to_string(), "content": "", "createdAt": now })
        .collect();
    let collection = posts.collection("posts");
    collection.insert_many(same).await.expect("inserted");

    let mut titles = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = page(&posts, json!({ "first": 3, "after": after })).await;
        for edge in page["edges"].as_array().expect("edges") {
            titles.push(edge["node"]["title"].as_str().expect("a title").to_owned());
        }
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    titles.sort();
    assert_eq!(titles, ["0", "1", "2", "3", "4", "5", "6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_before_its_texts_are_too_long_and_goes_on_from_there() {
    let posts = Posts::start().await;
    for title in ["A", "BB", "日本"] {
        posts.create(title).await;
    }
    // With the name of each author, and what counts of each text.
    let rest = "Anonymous".len() + "Content".len();
    for (arguments, expected) in [
        (json!({ "textBytesMax": 9 + 3 * rest }), "日本 BB A"),
        (json!({ "textBytesMax": 8 + 3 * rest }), "日本 BB ->"),
        (json!({ "textBytesMax": 0 }), "日本 ->"),
        (json!({ "first": 1, "textBytesMax": 100 }), "日本 ->"),
        (
            json!({ "last": 3, "textBytesMax": 3 + 2 * rest }),
            "<- BB A",
        ),
    ] {
        let page = page(&posts, arguments.clone()).await;
        assert_eq!(sketch(&page), expected, "{arguments}");
    }
    let first = page(&posts, json!({ "textBytesMax": 0 })).await;
    let after = &first["pageInfo"]["endCursor"];
    let second = page(&posts, json!({ "after": after })).await;
    assert_eq!(sketch(&second), "<- BB A");
    for wrong in [-1, i32::MAX] {
        let code = posts
            .error_code(PAGE, json!({ "textBytesMax": wrong }))
            .await;
        assert_eq!(code, "BAD_USER_INPUT");
    }
}
