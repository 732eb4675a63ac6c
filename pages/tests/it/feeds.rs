//! Atom feeds, the sitemap and `robots.txt`.

use serde_json::json;

use crate::document::xml;
use crate::support::{ID, Pages, comment_with, list, post_with, tell_of};

fn texts<'d>(document: &'d [(String, String)], element: &str) -> Vec<&'d str> {
    let found = document.iter().filter(|(name, _)| name == element);
    found.map(|(_, text)| text.as_str()).collect()
}

async fn pages(arguments: &[&str]) -> Pages {
    let pages = Pages::with(arguments).await;
    let post = post_with("A title", "A text", "Ann");
    tell_of(&pages.graph, &post, &comment_with("A comment", "Bob"));
    pages
}

#[tokio::test]
async fn a_feed_has_what_readers_need() {
    let pages = pages(&["--public-url=https://example.org"]).await;
    let response = pages.get("/feed.atom").await;
    let content_type = response.headers()["content-type"].clone();
    assert_eq!(content_type, "application/atom+xml; charset=utf-8");
    let posts = xml(&response.text().await.expect("text"));
    assert_eq!(texts(&posts, "feed@xmlns"), ["http://www.w3.org/2005/Atom"]);
    assert_eq!(texts(&posts, "title"), ["Rejoinder", "A title"]);
    assert_eq!(texts(&posts, "name"), ["Ann"]);
    assert_eq!(texts(&posts, "published"), ["2026-01-02T03:04:05.678Z"]);
    let updated = ["2026-01-03T03:04:05.678Z"; 2];
    assert_eq!(texts(&posts, "updated"), updated);
    let page = format!("https://example.org/posts/{ID}");
    assert_eq!(
        texts(&posts, "link@href"),
        [
            "https://example.org/feed.atom",
            "https://example.org/",
            &page
        ]
    );

    let path = format!("/posts/{ID}/feed.atom");
    let comments = xml(&pages.text(&path, 200).await);
    assert_eq!(
        texts(&comments, "title"),
        ["Comments on A title", "Bob on A title"]
    );
    let own = format!("https://example.org{path}");
    let comment = format!("{page}#comment-00000000000000000000c0de");
    assert_eq!(texts(&comments, "link@href"), [&own, &page, &comment]);

    let mut ids = texts(&posts, "id");
    ids.extend(texts(&comments, "id"));
    assert_eq!(ids.remove(0), "https://example.org/feed.atom");
    assert!(ids.iter().all(|id| id.starts_with("urn:uuid:")), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[tokio::test]
async fn without_a_setting_no_sitemap_is_named() {
    let robots = pages(&[]).await.text("/robots.txt", 200).await;
    assert_eq!(
        robots,
        "User-agent: *\nDisallow: /moderation\nDisallow: /new\n"
    );
}

#[tokio::test]
async fn ids_of_entries_are_the_same_at_every_address() {
    let mut found = Vec::new();
    for public in ["https://example.org", "http://localhost:4000"] {
        let pages = pages(&[&format!("--public-url={public}")]).await;
        let feed = xml(&pages.text("/feed.atom", 200).await);
        found.push(texts(&feed, "id")[1..].join(" "));
    }
    assert_eq!(found[0], found[1]);
}

#[tokio::test]
async fn a_reader_that_has_the_feed_gets_no_body() {
    let pages = pages(&["--rendered-time=0s"]).await;
    let path = format!("/posts/{ID}/feed.atom");
    let first = pages.get(&path).await;
    assert!(!first.headers().contains_key("last-modified"));
    let tag = first.headers()["etag"].clone();
    let again = || {
        let request = pages.request(&path).header("if-none-match", tag.clone());
        async { request.send().await.expect("an answer") }
    };
    let known = again().await;
    assert_eq!(known.status(), 304);
    assert_eq!(known.bytes().await.expect("bytes"), "");
    // The newest comment is hidden: no date shows that.
    let mut post = post_with("A title", "A text", "Ann");
    post["comments"] = list(&[], None);
    pages
        .graph
        .answers("CommentsFeed", &json!({ "post": post }));
    let request = pages.request(&path);
    let request = request.header("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT");
    for answer in [again().await, request.send().await.expect("an answer")] {
        assert_eq!(answer.status(), 200);
        assert!(!answer.text().await.expect("text").contains("A comment"));
    }
}

#[tokio::test]
async fn a_date_that_cannot_be_written_breaks_nothing() {
    let pages = Pages::start().await;
    let mut post = post_with("Odd", "Odd", "Ann");
    post["createdAt"] = json!("+292278994-08-17T07:12:55.807Z");
    post["updatedAt"] = json!("+292278994-08-17T07:12:55.807Z");
    tell_of(&pages.graph, &post, &comment_with("text", "Bob"));
    let feed = xml(&pages.text("/feed.atom", 200).await);
    assert_eq!(texts(&feed, "published"), ["1970-01-01T00:00:00.000Z"]);
    pages.text(&format!("/posts/{ID}"), 200).await;
    pages.text("/sitemap.xml", 200).await;
}

#[tokio::test]
async fn the_sitemap_has_the_newest_posts_and_an_end() {
    let pages = Pages::with(&["--public-url=https://example.org"]).await;
    let posts: Vec<_> = (0..100)
        .map(|number| json!({ "id": format!("{number:024x}"), "updatedAt": "2026-01-02T03:04:05.678Z" }))
        .collect();
    // A list without an end.
    let posts = list(&posts, Some("next"));
    pages.graph.answers("Sitemap", &json!({ "posts": posts }));
    let response = pages.get("/sitemap.xml").await;
    let content_type = response.headers()["content-type"].clone();
    assert_eq!(content_type, "application/xml; charset=utf-8");
    let sitemap = xml(&response.text().await.expect("text"));
    let pages_in_it = texts(&sitemap, "loc");
    assert_eq!(pages_in_it[0], "https://example.org/");
    assert_eq!(
        pages_in_it[1],
        "https://example.org/posts/000000000000000000000000"
    );
    assert!(pages_in_it.len() <= 501, "{}", pages_in_it.len());
    let asked = pages.graph.asked("Sitemap").len();
    assert!((2..=5).contains(&asked), "{asked}");

    let robots = pages.text("/robots.txt", 200).await;
    assert!(robots.contains("Sitemap: https://example.org/sitemap.xml\n"));
}
