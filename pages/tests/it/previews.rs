//! What search engines and link previews read.

use crate::document::{Element, html};
use crate::support::{ID, Pages, comment_with, post_with, tell_of};

fn content<'e>(elements: &'e [Element], key: &str, name: &str) -> Option<&'e str> {
    let found = elements.iter().find(|it| it.attribute(key) == Some(name))?;
    found.attribute("content").or(found.attribute("href"))
}

async fn pages(arguments: &[&str]) -> Pages {
    let pages = Pages::with(arguments).await;
    let text = "word ".repeat(100);
    let post = post_with("A title", &text, "Ann");
    tell_of(&pages.graph, &post, &comment_with("A comment", "Bob"));
    pages
}

#[tokio::test]
async fn a_post_says_what_it_is() {
    let pages = pages(&["--public-url=https://example.org/"]).await;
    let elements = html(&pages.text(&format!("/posts/{ID}"), 200).await);
    let address = format!("https://example.org/posts/{ID}");
    let title = elements.iter().find(|it| it.name == "title");
    assert_eq!(
        title.map(|it| it.text.as_str()),
        Some("A title · Rejoinder")
    );
    for (key, name, expected) in [
        ("rel", "canonical", &*address),
        ("property", "og:url", &address),
        ("property", "og:title", "A title"),
        ("property", "og:type", "article"),
        ("property", "og:site_name", "Rejoinder"),
        ("property", "og:image", "https://example.org/icon-512.png"),
        (
            "property",
            "article:published_time",
            "2026-01-02T03:04:05.678Z",
        ),
        ("name", "twitter:card", "summary"),
        ("name", "twitter:title", "A title"),
        ("rel", "alternate", "https://example.org/feed.atom"),
    ] {
        assert_eq!(content(&elements, key, name), Some(expected), "{name}");
    }
    let description = content(&elements, "name", "description").expect("one");
    assert!(description.starts_with("word word") && description.chars().count() <= 201);
    let feeds = elements
        .iter()
        .filter(|it| it.attribute("rel") == Some("alternate"));
    let feeds: Vec<_> = feeds.filter_map(|it| it.attribute("href")).collect();
    assert_eq!(feeds[1], format!("{address}/feed.atom"));
}

#[tokio::test]
async fn older_parts_are_not_indexed() {
    let pages = pages(&[]).await;
    for path in ["/?after=c".to_owned(), format!("/posts/{ID}?after=c")] {
        let elements = html(&pages.text(&path, 200).await);
        assert_eq!(content(&elements, "name", "robots"), Some("noindex"));
        assert_eq!(content(&elements, "rel", "canonical"), None);
    }
}

#[tokio::test]
async fn without_a_setting_links_lead_to_the_host_of_the_request_and_none_is_canonical() {
    let pages = pages(&[]).await;
    for host in ["localhost:4000", "other.example"] {
        let request = pages.request("/").header("x-forwarded-host", host);
        let text = request.send().await.expect("an answer").text().await;
        let elements = html(&text.expect("text"));
        let expected = format!("http://{host}/feed.atom");
        assert_eq!(content(&elements, "rel", "alternate"), Some(&*expected));
        // Behind a proxy, it would be that of no reader.
        assert_eq!(content(&elements, "rel", "canonical"), None);
        assert_eq!(content(&elements, "property", "og:url"), None);
    }
    let request = pages
        .request("/")
        .header("x-forwarded-host", "a\"><script>");
    assert_eq!(request.send().await.expect("an answer").status(), 400);
}
