//! Faults of database commands. A test fails if its fault did not happen.

use bson::{Document, doc};
use embedded_mongo::ReplicaSet;

/// Generous, because only a failing test uses it up.
const TIME_LIMIT_MS: i32 = 30_000;

/// A fault that is to happen.
pub struct Armed<'a> {
    set: &'a ReplicaSet,
    primary: usize,
    what: String,
    /// How often the fail point has struck once the fault has happened.
    strikes: i64,
}

/// Makes the primary fail commands, as [`ReplicaSet::fail_commands`] does.
pub async fn arm<'a>(
    set: &'a ReplicaSet,
    app_name: &str,
    commands: &[&str],
    failure: Document,
    times: i32,
) -> Armed<'a> {
    let primary = set.primary().await.expect("a primary");
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    let before = set.admin_command(primary, off).await.expect("its count");
    let before = count(&before);
    set.fail_commands(app_name, commands, failure, times)
        .await
        .expect("a fail point");
    Armed {
        set,
        primary,
        what: format!("{commands:?} of {app_name:?}"),
        strikes: before + i64::from(times),
    }
}

impl Armed<'_> {
    /// Waits until all of the commands have failed.
    ///
    /// # Panics
    /// When fewer are sent in time: the fault would have tested nothing.
    pub async fn has_struck(self) {
        let all = doc! {
            "waitForFailPoint": "failCommand",
            "timesEntered": self.strikes,
            "maxTimeMS": TIME_LIMIT_MS,
        };
        let waited = self.set.admin_command(self.primary, all).await;
        waited.unwrap_or_else(|error| panic!("{} did not fail: {error}", self.what));
    }
}

/// [`arm`], and waits until all `times` of the commands have failed.
///
/// # Panics
/// As [`Armed::has_struck`].
pub async fn fail_commands(
    set: &ReplicaSet,
    app_name: &str,
    commands: &[&str],
    failure: Document,
    times: i32,
) {
    let armed = arm(set, app_name, commands, failure, times).await;
    armed.has_struck().await;
}

/// How often the fail point has struck since the server started.
fn count(configured: &Document) -> i64 {
    let count = configured.get("count");
    let count = count.and_then(|count| count.as_i64().or(count.as_i32().map(i64::from)));
    count.expect("the fail point's count")
}
