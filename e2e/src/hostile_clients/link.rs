//! The bandwidth of an attacker's network.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// 1 Gbit/s. The loopback interface carries a hundred times as much, which is nothing but the machine's own
/// processors copying: an attacker elsewhere sends no more than its link takes.
const BYTES_A_SECOND: u64 = 125_000_000;

/// The link of one attack, with all its clients.
#[derive(Debug, Default)]
pub(super) struct Link(Mutex<Option<Instant>>);

impl Link {
    /// Waits until the link has carried what others send, and takes the time for these bytes.
    pub(super) async fn carry(&self, bytes: usize) {
        let takes = Duration::from_nanos(bytes as u64 * 1_000_000_000 / BYTES_A_SECOND);
        let begin = {
            let mut free_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let begin = free_at.map_or(now, |at| at.max(now));
            *free_at = Some(begin + takes);
            begin
        };
        sleep_until(begin).await;
    }
}
