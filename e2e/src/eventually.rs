//! Waits for a condition, not for time.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Generous, because only a failing test uses it up.
const TIME_LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Asks until the answer is `Ok`, and returns it.
///
/// # Panics
/// When it is still `Err` after half a minute, with the last reason.
pub async fn eventually<T, F, Fut>(what: &str, mut condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + TIME_LIMIT;
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(reason) if Instant::now() > deadline => {
                panic!("not in time: {what}; last: {reason}")
            }
            Err(_) => sleep(POLL_INTERVAL).await,
        }
    }
}
