//! Who wrote how much of late (`commentWriters`): one document for each person, and for the guests of each post.
//!
//! A write is checked and noted in one update of that document, so the limits hold for any number of requests at the same
//! time, at any number of instances. Times are the server's. A document goes when all in it is older than the limits
//! look back.

use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawDocumentBuf, doc};
use changefeed::SendAction;
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{Database, IndexModel};
use sha2::{Digest, Sha256};
use subgraph::{DateTime, Viewer};

use super::comment_keys::{DUPLICATE_KEY, code};
use super::{Collections, Idempotency, Store};
use crate::fair_use::PER_MINUTE_MOST;
use crate::{Comment, Error};

const WRITERS: &str = "commentWriters";
const MINUTE: Duration = Duration::from_secs(60);
/// The newest writes that are kept of one writer, in about 70 bytes each.
const KEPT_MAX: i64 = PER_MINUTE_MOST as i64;
/// How often a write with an idempotency key may come again without being counted.
const TRIES_MAX: i32 = 3;

/// How much one writer may write.
#[derive(Clone, Copy, Debug)]
pub struct WritingLimits {
    /// Comments in a minute; 0 is no limit.
    pub per_minute: u32,
    /// In which time the same text may not come again; zero is no limit.
    pub repeat_within: Duration,
}

/// A comment that is about to be written.
#[derive(Clone, Debug)]
pub struct Writing {
    writer: Document,
    text: Bson,
    /// Null without an idempotency key.
    key: Bson,
}

/// Whether a comment may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It may, and is counted.
    Allowed,
    /// It may after this time: so many were written in the last minute.
    TooMany(Duration),
    /// Its text may come again after this time.
    Repeated(Duration),
}

impl Writing {
    /// By whoever is signed in, or by the guests of the comment's post.
    pub fn new(viewer: &Viewer, comment: &Comment, idempotency: Option<&Idempotency>) -> Self {
        let writer = match viewer.person() {
            Some(person) => doc! { "person": person.id.as_str() },
            None => doc! { "guestsOf": comment.post_id.object_id() },
        };
        let words: Vec<_> = comment.text.split_whitespace().collect();
        Self {
            writer,
            text: digest(&words.join(" ").to_lowercase()),
            key: idempotency.map_or(Bson::Null, |it| digest(&it.key().to_string())),
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
    /// Takes note of a write, if the limits allow it.
    pub async fn note_writing(
        &self,
        writing: Writing,
        limits: WritingLimits,
    ) -> Result<Noted, Error> {
        let noted = self.calls.run(move |collections| async move {
            match collections.note_writing(&writing, limits).await {
                // The writer's first two writes at the same moment.
                Err(error) if code(&error) == Some(DUPLICATE_KEY) => {
                    Ok(collections.note_writing(&writing, limits).await?)
                }
                noted => Ok(noted?),
            }
        });
        noted.await
    }

    /// Whether the person has a comment that is at least so old.
    pub async fn has_written_before(&self, person: &str, age: Duration) -> Result<bool, Error> {
        let now = DateTime::now().timestamp_millis();
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let before = bson::DateTime::from_millis(now.saturating_sub(age));
        let filter = doc! { "authorId": person, "createdAt": { "$lte": before } };
        let look = self.calls.run(|collections| async move {
            let found = collections.comments.find_one(filter);
            let found = found.projection(doc! { "_id": 1 }).send().await?;
            Ok(found.is_some())
        });
        look.await
    }
}

impl Collections {
    async fn note_writing(
        &self,
        writing: &Writing,
        limits: WritingLimits,
    ) -> mongodb::error::Result<Noted> {
        let writers = self.database().collection::<RawDocumentBuf>(WRITERS);
        let noted = writers
            .find_one_and_update(doc! { "_id": &writing.writer }, stages(writing, limits))
            .upsert(true)
            .return_document(ReturnDocument::After)
            .projection(doc! { "last": 1, "_id": 0 })
            .send()
            .await?;
        let last = noted.as_ref().and_then(|it| it.get_document("last").ok());
        let wait = last.and_then(|last| last.get_i64("waitMs").ok());
        let wait = Duration::from_millis(wait.and_then(|it| it.try_into().ok()).unwrap_or(0));
        Ok(match last.and_then(|last| last.get_str("verdict").ok()) {
            Some("many") => Noted::TooMany(wait),
            Some("repeated") => Noted::Repeated(wait),
            _ => Noted::Allowed,
        })
    }
}

/// The stages that judge a write and keep it in `recent`, if it may be written. `last` has the verdict.
fn stages(writing: &Writing, limits: WritingLimits) -> Vec<Document> {
    let per_minute = i64::from(limits.per_minute);
    let is_limited = per_minute > 0;
    // From the end of the list.
    let first_that_counts = -per_minute.max(1);
    let repeat_ms = ms(limits.repeat_within);
    let minute_ms = ms(MINUTE);
    let window_ms = if is_limited {
        minute_ms.max(repeat_ms)
    } else {
        repeat_ms
    };
    let is_since = |ms: i64| doc! { "$gt": ["$$it.at", { "$subtract": ["$$NOW", ms] }] };
    let those =
        |cond: Document| doc! { "$filter": { "input": "$recent", "as": "it", "cond": cond } };
    let has = |name: &str| doc! { "$gt": [{ "$size": name }, 0] };
    // The wait from the time of a write on.
    let wait = |at: Document, ms: i64| doc! { "$toLong": { "$subtract": [{ "$add": [at, ms] }, "$$NOW"] } };
    let is_own = doc! { "$and": [
        { "$ne": [&writing.key, Bson::Null] },
        { "$eq": ["$$it.key", &writing.key] },
        { "$eq": ["$$it.text", &writing.text] },
        { "$lt": ["$$it.tries", TRIES_MAX] },
    ] };
    let is_same = doc! { "$and": [{ "$eq": ["$$it.text", &writing.text] }, is_since(repeat_ms)] };
    let oldest_that_counts = doc! { "$arrayElemAt": ["$$minute.at", first_that_counts] };
    let verdict = doc! { "$switch": {
        "branches": [
            { "case": has("$$own"), "then": { "verdict": "again", "waitMs": 0_i64 } },
            {
                "case": has("$$same"),
                "then": { "verdict": "repeated", "waitMs": wait(doc! { "$max": "$$same.at" }, repeat_ms) },
            },
            {
                "case": { "$and": [is_limited, { "$gte": [{ "$size": "$$minute" }, per_minute] }] },
                "then": { "verdict": "many", "waitMs": wait(oldest_that_counts, minute_ms) },
            },
        ],
        "default": { "verdict": "noted", "waitMs": 0_i64 },
    } };
    let kept = doc! { "$cond": [{ "$isArray": "$recent" }, "$recent", []] };
    let entry = doc! { "at": "$$NOW", "text": &writing.text, "key": &writing.key, "tries": 1 };
    let tried_again = doc! { "$map": { "input": "$recent", "as": "it", "in": { "$cond": [
        is_own.clone(),
        { "$mergeObjects": ["$$it", { "tries": { "$add": ["$$it.tries", 1] } }] },
        "$$it",
    ] } } };
    let since_window =
        doc! { "$filter": { "input": kept, "as": "it", "cond": is_since(window_ms) } };
    let newest = doc! { "$slice": ["$recent", 1 - KEPT_MAX] };
    vec![
        doc! { "$set": { "recent": since_window } },
        doc! { "$set": { "last": { "$let": {
            "vars": { "own": those(is_own), "same": those(is_same), "minute": those(is_since(minute_ms)) },
            "in": verdict,
        } } } },
        doc! { "$set": {
            "until": { "$add": ["$$NOW", window_ms] },
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
        } },
    ]
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
