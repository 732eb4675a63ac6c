//! How requests call MongoDB: through a fair queue before the driver, and each call to its end.
//!
//! The driver's pool (mongodb 3.9.1, `cmap/worker.rs`) serves one waiter per event. A waiter whose
//! future was dropped uses its event up and gets nothing; so callers that leave pile up in front of
//! free connections, until the pool serves nobody. Two rules keep that from happening:
//!
//! - **A call runs to its end.** Its caller polls it in place. When the caller's future is dropped (a
//!   client left, a time limit passed), the call goes on in a task of its own.
//! - **No caller waits inside the driver.** A call begins with a permit, and there are as many permits
//!   as the pool has connections. A caller without one waits here, first come, first served, within
//!   [`CallLimits`]. A caller that leaves the queue leaves nothing behind.
//!
//! A call uses one connection at a time and asks for no second permit: reads that run at the same time
//! are calls of their own. So no call waits for another one, and there is no deadlock. A call that the
//! server never answers keeps its permit. If all permits are lost like this, further calls fail with
//! [`Overloaded`] after their wait, until the server answers again.
//!
//! See `docs/decisions/driver-futures-are-never-dropped.md`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use service::Metrics;
use service::prometheus_client::metrics::counter::Counter;
use service::prometheus_client::metrics::family::Family;
use service::prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many calls run and wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Calls that run at the same time. Exactly the connections of the driver's pool.
    pub connections: usize,
    /// Calls that wait for their turn. One more fails with [`Overloaded::QueueFull`].
    pub queue_max: usize,
    /// How long a call waits for its turn before it fails with [`Overloaded::WaitedTooLong`].
    pub wait_max: Duration,
}

/// The database cannot keep up: the call was not started, so a retry is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// The queue has no room.
    #[error("the service is overloaded: try again in a moment")]
    QueueFull,
    /// The turn did not come in time.
    #[error("the service was too busy to answer in time: try again in a moment")]
    WaitedTooLong,
}

/// A handle of the driver that is used by calls alone. Clones share the queue.
///
/// `H` is what a call gets: a database, or a subgraph's collections.
#[derive(Clone)]
pub struct DatabaseCalls<H> {
    handle: H,
    gate: CallGate,
}

/// The queue before the driver. Clones share it.
#[derive(Clone)]
pub struct CallGate {
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    limits: CallLimits,
    metrics: CallMetrics,
}

impl<H: Clone> DatabaseCalls<H> {
    /// Calls on a handle whose pool has `limits.connections` connections, and that nothing else uses.
    pub fn new(handle: H, limits: CallLimits, metrics: CallMetrics) -> Self {
        let gate = CallGate {
            permits: Arc::new(Semaphore::new(limits.connections)),
            waiting: Arc::default(),
            limits,
            metrics,
        };
        Self { handle, gate }
    }

    /// Calls of the service's own work, one after the other: they never wait in this queue, and have
    /// no metrics.
    pub fn for_own_work(handle: H) -> Self {
        let limits = CallLimits {
            connections: Semaphore::MAX_PERMITS,
            queue_max: 0,
            wait_max: Duration::ZERO,
        };
        Self::new(handle, limits, CallMetrics::default())
    }

    /// The same queue with another view of the same client: its collections, say.
    pub fn map<G>(&self, view: impl FnOnce(&H) -> G) -> DatabaseCalls<G> {
        DatabaseCalls {
            handle: view(&self.handle),
            gate: self.gate.clone(),
        }
    }

    /// The queue, to refuse work before it is begun.
    pub fn gate(&self) -> &CallGate {
        &self.gate
    }

    /// Waits for a turn and makes one call: any number of operations one after the other. Once begun,
    /// it runs to its end even when the returned future is dropped.
    ///
    /// # Errors
    /// [`Overloaded`] when the call was not begun; else what the call fails with.
    pub async fn run<T, E, F>(&self, call: impl FnOnce(H) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<Overloaded> + Send + 'static,
    {
        let permit = self.gate.enter().await?;
        // Without its type: there are many calls, and tokio's part of a task would be compiled for each.
        let call: BoxFuture<'static, F::Output> =
            Box::pin(traces::in_current(call(self.handle.clone())));
        Call {
            running: Some((call, permit)),
            detached: &self.gate.metrics.detached,
        }
        .await
    }
}

impl CallGate {
    /// Whether one more call would be refused right now.
    pub fn is_full(&self) -> bool {
        self.permits.available_permits() == 0
            && self.waiting.load(Ordering::Relaxed) >= self.limits.queue_max
    }

    /// A refusal before a call, counted as one; none while there is room.
    pub(crate) fn refusal(&self) -> Option<Overloaded> {
        self.is_full().then(|| self.refuse(Overloaded::QueueFull))
    }

    async fn enter(&self) -> Result<Permit, Overloaded> {
        // This overtakes no call: a returned permit goes to the first waiter, and is free only when
        // there is none.
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(self.permit(permit));
        }
        let _queued = self
            .join_queue()
            .ok_or_else(|| self.refuse(Overloaded::QueueFull))?;
        let turn = self.permits.clone().acquire_owned();
        match tokio::time::timeout(self.limits.wait_max, turn).await {
            Ok(Ok(permit)) => Ok(self.permit(permit)),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(self.refuse(Overloaded::WaitedTooLong)),
        }
    }

    fn join_queue(&self) -> Option<Queued<'_>> {
        let has_room = |waiting: usize| (waiting < self.limits.queue_max).then_some(waiting + 1);
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room)
            .ok()?;
        self.metrics.waiting.inc();
        Some(Queued(self))
    }

    fn permit(&self, permit: OwnedSemaphorePermit) -> Permit {
        self.metrics.running.inc();
        Permit {
            running: self.metrics.running.clone(),
            _permit: permit,
        }
    }

    fn refuse(&self, overloaded: Overloaded) -> Overloaded {
        let reason = match overloaded {
            Overloaded::QueueFull => "queue_full",
            Overloaded::WaitedTooLong => "waited_too_long",
        };
        self.metrics
            .refused
            .get_or_create(&[("reason", reason)])
            .inc();
        overloaded
    }
}

/// A call that waits in the queue. It leaves the queue when this is dropped, whatever the reason.
struct Queued<'a>(&'a CallGate);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.waiting.dec();
    }
}

/// The right to use one connection.
struct Permit {
    running: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.running.dec();
    }
}

/// A call polled by its caller; dropped before its end, it goes on in a task of its own.
struct Call<'a, O: Send + 'static> {
    running: Option<(BoxFuture<'static, O>, Permit)>,
    detached: &'a Counter,
}

impl<O: Send + 'static> Future for Call<'_, O> {
    type Output = O;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O> {
        // Taken out while it is polled: a call that panics must not be polled again.
        let Some((mut call, permit)) = self.running.take() else {
            return Poll::Pending;
        };
        let polled = call.as_mut().poll(context);
        if polled.is_pending() {
            self.running = Some((call, permit));
        }
        polled
    }
}

impl<O: Send + 'static> Drop for Call<'_, O> {
    fn drop(&mut self) {
        let Some((call, permit)) = self.running.take() else {
            return;
        };
        // Without a runtime the process is ending, and the pool with it.
        if let Ok(runtime) = Handle::try_current() {
            self.detached.inc();
            let rest = async move {
                let _permit = permit;
                // Nobody is left to be told how it ended.
                call.await;
            };
            spawn(&runtime, Box::pin(rest));
        }
    }
}

fn spawn(runtime: &Handle, rest: BoxFuture<'static, ()>) {
    runtime.spawn(rest);
}

/// The metrics of one queue.
#[derive(Clone, Debug, Default)]
pub struct CallMetrics {
    waiting: Gauge,
    running: Gauge,
    refused: Family<[(&'static str, &'static str); 1], Counter>,
    detached: Counter,
}

impl CallMetrics {
    /// Registers the metrics of the requests' calls.
    pub fn register(metrics: &Metrics) -> Self {
        let made = Self::default();
        // Both reasons are there from the start: a rate over a counter needs its zero.
        for reason in ["queue_full", "waited_too_long"] {
            drop(made.refused.get_or_create(&[("reason", reason)]));
        }
        metrics.register(
            "database_calls_waiting",
            "Calls of requests that wait for a connection to the database",
            made.waiting.clone(),
        );
        metrics.register(
            "database_calls_running",
            "Calls of requests that use a connection to the database",
            made.running.clone(),
        );
        metrics.register(
            "database_calls_refused",
            "Calls of requests that failed with OVERLOADED: the queue was full, or their turn did not come in time",
            made.refused.clone(),
        );
        metrics.register(
            "database_calls_detached",
            "Calls that went on to their end after their client had left or their time had passed",
            made.detached.clone(),
        );
        made
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::sync::oneshot;

    use super::*;

    fn calls(connections: usize, queue_max: usize, wait_max: Duration) -> DatabaseCalls<()> {
        let limits = CallLimits {
            connections,
            queue_max,
            wait_max,
        };
        DatabaseCalls::new((), limits, CallMetrics::default())
    }

    /// A call that ends when it is told to, and tells that it did.
    fn held() -> (
        oneshot::Sender<()>,
        oneshot::Receiver<()>,
        impl Future<Output = Result<(), Overloaded>> + Send + 'static,
    ) {
        let (go, gone) = oneshot::channel::<()>();
        let (ended, end) = oneshot::channel();
        let call = async move {
            gone.await.expect("told to go");
            ended.send(()).expect("somebody listens");
            Ok(())
        };
        (go, end, call)
    }

    #[tokio::test]
    async fn a_call_whose_caller_leaves_runs_to_its_end_with_its_permit() {
        let calls = calls(1, 1, Duration::from_secs(60));
        let (go, end, call) = held();
        let mut caller = Box::pin(calls.run(|()| call));
        assert!(caller.as_mut().now_or_never().is_none());
        drop(caller);
        assert_eq!(calls.gate.metrics.detached.get(), 1);
        assert_eq!(calls.gate.metrics.running.get(), 1);

        let mut next = Box::pin(calls.run(|()| async { Ok::<_, Overloaded>("served") }));
        assert!(next.as_mut().now_or_never().is_none(), "one at a time");
        go.send(()).expect("the call listens");
        end.await.expect("the call ended");
        assert_eq!(next.await, Ok("served"));
        assert_eq!(calls.gate.metrics.running.get(), 0);
    }

    #[tokio::test]
    async fn who_leaves_the_queue_is_forgotten() {
        let calls = calls(1, 100, Duration::from_secs(60));
        let (go, end, call) = held();
        let mut running = Box::pin(calls.run(|()| call));
        assert!(running.as_mut().now_or_never().is_none());
        let mut waiting: Vec<_> = (0..100)
            .map(|_| Box::pin(calls.run(|()| async { Ok::<_, Overloaded>(()) })))
            .collect();
        for waiter in &mut waiting {
            assert!(waiter.as_mut().now_or_never().is_none());
        }
        assert!(calls.gate().is_full());
        let last = waiting.split_off(99);
        drop(waiting);
        assert_eq!(calls.gate.metrics.waiting.get(), 1);
        go.send(()).expect("the call listens");
        running.await.expect("a result");
        end.await.expect("the call ended");
        assert_eq!(join_all(last).await, [Ok(())]);
        assert_eq!(calls.gate.metrics.waiting.get(), 0);
    }

    #[tokio::test]
    async fn a_full_queue_and_a_long_wait_are_refused() {
        let calls = calls(1, 1, Duration::from_millis(10));
        let (_go, _end, call) = held();
        let mut running = Box::pin(calls.run(|()| call));
        assert!(running.as_mut().now_or_never().is_none());
        let call = || calls.run(|()| async { Ok::<_, Overloaded>(()) });
        let mut waiting = Box::pin(call());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(calls.gate.refusal(), Some(Overloaded::QueueFull));
        assert_eq!(call().await, Err(Overloaded::QueueFull));
        assert_eq!(waiting.await, Err(Overloaded::WaitedTooLong));
        assert_eq!(calls.gate.refusal(), None);
    }

    #[tokio::test]
    async fn a_call_that_panics_gives_its_permit_back() {
        let calls = calls(1, 1, Duration::from_secs(60));
        let broken = calls.run(|()| async {
            tokio::task::yield_now().await;
            panic!("a mistake");
            #[expect(unreachable_code, reason = "gives the call its type")]
            Ok::<(), Overloaded>(())
        });
        let caught = std::panic::AssertUnwindSafe(broken).catch_unwind().await;
        assert!(caught.is_err());
        assert_eq!(calls.gate.metrics.detached.get(), 0);
        assert_eq!(
            calls.run(|()| async { Ok::<_, Overloaded>(1) }).await,
            Ok(1)
        );
    }
}
