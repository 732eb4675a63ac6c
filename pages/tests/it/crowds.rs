//! Many requests at once.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{ID, Pages, comment_with, list, post_with, tell_of};

#[tokio::test]
async fn a_crowd_on_one_page_is_one_request_to_the_graph() {
    let pages = Pages::with(&["--rendered-time=1h"]).await;
    let post = post_with("A title", "A text", "Ann");
    tell_of(&pages.graph, &post, &comment_with("A comment", "Bob"));
    let path = format!("/posts/{ID}");
    let first = pages.text(&path, 200).await;
    let others = join_all((0..50).map(|_| pages.text(&path, 200))).await;
    assert!(others.iter().all(|other| *other == first));
    assert_eq!(pages.graph.asked("Start").len(), 1);
    assert_eq!(pages.graph.asked("StartComments").len(), 1);
}

#[tokio::test]
async fn a_storm_of_different_pages_is_refused_at_once() {
    let pages = Pages::with(&["--renders-max=2", "--render-timeout=10m"]).await;
    pages.graph.is_silent_about("Start");
    let held = (0..2).map(|number| pages.request(&format!("/?after=held{number}")).send());
    let held: Vec<_> = held.map(tokio::spawn).collect();
    pages.graph.waits_for(2).await;
    let refused =
        join_all((0..50).map(|number| pages.request(&format!("/?after={number}")).send()));
    for response in refused.await {
        let response = response.expect("an answer");
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "5");
    }
    assert_eq!(pages.graph.asked("Start").len(), 2);
    // What needs nothing of the graph needs no room: without `robots.txt`, crawlers leave the whole site alone.
    for (path, status) in [("/robots.txt", 200), ("/new", 200), ("/nowhere", 404)] {
        pages.text(path, status).await;
    }
    // The renderings go on although those who wait for them leave.
    held.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(pages.get("/?after=late").await.status(), 503);
}

#[tokio::test]
async fn a_page_is_current_again_after_its_time() {
    let pages = Pages::with(&["--rendered-time=0s"]).await;
    for title in ["Before", "After"] {
        let post = post_with(title, "A text", "Ann");
        pages
            .graph
            .answers("Start", &json!({ "posts": list(&[post], None) }));
        assert!(pages.text("/", 200).await.contains(title));
    }
}
