//! Signals, cancellation and background tasks: a task that dies ends the process with its reason.

use std::future::Future;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{SetOnce, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry;

/// The exit code of a process that was interrupted while it shut down, as shells have it: 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;
/// The exit code of a process that was terminated while it shut down: 128 + SIGTERM.
const EXIT_TERMINATED: i32 = 143;
/// A second SIGTERM within this time is the same one: some supervisors send it to a process and to its group.
const SAME_SIGNAL_TIME: Duration = Duration::from_secs(1);
/// The exit code of a process that did not end in time.
const EXIT_ABANDONED: i32 = 1;

/// Shutdown and background tasks of one process, or of one service in a test. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// Cancelled with the shutdown at the latest.
    leaving: CancellationToken,
    shutdown: CancellationToken,
    /// Cancelled when no client is served any more, but for those that outlast the grace period.
    drained: CancellationToken,
    /// Cancelled when nothing is served any more.
    served: CancellationToken,
    /// Those that serve clients.
    serving: TaskTracker,
    tasks: TaskTracker,
    /// Those that tell of the others, and end after them.
    last: TaskTracker,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
    is_serving: Arc<AtomicBool>,
    operations: Arc<SetOnce<SocketAddr>>,
    /// Counts the signals to read everything again.
    reloads: watch::Sender<u64>,
}

impl Lifecycle {
    /// A lifecycle that ends only when [`Lifecycle::end`] is called or a task fails.
    pub fn new() -> Self {
        Self::default()
    }

    /// A lifecycle that also ends at SIGINT, or `delay` after SIGTERM: see [`Lifecycle::leave`]. A second signal is from
    /// somebody who does not want to wait: during the delay it begins the shutdown, later it ends the process at once.
    /// A process that still runs `limit` after the shutdown began is ended with exit code 1 and a logged reason,
    /// whatever hangs in it. `name` is the program's.
    ///
    /// A thread of its own does this: it works while every thread of the runtime is busy or blocked.
    /// It also catches SIGXFSZ, by which a log file at the limit of file sizes would kill the process.
    ///
    /// # Errors
    /// When the thread cannot be started or the signal handlers cannot be installed.
    pub fn until_signal(
        name: &'static str,
        delay: Duration,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let lifecycle = Self::new();
        let life = lifecycle.clone();
        let (installed, result) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(installed.send(Err(error))),
                };
                runtime.block_on(async {
                    match Signals::install() {
                        Ok(signals) => {
                            let _ = installed.send(Ok(()));
                            tokio::join!(
                                signals.heed(&life, delay),
                                enforce(name, &life.shutdown, limit)
                            );
                        }
                        Err(error) => drop(installed.send(Err(error))),
                    }
                });
            })
            .context("cannot start the thread that waits for signals")?;
        result
            .recv()
            .context("the thread that waits for signals ended")?
            .context("cannot install the signal handlers")?;
        Ok(lifecycle)
    }

    /// Lets SIGHUP call for a reload ([`Lifecycle::reloads`]), until the shutdown. Where the process has a terminal, the
    /// signal says that the terminal is gone, and ends the process as without this.
    ///
    /// # Errors
    /// When the signal handler cannot be installed.
    pub(crate) fn reload_at_hangup(&self) -> anyhow::Result<()> {
        if std::io::stdin().is_terminal() {
            return Ok(());
        }
        let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
        let lifecycle = self.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::info!(
                    signal = "SIGHUP",
                    "what is read again while the service runs is read now; settings are read at the start only"
                );
                lifecycle.reload();
            }
        });
        Ok(())
    }

    /// Calls for a reload.
    pub fn reload(&self) {
        self.reloads.send_modify(|count| *count += 1);
    }

    /// Changes whenever what comes from outside, such as files, should be read again at once.
    pub fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.subscribe()
    }

    /// Cancelled when the shutdown begins; tasks and long connections watch it.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Begins the shutdown: everything that watches [`Lifecycle::shutdown`] finishes its work.
    pub fn end(&self) {
        self.leaving.cancel();
        self.shutdown.cancel();
        if !self.is_serving() {
            self.drained.cancel();
        }
    }

    /// Cancelled once the shutdown has ended all clients, or when the grace period is nearly over. What clients are
    /// served from, such as a live feed, stops then, and not at [`Lifecycle::shutdown`]: until their turn comes,
    /// subscriptions go on.
    pub fn drained(&self) -> &CancellationToken {
        &self.drained
    }

    /// Reports that the service is not ready any more, and serves on for `delay`: so long load balancers may take to
    /// send it nothing more. Then begins the shutdown. Without anything to serve, it begins at once.
    pub async fn leave(&self, delay: Duration) {
        self.leaving.cancel();
        if self.is_serving() && !delay.is_zero() {
            let shutdown = self.shutdown.cancelled();
            let _ = tokio::time::timeout(delay, shutdown).await;
        }
        self.end();
    }

    /// Cancelled when the service should get no more requests.
    pub(crate) fn leaving(&self) -> &CancellationToken {
        &self.leaving
    }

    /// Whether the service should get no more requests.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Runs a task until nothing is served any more: it may be of use while everything else shuts down. An error or a
    /// panic before the shutdown ends the process with that reason.
    pub(crate) fn spawn_until_served<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        tokio::spawn(self.watched(name, task.boxed()));
    }

    /// Runs a task that ends when nothing is served any more, and may then take a moment more.
    pub(crate) fn spawn_last<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.last.spawn(task);
    }

    /// Waits for the last tasks, for this long at most.
    pub(crate) async fn last_end(&self, limit: Duration) {
        self.last.close();
        let _ = tokio::time::timeout(limit, self.last.wait()).await;
    }

    /// Cancelled when nothing is served any more, which is after the shutdown.
    pub(crate) fn served(&self) -> &CancellationToken {
        &self.served
    }

    /// Notes that requests are served from now on. Until then, a shutdown has no grace period.
    pub(crate) fn serve(&self) {
        self.is_serving.store(true, Ordering::Relaxed);
    }

    /// Notes the address of the operations port.
    pub(crate) fn serve_operations(&self, address: SocketAddr) {
        // There is one for a process; a second would not be found.
        let _ = self.operations.set(address);
    }

    /// The address of `/metrics`, once it listens, if it has a port of its own.
    pub fn operations_address(&self) -> Option<SocketAddr> {
        self.operations.get().copied()
    }

    /// [`Lifecycle::operations_address`], as soon as there is one.
    pub(crate) async fn operations_served(&self) -> SocketAddr {
        *self.operations.wait().await
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.is_serving.load(Ordering::Relaxed)
    }

    /// Runs a task for as long as the process lives. It must return `Ok` soon after the shutdown;
    /// returning earlier, an error or a panic ends the process with that reason.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.spawn_boxed(name, task.boxed());
    }

    /// Runs a task as [`Lifecycle::spawn`] does, that ends when the last of its clients is gone: [`Lifecycle::drained`]
    /// waits for it.
    pub fn spawn_serving<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.spawn_boxed(name, self.serving.track_future(task).boxed());
    }

    /// Returns when the tasks that serve clients have ended.
    pub(crate) async fn clients_end(&self) {
        self.serving.close();
        self.serving.wait().await;
    }

    /// [`Lifecycle::spawn`] without type parameters: so tokio's part is compiled once, and not for each task.
    fn spawn_boxed(&self, name: &'static str, task: BoxFuture<'static, anyhow::Result<()>>) {
        self.tasks.spawn(self.watched(name, task));
    }

    /// A task whose failure ends the process.
    fn watched(
        &self,
        name: &'static str,
        task: BoxFuture<'static, anyhow::Result<()>>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let lifecycle = self.clone();
        async move {
            let reason = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) if lifecycle.shutdown.is_cancelled() => return,
                Ok(Ok(())) => anyhow::anyhow!("{name} ended before the shutdown"),
                Ok(Err(error)) => error.context(format!("{name} failed")),
                Err(_) => anyhow::anyhow!("{name} panicked"),
            };
            lifecycle.fail(reason);
        }
    }

    /// Waits for the background tasks, and returns the first failure among them.
    ///
    /// # Errors
    /// The reason of the first task that died.
    pub async fn finish(&self) -> anyhow::Result<()> {
        self.tasks.close();
        self.tasks.wait().await;
        self.failure()
    }

    /// Returns the first failure among the background tasks so far, once.
    ///
    /// # Errors
    /// The reason of the first task that died.
    pub(crate) fn failure(&self) -> anyhow::Result<()> {
        match self.lock_failure().take() {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    fn fail(&self, reason: anyhow::Error) {
        tracing::error!(
            reason = format!("{reason:#}"),
            "a background task failed, shutting down"
        );
        self.lock_failure().get_or_insert(reason);
        self.end();
    }

    fn lock_failure(&self) -> std::sync::MutexGuard<'_, Option<anyhow::Error>> {
        self.failure
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The signals that a process handles.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Never read: while it is handled, a write beyond the limit fails instead of killing the process.
    _file_size: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Begins the shutdown at the first signal, or at the second one if that comes during the delay, and ends the
    /// process at the next one.
    async fn heed(mut self, lifecycle: &Lifecycle, delay: Duration) {
        let mut began = tokio::select! {
            _ = self.interrupt.recv() => {
                tracing::info!(signal = "SIGINT", "shutting down");
                // A person waits.
                lifecycle.end();
                Instant::now()
            }
            _ = self.terminate.recv() => {
                // Before it is logged: whoever reads that finds it not ready.
                lifecycle.leaving.cancel();
                tracing::info!(signal = "SIGTERM", delay_ms = delay.as_millis(), "shutting down");
                Instant::now()
            }
        };
        tokio::select! {
            biased;
            () = lifecycle.leave(delay) => {}
            _ = self.second(began) => {
                tracing::info!("signalled again, shutting down without the rest of the delay");
                lifecycle.end();
                began = Instant::now();
            }
        }
        let code = self.second(began).await;
        tracing::warn!("signalled again, exiting without waiting for running requests");
        telemetry::flush();
        std::process::exit(code);
    }

    /// Waits for another signal, which is not the one that came at `began`, and returns the exit code for it.
    async fn second(&mut self, began: Instant) -> i32 {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return EXIT_INTERRUPTED,
                _ = self.terminate.recv() => {
                    if began.elapsed() >= SAME_SIGNAL_TIME {
                        return EXIT_TERMINATED;
                    }
                }
            }
        }
    }
}

/// Ends the process when it still runs `limit` after the shutdown.
async fn enforce(name: &str, shutdown: &CancellationToken, limit: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(limit).await;
    let limit_s = limit.as_secs();
    let reason = format_args!("the process did not end within {limit_s} s: something in it hangs");
    telemetry::fault(name, reason);
    telemetry::flush();
    std::process::exit(EXIT_ABANDONED);
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

    #[tokio::test(start_paused = true)]
    async fn what_serves_goes_on_for_the_delay_and_what_does_not_ends_at_once() {
        let delay = Duration::from_secs(5);
        for (serves, expected) in [(true, delay), (false, Duration::ZERO)] {
            let lifecycle = Lifecycle::new();
            if serves {
                lifecycle.serve();
            }
            let began = tokio::time::Instant::now();
            let leaving = async {
                lifecycle.leave(delay).await;
                began.elapsed()
            };
            let seen = async {
                tokio::task::yield_now().await;
                (lifecycle.is_leaving(), lifecycle.shutdown().is_cancelled())
            };
            let (took, seen) = tokio::join!(leaving, seen);
            assert_eq!((took, seen), (expected, (true, !serves)));
            assert!(lifecycle.shutdown().is_cancelled());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_does_not_wait_for_the_delay() {
        let lifecycle = Lifecycle::new();
        lifecycle.serve();
        let began = tokio::time::Instant::now();
        let leaving = lifecycle.leave(Duration::from_secs(60));
        let fault = async { lifecycle.fail(anyhow::anyhow!("boom")) };
        tokio::join!(leaving, fault);
        assert_eq!(began.elapsed(), Duration::ZERO);
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
