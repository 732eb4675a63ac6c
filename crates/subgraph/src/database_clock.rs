//! The database's clock: what dates are written with.
//!
//! Lists are ordered by `createdAt`, and live events by the time at which the database has committed them. An instance
//! whose clock is slow would write a new comment below older ones, where a client that reads on from its newest one
//! never sees it. So the service compares its clock with that of the primary, and corrects it by what is certain: by
//! as little as the difference can be, given how long the answer took. Where the clocks agree, nothing is corrected.
//!
//! No step of a clock makes dates go back. Between two comparisons the time is that of the machine's monotonic clock:
//! whoever sets the machine's wall clock changes nothing. After an election the new primary's clock counts, but no date
//! is before the cluster's time, which every primary continues, nor before a date that this process wrote shortly before.
//!
//! `changefeed` has a `ServerClock` for its lag. It is another one on purpose: it is compared with times that the server
//! wrote with its wall clock, and never with the cluster's time.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use changefeed::WithCauses;
use futures_util::future::BoxFuture;
use mongodb::Database;
use mongodb::error::Result;
use service::prometheus_client::metrics::gauge::Gauge;
use service::{Lifecycle, Metrics};

/// How often the clocks are compared. Clocks of machines drift by less than a millisecond in this time.
const INTERVAL: Duration = Duration::from_secs(10);
/// The pause after a failure, until the first comparison has succeeded.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long the start waits for the first comparison.
const FIRST_TIME_LIMIT: Duration = Duration::from_secs(2);
/// A correction that operators should know of, in milliseconds.
const LARGE_MS: i64 = 1_000;
/// A step back of the database's clock that dates wait for, in milliseconds. After a larger one a clock was wrong, and
/// dates follow it back at once.
const HELD_BACK_MAX_MS: i64 = 60_000;

/// Before all times: nothing is known.
const NONE: i64 = i64::MIN;

/// Milliseconds by which the database's clock is ahead of this machine's. One for the process, as is the machine's clock.
static AHEAD_MS: AtomicI64 = AtomicI64::new(0);
/// No date is before this one.
static FLOOR_MS: AtomicI64 = AtomicI64::new(NONE);
/// The wall clock at the start, and when that was.
static START: LazyLock<(i64, Instant)> =
    LazyLock::new(|| (bson::DateTime::now().timestamp_millis(), Instant::now()));

/// The present on the database's clock, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    known().at(machine_ms())
}

/// This machine's time: that of the wall clock at the start, and what has passed since.
fn machine_ms() -> i64 {
    let (wall, start) = *START;
    let passed = i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX);
    wall.saturating_add(passed)
}

fn known() -> Known {
    Known {
        ahead: AHEAD_MS.load(Ordering::Relaxed),
        floor: FLOOR_MS.load(Ordering::Relaxed),
    }
}

/// What is known of the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    ahead: i64,
    floor: i64,
}

impl Known {
    /// The database's time at a time of the machine's.
    fn at(self, machine: i64) -> i64 {
        (machine + self.ahead).max(self.floor)
    }

    /// What is known after an answer.
    fn after(self, answer: Answer) -> Self {
        let ahead = corrected(self.ahead, answer.asked, answer.server, answer.answered);
        let (before, now) = (self.at(answer.answered), answer.answered + ahead);
        let held = match before - now {
            // Before the first answer, no date was written.
            1..=HELD_BACK_MAX_MS if self.floor != NONE => before,
            _ => NONE,
        };
        Self {
            ahead,
            floor: held.max(answer.cluster),
        }
    }
}

/// An answer of the primary, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// The machine's time of the question.
    asked: i64,
    /// The wall clock of the primary.
    server: i64,
    /// The second that the cluster's time has come to.
    cluster: i64,
    /// The machine's time of the answer.
    answered: i64,
}

/// Compares the clocks now, and goes on to do so for as long as the process lives. Returns once they were compared, or after
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
        let mut first = Some(first);
        loop {
            let is_known = compare_and_note(&database, &ahead).await;
            if is_known && let Some(first) = first.take() {
                // The start may not wait any more.
                let _ = first.send(());
            }
            let pause = if first.is_some() {
                FIRST_PAUSE
            } else {
                INTERVAL
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    });
    Box::pin(async move {
        let _ = tokio::time::timeout(FIRST_TIME_LIMIT, is_done).await;
    })
}

/// Whether the database has answered.
async fn compare_and_note(database: &Database, gauge: &Gauge) -> bool {
    let before = known();
    match ask(database, machine_ms).await {
        Ok(answer) => {
            let known = before.after(answer);
            FLOOR_MS.store(known.floor, Ordering::Relaxed);
            AHEAD_MS.store(known.ahead, Ordering::Relaxed);
            gauge.set(known.ahead);
            warn_if_large(before.ahead, known.ahead);
            true
        }
        // The last comparison stays right for hours.
        Err(error) => {
            tracing::warn!(error = %WithCauses(&error), "the database's clock could not be read, will retry");
            false
        }
    }
}

fn warn_if_large(before: i64, ahead: i64) {
    if ahead.abs() >= LARGE_MS && (ahead - before).abs() >= LARGE_MS {
        tracing::warn!(
            ahead_ms = ahead,
            "this machine's clock differs from the database's: dates are written by the database's clock"
        );
    }
}

/// Asks the primary for its time, and for the cluster's.
async fn ask(database: &Database, machine_ms: impl Fn() -> i64) -> Result<Answer> {
    let asked = machine_ms();
    let hello: Document = database.run_command(doc! { "hello": 1 }).await?;
    let answered = machine_ms();
    let server = hello.get_datetime("localTime");
    let server = server.map_err(mongodb::error::Error::custom)?;
    let cluster = hello.get_document("$clusterTime");
    let cluster = cluster.and_then(|cluster| cluster.get_timestamp("clusterTime"));
    Ok(Answer {
        asked,
        server: server.timestamp_millis(),
        cluster: cluster.map_or(NONE, |time| i64::from(time.time) * 1_000),
        answered,
    })
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

    const UNKNOWN: Known = Known {
        ahead: 0,
        floor: NONE,
    };

    /// An answer that took no time.
    fn answer(machine: i64, server: i64, cluster: i64) -> Answer {
        Answer {
            asked: machine,
            server,
            cluster,
            answered: machine,
        }
    }

    #[test]
    fn no_date_is_before_the_clusters_time_or_an_earlier_date() {
        let first = UNKNOWN.after(answer(100_000, 100_000, 99_000));
        assert_eq!(first.at(109_000), 109_000);
        // The new primary's clock is 5 s behind; the last date may have been written just now.
        let elected = first.after(answer(110_000, 105_000, 107_000));
        assert_eq!(elected.at(110_000), 110_000);
        assert_eq!(elected.at(112_000), 110_000);
        assert_eq!(elected.at(116_000), 111_001);
        // A process that has just started knows only the cluster's time.
        let started = UNKNOWN.after(answer(0, 105_000, 107_000));
        assert_eq!(started.at(1_000), 107_000);
        assert_eq!(started.at(3_000), 107_999);
        // Before the first answer nothing was written: a fast machine goes back at once.
        let fast = UNKNOWN.after(answer(130_000, 100_000, 99_000));
        assert_eq!(fast.at(131_000), 101_001);
        // The primary's clock was wrong, by an hour, and the new one's is right.
        let wrong = UNKNOWN.after(answer(100_000, 3_700_000, 0));
        assert_eq!(wrong.at(101_000), 3_700_999);
        let right = wrong.after(answer(110_000, 110_000, 109_000));
        assert_eq!(right.at(111_000), 111_001);
    }

    #[test]
    fn the_machines_time_never_goes_back() {
        let before = machine_ms();
        assert!(machine_ms() >= before);
        let wall = bson::DateTime::now().timestamp_millis();
        assert!(
            (machine_ms() - wall).abs() < 60_000,
            "it begins with the wall clock"
        );
    }

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
        let answer = ask(&database.database(), slow_ms).await;
        let answer = answer.expect("an answer");
        let ahead = UNKNOWN.after(answer).ahead;
        let took = i64::try_from(asked.elapsed().as_millis()).expect("a short time");
        assert!((ahead - 5_000).abs() <= took + 3, "{ahead} in {took} ms");
        // The database has just been written to, by whoever started it.
        let behind = answer.server - answer.cluster;
        assert!((0..600_000).contains(&behind), "{behind}");
    }
}
