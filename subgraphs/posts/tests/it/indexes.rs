//! Frequent queries use an index.

use bson::doc;
use serde_json::json;

use crate::service::Posts;

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_posts_reads_its_page_from_an_index() {
    let posts = Posts::start().await;
    for title in ["A", "B", "C", "D"] {
        posts.create(title).await;
    }
    let list = "query ($after: String) { posts(first: 1, after: $after) {
        edges { node { title } } pageInfo { endCursor }
    } }";
    let first = posts.data(list, json!({})).await;
    let profile = posts.profile().await;
    let after = &first["posts"]["pageInfo"]["endCursor"];
    posts.data(list, json!({ "after": after })).await;

    let page = doc! { "appName": "posts requests", "command.find": "posts", "command.limit": 2 };
    let page = profile.find_one(page).await.expect("a profile");
    let page = page.expect("the page's query");
    let plan = page.get_str("planSummary").expect("a plan");
    assert_eq!(plan, "IXSCAN { createdAt: -1, _id: -1 }");
    let examined = page.get_i32("docsExamined").expect("a number");
    assert!(examined <= 3, "{page}");
}
