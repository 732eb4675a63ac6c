//! Named points at which a test can hold the process, to kill it exactly there.
//!
//! Only with the feature `failpoints`, for tests: otherwise [`reach`] does nothing, and the program holds
//! neither the names of the variables nor the code that reads them.
//!
//! With `CHANGEFEED_PAUSE_AT=<point>` in the environment, the first task that reaches the point prints
//! `paused at <point>` on standard error and waits there for ever, or, with `CHANGEFEED_PAUSE_UNTIL=<path>`,
//! until that file exists.

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

/// Returns at once: the feature `failpoints` is off.
#[cfg(not(feature = "failpoints"))]
pub(crate) async fn reach(_point: &str) {}

/// Waits when the environment names this point; returns at once otherwise.
#[cfg(feature = "failpoints")]
pub(crate) async fn reach(point: &'static str) {
    pause::at(point).await;
}

#[cfg(feature = "failpoints")]
mod pause {
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use std::time::Duration;

    static PAUSE_AT: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("CHANGEFEED_PAUSE_AT").ok());

    static PAUSE_UNTIL: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("CHANGEFEED_PAUSE_UNTIL").map(PathBuf::from));

    /// The interval at which a pause looks for the file that ends it.
    const LOOK_INTERVAL: Duration = Duration::from_millis(5);

    pub async fn at(point: &'static str) {
        if PAUSE_AT.as_deref() != Some(point) {
            return;
        }
        let Some(file) = &*PAUSE_UNTIL else {
            print(point);
            return std::future::pending().await;
        };
        if !file.exists() {
            print(point);
        }
        while !file.exists() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// A test reads this line. A failure to write it is ignored: nobody reads it then.
    fn print(point: &str) {
        let _ = writeln!(std::io::stderr(), "paused at {point}");
    }
}
