//! Faults of database commands. A test fails if its fault did not happen.

use bson::{Document, doc};
use embedded_mongo::ReplicaSet;

/// Generous, because only a failing test uses it up.
const TIME_LIMIT_MS: i32 = 30_000;

/// Makes the primary fail commands, as [`ReplicaSet::fail_commands`] does, and waits until all `times`
/// of them have failed.
///
/// # Panics
/// When fewer are sent in time: the fault would have tested nothing.
pub async fn fail_commands(
    set: &ReplicaSet,
    app_name: &str,
    commands: &[&str],
    failure: Document,
    times: i32,
) {
    let primary = set.primary().await.expect("a primary");
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    let before = set.admin_command(primary, off).await.expect("its count");
    let before = count(&before);
    set.fail_commands(app_name, commands, failure, times)
        .await
        .expect("a fail point");
    let all = doc! {
        "waitForFailPoint": "failCommand",
        "timesEntered": before + i64::from(times),
        "maxTimeMS": TIME_LIMIT_MS,
    };
    let waited = set.admin_command(primary, all).await;
    waited.unwrap_or_else(|error| panic!("{commands:?} of {app_name:?} did not fail: {error}"));
}

/// How often the fail point has struck since the server started.
fn count(configured: &Document) -> i64 {
    let count = configured.get("count");
    let count = count.and_then(|count| count.as_i64().or(count.as_i32().map(i64::from)));
    count.expect("the fail point's count")
}
