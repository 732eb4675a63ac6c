//! The database's clock: what dates are written with.
//!
//! Lists are ordered by `createdAt`, and live events by the time at which the database has committed them. An instance
//! whose clock is slow would write a new comment below older ones, where a client that reads on from its newest one
//! never sees it. So the service compares its clock with that of the primary, and corrects it by what is certain: by
//! as little as the difference can be, given how long the answer took. Where the clocks agree, nothing is corrected.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bson::{Document, doc};
use changefeed::WithCauses;
use futures_util::future::BoxFuture;
use mongodb::Database;
use mongodb::error::Result;
use service::prometheus_client::metrics::gauge::Gauge;
use service::{Lifecycle, Metrics};

/// How often the clocks are compared. Clocks of machines drift by less than a millisecond in this time.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long the start waits for the first comparison.
const FIRST_TIME_LIMIT: Duration = Duration::from_secs(2);
/// A correction that operators should know of, in milliseconds.
const LARGE_MS: i64 = 1_000;

/// Milliseconds by which the database's clock is ahead of this machine's. One for the process, as is the machine's clock.
static AHEAD_MS: AtomicI64 = AtomicI64::new(0);

/// The present on the database's clock, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    machine_ms() + AHEAD_MS.load(Ordering::Relaxed)
}

fn machine_ms() -> i64 {
    bson::DateTime::now().timestamp_millis()
}

/// Compares the clocks now, and goes on to do so for as long as the process lives. Returns after the first time, or after
/// two seconds.
pub fn follow<'a>(
    database: &Database,
    lifecycle: &'a Lifecycle,
    metrics: &Metrics,
) -> BoxFuture<'a, ()> {
    let ahead = metrics.register(
        "database_clock_ahead_milliseconds",
        "Milliseconds by which the database's clock is ahead of this machine's; dates are corrected by them",
        Gauge::<i64>::default(),
    );
    let database = database.clone();
    let (first, is_done) = tokio::sync::oneshot::channel();
    let shutdown = lifecycle.shutdown().clone();
    lifecycle.spawn("the comparison with the database's clock", async move {
        compare_and_note(&database, &ahead).await;
        // The start may not wait any more.
        let _ = first.send(());
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            compare_and_note(&database, &ahead).await;
        }
    });
    Box::pin(async move {
        let _ = tokio::time::timeout(FIRST_TIME_LIMIT, is_done).await;
    })
}

async fn compare_and_note(database: &Database, gauge: &Gauge) {
    let before = AHEAD_MS.load(Ordering::Relaxed);
    match compare(database, before, machine_ms).await {
        Ok(ahead) => {
            AHEAD_MS.store(ahead, Ordering::Relaxed);
            gauge.set(ahead);
            if ahead.abs() >= LARGE_MS && (ahead - before).abs() >= LARGE_MS {
                tracing::warn!(
                    ahead_ms = ahead,
                    "this machine's clock differs from the database's: dates are written by the database's clock"
                );
            }
        }
        // The last comparison stays right for hours.
        Err(error) => {
            tracing::warn!(error = %WithCauses(&error), "the database's clock could not be read, will retry");
        }
    }
}

/// How far the database's clock is ahead, as near to `before` as an answer of the primary allows.
async fn compare(database: &Database, before: i64, machine_ms: impl Fn() -> i64) -> Result<i64> {
    let asked = machine_ms();
    let hello: Document = database.run_command(doc! { "hello": 1 }).await?;
    let answered = machine_ms();
    let Ok(server) = hello.get_datetime("localTime") else {
        return Ok(before);
    };
    Ok(corrected(
        before,
        asked,
        server.timestamp_millis(),
        answered,
    ))
}

/// The difference that is nearest to `before`, of those with which the server's clock showed `server` at some moment
/// between the question and its answer.
fn corrected(before: i64, asked: i64, server: i64, answered: i64) -> i64 {
    // All three are cut to milliseconds. A clock that was set back meanwhile says nothing.
    let (least, most) = (server - answered - 1, server - asked + 1);
    if least > most {
        return before;
    }
    before.clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_corrected_by_no_more_than_is_certain() {
        for (before, asked, server, answered, expected) in [
            // They agree, as far as anybody can tell.
            (0, 1_000, 1_001, 1_003, 0),
            (2, 1_000, 1_001, 1_003, 2),
            // Slow by five seconds, give or take the way there and back.
            (0, 1_000, 6_001, 1_004, 4_996),
            // Fast by five seconds.
            (0, 6_000, 1_002, 6_004, -4_997),
            // What was learned from a quick answer is kept where a slow one allows it.
            (5_000, 1_000, 6_400, 2_000, 5_000),
            // The clocks agree again.
            (5_000, 1_000, 1_001, 1_003, 2),
            // The clock was set back between the two.
            (7, 9_000, 1_002, 1_000, 7),
        ] {
            let ahead = corrected(before, asked, server, answered);
            assert_eq!(ahead, expected, "{before} {asked} {server} {answered}");
        }
    }

    #[tokio::test]
    async fn a_slow_machine_learns_the_databases_time() {
        let database = embedded_mongo::test_database().await;
        let slow_ms = || machine_ms() - 5_000;
        let asked = std::time::Instant::now();
        let ahead = compare(&database.database(), 0, slow_ms).await;
        let ahead = ahead.expect("an answer");
        let took = i64::try_from(asked.elapsed().as_millis()).expect("a short time");
        assert!((ahead - 5_000).abs() <= took + 3, "{ahead} in {took} ms");
    }
}
