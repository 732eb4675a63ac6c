//! Many comments, in bounded memory.

use std::fmt::Write as _;

use import::tally::Tally;

use crate::case::*;

/// A chain of replies, each of which comes before what it answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_comments_are_read() {
    const COUNT: u32 = 100_000;
    let mut comments = String::new();
    for id in (1..=COUNT).rev() {
        write!(comments, "{}", comment_xml(id, id - 1, "One more.")).expect("written");
    }
    let case = Case::new().await;
    let (outcome, tally) = case.run(export_of(&comments), &["--dry-run"]).await;
    outcome.expect("read");
    assert_eq!(counts(&tally), [1, COUNT.into(), u64::from(COUNT) - 1, 0]);
    assert!(Tally::line(&tally).contains("100000 comments"));
}

/// More than fits into one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn large_texts_are_written_in_several_batches() {
    let text = "word ".repeat(12_000);
    let comments: String = (1..=300).map(|id| comment_xml(id, 0, &text)).collect();
    let case = Case::new().await;
    let tally = case.import(export_of(&comments)).await;
    assert_eq!(counts(&tally), [1, 300, 0, 0]);
    assert_eq!(case.count("comments").await, 300);
}
