//! Who wrote how much of late (`commentWriters`): one document for each person, and for the guests of each post.
//!
//! A write is checked and noted in one update of that document, so the limits hold for any number of requests at the
//! same time, at any number of instances. A read before it refuses most of what is too much. What the server computes
//! there is in
//! `verdicts`. Times are the server's. A document goes when all in it is older than the limits look back.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawDocument, RawDocumentBuf, doc};
use changefeed::{SendAction, WithCauses, read_all};
use mongodb::error::{ErrorKind, RETRYABLE_WRITE_ERROR};
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{Database, IndexModel};
use sha2::{Digest, Sha256};
use subgraph::Viewer;
use subgraph::database_error::{DUPLICATE_KEY, code, is_refusal};

use super::verdicts::{judge, keep};
use super::{Collections, Idempotency, Store};
use crate::{Comment, Error};

const WRITERS: &str = "commentWriters";
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
    pub(super) text: Bson,
    /// Null without an idempotency key.
    pub(super) key: Bson,
    /// Names the entry of this write.
    pub(super) entry: ObjectId,
    pub(super) limits: WritingLimits,
}

/// What was noted of a write, to be given back if nothing is written.
#[derive(Clone, Debug)]
pub(super) struct Note {
    writer: Document,
    entry: ObjectId,
    has_key: bool,
    /// Whether the comment may be there, though no answer said so.
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
        let is_over = !note.may_be_written && wrote_nothing(failure);
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

/// Whether a request that failed like this, and knows of nothing that it may have written, surely left nothing.
fn wrote_nothing(failure: &Error) -> bool {
    let Error::Database(error) = failure else {
        return true;
    };
    let is_selection = matches!(error.kind.as_ref(), ErrorKind::ServerSelection { .. });
    is_refusal(error) || (is_selection && !error.contains_label(RETRYABLE_WRITE_ERROR))
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
