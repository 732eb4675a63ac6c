//! A whole gateway with two small subgraphs, and clients for it.

pub mod counts;
pub mod defect;
pub mod freezer;
pub mod gateway;
pub mod issuer;
pub mod keeper;
pub mod news;
pub mod picky;
pub mod process;
pub mod registry;
pub mod scripted;
pub mod server;
pub mod tls;
pub mod ways;

use std::{future::Future, time::Duration};

pub use graphql_transport::testing::{PATIENCE, Socket, Wire};

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
