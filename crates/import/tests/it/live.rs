//! The services run while a file is imported: posts count the comments, readers get them, and moderators the held ones.

use clap::Parser;
use serde_json::json;
use subgraph::testing::{SECRET, TestService};

use crate::case::*;

const POST: &str = "query ($id: ID!) { post(id: $id) {
    title commentCount latestComments(first: 5) { text author }
} }";
const COMMENT: &str = "query ($id: ID!) { comment(id: $id) {
    text author authorId writtenByGuest createdAt replyCount replies { edges { node { text parent { id } } } }
} }";
const QUEUE: &str =
    "{ moderationQueue { edges { node { commentId status comment { text author } } } } }";
const RESTORE: &str = "mutation ($id: ID!) { restoreComment(input: { id: $id }) { comment { status text parent { id } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn the_running_services_show_what_is_imported() {
    let case = Case::new().await;
    let uri = case.database.uri();
    let config = posts::Config::parse_from(["posts", "--mongo-uri", uri]);
    let posts = TestService::start(|listener, life| posts::run(config, listener, life)).await;
    let config =
        comments::Config::parse_from(["comments", "--mongo-uri", uri, "--subgraph-secret", SECRET]);
    let service = TestService::start(|listener, life| comments::run(config, listener, life)).await;
    posts.ready().await;
    service.ready().await;

    case.import(WORDPRESS).await;
    let id = json!({ "id": post(GARDEN, "10") .to_hex() });
    let shown = posts.until(POST, id.clone(), |data| data["post"]["commentCount"] == 3);
    let shown = shown.await;
    assert_eq!(shown["post"]["title"], "Apples & pears");
    let newest = &shown["post"]["latestComments"];
    assert_eq!(newest[0]["author"], "Tom O’Hara");
    assert_eq!(
        newest[1]["author"], "Anonymous",
        "an address was given as a name"
    );
    assert_eq!(newest[2]["text"], "In the code: x[0]]> 1");

    let first = comment(GARDEN, "101").to_hex();
    let reader = service.guest("comments");
    let read = reader.data(COMMENT, json!({ "id": first })).await;
    let read = &read["comment"];
    assert_eq!(read["replyCount"], 2);
    assert_eq!(read["createdAt"], "2024-05-04T09:00:00.000Z");
    assert_eq!(
        (&read["authorId"], &read["writtenByGuest"]),
        (&json!(null), &json!(false))
    );
    let replies = read["replies"]["edges"].as_array().expect("a list");
    assert_eq!(replies[0]["node"]["text"], "A reply.");
    assert!(
        replies
            .iter()
            .all(|reply| reply["node"]["parent"]["id"] == first)
    );

    let moderator = json!({ "sub": "eve", "name": "Eve", "scope": "moderate" });
    let moderator = service.person("comments", &moderator);
    let queue = moderator.data(QUEUE, json!({})).await;
    let held = &queue["moderationQueue"]["edges"][0]["node"];
    assert_eq!(
        (&held["status"], &held["comment"]["author"]),
        (&json!("HELD"), &json!("Waiting"))
    );
    let restored = moderator
        .data(RESTORE, json!({ "id": held["commentId"] }))
        .await;
    let restored = &restored["restoreComment"]["comment"];
    assert_eq!(restored["status"], "VISIBLE");
    assert_eq!(restored["parent"]["id"], first);
    posts
        .until(POST, id.clone(), |data| data["post"]["commentCount"] == 4)
        .await;

    // A newer file brings what came meanwhile, and nothing twice.
    let more = "<wp:comment><wp:comment_id>109</wp:comment_id>\
        <wp:comment_content>New</wp:comment_content></wp:comment></item>";
    case.import(WORDPRESS.replacen("</item>", more, 1)).await;
    posts
        .until(POST, id, |data| data["post"]["commentCount"] == 5)
        .await;
    posts.stop().await.expect("a clean end");
    service.stop().await.expect("a clean end");
}
