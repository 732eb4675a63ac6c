//! Who wrote how much of late (`commentWriters`): one document for each person, and for the guests of each post.
//!
//! A write is checked and noted in one update of that document, so the limits hold for any number of requests at the same
//! time, at any number of instances. A read before it refuses most of what is too much. Times are the server's. A document goes when all in it is older than the limits
//! look back.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawDocument, RawDocumentBuf, doc};
use changefeed::{SendAction, WithCauses, read_all};
use mongodb::error::{ErrorKind, RETRYABLE_WRITE_ERROR, WriteFailure};
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{Database, IndexModel};
use sha2::{Digest, Sha256};
use subgraph::viewer::exact;
use subgraph::{DateTime, Viewer};

use super::comment_keys::{DUPLICATE_KEY, code};
use super::{Collections, Idempotency, Store, of_author};
use crate::fair_use::PER_MINUTE_MOST;
use crate::{Comment, CommentId, CommentStatus, Error};

const WRITERS: &str = "commentWriters";
const MINUTE: Duration = Duration::from_secs(60);
/// The newest writes that are kept of one writer, in about 100 bytes each.
const KEPT_MAX: i64 = PER_MINUTE_MOST as i64;
/// How often a write with an idempotency key may come again without being counted.
const TRIES_MAX: i32 = 3;
const NOT_GIVEN_BACK: &str =
    "a comment may not have been written, and counts for the limits of its writer";

/// How much one writer may write.
#[derive(Clone, Copy, Debug)]
pub struct WritingLimits {
    /// Comments in a minute; 0 is no limit.
    pub per_minute: u32,
    /// In which time the same text may not come again; zero is no limit.
    pub repeat_within: Duration,
}

/// A comment that is about to be written, and the limits of its writer.
#[derive(Clone, Debug)]
pub struct Writing {
    writer: Document,
    text: Bson,
    /// Null without an idempotency key.
    key: Bson,
    /// Names the entry of this write.
    entry: ObjectId,
    limits: WritingLimits,
}

/// What was noted of a write, to be given back if nothing is written.
#[derive(Clone, Debug)]
pub(super) struct Note {
    writer: Document,
    entry: ObjectId,
    has_key: bool,
    /// Whether an attempt ended without an answer.
    pub may_be_written: bool,
}

impl Writing {
    /// By whoever is signed in, or by the guests of the comment's post.
    pub fn new(
        viewer: &Viewer,
        comment: &Comment,
        idempotency: Option<&Idempotency>,
        limits: WritingLimits,
    ) -> Self {
        let writer = match viewer.person() {
            Some(person) => doc! { "person": person.id.as_str() },
            None => doc! { "guestsOf": comment.post_id.object_id() },
        };
        let words: Vec<_> = comment.text.split_whitespace().collect();
        Self {
            writer,
            text: digest(&words.join(" ").to_lowercase()),
            key: idempotency.map_or(Bson::Null, |it| digest(&it.key.to_string())),
            entry: comment.id.object_id(),
            limits,
        }
    }
}

fn digest(text: &str) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: Sha256::digest(text)[..16].to_vec(),
    })
}

impl Store {
    /// Whether the person has a visible comment that is at least so old.
    pub async fn has_written_before(&self, person: &str, age: Duration) -> Result<bool, Error> {
        let now = DateTime::now().timestamp_millis();
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let before = bson::DateTime::from_millis(now.saturating_sub(age));
        let mut filter = of_author(person);
        filter.insert("createdAt", doc! { "$lte": before });
        let look = self.calls.run(|collections| async move {
            let found = collections.comments.find_one(filter).collation(exact());
            let found = found.projection(doc! { "_id": 1 }).send().await?;
            Ok(found.is_some())
        });
        look.await
    }

    /// Fails as an edit by the viewer, who is no moderator, would, whatever its text is.
    pub async fn require_editable(&self, id: CommentId, viewer: Viewer) -> Result<(), Error> {
        let look = self.calls.run(|collections| async move {
            let mut session = collections.session().await?;
            // Reads alone: to take a copy away belongs into a transaction.
            let located = collections.locate_all(id, &mut session).await?;
            let Some(comment) = located.kept().or(located.comment()) else {
                return Err(Error::CommentNotFound(id));
            };
            match comment.status {
                CommentStatus::Visible if viewer.may_change(&comment.owner) => Ok(()),
                CommentStatus::Visible => Err(viewer.refusal().into()),
                _ if !viewer.is_author(&comment.owner) => Err(Error::CommentNotFound(id)),
                CommentStatus::Held => Ok(()),
                CommentStatus::Hidden => Err(Error::CommentHidden(id)),
            }
        });
        look.await
    }

    /// Takes a note back in a call of its own. If there is no turn for it, the note stays.
    pub(super) async fn give_back(&self, note: Note, failure: Error) {
        let give_back = self.calls.run(|collections| async move {
            collections.give_back(note, &failure).await;
            Ok::<_, Error>(())
        });
        if let Err(error) = give_back.await {
            tracing::warn!(error = %WithCauses(&error), "{NOT_GIVEN_BACK}");
        }
    }
}

impl Collections {
    /// Takes note of a write, if the limits allow it; of none without limits.
    ///
    /// # Errors
    /// [`Error::TooManyComments`], [`Error::RepeatedComment`].
    pub(super) async fn note(&self, writing: Option<Writing>) -> Result<Option<Note>, Error> {
        let Some(writing) = writing else {
            return Ok(None);
        };
        // Most of the requests of a program that is refused all the time end here, without a write.
        if let Some(verdict) = self.judge(&writing).await? {
            verdict_of(&verdict)?;
        }
        let noted = match self.judge_and_keep(&writing).await {
            // The writer's first two writes at the same moment.
            Err(error) if code(&error) == Some(DUPLICATE_KEY) => {
                self.judge_and_keep(&writing).await
            }
            noted => noted,
        };
        let mut note = Note {
            entry: writing.entry,
            has_key: writing.key != Bson::Null,
            writer: writing.writer,
            may_be_written: false,
        };
        match noted {
            Ok(noted) => {
                let entry = noted.as_deref().map(verdict_of).transpose()?.flatten();
                note.entry = entry.unwrap_or(note.entry);
                Ok(Some(note))
            }
            Err(error) => {
                // It may be noted, and is not going to be written.
                self.remove(note, true).await;
                Err(error.into())
            }
        }
    }

    /// The verdict, which is not kept; none where one has to be kept: there is nothing of the writer, or the server's
    /// clock was set back since.
    async fn judge(&self, writing: &Writing) -> mongodb::error::Result<Option<RawDocumentBuf>> {
        let is_in_time = doc! { "$lte": [{ "$max": "$recent.at" }, "$$NOW"] };
        let mut stages = vec![doc! { "$match": { "_id": &writing.writer, "$expr": is_in_time } }];
        stages.extend(judge(writing));
        stages.push(doc! { "$project": { "last": 1, "_id": 0 } });
        let writers = self.database().collection::<RawDocumentBuf>(WRITERS);
        let verdicts = writers.aggregate(stages).with_type::<RawDocumentBuf>();
        Ok(read_all(verdicts.send().await?).await?.into_iter().next())
    }

    async fn judge_and_keep(
        &self,
        writing: &Writing,
    ) -> mongodb::error::Result<Option<RawDocumentBuf>> {
        let writers = self.database().collection::<RawDocumentBuf>(WRITERS);
        let mut stages = judge(writing);
        stages.push(keep(writing));
        let noted = writers
            .find_one_and_update(doc! { "_id": &writing.writer }, stages)
            .upsert(true)
            .return_document(ReturnDocument::After)
            .projection(doc! { "last": 1, "_id": 0 });
        noted.send().await
    }

    /// Takes a note back after a failure: all of it if surely nothing was written. If that is not known, the write
    /// counts, and a retry with its idempotency key has one more try.
    pub(super) async fn give_back(&self, note: Note, failure: &Error) {
        let is_over = !note.may_be_written && wrote_nothing(failure, note.has_key);
        if !is_over && !note.has_key {
            return;
        }
        self.remove(note, is_over).await;
    }

    /// Removes one try of an entry, and with the last one the entry, if it is over.
    async fn remove(&self, note: Note, is_over: bool) {
        let is_it = doc! { "$eq": ["$$it.entry", note.entry] };
        // Another request with the same key may have written it.
        let is_last_try = doc! { "$lte": ["$$it.tries", 1] };
        let stays = doc! { "$not": { "$and": [is_over, is_it.clone(), is_last_try] } };
        let kept = doc! { "$filter": { "input": "$recent", "as": "it", "cond": stays } };
        let one_less = doc! { "$mergeObjects": [
            "$$it", { "tries": { "$subtract": ["$$it.tries", 1] } },
        ] };
        let given_back = doc! { "$map": {
            "input": kept, "as": "it", "in": { "$cond": [is_it, one_less, "$$it"] },
        } };
        let writers = self.database().collection::<Document>(WRITERS);
        let update = vec![doc! { "$set": { "recent": given_back } }];
        let of_writer = doc! { "_id": note.writer, "recent.entry": note.entry };
        if let Err(error) = writers.update_one(of_writer, update).await {
            tracing::warn!(error = %WithCauses(&error), "{NOT_GIVEN_BACK}");
        }
    }
}

/// The entry of a write that may be written; none if the document cannot be read.
fn verdict_of(document: &RawDocument) -> Result<Option<ObjectId>, Error> {
    let Ok(last) = document.get_document("last") else {
        return Ok(None);
    };
    let wait = last.get_i64("waitMs").ok().map_or(0, seconds);
    match last.get_str("verdict") {
        Ok("many") => Err(Error::TooManyComments(wait)),
        Ok("repeated") => Err(Error::RepeatedComment(wait)),
        _ => Ok(last.get_object_id("entry").ok()),
    }
}

/// Whole seconds, rounded up: who comes after them is served.
fn seconds(wait_ms: i64) -> u64 {
    let wait_ms = u64::try_from(wait_ms).unwrap_or(0);
    wait_ms.div_ceil(1_000).max(1)
}

/// Whether a failed insert surely left nothing: it was not begun, or the server refused it.
fn wrote_nothing(failure: &Error, has_key: bool) -> bool {
    let Error::Database(error) = failure else {
        return true;
    };
    let is_answer = match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(_)) => true,
        // With a key, other commands come after the insert.
        ErrorKind::Command(_) | ErrorKind::ServerSelection { .. } => !has_key,
        _ => false,
    };
    is_answer && !error.contains_label(RETRYABLE_WRITE_ERROR)
}

/// The stages that leave in `recent` what counts, and in `last` the verdict on a write.
fn judge(writing: &Writing) -> Vec<Document> {
    let per_minute = i64::from(writing.limits.per_minute);
    let is_limited = per_minute > 0;
    // From the end of the list.
    let first_that_counts = -per_minute.max(1);
    let repeat_ms = ms(writing.limits.repeat_within);
    let minute_ms = ms(MINUTE);
    let is_since = |ms: i64| doc! { "$gt": ["$$it.at", { "$subtract": ["$$NOW", ms] }] };
    let those =
        |cond: Document| doc! { "$filter": { "input": "$recent", "as": "it", "cond": cond } };
    let has = |name: &str| doc! { "$gt": [{ "$size": name }, 0] };
    // The wait from the time of a write on.
    let wait = |at: Document, ms: i64| doc! { "$toLong": { "$subtract": [{ "$add": [at, ms] }, "$$NOW"] } };
    let is_same = doc! { "$and": [
        repeat_ms > 0, { "$eq": ["$$it.text", &writing.text] }, is_since(repeat_ms),
    ] };
    let oldest_that_counts = doc! { "$arrayElemAt": ["$$minute.at", first_that_counts] };
    let verdict = doc! { "$switch": {
        "branches": [
            {
                "case": has("$$own"),
                "then": { "verdict": "again", "entry": { "$first": "$$own.entry" } },
            },
            {
                "case": has("$$same"),
                "then": { "verdict": "repeated", "waitMs": wait(doc! { "$max": "$$same.at" }, repeat_ms) },
            },
            {
                "case": { "$and": [is_limited, { "$gte": [{ "$size": "$$minute" }, per_minute] }] },
                "then": { "verdict": "many", "waitMs": wait(oldest_that_counts, minute_ms) },
            },
        ],
        "default": { "verdict": "noted", "entry": writing.entry },
    } };
    let kept = doc! { "$cond": [{ "$isArray": "$recent" }, "$recent", []] };
    let since_window =
        doc! { "$filter": { "input": kept, "as": "it", "cond": is_since(window_ms(writing)) } };
    // A clock that was set back makes no wait longer than it was at first.
    let not_later = doc! { "$map": { "input": since_window, "as": "it", "in": {
        "$mergeObjects": ["$$it", { "at": { "$min": ["$$it.at", "$$NOW"] } }],
    } } };
    vec![
        doc! { "$set": { "recent": not_later } },
        // Unset first, because `$set` would add to what is there.
        doc! { "$unset": "last" },
        doc! { "$set": { "last": { "$let": {
            "vars": {
                "own": those(is_own(writing)),
                "same": those(is_same),
                "minute": those(is_since(minute_ms)),
            },
            "in": verdict,
        } } } },
    ]
}

/// The stage that keeps a write in `recent`, if it may be written.
fn keep(writing: &Writing) -> Document {
    let entry = doc! {
        "at": "$$NOW", "text": &writing.text, "key": &writing.key, "tries": 1, "entry": writing.entry,
    };
    let newest = doc! { "$slice": ["$recent", 1 - KEPT_MAX] };
    let tried_again = doc! { "$map": { "input": "$recent", "as": "it", "in": { "$cond": [
        is_own(writing),
        { "$mergeObjects": ["$$it", { "tries": { "$add": ["$$it.tries", 1] } }] },
        "$$it",
    ] } } };
    doc! { "$set": {
        "until": { "$add": ["$$NOW", window_ms(writing)] },
        "recent": { "$switch": {
            "branches": [
                {
                    "case": { "$eq": ["$last.verdict", "noted"] },
                    "then": { "$concatArrays": [newest, [entry]] },
                },
                { "case": { "$eq": ["$last.verdict", "again"] }, "then": tried_again },
            ],
            "default": "$recent",
        } },
    } }
}

/// Whether an entry is that of an earlier try of the same request.
fn is_own(writing: &Writing) -> Document {
    doc! { "$and": [
        { "$ne": [&writing.key, Bson::Null] },
        { "$eq": ["$$it.key", &writing.key] },
        { "$eq": ["$$it.text", &writing.text] },
        { "$lt": ["$$it.tries", TRIES_MAX] },
    ] }
}

/// How long a write matters for the limits.
fn window_ms(writing: &Writing) -> i64 {
    let minute_ms = match writing.limits.per_minute {
        0 => 0,
        _ => ms(MINUTE),
    };
    minute_ms.max(ms(writing.limits.repeat_within))
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Creates the index by which documents go when their time is over.
pub(super) async fn prepare(database: &Database) -> mongodb::error::Result<()> {
    let by_age = IndexModel::builder()
        .keys(doc! { "until": 1 })
        .options(IndexOptions::builder().expire_after(Duration::ZERO).build())
        .build();
    let writers = database.collection::<Document>(WRITERS);
    writers.create_index(by_age).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up() {
        for (ms, expected) in [(-1, 1), (0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(seconds(ms), expected);
        }
    }
}
