//! Loads beside changes, the end of a stream, own writes, and what gives way.

use bson::oid::ObjectId;
use subgraph::{DateTime, Owner};

use super::*;
use crate::comment::CommentStatus;
use crate::reaction::Reactions;

const MUCH: usize = 1 << 20;
const SIZE: usize = 3;

fn post(number: u8) -> PostId {
    ObjectId::from_bytes([number; 12]).into()
}

fn at(time: u32) -> Timestamp {
    Timestamp { time, increment: 1 }
}

fn comment(post: PostId, number: u8, text: &str) -> Comment {
    let date = Some(DateTime::from_millis(i64::from(number) * 1_000));
    Comment {
        id: ObjectId::from_bytes([number; 12]).into(),
        post_id: post,
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

fn begin(pages: &Pages, time: u32) {
    pages.see(Seen::Began(at(time)));
    pages.see(Seen::Level(Instant::now()));
}

/// Pages whose stream goes on since time 10.
fn pages(bytes_max: usize) -> Arc<Pages> {
    let pages = Pages::new(bytes_max, PageMetrics::default());
    begin(&pages, 10);
    Arc::new(pages)
}

fn insert(pages: &Pages, time: u32, comment: &Comment) {
    pass(pages, (at(time), true), comment);
}

fn pass(pages: &Pages, at: (Timestamp, bool), comment: &Comment) {
    let posts = [comment.post_id];
    let change = || Some(ChangeKind::Inserted(comment.clone()));
    pages.pass(at, Some(&posts), change);
}

fn load(pages: &Arc<Pages>, post: PostId, comments: &[Comment], as_of: u32) {
    let loading = pages.begin(&[post]);
    finish(loading, post, comments, as_of);
}

fn finish(loading: Loading, post: PostId, comments: &[Comment], as_of: u32) {
    let comments: Vec<_> = comments.iter().cloned().map(Arc::new).collect();
    loading.finish(&HashMap::from([(post, comments)]), SIZE, at(as_of));
}

fn look(pages: &Pages, post: PostId) -> String {
    match pages.look(post, SIZE, None) {
        Look::Found(comments) => {
            let texts = comments.iter().map(|it| it.text.as_str());
            texts.collect::<Vec<_>>().join(" ")
        }
        Look::Behind(_) => "behind".to_owned(),
        Look::Loading(_) => "loading".to_owned(),
        Look::Missing(_) => "missing".to_owned(),
        Look::Off => "off".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn changes_during_a_load_are_applied_once() {
    let pages = pages(MUCH);
    let post = post(1);
    let (a, b, c) = (
        comment(post, 1, "A"),
        comment(post, 2, "B"),
        comment(post, 3, "C"),
    );
    insert(&pages, 11, &a);
    let loading = pages.begin(&[post]);
    assert_eq!(look(&pages, post), "loading");
    insert(&pages, 12, &b);
    insert(&pages, 14, &c);
    finish(loading, post, &[b, a], 13);
    assert_eq!(look(&pages, post), "C B A");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_from_before_the_load_began_is_not_kept() {
    let pages = pages(MUCH);
    let post = post(1);
    insert(&pages, 12, &comment(post, 1, "A"));
    load(&pages, post, &[], 11);
    let missing = pages.look(post, SIZE, None);
    assert!(matches!(missing, Look::Missing(time) if time == at(12)));
    load(&pages, post, &[], 12);
    assert_eq!(look(&pages, post), "");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_dropped_keeps_nothing_and_wakes_who_waits() {
    let pages = pages(MUCH);
    let post = post(1);
    let loading = pages.begin(&[post]);
    let Look::Loading(done) = pages.look(post, SIZE, None) else {
        panic!("it is being loaded");
    };
    let other = pages.begin(&[post]);
    finish(other, post, &[], 20);
    assert_eq!(look(&pages, post), "loading", "only one is registered");
    drop(loading);
    assert!(done.has_changed().is_err(), "its sender is gone");
    assert_eq!(look(&pages, post), "missing");
}

#[tokio::test(start_paused = true)]
async fn nothing_outlives_the_end_of_the_stream() {
    let pages = pages(MUCH);
    let post = post(1);
    load(&pages, post, &[comment(post, 1, "A")], 11);
    let loading = pages.begin(&[self::post(2)]);
    pages.see(Seen::Ended);
    assert_eq!(look(&pages, post), "off");
    pages.see(Seen::Began(at(12)));
    assert_eq!(look(&pages, post), "off", "it has shown nothing yet");
    pages.see(Seen::Reached(at(12)));
    assert_eq!(look(&pages, post), "off", "there may be more");
    pages.see(Seen::Level(Instant::now()));
    assert_eq!(look(&pages, post), "missing");
    finish(loading, self::post(2), &[], 20);
    assert_eq!(look(&pages, self::post(2)), "missing", "of another line");
    assert_eq!(pages.metrics.bytes.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_not_used_until_a_late_stream_has_shown_all() {
    let pages = pages(MUCH);
    let post = post(1);
    load(&pages, post, &[], 10);
    tokio::time::advance(LEVEL_FOR).await;
    assert_eq!(look(&pages, post), "");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(look(&pages, post), "off");
    insert(&pages, 11, &comment(post, 1, "A"));
    assert_eq!(look(&pages, post), "off", "more may follow");
    insert(&pages, 12, &comment(post, 2, "B"));
    pages.see(Seen::Reached(at(12)));
    assert_eq!(look(&pages, post), "off");
    pages.see(Seen::Level(Instant::now()));
    assert_eq!(look(&pages, post), "B A");
}

#[tokio::test(start_paused = true)]
async fn what_may_be_of_any_post_drops_all_pages_and_loads() {
    let pages = pages(MUCH);
    let post = post(1);
    load(&pages, post, &[], 11);
    let loading = pages.begin(&[self::post(2)]);
    pages.pass((at(12), true), None, || panic!("nothing to decode"));
    assert_eq!(look(&pages, post), "missing");
    finish(loading, self::post(2), &[], 20);
    assert_eq!(look(&pages, self::post(2)), "missing");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_does_not_fit_drops_the_page() {
    let pages = pages(MUCH);
    let post = post(1);
    let a = comment(post, 1, "A");
    load(&pages, post, std::slice::from_ref(&a), 11);
    insert(&pages, 12, &a);
    assert_eq!(look(&pages, post), "missing");
    assert_eq!(pages.metrics.doubtful.get(), 1);
    assert_eq!(pages.metrics.bytes.get(), 0);
}

/// What a reader who asks for a time waits for.
fn behind(pages: &Pages, post: PostId, seen: Option<u32>) -> Shown {
    match pages.look(post, SIZE, seen.map(at)) {
        Look::Behind(required) => required,
        _ => panic!("it is not behind"),
    }
}

fn is_waiting(waiting: &mut (impl Future<Output = ()> + Unpin)) -> bool {
    futures_util::FutureExt::now_or_never(waiting).is_none()
}

#[tokio::test(start_paused = true)]
async fn readers_wait_until_an_own_write_is_shown_and_no_longer() {
    let pages = pages(MUCH);
    let (post, other) = (post(1), post(2));
    load(&pages, post, &[], 11);
    load(&pages, other, &[], 11);
    pages.wrote(Some(post), at(13));
    assert_eq!(look(&pages, other), "");
    let mut waiting = Box::pin(pages.reaches(behind(&pages, post, None)));
    assert!(is_waiting(&mut waiting));
    insert(&pages, 12, &comment(other, 2, "another"));
    assert!(is_waiting(&mut waiting));
    insert(&pages, 13, &comment(post, 1, "A"));
    assert!(!is_waiting(&mut waiting));
    assert_eq!(look(&pages, post), "A");
    // Of a post that is not known.
    pages.wrote(None, at(14));
    assert_eq!(look(&pages, other), "behind");
    pages.see(Seen::Reached(at(14)));
    assert_eq!(look(&pages, other), "another");
}

#[tokio::test(start_paused = true)]
async fn an_own_write_in_a_transaction_is_shown_by_its_end() {
    let pages = pages(MUCH);
    let post = post(1);
    load(&pages, post, &[], 11);
    pages.wrote(Some(post), at(13));
    let mut waiting = Box::pin(pages.reaches(behind(&pages, post, None)));
    pass(&pages, (at(13), false), &comment(post, 1, "A"));
    assert!(is_waiting(&mut waiting));
    pass(&pages, (at(13), false), &comment(post, 2, "B"));
    pages.see(Seen::Reached(at(13)));
    assert!(!is_waiting(&mut waiting));
    assert_eq!(look(&pages, post), "B A");
}

#[tokio::test(start_paused = true)]
async fn readers_wait_until_all_of_the_time_that_they_ask_for_is_shown() {
    let pages = pages(MUCH);
    let post = post(1);
    load(&pages, post, &[], 11);
    let mut waiting = Box::pin(pages.reaches(behind(&pages, post, Some(13))));
    insert(&pages, 13, &comment(post, 1, "A"));
    assert!(is_waiting(&mut waiting), "others of this time may follow");
    insert(&pages, 13, &comment(post, 2, "B"));
    pages.see(Seen::Reached(at(13)));
    assert!(!is_waiting(&mut waiting));
    assert_eq!(look(&pages, post), "B A");
    // What was read of a later time has it.
    load(&pages, post, &[], 20);
    let asked = pages.look(post, SIZE, Some(at(20)));
    assert!(matches!(asked, Look::Found(_)));
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_no_news() {
    let pages = pages(MUCH);
    let post = post(1);
    load(&pages, post, &[], 10);
    let asked = Instant::now();
    // The process was paused, with the answer in its socket.
    tokio::time::advance(2 * LEVEL_FOR).await;
    pages.see(Seen::Reached(at(10)));
    pages.see(Seen::Level(asked));
    assert_eq!(look(&pages, post), "off");
    pages.see(Seen::Level(Instant::now()));
    assert_eq!(look(&pages, post), "");
    pages.see(Seen::Level(asked));
    assert_eq!(look(&pages, post), "", "it only moves on");
}

#[tokio::test(start_paused = true)]
async fn without_snapshots_the_pages_that_there_are_serve_on() {
    let pages = pages(MUCH);
    let (post, other) = (post(1), post(2));
    load(&pages, post, &[comment(post, 1, "A")], 11);
    pages.refuse();
    assert_eq!(look(&pages, post), "A");
    assert_eq!(look(&pages, other), "off", "nothing is loaded");
    tokio::time::advance(REFUSED_FOR).await;
    pages.see(Seen::Level(Instant::now()));
    assert_eq!(look(&pages, other), "missing");
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_read_while_the_stream_is_late_stay() {
    let bytes_max = 64 << 10;
    let pages = pages(bytes_max);
    let text = "x".repeat(500);
    load(&pages, post(0), &[comment(post(0), 1, "read")], 11);
    for number in 1..=250 {
        pages.wrote(Some(post(0)), at(20));
        assert_eq!(look(&pages, post(0)), "behind");
        let comments = [comment(post(number), 1, &text)];
        load(&pages, post(number), &comments, 11);
    }
    pages.see(Seen::Reached(at(20)));
    assert_eq!(look(&pages, post(0)), "read");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_begins_while_a_change_is_read_has_the_change() {
    let pages = pages(MUCH);
    let (post, other) = (post(1), post(2));
    load(&pages, other, &[], 11);
    let a = comment(post, 1, "A");
    let mut loading = None;
    pages.pass((at(12), true), Some(&[other, post]), || {
        loading = Some(pages.begin(&[post]));
        Some(ChangeKind::Inserted(a.clone()))
    });
    let loading = loading.expect("the change was read without the lock");
    finish(loading, post, &[], 11);
    assert_eq!(look(&pages, post), "A");
}

#[tokio::test(start_paused = true)]
async fn own_writes_of_ever_more_posts_are_bounded() {
    let pages = pages(MUCH);
    for number in 0..2 * WRITTEN_POSTS_MAX {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&number.to_be_bytes());
        pages.wrote(Some(ObjectId::from_bytes(id).into()), at(20));
    }
    assert_eq!(pages.lock().written.len(), WRITTEN_POSTS_MAX);
    load(&pages, post(1), &[], 19);
    assert_eq!(look(&pages, post(1)), "behind", "it may be any post");
    pages.see(Seen::Reached(at(20)));
    assert_eq!(look(&pages, post(1)), "");
}

#[tokio::test(start_paused = true)]
async fn pages_that_nobody_reads_give_way() {
    let bytes_max = 64 << 10;
    let pages = pages(bytes_max);
    let text = "x".repeat(500);
    load(&pages, post(0), &[comment(post(0), 1, "read")], 11);
    for number in 1..=250 {
        let comments = [comment(post(number), 1, &text)];
        load(&pages, post(number), &comments, 11);
        assert_eq!(look(&pages, post(0)), "read", "{number}");
        assert!(pages.lock().bytes <= bytes_max);
    }
    assert_eq!(look(&pages, post(1)), "missing");
    assert_eq!(look(&pages, post(250)), text);
    let (evicted, kept) = (pages.metrics.evicted.get(), pages.metrics.pages.get());
    assert_eq!(evicted + kept as u64, 251);
    assert!(pages.lock().queue.len() <= 2 * kept as usize + 65);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_too_large_is_not_kept() {
    let pages = pages(64 << 10);
    let post = post(1);
    let large = "x".repeat((64 << 10) / PAGE_SHARE);
    load(&pages, post, &[comment(post, 1, &large)], 11);
    assert_eq!(look(&pages, post), "missing");
    load(&pages, post, &[], 11);
    insert(&pages, 12, &comment(post, 1, &large));
    assert_eq!(look(&pages, post), "missing", "it grew");
    assert_eq!(pages.lock().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_load_beside_too_many_changes_keeps_nothing() {
    let pages = pages(MUCH);
    let post = post(1);
    let loading = pages.begin(&[post]);
    for time in 0..=WAITING_CHANGES_MAX as u32 {
        insert(&pages, 11 + time, &comment(post, 1, "A"));
    }
    assert!(pages.lock().loads[&post].changes.is_none());
    finish(loading, post, &[], 1_000);
    assert_eq!(look(&pages, post), "missing");
}

#[tokio::test(start_paused = true)]
async fn without_memory_nothing_is_kept() {
    let pages = pages(0);
    load(&pages, post(1), &[], 11);
    assert_eq!(look(&pages, post(1)), "off");
    assert!(!pages.is_in_use());
}
