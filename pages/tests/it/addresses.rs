//! Which page an address shows, and with which status.

use serde_json::{Value, json};

use crate::document::html;
use crate::support::{ID, INDEX, Pages, comment_with, list, post_with, tell_of};

async fn pages() -> Pages {
    let pages = Pages::start().await;
    let post = post_with("A title", "One\n\n\n\nTwo\nlines", "Ann");
    tell_of(&pages.graph, &post, &comment_with("A comment", "Bob"));
    pages
}

fn is_not_found(text: &str) {
    let elements = html(text);
    let robots = elements
        .iter()
        .find(|it| it.attribute("name") == Some("robots"));
    assert_eq!(
        robots.and_then(|it| it.attribute("content")),
        Some("noindex")
    );
    let heading = elements
        .iter()
        .find(|it| it.name == "h1")
        .expect("a heading");
    assert_eq!(heading.text, "Not found");
    let is_canonical = |rel: Option<&str>| rel == Some("canonical");
    assert!(!elements.iter().any(|it| is_canonical(it.attribute("rel"))));
}

#[tokio::test]
async fn what_is_not_there_is_a_page_with_status_404() {
    let pages = pages().await;
    for path in ["/posts/abc", "/about", "/posts/", "/?post=x"] {
        is_not_found(&pages.text(path, 404).await);
    }
    let nothing = json!({ "posts": list(&[], None), "chosen": null });
    pages.graph.answers("Start", &nothing);
    pages
        .graph
        .answers("StartComments", &json!({ "chosen": null }));
    pages
        .graph
        .answers("CommentsFeed", &json!({ "post": null }));
    let other = "00000000000000000000dead";
    is_not_found(&pages.text(&format!("/posts/{other}"), 404).await);
    pages.text(&format!("/posts/{other}/feed.atom"), 404).await;
}

#[tokio::test]
async fn a_cursor_that_is_none_is_not_found() {
    let pages = pages().await;
    pages.graph.refuses("StartComments", "BAD_USER_INPUT");
    is_not_found(&pages.text(&format!("/posts/{ID}?after=x"), 404).await);
    pages.graph.refuses("Start", "BAD_USER_INPUT");
    is_not_found(&pages.text("/?after=x", 404).await);
}

#[tokio::test]
async fn views_that_need_the_script_are_passed_on_as_they_are() {
    let pages = pages().await;
    for path in ["/moderation", "/new", "/?new"] {
        assert_eq!(pages.text(path, 200).await, INDEX, "{path}");
    }
    let former = pages.get(&format!("/?post={ID}")).await;
    assert_eq!(former.status(), 301);
    assert_eq!(former.headers()["location"], format!("/posts/{ID}"));
}

#[tokio::test]
async fn a_post_can_be_read_without_a_script() {
    let pages = pages().await;
    let text = pages
        .text(&format!("/posts/{}", ID.to_uppercase()), 200)
        .await;
    let elements = html(&text);
    let shown = |name: &str| -> Vec<&str> {
        let found = elements.iter().filter(|it| it.name == name);
        found.map(|it| it.text.as_str()).collect()
    };
    assert_eq!(shown("h1"), ["A title"]);
    let paragraphs =
        "<div class=\"content prose\"><p dir=\"auto\">One</p><p dir=\"auto\">Two\nlines</p></div>";
    assert!(text.contains(paragraphs), "{text}");
    assert!(text.contains("<p class=\"text\" dir=\"auto\">A comment</p>"));
    assert!(shown("p").contains(&"A comment"));
    assert!(shown("time").contains(&"2 Jan 2026"));
    let links: Vec<_> = elements
        .iter()
        .filter_map(|it| it.attribute("href"))
        .collect();
    let older = format!("/posts/{ID}?after=next%2Bcomment#comments-title");
    assert!(links.contains(&older.as_str()), "{links:?}");
    let comment = elements
        .iter()
        .find(|it| it.name == "li" && it.attribute("class") == Some("comment"));
    assert_eq!(
        comment.and_then(|it| it.attribute("id")),
        Some("comment-00000000000000000000c0de")
    );

    let part = pages
        .text(&format!("/posts/{ID}?after=next%2Bcomment"), 200)
        .await;
    let after = |operation: &str, time: usize| pages.graph.asked(operation)[time]["after"].clone();
    assert_eq!(after("StartComments", 0), json!(null));
    assert_eq!(after("StartComments", 1), "next+comment");
    assert_eq!(
        after("Start", 1),
        json!(null),
        "the newest posts are beside"
    );
    // The live page starts from the same part, and knows that it is this one.
    let after_handed = |text: &str| {
        let elements = html(text);
        let mut starts = elements.iter().filter_map(|it| it.attribute("data-start"));
        let start = starts.next().expect("what the live page starts from");
        let start: Value = serde_json::from_str(start).expect("JSON");
        start["after"].clone()
    };
    assert_eq!(after_handed(&part), "next+comment");
    assert_eq!(after_handed(&text), json!(null));
    let list = html(&pages.text("/", 200).await);
    let older = list.iter().find(|it| it.attribute("rel") == Some("next"));
    let older = older.and_then(|it| it.attribute("href")).expect("a link");
    assert_eq!(older, "/?after=next%2Bpost");
    let part = pages.text(older, 200).await;
    assert_eq!(after("Start", 3), "next+post");
    assert_eq!(after_handed(&part), "next+post");
}

#[tokio::test]
async fn replies_stand_below_their_comments_with_what_was_counted() {
    let pages = Pages::start().await;
    let comment = |number: u32, parent: Option<(u32, Option<&str>)>| {
        let mut comment = comment_with(&format!("Text {number}"), &format!("Author {number}"));
        comment["id"] = json!(format!("{number:024}"));
        comment["createdAt"] = json!(format!("2026-01-02T04:04:0{number}.000Z"));
        comment["parentId"] = json!(parent.map(|(id, _)| format!("{id:024}")));
        let author = parent.and_then(|(_, author)| author);
        comment["parent"] = json!(author.map(|author| json!({ "author": author })));
        comment
    };
    let mut top = comment(1, None);
    top["replyCount"] = json!(2);
    top["reactions"] =
        json!([{ "reaction": "SAD", "count": 1 }, { "reaction": "LIKE", "count": 1200 }]);
    let comments = [
        comment(6, Some((5, None))),
        comment(4, Some((1, Some("Author 1")))),
        comment(3, Some((9, Some("Author 9")))),
        comment(2, Some((1, Some("Author 1")))),
        top,
    ];
    let post = post_with("A title", "A text", "Ann");
    let posts = list(std::slice::from_ref(&post), None);
    pages
        .graph
        .answers("Start", &json!({ "posts": posts, "chosen": post }));
    let discussion = json!({ "comments": list(&comments, None) });
    pages
        .graph
        .answers("StartComments", &json!({ "chosen": discussion }));
    let text = pages.text(&format!("/posts/{ID}"), 200).await;
    let elements = html(&text);
    let shown: Vec<_> = elements
        .iter()
        .filter(|it| it.name == "p" && it.attribute("class") == Some("text"))
        .map(|it| it.text.as_str())
        .collect();
    assert_eq!(shown, ["Text 6", "Text 3", "Text 1", "Text 2", "Text 4"]);
    let below = elements
        .iter()
        .filter(|it| it.attribute("data-reply").is_some());
    assert_eq!(below.count(), 2);
    for expected in [
        r#"<p class="reply-to">In reply to a comment that is gone</p>"#,
        r##"<p class="reply-to">In reply to <a href="#comment-000000000000000000000009">Author 9</a></p>"##,
        r#"<p class="unseen">In reply to Author 1</p>"#,
        r#"<span class="reply-count">2 replies</span>"#,
        r#"<span class="unseen">Like</span><span class="reaction-count">1,200</span>"#,
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let like = text.find("👍").expect("likes");
    assert!(
        like < text.find("😢").expect("sad"),
        "in the live page's order"
    );
}

#[tokio::test]
async fn other_methods_are_refused() {
    let pages = pages().await;
    let url = format!("http://{}/", pages.address);
    let answer = reqwest::Client::new().post(url).send().await;
    assert_eq!(answer.expect("an answer").status(), 405);
    let url = format!("http://{}/", pages.address);
    let head = reqwest::Client::new().head(url).send().await;
    assert_eq!(head.expect("an answer").status(), 200);
}
