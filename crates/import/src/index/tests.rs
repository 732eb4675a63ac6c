//! What is imported, and where replies go.

use super::*;

const SITE: &str = "a";

fn post(id: &str) -> Record {
    Record::Post(SourcePost {
        id: Some(id.to_owned()),
        ..SourcePost::default()
    })
}

/// A comment of a post, with its id and its parent's; 0 is none.
fn comment(post: &str, id: u32, parent: u32, status: Status) -> Record {
    Record::Comment(SourceComment {
        id: (id > 0).then(|| id.to_string()),
        parent: (parent > 0).then(|| parent.to_string()),
        post: Some(post.to_owned()),
        status,
        text: "a".to_owned(),
        ..SourceComment::default()
    })
}

fn index(records: &[Record]) -> Index {
    let mut builder = IndexBuilder::new(Pending::Hold);
    for record in records {
        builder.add(record, SITE).expect("few");
    }
    builder.finish()
}

fn key(id: u32) -> Option<Key> {
    Some(Key::of_comment(SITE, &id.to_string()))
}

/// The parent of a comment, or why it is skipped.
fn parent(index: &mut Index, id: u32) -> Result<Option<Key>, Skip> {
    let taken = index.take(key(id)).expect("known");
    taken.map(|placed| placed.parent)
}

#[test]
fn a_reply_goes_to_the_top_of_its_thread_whatever_the_order() {
    use Status::Approved;
    let mut index = index(&[
        post("p"),
        comment("p", 3, 2, Approved),
        comment("p", 2, 1, Approved),
        comment("p", 1, 0, Approved),
        comment("p", 4, 99, Approved),
    ]);
    assert_eq!(parent(&mut index, 1), Ok(None));
    assert_eq!(parent(&mut index, 2), Ok(key(1)));
    assert_eq!(parent(&mut index, 3), Ok(key(1)));
    assert_eq!(
        parent(&mut index, 4),
        Ok(None),
        "a parent that is not there"
    );
    assert_eq!(parent(&mut index, 4), Err(Skip::Duplicate));
}

#[test]
fn a_reply_to_what_is_skipped_goes_to_the_next_above() {
    use Status::{Approved, Spam};
    let mut index = index(&[
        post("p"),
        comment("p", 1, 0, Spam),
        comment("p", 2, 1, Approved),
        comment("p", 3, 2, Status::Deleted),
        comment("p", 4, 3, Approved),
    ]);
    assert_eq!(parent(&mut index, 1), Err(Skip::Spam));
    assert_eq!(parent(&mut index, 2), Ok(None));
    assert_eq!(parent(&mut index, 3), Err(Skip::DeletedComment));
    assert_eq!(parent(&mut index, 4), Ok(key(2)));
}

#[test]
fn a_circle_of_parents_is_cut() {
    use Status::Approved;
    let mut index = index(&[
        post("p"),
        comment("p", 1, 1, Approved),
        comment("p", 2, 3, Approved),
        comment("p", 3, 4, Approved),
        comment("p", 4, 2, Approved),
        comment("p", 5, 4, Approved),
    ]);
    assert_eq!(parent(&mut index, 1), Ok(None));
    let parents = [2, 3, 4, 5].map(|id| parent(&mut index, id).expect("imported"));
    // One of the circle is its top, and all others reply to it.
    let top: Vec<_> = (2..).zip(&parents).filter(|(_, it)| it.is_none()).collect();
    assert_eq!(top.len(), 1, "{parents:?}");
    let top = key(top[0].0);
    assert!(parents.iter().flatten().all(|parent| Some(*parent) == top));
}

#[test]
fn a_parent_of_another_post_is_none() {
    use Status::Approved;
    let mut index = index(&[
        comment("q", 2, 1, Approved),
        comment("p", 1, 0, Approved),
        post("p"),
        post("q"),
    ]);
    assert_eq!(parent(&mut index, 2), Ok(None));
}

#[test]
fn comments_of_a_post_that_is_skipped_are_skipped() {
    use Status::Approved;
    let draft = Record::Post(SourcePost {
        id: Some("d".to_owned()),
        unread: Some(Unread::Unpublished),
        ..SourcePost::default()
    });
    let mut index = index(&[
        draft,
        comment("d", 1, 0, Approved),
        comment("none", 2, 0, Approved),
        comment("d", 3, 0, Status::Spam),
    ]);
    assert_eq!(
        index.post(0).map(|post| post.skip),
        Some(Some(Skip::Unpublished))
    );
    assert_eq!(parent(&mut index, 1), Err(Skip::PostNotImported));
    assert_eq!(parent(&mut index, 2), Err(Skip::PostNotImported));
    assert_eq!(parent(&mut index, 3), Err(Skip::Spam));
    assert_eq!(index.take(None).expect("known"), Err(Skip::NoId));
    assert!(
        index.take(key(9)).is_err(),
        "the file has another comment now"
    );
}

#[test]
fn a_chain_of_any_length_takes_a_moment() {
    let chain = (1..=100_000).rev();
    let mut records = vec![post("p")];
    records.extend(chain.map(|id| comment("p", id, id - 1, Status::Approved)));
    let mut index = index(&records);
    assert_eq!(parent(&mut index, 100_000), Ok(key(1)));
}

#[test]
fn what_shows_nothing_is_blank() {
    for html in [
        "",
        " <p> </p>",
        "<img>",
        "<script>a</script>",
        "&#8203;",
        "<b></b>&nbsp;",
    ] {
        assert!(is_blank(html), "{html}");
    }
    for html in ["a", "<p>.</p>", "<img src=https://a.example/>", "é", "😀"] {
        assert!(!is_blank(html), "{html}");
    }
}
