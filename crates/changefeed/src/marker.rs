//! Named points at which a test can hold the process, to kill it exactly there.
//!
//! With `CHANGEFEED_PAUSE_AT=<point>` in the environment, the first task that reaches the point
//! prints `paused at <point>` on standard error and waits there for ever, or, with
//! `CHANGEFEED_PAUSE_UNTIL=<path>`, until that file exists. Without the first variable a point costs
//! one comparison.

use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// After an event was read from the stream, before it is applied.
pub const EVENT_READ: &str = "event-read";
/// Inside a batch's transaction, after its writes and before the commit.
pub const IN_TRANSACTION: &str = "in-transaction";
/// After a batch's commit, before anything else.
pub const AFTER_COMMIT: &str = "after-commit";
/// After the lease was won, before the checkpoint is claimed.
pub const TAKEOVER: &str = "takeover";
/// In the middle of a rebuild: after a chunk's commit.
pub const MID_REBUILD: &str = "mid-rebuild";
/// After the last chunk of a build, before the switch to it.
pub const HAND_OVER: &str = "hand-over";

/// All points, for a test that goes through them.
pub const ALL: [&str; 6] = [
    EVENT_READ,
    IN_TRANSACTION,
    AFTER_COMMIT,
    TAKEOVER,
    MID_REBUILD,
    HAND_OVER,
];

static PAUSE_AT: LazyLock<Option<String>> =
    LazyLock::new(|| std::env::var("CHANGEFEED_PAUSE_AT").ok());

static PAUSE_UNTIL: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("CHANGEFEED_PAUSE_UNTIL").map(PathBuf::from));

/// How often it is looked for the file that ends a pause.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Waits when the environment names this point; returns at once otherwise.
pub async fn reach(point: &'static str) {
    if PAUSE_AT.as_deref() != Some(point) {
        return;
    }
    let Some(file) = &*PAUSE_UNTIL else {
        say_paused(point);
        return std::future::pending().await;
    };
    if !file.exists() {
        say_paused(point);
    }
    while !file.exists() {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// A test reads this; where nobody does, that is no reason to fail.
fn say_paused(point: &str) {
    let _ = writeln!(std::io::stderr(), "paused at {point}");
}
