//! A whole gateway in front of two small subgraphs, and clients that speak to it.

pub mod counts;
pub mod defect;
pub mod gateway;
pub mod news;
pub mod picky;
pub mod scripted;
pub mod server;
pub mod socket;
pub mod tls;
pub mod wire;

use std::{future::Future, time::Duration};

/// Nothing in these tests takes this long unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub async fn eventually<F, Fut>(what: &str, condition: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "never came true: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
