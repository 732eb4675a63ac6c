//! Posts' lists of comments: pages in both directions, and one query for many posts.

use bson::doc;
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::service::{Comments, texts};

const PAGE: &str = "query ($of: [_Any!]!, $first: Int, $after: String, $last: Int, $before: String,
                           $orderBy: CommentOrder, $textBytesMax: Int) {
    _entities(representations: $of) { ... on Post {
        comments(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy,
                 textBytesMax: $textBytesMax) {
            edges { cursor node { text post { id } } }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
    } }
}";

async fn page(comments: &Comments, post: &str, mut arguments: Value) -> Value {
    arguments["of"] = json!([{ "__typename": "Post", "id": post }]);
    comments.data(PAGE, arguments).await["_entities"][0]["comments"].take()
}

/// The texts of a page and whether the list goes on before and after it: `<- B C ->`.
fn sketch(page: &Value) -> String {
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
    format!("{before}{}{after}", texts(page).join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_both_ways_and_stay_in_their_post() {
    let comments = Comments::start().await;
    let (post, other) = (comments.post().await, comments.post().await);
    for text in ["A", "B", "C", "D", "E"] {
        comments.comment(&post, text).await;
        comments.comment(&other, "X").await;
    }
    let first = page(&comments, &post, json!({ "first": 2 })).await;
    let after = &first["pageInfo"]["endCursor"];
    let second = page(&comments, &post, json!({ "first": 2, "after": after })).await;
    let after = &second["pageInfo"]["endCursor"];
    let third = page(&comments, &post, json!({ "first": 2, "after": after })).await;
    let before = &third["pageInfo"]["startCursor"];
    let back = page(&comments, &post, json!({ "last": 3, "before": before })).await;
    let oldest = page(
        &comments,
        &post,
        json!({ "first": 2, "orderBy": "OLDEST_FIRST" }),
    )
    .await;
    let pages: Vec<_> = [&first, &second, &third, &back, &oldest]
        .into_iter()
        .map(sketch)
        .collect();
    assert_json_snapshot!(pages, @r#"
    [
      "E D ->",
      "<- C B ->",
      "<- A",
      "<- D C B ->",
      "A B ->"
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_comments_of_twenty_posts_are_one_query() {
    let comments = Comments::start().await;
    let mut posts = Vec::new();
    for n in 0..20 {
        let post = comments.post().await;
        for text in ["A", "B", "C"] {
            comments.comment(&post, &format!("{text}{n}")).await;
        }
        posts.push(post);
    }
    let of: Vec<_> = posts
        .iter()
        .map(|id| json!({ "__typename": "Post", "id": id }))
        .collect();

    let profile = comments.profile().await;
    let entities = comments.data(PAGE, json!({ "of": of, "first": 2 })).await;
    let asked = doc! { "appName": "comments requests", "command.aggregate": "comments" };
    let queries = profile.count_documents(asked).await.expect("a count");

    assert_eq!(queries, 1);
    let lists = entities["_entities"].as_array().expect("a list");
    for (n, (list, post)) in lists.iter().zip(&posts).enumerate() {
        assert_eq!(texts(&list["comments"]), [format!("C{n}"), format!("B{n}")]);
        assert_eq!(&list["comments"]["edges"][0]["node"]["post"]["id"], post);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_before_its_texts_are_too_long_and_goes_on_from_there() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    for text in ["日本", "BB", "AAAA"] {
        comments.comment(&post, text).await;
    }
    // With the name of each author.
    let name = "Anonymous".len();
    for (arguments, expected) in [
        (json!({ "textBytesMax": 12 + 3 * name }), "AAAA BB 日本"),
        (json!({ "textBytesMax": 11 + 3 * name }), "AAAA BB ->"),
        (json!({ "textBytesMax": 0 }), "AAAA ->"),
        (json!({ "first": 0, "textBytesMax": 0 }), " ->"),
        (json!({ "first": 1, "textBytesMax": 100 }), "AAAA ->"),
        (
            json!({ "last": 3, "textBytesMax": 8 + 2 * name }),
            "<- BB 日本",
        ),
        (
            json!({ "textBytesMax": 8 + 2 * name, "orderBy": "OLDEST_FIRST" }),
            "日本 BB ->",
        ),
        (
            json!({ "textBytesMax": 6 + 2 * name, "orderBy": "MOST_REPLIED" }),
            "AAAA BB ->",
        ),
    ] {
        let page = page(&comments, &post, arguments.clone()).await;
        assert_eq!(sketch(&page), expected, "{arguments}");
    }
    let first = page(&comments, &post, json!({ "textBytesMax": 6 + 2 * name })).await;
    let after = &first["pageInfo"]["endCursor"];
    let second = page(
        &comments,
        &post,
        json!({ "textBytesMax": 6 + 2 * name, "after": after }),
    )
    .await;
    assert_eq!(sketch(&second), "<- 日本");
    for wrong in [-1, i32::MAX] {
        let of = json!([{ "__typename": "Post", "id": post }]);
        let code = comments
            .error_code(PAGE, json!({ "of": of, "textBytesMax": wrong }))
            .await;
        assert_eq!(code, "BAD_USER_INPUT");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn references_to_comments_are_one_query_and_missing_ones_are_null() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let mut of = Vec::new();
    for text in ["A", "B", "C"] {
        let id = comments.comment(&post, text).await;
        of.push(json!({ "__typename": "Comment", "id": id }));
    }
    of.push(json!({ "__typename": "Comment", "id": "65f0c0ffee65f0c0ffee65f0" }));
    of.push(json!({ "__typename": "Comment", "id": "not-an-id" }));

    let profile = comments.profile().await;
    let query =
        "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Comment { text } } }";
    let entities = comments.data(query, json!({ "of": of })).await;
    // Without the service's own look for comments that have no date.
    let asked = doc! {
        "appName": "comments requests", "command.find": "comments",
        "command.filter.createdAt": { "$exists": false },
    };
    let queries = profile.count_documents(asked).await;
    assert_eq!(queries.expect("a count"), 1);
    assert_json_snapshot!(entities["_entities"], @r#"
    [
      {
        "text": "A"
      },
      {
        "text": "B"
      },
      {
        "text": "C"
      },
      null,
      null
    ]
    "#);
}
