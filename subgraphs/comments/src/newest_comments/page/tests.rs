//! Each kind of change, and random ones beside a plain list.

use bson::oid::ObjectId;
use subgraph::{DateTime, Owner};

use super::*;
use crate::comment::CommentStatus;
use crate::reaction::Reactions;

fn post() -> PostId {
    ObjectId::from_bytes([7; 12]).into()
}

fn other_post() -> PostId {
    ObjectId::from_bytes([8; 12]).into()
}

fn comment(number: u8, second: Option<i64>, text: &str) -> Comment {
    let date = second.map(|second| DateTime::from_millis(second * 1_000));
    Comment {
        id: ObjectId::from_bytes([number; 12]).into(),
        post_id: post(),
        parent_id: None,
        text: text.to_owned(),
        author: "A".to_owned(),
        owner: Owner::Guest,
        created_at: date,
        updated_at: date,
        edited: false,
        reactions: Reactions::default(),
        status: CommentStatus::Visible,
        trace: Default::default(),
    }
}

fn at(time: u32) -> Timestamp {
    Timestamp { time, increment: 1 }
}

type Timed = (u32, ChangeKind<Comment>);

fn change(time: u32, before: Option<&Comment>, after: Option<&Comment>) -> Timed {
    let kind = match (before.cloned(), after.cloned()) {
        (None, Some(after)) => ChangeKind::Inserted(after),
        (before, None) => ChangeKind::Deleted { before },
        (before, after) => ChangeKind::Updated { before, after },
    };
    (time, kind)
}

fn apply(page: &mut Page, (time, kind): &Timed) -> Result<(), Doubtful> {
    page.apply(post(), at(*time), kind)
}

fn texts(page: &Page) -> String {
    let texts = page.comments.iter().map(|it| it.text.as_str());
    texts.collect::<Vec<_>>().join(" ")
}

fn page_of(comments: &[Comment], size: usize) -> Page {
    let comments = comments.iter().take(size).cloned().map(Arc::new);
    Page::new(comments.collect(), size, at(10))
}

/// Its bytes are those of its comments, whatever happened to it.
fn check_bytes(page: &Page) {
    let bytes: usize = page.comments.iter().map(|it| held_bytes(it)).sum();
    assert_eq!(page.bytes, bytes);
}

#[test]
fn changes_of_what_it_covers_are_applied_and_others_passed_over() {
    let list = [
        comment(5, Some(50), "E"),
        comment(4, Some(40), "D"),
        comment(3, Some(30), "C"),
        comment(2, Some(20), "B"),
        comment(1, None, "A"),
    ];
    let mut page = page_of(&list, 3);
    assert_eq!(page.first(3).map(<[_]>::len), Some(3));
    assert!(page.first(4).is_none(), "the list goes on");
    let mut becomes = |change: Timed, expected: &str| {
        assert_eq!(apply(&mut page, &change), Ok(()));
        assert_eq!(texts(&page), expected);
        check_bytes(&page);
    };
    becomes(
        change(10, None, Some(&comment(9, Some(90), "old"))),
        "E D C",
    );
    becomes(
        change(11, None, Some(&comment(6, Some(60), "F"))),
        "F E D C",
    );
    let edited = comment(4, Some(40), "d");
    becomes(change(12, Some(&list[1]), Some(&edited)), "F E d C");
    becomes(change(13, Some(&list[0]), None), "F d C");
    // After its end.
    becomes(change(14, Some(&list[3]), None), "F d C");
    becomes(change(15, None, Some(&comment(7, Some(25), "G"))), "F d C");
    // To another post, and back with another date.
    let moved = Comment {
        post_id: other_post(),
        ..edited.clone()
    };
    becomes(change(16, Some(&edited), Some(&moved)), "F C");
    let back = comment(4, Some(70), "D");
    becomes(change(17, Some(&moved), Some(&back)), "D F C");
    // Beyond its end by its date, and its last one.
    let undated = comment(4, None, "D");
    becomes(change(18, Some(&back), Some(&undated)), "F C");
    becomes(change(19, Some(&list[2]), None), "F");
    assert!(page.first(2).is_none(), "it covers less than it had");
}

#[test]
fn a_whole_list_has_everything_until_it_grows() {
    let mut page = page_of(&[comment(2, Some(20), "B")], 3);
    assert_eq!(page.first(9).map(<[_]>::len), Some(1));
    let undated = comment(1, None, "A");
    assert_eq!(apply(&mut page, &change(11, None, Some(&undated))), Ok(()));
    assert_eq!(texts(&page), "B A");
    for number in 3..=GROWTH as u8 + 4 {
        let new = comment(number, Some(i64::from(number) * 10), &number.to_string());
        let applied = apply(&mut page, &change(u32::from(number) + 20, None, Some(&new)));
        assert_eq!(applied, Ok(()));
        check_bytes(&page);
    }
    assert_eq!(page.comments.len(), 3, "shortened");
    assert!(page.first(4).is_none());
}

#[test]
fn what_does_not_fit_makes_it_doubtful() {
    let (a, b) = (comment(1, Some(10), "A"), comment(2, Some(20), "B"));
    for unfit in [
        change(11, None, Some(&a)),
        change(11, Some(&b), None),
        change(11, Some(&comment(1, Some(10), "other")), None),
        change(11, Some(&comment(1, Some(10), "other")), Some(&a)),
        change(11, None, None),
        (
            11,
            ChangeKind::Updated {
                before: None,
                after: Some(a.clone()),
            },
        ),
    ] {
        let mut page = page_of(std::slice::from_ref(&a), 3);
        assert_eq!(apply(&mut page, &unfit), Err(Doubtful), "{unfit:?}");
    }
}

#[test]
fn after_any_changes_it_is_the_start_of_the_list() {
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..200 {
        let mut list: Vec<Comment> = Vec::new();
        let (size, mut page) = (3 + random(5) as usize, None::<Page>);
        for time in 11..150_u32 {
            let number = random(40) as u8;
            let known = list
                .iter()
                .position(|it| it.id.object_id().bytes()[0] == number);
            let second = (random(20) > 0).then(|| random(30) as i64);
            let fresh = comment(number, second, &time.to_string());
            let change = match known {
                None => {
                    list.push(fresh.clone());
                    change(time, None, Some(&fresh))
                }
                Some(place) if random(2) == 0 => {
                    let gone = list.remove(place);
                    change(time, Some(&gone), None)
                }
                Some(place) => {
                    let before = std::mem::replace(&mut list[place], fresh.clone());
                    change(time, Some(&before), Some(&fresh))
                }
            };
            list.sort_by_key(|it| std::cmp::Reverse(rank(it)));
            match &mut page {
                Some(page) => assert_eq!(apply(page, &change), Ok(())),
                None => {
                    let start = list.iter().take(size).cloned().map(Arc::new);
                    page = Some(Page::new(start.collect(), size, at(time)));
                }
            }
            let Some(held) = &page else { continue };
            check_bytes(held);
            for count in 0..size + 2 {
                let Some(first) = held.first(count) else {
                    continue;
                };
                let first: Vec<_> = first.iter().map(|it| &**it).collect();
                let expected: Vec<_> = list.iter().take(count).collect();
                assert_eq!(first, expected);
            }
            if held.first(2).is_none() {
                page = None;
            }
        }
    }
}
