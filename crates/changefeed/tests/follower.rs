//! What a follower of a hub's stream is told.

mod board;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use board::{Board, Comment, comment};
use bson::Timestamp;
use changefeed::{Follower, Hub, HubMetrics, HubSettings, OperationTime, Seen, Source, UnknownLag};
use embedded_mongo::{Options, ReplicaSet};
use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria};
use mongodb::{Client, ClientSession};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// Writes down what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<Note>>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Note {
    /// When it was, and whether it was made in a transaction.
    Change(Timestamp, bool),
    Reached(Timestamp),
    Level {
        asked: Instant,
        told: Instant,
    },
    Other,
}

impl Follower<Comment> for Notes {
    fn see(&self, seen: Seen<'_, Comment>) {
        let note = match seen {
            Seen::Change(change) => Note::Change(change.cluster_time(), change.is_in_transaction()),
            Seen::Reached(time) => Note::Reached(time),
            Seen::Level(asked) => Note::Level {
                asked,
                told: Instant::now(),
            },
            Seen::Began(_) | Seen::Ended => Note::Other,
        };
        self.0.lock().expect("no panic").push(note);
    }

    fn is_in_use(&self) -> bool {
        true
    }
}

impl Notes {
    fn all(&self) -> Vec<Note> {
        self.0.lock().expect("no panic").clone()
    }

    async fn until(&self, what: &str, condition: impl Fn(&[Note]) -> bool) {
        let wait = async {
            while !condition(&self.all()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(board::PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("waited in vain until {what}: {:?}", self.all()));
    }
}

async fn follow(source: Source) -> (Hub<Comment>, Arc<Notes>) {
    let notes = Arc::<Notes>::default();
    let settings = HubSettings::default();
    let metrics = HubMetrics::register(&mut Registry::default());
    let hub = Hub::start_with(source, "post", settings, metrics, Some(notes.clone())).await;
    (hub.expect("the hub starts"), notes)
}

fn is_level(notes: &[Note]) -> bool {
    notes.iter().any(|note| matches!(note, Note::Level { .. }))
}

async fn insert(board: &Board, comments: &[Comment], session: &mut ClientSession) {
    session.start_transaction().await.expect("begun");
    for comment in comments {
        let inserted = board.comments.insert_one(comment).session(&mut *session);
        inserted.await.expect("inserted");
    }
    session.commit_transaction().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_larger_than_an_answer_is_not_over_before_its_end() {
    let set = ReplicaSet::start(Options::default()).await.expect("a node");
    let board = Board::at(set.uri_for("follower"), 1).await;
    let (hub, notes) = follow(board.source().await).await;
    notes.until("it is level", is_level).await;
    let client = board.database.client();
    let mut session = client.start_session().await.expect("a session");
    // Two of them fill an answer, which has room for 16 MB.
    let large = "x".repeat(6 << 20);
    let comments = [1, 2, 3].map(|id| comment(id, 1, &large));
    insert(&board, &comments, &mut session).await;
    let written = OperationTime::of(&session).expect("a time").timestamp();
    let is_over = |note: &Note| matches!(note, Note::Reached(time) if *time >= written);
    notes
        .until("all is shown", |all| all.iter().any(is_over))
        .await;
    let all = notes.all();
    let before = all.split(is_over).next().expect("the first part");
    let changes = before
        .iter()
        .filter(|it| **it == Note::Change(written, true));
    assert_eq!(changes.count(), 3);
    board.add(comment(4, 1, "alone")).await;
    let is_alone = |all: &[Note]| all.iter().any(|it| matches!(it, Note::Change(_, false)));
    notes.until("a change is alone", is_alone).await;
    hub.stop().await;
}

/// The server holds an answer back for 200 ms while there is nothing new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_are_as_old_as_the_question() {
    const PART_OF_IT: Duration = Duration::from_millis(100);
    let board = Board::with_posts(1).await;
    let (hub, notes) = follow(board.source().await).await;
    let waited = |all: &[Note]| {
        let mut all = all.iter();
        all.any(|note| matches!(note, Note::Level { asked, told } if *told - *asked > PART_OF_IT))
    };
    notes.until("an answer is old when it comes", waited).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_may_be_read_at_a_secondary_is_never_level() {
    let board = Board::with_posts(1).await;
    let mut options = ClientOptions::parse(&board.uri).await.expect("options");
    let preference = ReadPreference::SecondaryPreferred {
        options: Default::default(),
    };
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(preference));
    let streams = Client::with_options(options).expect("a client");
    let source = Source::new(streams, board.database.clone(), "comments");
    let lag = source.unknown_lag().await.expect("an answer");
    assert_eq!(lag, Some(UnknownLag::Secondaries));
    let at_primary = board.source().await.unknown_lag().await;
    assert_eq!(at_primary.expect("an answer"), None);
    let (hub, notes) = follow(source).await;
    let reached = |all: &[Note]| {
        let reached = all.iter().filter(|it| matches!(it, Note::Reached(_)));
        reached.count() > 6
    };
    notes.until("it goes on", reached).await;
    assert!(!is_level(&notes.all()));
    hub.stop().await;
}
