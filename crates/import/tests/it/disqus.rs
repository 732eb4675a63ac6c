//! Disqus exports.

use bson::doc;
use import::tally::Skip;

use crate::case::*;

#[tokio::test(flavor = "multi_thread")]
async fn threads_and_posts_become_posts_and_comments() {
    let case = Case::new().await;
    let tally = case.import(DISQUS).await;
    assert_eq!(counts(&tally), [1, 2, 1, 0]);
    assert_eq!(
        skipped(&tally),
        [
            (Skip::Duplicate, 1),
            (Skip::NoId, 1),
            (Skip::DeletedPost, 1),
            (Skip::NoComments, 1),
            (Skip::Spam, 1),
            (Skip::DeletedComment, 1),
            (Skip::PostNotImported, 1),
        ]
    );
    let at = bson::DateTime::from_millis(1_433_145_600_000);
    assert_eq!(
        case.fields("posts", post("disqus", "20")).await,
        doc! {
            "title": "Apples",
            "content": "https://orchard.example/apples",
            "author": "Owner",
            "createdAt": at,
            "updatedAt": at,
        }
        .to_string()
    );
    let at = bson::DateTime::from_millis(1_433_150_400_000);
    assert_eq!(
        case.fields("comments", comment("disqus", "203")).await,
        doc! {
            // What it answers was deleted.
            "parentId": comment("disqus", "201"),
            "text": "> Removed\n\nWhy?",
            "author": "wendy",
            "createdAt": at,
            "updatedAt": at,
            "edited": false,
        }
        .to_string()
    );
    let first = case.find("comments", comment("disqus", "201")).await;
    let first = first.expect("imported");
    assert_eq!(
        first.get_str("text").expect("there"),
        "Lovely & **red**.\n\nSee https://orchard.example/x"
    );
}
