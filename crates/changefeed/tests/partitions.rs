//! A projection in partitions: shared among instances, moved between them, and divided anew while it serves. Nothing is
//! lost or applied twice by any of it.

mod board;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use board::process::{self, Instance};
use board::{Board, PATIENCE, brisk, comment, metric, until};
use bson::{Bson, Document, doc};
use changefeed::{Projector, ProjectorSettings, marker};
use futures_util::TryStreamExt;
use prometheus_client::registry::Registry;

const POSTS: i64 = 40;

fn settings() -> ProjectorSettings {
    brisk().lease(Duration::from_millis(600)).partitions(4)
}

/// Not a test of its own: what the other tests start as another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_in_another_process() {
    process::run_if_asked(settings()).await;
}

/// The partitions that each instance has a valid lease of, the most first.
async fn shares(board: &Board) -> Vec<usize> {
    let held = doc! { "_id": { "$regex": "/" }, "$expr": { "$gt": ["$expires", "$$NOW"] } };
    let leases = board.own("changefeed_leases").find(held).await;
    let leases: Vec<Document> = leases.expect("read").try_collect().await.expect("read");
    let mut shares: HashMap<String, usize> = HashMap::new();
    for lease in &leases {
        let owner = lease.get_str("owner").expect("an owner");
        *shares.entry(owner.to_owned()).or_default() += 1;
    }
    let mut shares: Vec<usize> = shares.into_values().collect();
    shares.sort_unstable_by(|one, other| other.cmp(one));
    shares
}

async fn until_shared(board: &Board, expected: &[usize]) {
    until(&format!("it is shared {expected:?}"), || async {
        shares(board).await == expected
    })
    .await;
}

async fn fill(board: &Board, from: i64) {
    let many = (from..from + 10 * POSTS).map(|id| comment(id, 1 + id % POSTS, "text"));
    board.comments.insert_many(many).await.expect("stored");
}

async fn move_to(board: &Board, id: i64, post: i64) {
    let moved = doc! { "$set": { "post": post } };
    let moved = board.comments.update_one(doc! { "_id": id }, moved).await;
    assert_eq!(moved.expect("it is moved").matched_count, 1);
}

fn serving(projector: &Projector) -> Option<String> {
    projector.serving().map(|slot| slot.as_path().to_owned())
}

async fn until_serving(projector: &Projector, path: &str) {
    until(&format!("{path} serves"), || async {
        serving(projector).as_deref() == Some(path)
    })
    .await;
}

/// Between two changes of a writer, so that there are processors left for the leaders. Nothing waits for it.
const RHYTHM: Duration = Duration::from_millis(5);

/// Writes all kinds of changes until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    writing: tokio::task::JoinHandle<usize>,
}

impl Writer {
    async fn start(board: &Board, first: i64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let board = Board::open(board.uri.clone(), None).await;
        let stopped = stop.clone();
        let writing = tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(7);
            let (mut id, mut present) = (first, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                tokio::time::sleep(RHYTHM).await;
                let post = random.i64(1..=POSTS);
                if present.len() < 20 || random.u8(0..10) < 5 {
                    board.add(comment(id, post, "written meanwhile")).await;
                    present.push(id);
                    id += 1;
                    continue;
                }
                let place = random.usize(0..present.len());
                match random.u8(0..3) {
                    0 => board.edit(present[place], "edited").await,
                    1 => move_to(&board, present[place], post).await,
                    _ => board.delete(present.swap_remove(place)).await,
                }
            }
            (id - first) as usize
        });
        Self { stop, writing }
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.writing.await.expect("it wrote") > 20);
    }
}

/// Reads the checkpoints as fast as it can, and remembers whether one ever went back.
struct Watch(tokio::task::JoinHandle<Document>);

impl Watch {
    fn start(board: &Board) -> Self {
        let checkpoints = board.own("changefeed_checkpoints");
        Self(tokio::spawn(async move {
            let mut last: HashMap<String, (i64, bson::Timestamp)> = HashMap::new();
            loop {
                let Ok(found) = checkpoints.find(doc! { "_id": { "$regex": "/" } }).await else {
                    continue;
                };
                let found: Vec<Document> = found.try_collect().await.unwrap_or_default();
                for checkpoint in found {
                    let name = checkpoint.get_str("_id").expect("a name").to_owned();
                    let epoch = checkpoint.get_i64("epoch").expect("an epoch");
                    let position = checkpoint.get_timestamp("position").expect("a position");
                    let before = last.insert(name, (epoch, position));
                    if before.is_some_and(|(e, p)| epoch < e || position < p) {
                        return checkpoint;
                    }
                }
            }
        }))
    }

    async fn assert_never_went_back(self) {
        if self.0.is_finished() {
            panic!("a checkpoint went back: {:?}", self.0.await);
        }
        self.0.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_partitions_together_equal_the_fold_over_the_source() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    let projector = board.project(settings()).await;
    board.assert_projected(&projector).await;
    assert_eq!(serving(&projector).as_deref(), Some("feed.g1x4"));
    fill(&board, 2_000).await;
    board.edit(2_003, "edited").await;
    board.delete(2_399).await;
    board.delete(2_398).await;
    board.assert_projected(&projector).await;
    let checkpoints = board.own("changefeed_checkpoints");
    let partitions = checkpoints.count_documents(doc! { "serving": 1_i64 });
    assert_eq!(partitions.await.expect("a count"), 4);
    projector.stop().await;
    // Another start goes on where this one was.
    board.add(comment(5_000, 1, "meanwhile")).await;
    let projector = board.project(settings()).await;
    board.assert_projected(&projector).await;
    assert_eq!(serving(&projector).as_deref(), Some("feed.g1x4"));
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comment_that_is_moved_is_taken_from_one_post_and_given_to_the_other() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    let projector = board.project(settings()).await;
    board.assert_projected(&projector).await;
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..10 {
        for _ in 0..40 {
            let id = random.i64(1_000..1_000 + 10 * POSTS);
            move_to(&board, id, random.i64(1..=POSTS)).await;
        }
        board.assert_projected(&projector).await;
    }
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instances_share_the_partitions() {
    let board = Board::with_posts(POSTS).await;
    let one = board.project(settings()).await;
    until_shared(&board, &[4]).await;
    let two = board.project(settings()).await;
    until_shared(&board, &[2, 2]).await;
    let three = board.project(settings()).await;
    until_shared(&board, &[2, 1, 1]).await;
    until("each of them leads", || async {
        [&one, &two, &three].iter().all(|it| it.lag().leading)
    })
    .await;
    fill(&board, 1_000).await;
    for projector in [&one, &two, &three] {
        board.assert_projected(projector).await;
    }
    one.stop().await;
    until_shared(&board, &[2, 2]).await;
    fill(&board, 2_000).await;
    board.assert_projected(&two).await;
    two.stop().await;
    until_shared(&board, &[4]).await;
    fill(&board, 3_000).await;
    board.assert_projected(&three).await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_follows_the_present_number_and_leads_only_where_nobody_else_does() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    let service = board.project(settings()).await;
    until_shared(&board, &[4]).await;
    until_serving(&service, "feed.g1x4").await;
    let for_command = settings().partitions(1).for_command(true);
    let command = board.project(for_command.clone()).await;
    until_serving(&command, "feed.g1x4").await;
    command.rebuild().await.expect("it is rebuilt");
    until_serving(&command, "feed.g2x4").await;
    assert!(!command.lag().leading);
    command.stop().await;
    until_shared(&board, &[4]).await;
    service.stop().await;

    let command = board.project(for_command).await;
    command.rebuild().await.expect("it is rebuilt");
    until_serving(&command, "feed.g3x4").await;
    board.assert_projected(&command).await;
    command.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_lacks_a_checkpoint_or_a_lease_is_replaced() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    let projector = board.project(settings()).await;
    until_serving(&projector, "feed.g1x4").await;
    let lacking = [
        ("changefeed_checkpoints", "1/2", "feed.g2x4"),
        ("changefeed_leases", "2/3", "feed.g3x4"),
    ];
    for (collection, part, next) in lacking {
        let named = doc! { "_id": { "$regex": format!("/{part}$") } };
        let gone = board.own(collection).delete_one(named).await;
        assert_eq!(gone.expect("it is removed").deleted_count, 1);
        until_serving(&projector, next).await;
    }
    fill(&board, 2_000).await;
    board.assert_projected(&projector).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_take_over_from_one_that_is_killed() {
    for point in [
        marker::EVENT_READ,
        marker::IN_TRANSACTION,
        marker::AFTER_COMMIT,
    ] {
        let board = Board::with_posts(POSTS).await;
        let others = [
            board.project(settings()).await,
            board.project(settings()).await,
        ];
        until_shared(&board, &[2, 2]).await;
        board.assert_projected(&others[0]).await;
        let mut instance = Instance::start(&board, Some(point));
        instance.said("leading").await;
        until_shared(&board, &[2, 1, 1]).await;
        let watch = Watch::start(&board);
        fill(&board, 1_000).await;
        instance.said(&format!("paused at {point}")).await;
        move_to(&board, 1_000, 7).await;
        instance.kill();
        until_shared(&board, &[2, 2]).await;
        for projector in &others {
            board.assert_projected(projector).await;
        }
        watch.assert_never_went_back().await;
        for projector in others {
            projector.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_slept_through_its_leases_applies_nothing_twice() {
    let board = Board::with_posts(POSTS).await;
    let other = board.project(settings()).await;
    until_shared(&board, &[4]).await;
    let mut sleeper = Instance::start(&board, None);
    sleeper.said("leading").await;
    let watch = Watch::start(&board);
    for round in 1..=3 {
        until_shared(&board, &[2, 2]).await;
        sleeper.signal("-STOP");
        fill(&board, round * 1_000).await;
        board.assert_projected(&other).await;
        until_shared(&board, &[4]).await;
        sleeper.signal("-CONT");
        fill(&board, round * 1_000 + 500).await;
        board.assert_projected(&other).await;
    }
    watch.assert_never_went_back().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_keep_losing_their_leases_write_each_change_once() {
    let board = Board::with_posts(POSTS).await;
    let (one, two) = (
        board.project(settings()).await,
        board.project(settings()).await,
    );
    until_shared(&board, &[2, 2]).await;
    let writer = Writer::start(&board, 1_000).await;
    for _ in 0..10 {
        let run_out = doc! { "$set": { "expires": bson::DateTime::from_millis(0) } };
        let leases = board.own("changefeed_leases");
        leases
            .update_many(doc! {}, run_out)
            .await
            .expect("they run out");
        until_shared(&board, &[2, 2]).await;
    }
    writer.finish().await;
    board.assert_projected(&one).await;
    board.assert_projected(&two).await;
    one.stop().await;
    two.stop().await;
}

/// Writes a comment and reads its post again and again, as a reader who waits for their write.
async fn read_own_writes(board: &Board, projector: &Projector, stop: &AtomicBool, first: i64) {
    let mut id = first;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(RHYTHM).await;
        let post = 1 + id % POSTS;
        board.add(comment(id, post, "mine")).await;
        let (target, now) = (Bson::from(post), board.now().await);
        let passed = projector.wait_until_passed_for(&target, now, PATIENCE);
        passed.await.expect("it comes so far");
        // As the service does: at whichever slot serves now.
        let slot = projector.serving().expect("it serves");
        let found = board.posts.find_one(doc! { "_id": post }).await;
        let found = found.expect("read").expect("the post");
        let state = slot.state_in(&found).expect("a state");
        let newest = state.get_array("newest").expect("a list");
        let shows = |it: &Bson| {
            it.as_document()
                .is_some_and(|it| it.get_i64("id").ok() == Some(id))
        };
        assert!(newest.iter().any(shows), "{slot} lacks {id}: {state}");
        id += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_partitions_is_built_beside_what_serves() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    let one = board.project(settings().partitions(1)).await;
    board.assert_projected(&one).await;
    assert_eq!(serving(&one).as_deref(), Some("feed.g1"));
    let sets = board.own("changefeed_partitions");
    assert_eq!(sets.count_documents(doc! {}).await.expect("a count"), 0);

    let writer = Writer::start(&board, 10_000).await;
    let stop = AtomicBool::new(false);
    let divide = async {
        let four = board.project(settings().partitions(4)).await;
        until_serving(&four, "feed.g2x4").await;
        until_serving(&one, "feed.g2x4").await;
        let two = board.project(settings().partitions(2)).await;
        until_serving(&two, "feed.g3x2").await;
        until_serving(&one, "feed.g3x2").await;
        stop.store(true, Ordering::Relaxed);
        (four, two)
    };
    let reading = read_own_writes(&board, &one, &stop, 1_000_000);
    let ((four, two), ()) = tokio::join!(divide, reading);
    writer.finish().await;
    for projector in [&one, &four, &two] {
        board.assert_projected(projector).await;
    }
    for old in ["feed.g1", "feed.g2x4"] {
        until("the old states are gone", || async {
            let left = board
                .posts
                .count_documents(doc! { old: { "$exists": true } });
            left.await.expect("a count") == 0
        })
        .await;
    }
    until("the old partitions are gone", || async {
        let checkpoints = board.own("changefeed_checkpoints");
        let left = checkpoints.count_documents(doc! { "_id": { "$regex": "/" } });
        left.await.expect("a count") == 2
    })
    .await;
    fill(&board, 5_000).await;
    board.assert_projected(&one).await;
    for projector in [one, four, two] {
        projector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_division_goes_on_when_its_builders_are_killed() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    let whole = board.project(settings().partitions(1)).await;
    board.assert_projected(&whole).await;
    for point in [marker::MID_REBUILD, marker::HAND_OVER] {
        let before = serving(&whole);
        let mut instance = Instance::start(&board, Some(point));
        instance.said(&format!("paused at {point}")).await;
        if point == marker::MID_REBUILD {
            // (Where it is, this process may have built the others.)
            assert_eq!(serving(&whole), before, "the old state serves");
        }
        fill(&board, 2_000).await;
        instance.kill();
        until("the new partitions serve", || async {
            serving(&whole) != before
        })
        .await;
        board.assert_projected(&whole).await;
        board
            .comments
            .delete_many(doc! { "_id": { "$gte": 2_000_i64 } })
            .await
            .expect("deleted");
        let again = board.project(settings().partitions(1)).await;
        until("the whole serves", || async {
            serving(&whole).is_some_and(|path| path.ends_with("x1"))
        })
        .await;
        board.assert_projected(&whole).await;
        again.stop().await;
    }
    whole.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_and_a_dropped_collection_make_another_set() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    let mut registry = Registry::default();
    let one = board.project_with(settings(), &mut registry).await;
    let two = board.project(settings()).await;
    board.assert_projected(&two).await;
    two.rebuild().await.expect("rebuilt");
    board.assert_projected(&one).await;
    assert_eq!(serving(&one).as_deref(), Some("feed.g2x4"));
    board.comments.drop().await.expect("dropped");
    fill(&board, 2_000).await;
    until_serving(&one, "feed.g3x4").await;
    until_serving(&two, "feed.g3x4").await;
    board.assert_projected(&one).await;
    board.assert_projected(&two).await;
    assert_eq!(metric(&registry, "partitions", None), 4.0);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_replayed_by_the_partition_they_belong_to() {
    let board = Board::with_posts(POSTS).await;
    let projector = board.project(settings()).await;
    board.assert_projected(&projector).await;
    for id in 1..=12 {
        board.add(comment(id, id, "unfoldable")).await;
    }
    let letters = board.own("changefeed_dead_letters");
    until("they are set aside", || async {
        letters.count_documents(doc! {}).await.expect("a count") == 12
    })
    .await;
    let replayed = projector.replay_dead_letters().await.expect("replayed");
    assert_eq!((replayed.replayed, replayed.remaining), (12, 0));
    assert_eq!(letters.count_documents(doc! {}).await.expect("a count"), 0);
    board.assert_projected(&projector).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_that_come_after_their_comments_are_computed_by_their_partitions() {
    let board = Board::with_posts(POSTS).await;
    let projector = board.project(settings()).await;
    board.assert_projected(&projector).await;
    let late: Vec<i64> = (1_001..=1_010).collect();
    for post in &late {
        board.add(comment(*post, *post, "before its post")).await;
    }
    let now = board.now().await;
    let passed = projector.wait_until_passed(now, PATIENCE).await;
    passed.expect("it comes so far");
    let posts = late.iter().map(|post| doc! { "_id": post });
    board.posts.insert_many(posts).await.expect("stored");
    let marked = late.iter().copied().map(Bson::from).collect();
    projector.mark_for_repair(marked).await.expect("marked");
    until("they are computed", || async {
        board.projected(&projector).await == board.expected().await
    })
    .await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_wait_for_the_partitions_of_other_instances() {
    let board = Board::with_posts(POSTS).await;
    let instances = [
        board.project(settings()).await,
        board.project(settings()).await,
    ];
    until_shared(&board, &[2, 2]).await;
    for id in 1..=20 {
        let (post, place) = (
            1 + id % POSTS,
            usize::try_from(id % POSTS).expect("a place"),
        );
        board.add(comment(id, post, "text")).await;
        let (now, target) = (board.now().await, Bson::from(post));
        for projector in &instances {
            let passed = projector.wait_until_passed_for(&target, now, PATIENCE);
            let slot = passed.await.expect("its partition comes so far");
            let shown = &board.states(&slot).await[place].1;
            assert_eq!(shown.get_i64("count").ok(), Some(1));
            board.assert_projected(projector).await;
        }
    }
    for projector in instances {
        projector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_auditor_of_each_partition_looks_at_its_own_targets() {
    let board = Board::with_posts(POSTS).await;
    let auditing = settings()
        .audit_interval(Duration::from_millis(20))
        .audit_sample(100);
    let mut registry = Registry::default();
    let projector = board.project_with(auditing, &mut registry).await;
    fill(&board, 1_000).await;
    board.assert_projected(&projector).await;
    let divergences = || metric(&registry, "divergences_total", None);
    let audited = || metric(&registry, "audited_total", None);
    let before = audited();
    until("all are audited", || async {
        audited() > before + 4.0 * POSTS as f64
    })
    .await;
    assert_eq!(divergences(), 0.0);
    let spoiled = doc! { "$set": { "feed.g1x4.count": 99_i64 } };
    let spoiled = board
        .posts
        .update_many(doc! { "_id": { "$lte": 10_i64 } }, spoiled);
    spoiled.await.expect("spoiled");
    until("they are repaired", || async {
        board.projected(&projector).await == board.expected().await
    })
    .await;
    assert_eq!(divergences(), 10.0);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_without_its_pre_image_is_made_up_for() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    let projector = board.project(settings()).await;
    board.assert_projected(&projector).await;
    let images = |enabled: bool| {
        doc! { "collMod": "comments", "changeStreamPreAndPostImages": { "enabled": enabled } }
    };
    let off = board.database.run_command(images(false)).await;
    off.expect("they are off");
    move_to(&board, 1_000, 5).await;
    board.delete(1_399).await;
    board.delete(1_001).await;
    until("another set serves", || async {
        serving(&projector).is_some_and(|path| path != "feed.g1x4")
    })
    .await;
    until("it equals the fold", || async {
        board.projected(&projector).await == board.expected().await
    })
    .await;
    projector.stop().await;
}
