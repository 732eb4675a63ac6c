//! A service that floods its log, panics or hangs on request.

use std::sync::{Arc, Barrier};

use axum::routing::get;
use service::Lifecycle;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::{Config, operations, serve};

/// A service that, when it is asked to, logs more than a pipe and the queue of lines hold, panics, or
/// blocks every thread of its runtime.
pub async fn talkative(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let log = || async {
        for _ in 0..100 {
            tracing::error!(text = "x".repeat(32 * 1024), "a long line");
        }
        "logged"
    };
    let panic = || async {
        let number = std::hint::black_box(1);
        match tokio::spawn(async move { panic!("boom {number}") }).await {
            Err(error) if error.is_panic() => "caught",
            _ => "not a panic",
        }
    };
    let hang = || async {
        let threads = Handle::current().metrics().num_workers();
        let barrier = Arc::new(Barrier::new(threads));
        for _ in 0..threads {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                if barrier.wait().is_leader() {
                    tracing::info!("every thread hangs");
                }
                loop {
                    std::thread::park();
                }
            });
        }
        std::future::pending::<&'static str>().await
    };
    let router = axum::Router::new()
        .route("/log", get(log))
        .route("/panic", get(panic))
        .route("/hang", get(hang))
        .merge(operations(&config, &lifecycle).await?);
    serve(router, &config, listener, &lifecycle).await
}
