//! Reads the truth from MongoDB itself and compares what posts and subscribers showed with it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::time::Duration;

use anyhow::Context;
use bson::{Document, Timestamp, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use mongodb::change_stream::event::{ChangeStreamEvent, OperationType};
use mongodb::options::FullDocumentType;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::fleet::{Fleet, Person};
use super::subscribers::Subscriber;
use super::writers::Act;

/// Posts and subscribers catch up within this time after the last fault.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Comments that a post embeds.
const LATEST: usize = 20;

/// One change as a subscriber sees it. Two changes of a run are equal only where a writer's edit was
/// carried out again because its acknowledgement was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A new comment.
    Added { id: String, text: String },
    /// A comment with a new text.
    Edited { id: String, text: String },
    /// The id of a deleted comment.
    Deleted(String),
}

/// What differs from the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// True, but never shown.
    pub lost: usize,
    /// Shown more than once, or never true.
    pub doubled: usize,
    /// Shown in another order.
    pub out_of_order: usize,
}

impl Findings {
    /// Whether there are none.
    pub fn is_clean(self) -> bool {
        self == Self::default()
    }

    /// Compares two sequences. The n-th of equal items in one stands for the n-th in the other.
    fn compare<T: Eq + std::hash::Hash>(truth: &[T], shown: &[T]) -> Self {
        Self::compare_with_gaps(truth, shown, &[]).0
    }

    /// The same where `gaps` were told, each after so many shown items: what is missing there is not lost. Returns how
    /// many those are, too.
    fn compare_with_gaps<T: Eq + std::hash::Hash>(
        truth: &[T],
        shown: &[T],
        gaps: &[usize],
    ) -> (Self, usize) {
        let mut places: HashMap<&T, VecDeque<usize>> = HashMap::new();
        for (place, item) in truth.iter().enumerate() {
            places.entry(item).or_default().push_back(place);
        }
        let mut findings = Self::default();
        let mut last = None;
        let mut shown_at = Vec::new();
        for item in shown {
            let place = places.get_mut(item).and_then(VecDeque::pop_front);
            shown_at.push(place);
            match place {
                Some(place) => {
                    findings.out_of_order += usize::from(last > Some(place));
                    last = last.max(Some(place));
                }
                None => findings.doubled += 1,
            }
        }
        // Between what was shown before a gap and what was shown after it.
        let told = gaps.iter().map(|gap| {
            let (before, after) = shown_at.split_at(*gap);
            let after = after.iter().flatten().next();
            let begin = before.iter().rev().flatten().next().map_or(0, |it| it + 1);
            // Nothing after it, nothing forgiven: the last change of all has to be shown.
            begin..after.copied().unwrap_or(begin)
        });
        let told: Vec<_> = told.collect();
        let is_told = |place: &usize| told.iter().any(|range| range.contains(place));
        let missing = places.into_values().flatten();
        let (told, lost): (Vec<usize>, Vec<usize>) = missing.partition(is_told);
        findings.lost = lost.len();
        (findings, told.len())
    }
}

impl std::ops::AddAssign for Findings {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.out_of_order += other.out_of_order;
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} lost, {} doubled, {} out of order",
            self.lost, self.doubled, self.out_of_order
        )
    }
}

impl Seen {
    /// Reads an item of `commentChanges`.
    pub fn from_graphql(change: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let comment = &change["comment"];
        Some(match change["__typename"].as_str()? {
            "CommentAdded" => Self::Added {
                id: text(&comment["id"])?,
                text: text(&comment["text"])?,
            },
            "CommentEdited" => Self::Edited {
                id: text(&comment["id"])?,
                text: text(&comment["text"])?,
            },
            "CommentDeleted" => Self::Deleted(text(&change["commentId"])?),
            _ => return None,
        })
    }
}

/// Every change of every post since the run began, from the collection's own change stream.
pub struct Truth {
    changes: HashMap<String, Vec<Seen>>,
}

impl Truth {
    /// Reads the change stream from `start` to the present.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub async fn read(fleet: &Fleet, start: Timestamp) -> anyhow::Result<Self> {
        let database = fleet.database().await?;
        let comments = database.collection::<Document>("comments");
        // The stream ends for us at a marker that is written now.
        let marker = ObjectId::new();
        database
            .collection::<Document>("comments")
            .insert_one(doc! { "_id": marker, "postId": marker })
            .await?;
        let mut stream = comments
            .watch()
            .start_at_operation_time(start)
            .full_document(FullDocumentType::WhenAvailable)
            .await?;
        let mut changes: HashMap<String, Vec<Seen>> = HashMap::new();
        let mut posts: HashMap<ObjectId, String> = HashMap::new();
        while let Some(event) = stream.try_next().await? {
            let key = event
                .document_key
                .as_ref()
                .context("a change without a key")?
                .get_object_id("_id")?;
            if key == marker {
                comments.delete_one(doc! { "_id": marker }).await?;
                return Ok(Self { changes });
            }
            let Some((post, seen)) = read_event(key, &event, &mut posts)? else {
                continue;
            };
            changes.entry(post).or_default().push(seen);
        }
        anyhow::bail!("the change stream ended before the present")
    }
}

fn read_event(
    key: ObjectId,
    event: &ChangeStreamEvent<Document>,
    posts: &mut HashMap<ObjectId, String>,
) -> anyhow::Result<Option<(String, Seen)>> {
    let text = || {
        anyhow::Ok(
            event
                .full_document
                .as_ref()
                .context("no post-image")?
                .get_str("text")?
                .to_owned(),
        )
    };
    let id = key.to_hex();
    let seen = match event.operation_type {
        OperationType::Insert => {
            let document = event
                .full_document
                .as_ref()
                .context("an insert without its document")?;
            posts.insert(key, document.get_object_id("postId")?.to_hex());
            Seen::Added { id, text: text()? }
        }
        OperationType::Update | OperationType::Replace => Seen::Edited { id, text: text()? },
        OperationType::Delete => Seen::Deleted(id),
        _ => return Ok(None),
    };
    Ok(posts.get(&key).map(|post| (post.clone(), seen)))
}

/// Looks for every acknowledged change in the collection's change stream.
pub fn check_writes(truth: &Truth, acknowledged: &[Seen]) -> Findings {
    let happened: HashSet<&Seen> = truth.changes.values().flatten().collect();
    Findings {
        lost: acknowledged
            .iter()
            .filter(|change| !happened.contains(change))
            .count(),
        ..Findings::default()
    }
}

/// Compares the moderator's acknowledged acts with the lines that they left: one for each.
///
/// # Errors
/// When the lines cannot be read.
pub async fn check_acts(fleet: &Fleet, mut acknowledged: Vec<Act>) -> anyhow::Result<Findings> {
    let lines = fleet
        .database()
        .await?
        .collection::<Document>("moderationActs");
    let lines: Vec<Document> = lines.find(doc! {}).await?.try_collect().await?;
    let mut left = Vec::new();
    for line in &lines {
        let act = line.get_str("act")?.to_owned();
        left.push((act, line.get_object_id("commentId")?.to_hex()));
    }
    // Acts of several writers have no order among each other.
    left.sort_unstable();
    acknowledged.sort_unstable();
    Ok(Findings::compare(&acknowledged, &left))
}

/// Compares every post's count and newest comments, at each instance of posts, with the collection.
///
/// # Errors
/// When the posts cannot be read.
pub async fn check_posts(fleet: &Fleet, posts: &[String]) -> anyhow::Result<Findings> {
    const POST: &str =
        "query ($id: ID!) { post(id: $id) { commentCount latestComments(first: 20) { id text } } }";
    let comments = fleet.database().await?.collection::<Document>("comments");
    let endpoints = fleet.endpoints_of_posts();
    let mut findings = Findings::default();
    let deadline = Instant::now() + CATCH_UP_LIMIT;
    for post in posts {
        let newest_first = doc! { "createdAt": -1, "_id": -1 };
        let truth: Vec<Document> = comments
            .find(doc! { "postId": ObjectId::parse_str(post)? })
            .sort(newest_first)
            .await?
            .try_collect()
            .await?;
        let item = |comment: &Document| {
            anyhow::Ok((
                comment.get_object_id("_id")?.to_hex(),
                comment.get_str("text")?.to_owned(),
            ))
        };
        let latest: Vec<_> = truth
            .iter()
            .take(LATEST)
            .map(item)
            .collect::<anyhow::Result<_>>()?;
        // Each change has one text, so a text twice is a change that was written twice.
        let texts: HashSet<&str> = truth
            .iter()
            .filter_map(|comment| comment.get_str("text").ok())
            .collect();
        findings.doubled += truth.len() - texts.len();
        for endpoint in &endpoints {
            findings += loop {
                let id = json!({ "id": post });
                let answer = fleet.ask(endpoint, Person::Moderator, POST, id).await;
                let post = &answer.unwrap_or_default()["data"]["post"];
                let found = compare_post(truth.len(), &latest, post);
                if found.is_clean() || Instant::now() > deadline {
                    break found;
                }
                sleep(POLL_INTERVAL).await;
            };
        }
    }
    Ok(findings)
}

fn compare_post(count: usize, latest: &[(String, String)], post: &Value) -> Findings {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let shown = post["latestComments"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let shown: Vec<_> = shown
        .iter()
        .map(|comment| (text(&comment["id"]), text(&comment["text"])))
        .collect();
    let mut findings = Findings::compare(latest, &shown);
    let shown_count = post["commentCount"]
        .as_u64()
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(0);
    findings.lost += count.saturating_sub(shown_count);
    findings.doubled += shown_count.saturating_sub(count);
    findings
}

/// What the subscribers went through, all together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Changes that they received.
    pub changes: usize,
    /// How often one connected again.
    pub reconnects: usize,
    /// How often one was told that changes may be missing, after the first change.
    pub gaps: usize,
    /// Changes that were missing there.
    pub told: usize,
    /// Subscribers that ended, or whose subscription the server completed.
    pub ended: usize,
    /// What is missing elsewhere, doubled, or out of order.
    pub findings: Findings,
}

/// Compares what each subscriber received, from its first change on, with the change stream: the received changes and
/// the gaps that it was told are all of it.
///
/// # Errors
/// When a subscriber received a first change that never happened.
pub async fn check_subscribers(
    truth: &Truth,
    subscribers: Vec<Subscriber>,
) -> anyhow::Result<Received> {
    let mut received = Received::default();
    let deadline = Instant::now() + CATCH_UP_LIMIT;
    for subscriber in subscribers {
        let changes = truth
            .changes
            .get(&subscriber.post)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let first = subscriber
            .with_log(|log| log.seen.first().cloned())
            .context("a subscriber saw nothing")?;
        let start = changes
            .iter()
            .position(|change| *change == first)
            .context("a change that never happened")?;
        let expected = &changes[start..];
        while subscriber.with_log(|log| log.seen.last() != expected.last())
            && Instant::now() < deadline
        {
            sleep(POLL_INTERVAL).await;
        }
        subscriber.with_log(|log| {
            let gaps: Vec<usize> = log.gaps.iter().copied().filter(|gap| *gap > 0).collect();
            let (found, told) = Findings::compare_with_gaps(expected, &log.seen, &gaps);
            if !found.is_clean() {
                let codes = &log.codes;
                eprintln!(
                    "a subscriber of {}: {found}; codes: {codes:?}",
                    subscriber.post
                );
            }
            received.changes += log.seen.len();
            received.reconnects += log.reconnects;
            received.gaps += gaps.len();
            received.told += told;
            received.ended += usize::from(log.has_ended);
            received.findings += found;
        });
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_difference_is_counted() {
        let truth = [1, 2, 3, 4];
        assert!(Findings::compare(&truth, &truth).is_clean());
        assert_eq!(Findings::compare(&truth, &[1, 2, 4]).lost, 1);
        assert_eq!(Findings::compare(&[1, 2], &[2]).lost, 1);
        assert_eq!(Findings::compare(&truth, &[1, 2, 2, 3, 4]).doubled, 1);
        assert_eq!(Findings::compare(&truth, &[1, 3, 2, 4]).out_of_order, 1);
        assert_eq!(Findings::compare(&truth, &[1, 2, 3, 4, 9]).doubled, 1);
    }

    #[test]
    fn a_change_that_was_carried_out_twice_is_shown_twice() {
        let truth = [1, 2, 1, 3];
        assert!(Findings::compare(&truth, &truth).is_clean());
        assert_eq!(Findings::compare(&truth, &[1, 2, 3]).lost, 1);
        assert_eq!(Findings::compare(&truth, &[1, 2, 1, 3, 1]).doubled, 1);
    }

    #[test]
    fn what_is_missing_in_a_gap_that_was_told_is_not_lost() {
        let truth = [1, 2, 3, 4, 5];
        let compare = |shown: &[i32], gaps: &[usize]| {
            let (findings, told) = Findings::compare_with_gaps(&truth, shown, gaps);
            (findings.lost, told)
        };
        assert_eq!(compare(&[1, 4, 5], &[1]), (0, 2));
        assert_eq!(compare(&[1, 4, 5], &[2]), (2, 0));
        assert_eq!(compare(&[1, 2], &[2]), (3, 0));
        assert_eq!(compare(&[2, 5], &[0]), (2, 1));
    }
}
