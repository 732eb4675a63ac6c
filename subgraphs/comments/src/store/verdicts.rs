//! The verdict on a write, by what its writer wrote before: the stages by which the server reaches it, in one update.

use bson::{Bson, Document, doc};
use std::time::Duration;

use super::writers::Writing;
use crate::fair_use::PER_MINUTE_MOST;

const MINUTE: Duration = Duration::from_secs(60);
/// The newest writes that are kept of one writer, in about 100 bytes each.
const KEPT_MAX: i64 = PER_MINUTE_MOST as i64;
/// How often a write with an idempotency key may come again without being counted.
const TRIES_MAX: i32 = 3;

/// The stages that leave in `recent` what counts, and in `last` the verdict on a write.
pub(super) fn judge(writing: &Writing) -> Vec<Document> {
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
pub(super) fn keep(writing: &Writing) -> Document {
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
