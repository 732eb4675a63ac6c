//! Signals, cancellation and background tasks: a task that dies ends the process with its reason.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The exit code of a process that was interrupted while it shut down, as shells have it: 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// The life of one process, or of one service in a test. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    shutdown: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Lifecycle {
    /// A life that ends only when [`Lifecycle::end`] is called or a task fails.
    pub fn new() -> Self {
        Self::default()
    }

    /// A life that ends at SIGINT or SIGTERM too. A SIGINT after that, from a person who does not
    /// want to wait, ends the process at once.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn until_signal() -> anyhow::Result<Self> {
        let lifecycle = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let shutdown = lifecycle.shutdown.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            tracing::info!(signal = name, "shutting down");
            shutdown.cancel();
            // Not at a second SIGTERM: some supervisors send it to a process and to its group.
            interrupt.recv().await;
            tracing::warn!("interrupted again: ending at once");
            std::process::exit(EXIT_INTERRUPTED);
        });
        Ok(lifecycle)
    }

    /// Cancelled when the life ends; tasks and long connections watch it.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Ends the life: everything that watches [`Lifecycle::shutdown`] winds up.
    pub fn end(&self) {
        self.shutdown.cancel();
    }

    /// Runs a task for as long as the process lives. It must return `Ok` soon after the shutdown;
    /// returning earlier, an error or a panic ends the process with that reason.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let lifecycle = self.clone();
        self.tasks.spawn(async move {
            let reason = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) if lifecycle.shutdown.is_cancelled() => return,
                Ok(Ok(())) => anyhow::anyhow!("{name} ended, though nobody asked it to"),
                Ok(Err(error)) => error.context(format!("{name} failed")),
                Err(_) => anyhow::anyhow!("{name} panicked"),
            };
            lifecycle.fail(reason);
        });
    }

    /// Waits for the background tasks, and returns the first failure among them.
    ///
    /// # Errors
    /// The reason of the first task that died.
    pub async fn finish(&self) -> anyhow::Result<()> {
        self.tasks.close();
        self.tasks.wait().await;
        match self.lock_failure().take() {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    fn fail(&self, reason: anyhow::Error) {
        tracing::error!(
            reason = format!("{reason:#}"),
            "a background task died: shutting down"
        );
        self.lock_failure().get_or_insert(reason);
        self.shutdown.cancel();
    }

    fn lock_failure(&self) -> std::sync::MutexGuard<'_, Option<anyhow::Error>> {
        self.failure
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_dies_ends_the_life_with_its_reason() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("projection", async { Err(anyhow::anyhow!("no primary")) });
        lifecycle.shutdown().cancelled().await;
        let reason = lifecycle.finish().await.expect_err("a failure");
        assert_eq!(format!("{reason:#}"), "projection failed: no primary");
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_the_life() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("feed", async { panic!("boom") });
        let reason = lifecycle.finish().await.expect_err("a failure");
        assert_eq!(reason.to_string(), "feed panicked");
    }

    #[tokio::test]
    async fn a_task_that_ends_after_the_shutdown_is_no_failure() {
        let lifecycle = Lifecycle::new();
        let shutdown = lifecycle.shutdown().clone();
        lifecycle.spawn("feed", async move {
            shutdown.cancelled().await;
            Ok(())
        });
        lifecycle.end();
        lifecycle.finish().await.expect("no failure");
    }
}
