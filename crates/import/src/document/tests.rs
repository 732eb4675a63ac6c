//! What becomes of posts and comments.

use changefeed::FromDocument;
use subgraph::StoredComment;

use super::*;
use crate::record::Status;

const NOW: i64 = 1_700_000_000_000;

fn post(content: &str) -> NewDocument {
    let post = SourcePost {
        title: "A &amp; <b>B</b>".to_owned(),
        content: content.to_owned(),
        author: "Ann".to_owned(),
        link: "https://a.example/p".to_owned(),
        created: ["0000-00-00 00:00:00", "2012-12-12 12:12:12", ""].map(str::to_owned),
        ..SourcePost::default()
    };
    of_post(&post, Key(1), DateTime::from_millis(NOW))
}

fn comment(comment: SourceComment) -> NewDocument {
    let placed = Placed {
        key: Key(2),
        post: Key(1),
        parent: Some(Key(3)),
        is_held: comment.status == Status::Pending,
        post_created: Some(5_000),
    };
    of_comment(&comment, placed, DateTime::from_millis(NOW))
}

fn text_of(new: &NewDocument, field: &str) -> String {
    new.document.get_str(field).expect("a text").to_owned()
}

fn created(new: &NewDocument) -> i64 {
    let date = new.document.get_datetime("createdAt").expect("a date");
    date.timestamp_millis()
}

#[test]
fn the_longest_posts_and_comments_can_be_read() {
    for length in [CONTENT_BYTES_MAX - 10, CONTENT_BYTES_MAX, 1 << 20] {
        let post = post(&"é ".repeat(length / 3));
        let document = bson::serialize_to_raw_document_buf(&post.document).expect("BSON");
        posts::Post::from_document(&document).expect("readable");
        assert_eq!(post.is_cut, text_of(&post, "content").ends_with('…'));
        assert_eq!(post.is_cut, length >= CONTENT_BYTES_MAX);
    }
    let new = comment(SourceComment {
        text: "x".repeat(1 << 20),
        ..SourceComment::default()
    });
    let document = bson::serialize_to_raw_document_buf(&new.document).expect("BSON");
    let stored = StoredComment::from_document(&document).expect("readable");
    assert!(stored.text.len() > 60 << 10 && new.is_cut);
}

#[test]
fn a_post_is_longer_than_that_to_be_unreadable() {
    let mut post = post("a");
    post.document
        .insert("content", "x".repeat(CONTENT_BYTES_MAX + 1));
    let document = bson::serialize_to_raw_document_buf(&post.document).expect("BSON");
    assert!(posts::Post::from_document(&document).is_err());
}

#[test]
fn names_are_plain_and_addresses_are_none() {
    for (name, author) in [
        ("O&#8217;Brien", "O’Brien"),
        (" <b>Ann</b> ", "Ann"),
        ("ann@mail.example", "Anonymous"),
        ("192.0.2.1", "Anonymous"),
        ("2001:db8::1", "Anonymous"),
        ("@ann", "@ann"),
        ("", "Anonymous"),
    ] {
        assert_eq!(author_name(name), author, "{name}");
    }
    assert_eq!(author_name(&"é".repeat(5_000)).chars().count(), 100);
    assert_eq!(text_of(&post("a"), "title"), "A & B");
}

#[test]
fn dates_fall_back_and_are_never_in_the_future() {
    assert_eq!(created(&post("a")), 1_355_314_332_000);
    let of_post = comment(SourceComment::default());
    assert_eq!((created(&of_post), of_post.is_undated), (5_000, true));
    let future = comment(SourceComment {
        created: ["9999-01-01 00:00:00", ""].map(str::to_owned),
        ..SourceComment::default()
    });
    assert_eq!((created(&future), future.is_undated), (NOW, true));
}

#[test]
fn a_thread_leads_to_its_page() {
    let thread = SourcePost {
        is_thread: true,
        link: "https://a.example/p".to_owned(),
        ..SourcePost::default()
    };
    let thread = of_post(&thread, Key(1), DateTime::from_millis(NOW));
    assert_eq!(text_of(&thread, "content"), "https://a.example/p");
    assert_eq!(text_of(&thread, "title"), "https://a.example/p");
}
