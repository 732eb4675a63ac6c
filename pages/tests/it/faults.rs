//! The graph is gone, hangs, or answers nonsense: the service says so, in time.

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::{Graph, ID, Pages, comment_with, list, post_with, tell_of};

#[tokio::test]
async fn a_graph_that_is_gone_is_a_bad_gateway() {
    // Bound, so that nobody else gets the port, and not listening.
    let gone = TcpSocket::new_v4().expect("a socket");
    let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    gone.bind(any).expect("a port");
    let url = format!("http://{}/graphql", gone.local_addr().expect("bound"));
    let pages = Pages::asking(Graph::default(), &url, &[]).await;
    let text = pages.text("/", 502).await;
    assert_eq!(text, "the graph cannot be reached: no connection\n");
    // It is ready all the same: nothing of it is broken.
    assert_eq!(pages.get("/health/ready").await.status(), 200);
    assert_eq!(pages.get("/robots.txt").await.status(), 200);
}

#[tokio::test]
async fn a_graph_that_hangs_is_given_up() {
    let pages = Pages::with(&["--render-timeout=50ms"]).await;
    pages.graph.is_silent_about("Start");
    assert_eq!(
        pages.text("/", 504).await,
        "the page was not rendered in time\n"
    );
}

#[tokio::test]
async fn errors_of_the_graph_have_a_status_of_their_own() {
    let pages = Pages::start().await;
    for (code, status) in [
        ("OVERLOADED", 503),
        ("RATE_LIMITED", 503),
        ("SUBREQUEST_HTTP_ERROR", 502),
        ("UNAUTHENTICATED", 502),
    ] {
        pages.graph.refuses("Start", code);
        let text = pages.text("/", status).await;
        assert!(text.contains(code), "{text}");
    }
}

#[tokio::test]
async fn answers_that_are_none_are_refused() {
    let pages = Pages::start().await;
    let huge = json!({ "data": "a".repeat(5 * 1024 * 1024) }).to_string();
    for text in [
        "",
        "<html>",
        "null",
        "{}",
        r#"{"data":null}"#,
        r#"{"data":{"posts":null}}"#,
        r#"{"data":{"posts":{"edges":[{"node":{"id":1}}]}}}"#,
        &huge,
    ] {
        pages.graph.answers_text("Start", text);
        pages.text("/", 502).await;
    }
}

#[tokio::test]
async fn what_the_gateway_would_not_pass_on_is_not_sent() {
    let pages = Pages::with(&["--pages-bytes-max=1000"]).await;
    let post = post_with("A title", &"a".repeat(1_000), "Ann");
    tell_of(&pages.graph, &post, &comment_with("A comment", "Bob"));
    let text = pages.text(&format!("/posts/{ID}"), 503).await;
    assert_eq!(text, "the page has more than 1000 bytes\n");
    pages.text("/robots.txt", 200).await;
}

/// As large as the graph's limits allow, of what gets largest in HTML: quotes, each a paragraph of its own, and Markdown
/// with long elements for few characters.
#[tokio::test]
async fn the_largest_page_of_the_graph_is_sent() {
    let quotes = |chars: usize| "\"".repeat(chars);
    let long = |part: &str, chars: usize| part.repeat(chars / part.len());
    let texts: [&dyn Fn(usize) -> String; 5] = [
        &|chars| long("\"\n\n", chars),
        &|chars| format!("[](http:a/{})", "😀".repeat(chars - 11)),
        &|chars| long(&format!("{}\n\n", ">".repeat(13)), chars),
        &|chars| format!("`\n{}", long("#\n", chars - 2)),
        &|chars| long("www.a.b ", chars),
    ];
    for text in texts {
        let mut post = post_with(&quotes(200), &text(20_000), &quotes(100));
        post["excerpt"] = quotes(1_000).into();
        let comment = comment_with(&text(5_000), &quotes(100));
        is_sent(post, comment).await;
    }
}

async fn is_sent(post: Value, comment: Value) {
    let pages = Pages::start().await;
    let posts = list(&vec![post.clone(); 30], Some("next"));
    let comments = list(&vec![comment; 30], Some("next"));
    let mut commented = post.clone();
    commented["comments"] = comments;
    // A page has 20 of both, and a feed 30.
    let some = |list: &Value| {
        let mut list = list.clone();
        list["edges"].as_array_mut().expect("a list").truncate(20);
        list
    };
    let (start, discussion) = (
        json!({ "posts": some(&posts), "chosen": post }),
        json!({ "chosen": { "comments": some(&commented["comments"]) } }),
    );
    pages.graph.answers("Start", &start);
    pages.graph.answers("StartComments", &discussion);
    pages.graph.answers("PostsFeed", &json!({ "posts": posts }));
    pages
        .graph
        .answers("CommentsFeed", &json!({ "post": commented }));
    let post = format!("/posts/{ID}");
    for path in ["/", &post, "/feed.atom", &format!("{post}/feed.atom")] {
        let bytes = pages.text(path, 200).await.len();
        assert!(bytes > 100_000, "{path}: {bytes}");
    }
}

#[tokio::test]
async fn a_post_is_shown_without_comments_that_cannot_be_had() {
    let pages = Pages::start().await;
    let post = post_with("A title", "A text", "Ann");
    tell_of(&pages.graph, &post, &comment_with("A comment", "Bob"));
    pages
        .graph
        .refuses("StartComments", "SUBREQUEST_HTTP_ERROR");
    let text = pages.text(&format!("/posts/{ID}"), 200).await;
    assert!(text.contains("A text") && text.contains("cannot be shown right now"));
    assert!(!text.contains("data-start"), "the live page asks itself");
}

#[tokio::test]
async fn without_a_build_of_the_pages_it_is_not_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let web = format!("--web-dir={}", folder.path().display());
    let graph = Graph::default();
    let pages = Pages::asking(graph, "http://127.0.0.1:1/graphql", &[&web]).await;
    assert_eq!(pages.get("/health/ready").await.status(), 503);
    assert!(
        pages
            .text("/new", 503)
            .await
            .starts_with("index.html cannot be used")
    );
    std::fs::write(folder.path().join("index.html"), crate::support::INDEX).expect("written");
    assert_eq!(pages.get("/health/ready").await.status(), 200);
}
