//! Pages that weigh too much for a first visit show less, and a link leads to all of a text.

use serde_json::{Value, json};

use crate::document::html;
use crate::support::{ID, Pages, comment_with, list, post_with, tell_of};

/// Text that nothing compresses: each character has half of its bytes.
fn random(chars: usize) -> String {
    let mut state = 0x9E37_79B9_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_u32(0x10000 + (state >> 12) % 0xF000).expect("a character")
    };
    std::iter::repeat_with(next).take(chars).collect()
}

/// A post whose text has more than is told of it.
fn cut_post(content: &str) -> Value {
    let mut post = post_with("A title", content, "Ann");
    post["contentBytes"] = json!(content.len() + 1);
    post
}

fn asked(pages: &Pages, operation: &str, variables: &[&str]) -> Vec<Value> {
    let asked = pages.graph.asked(operation).into_iter();
    let some = asked.map(|all| variables.iter().map(|name| all[name].clone()).collect());
    some.collect()
}

#[tokio::test]
async fn a_post_that_is_cut_has_a_link_to_all_of_it() {
    let pages = Pages::start().await;
    tell_of(
        &pages.graph,
        &cut_post("Its *beginning*"),
        &comment_with("A comment", "Bob"),
    );
    let elements = html(&pages.text(&format!("/posts/{ID}"), 200).await);
    let link = elements
        .iter()
        .find(|it| it.text == "Read on")
        .expect("a link");
    let whole = format!("/posts/{ID}?whole");
    assert_eq!(link.attribute("href"), Some(whole.as_str()));
    let post = post_with("A title", "All of it", "Ann");
    tell_of(&pages.graph, &post, &comment_with("A comment", "Bob"));
    assert!(!pages.text(&whole, 200).await.contains("Read on"));
}

#[tokio::test]
async fn a_page_that_weighs_too_much_is_rendered_with_less() {
    let pages = Pages::start().await;
    let shares = |pages: &Pages| asked(pages, "Start", &["listBytes", "textBytes"]);
    let comments = |pages: &Pages| asked(pages, "StartComments", &["commentBytes"]);

    // All of a text that people write to be read.
    let light = post_with("A title", &"日本語の文。".repeat(3_000), "Ann");
    tell_of(&pages.graph, &light, &comment_with("A comment", "Bob"));
    pages.text(&format!("/posts/{ID}"), 200).await;
    assert_eq!(shares(&pages), [json!([12_288, null])]);
    assert_eq!(comments(&pages), [json!([16_384])]);

    // Less and less of one that is not, but for whoever reads on.
    let pages = Pages::start().await;
    let heavy = cut_post(&random(20_000));
    tell_of(&pages.graph, &heavy, &comment_with("A comment", "Bob"));
    pages.text(&format!("/posts/{ID}?whole"), 200).await;
    assert_eq!(shares(&pages), [json!([12_288, null])]);
    let text = pages.text(&format!("/posts/{ID}"), 200).await;
    assert!(text.contains("Read on"));
    assert_eq!(
        shares(&pages)[1..],
        [
            json!([12_288, null]),
            json!([4_096, null]),
            json!([4_096, 24_576]),
            json!([4_096, 6_144]),
        ]
    );
    assert_eq!(
        comments(&pages)[1..],
        [
            json!([16_384]),
            json!([4_096]),
            json!([4_096]),
            json!([4_096])
        ]
    );
}

#[tokio::test]
async fn a_list_that_weighs_too_much_is_rendered_with_less() {
    let pages = Pages::start().await;
    let posts = |posts: &[Value]| json!({ "posts": list(posts, Some("next")) });
    let light = post_with("A title", "A text", "Ann");
    pages.graph.answers("Start", &posts(&[light]));
    pages.text("/", 200).await;
    let heavy = post_with(&random(9_000), "A text", "Ann");
    pages.graph.answers("Start", &posts(&[heavy]));
    pages.text("/?after=c", 200).await;
    assert_eq!(
        asked(&pages, "Start", &["listBytes", "after"]),
        [
            json!([12_288, null]),
            json!([12_288, "c"]),
            json!([4_096, "c"])
        ]
    );
}
