//! Threads that prepare operations. Clients take turns, and requests come first.
//!
//! Reading, checking and planning one document is milliseconds of work that never waits. On the threads that
//! answer requests, it would take processor time from clients whose documents are known. So it runs on a few
//! threads with a lower priority (on Linux, where each thread has its own): under load they get what the others
//! leave, and a little more.
//!
//! A client is an address ([`ClientKey`]). Each has a queue of jobs, and the threads serve the queues in
//! rotation: a client that sends many new documents waits for its own, and other clients do not. Where all threads
//! are busy for a long time, one more thread serves the other clients: a document that takes long delays the
//! client that sent it.
//!
//! Each document that is prepared is then executed, by this process, the subgraphs and the database, with no lower
//! priority. So while processors are scarce and other clients have requests, a client that has used more than a small
//! share of them for its documents pauses after each one, in proportion to the time that this one took ([`Share`]). A
//! client that sends few new documents never pauses, and none does while processors are free or it is alone.

mod queues;
mod share;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use graphql_transport::{ClientKey, turns::Competition};
use tokio::sync::oneshot;

use crate::metrics::PrepareMetrics;
use queues::{Job, Queues};
pub use share::Share;
use share::{Stopwatch, Used};

/// A thread without a job ends after this time, so that the memory of what it prepared can go back to the
/// system.
const IDLE_TIME: Duration = Duration::from_secs(2);

/// The threads are busy for a long time when none of them has begun or ended a job for this time.
const LONG: Duration = Duration::from_millis(50);

/// How many operations of one client are prepared at the same time: half of the processors, because the threads
/// that answer requests need some, too.
pub fn threads_per_client() -> usize {
    (processors() / 2).max(1)
}

/// How many processors this process may use.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Why a job has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// Too many jobs wait, and no client has more of them than this one.
    #[error("too many jobs wait")]
    QueueFull,
    /// The job panicked, or no thread could be started.
    #[error("the job failed")]
    Failed,
}

/// A few threads and the jobs that wait for them. After a drop, the threads end when no job is left.
pub struct Preparers(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Wakes a thread.
    has_job: Condvar,
    /// How many threads work at the same time, without the one for long jobs; as many may work for one client.
    threads: usize,
    /// Added to the niceness of the process, 0 to 19.
    niceness: i32,
    /// How many jobs may wait, of all clients together.
    waiting_max: usize,
    /// [`LONG`], except in tests.
    long: Duration,
    /// Shows how many jobs wait, and counts pauses.
    metrics: PrepareMetrics,
}

struct State {
    queues: Queues,
    started: usize,
    idle: usize,
    busy: usize,
    /// When a job last began or ended.
    moved: Instant,
    has_ended: bool,
}

impl Preparers {
    /// `threads` of them start with the first jobs. At most `waiting_max` jobs wait, of all clients together. While
    /// processors are scarce and there is `competition`, each client may use `share` of them.
    pub fn new(
        threads: usize,
        niceness: u8,
        waiting_max: usize,
        share: Share,
        competition: Competition,
        metrics: PrepareMetrics,
    ) -> Self {
        let queues = Queues::new(share, competition);
        Self::with_queues(queues, LONG, threads, niceness, waiting_max, metrics)
    }

    fn with_queues(
        queues: Queues,
        long: Duration,
        threads: usize,
        niceness: u8,
        waiting_max: usize,
        metrics: PrepareMetrics,
    ) -> Self {
        let threads = threads.max(1);
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                queues,
                started: 0,
                idle: 0,
                busy: 0,
                moved: Instant::now(),
                has_ended: false,
            }),
            has_job: Condvar::new(),
            threads,
            niceness: i32::from(niceness),
            waiting_max,
            long,
            metrics,
        }))
    }

    /// Does the work on one of the threads, when it is the client's turn. A caller that leaves before that takes
    /// its job with it. A job that has begun is done.
    ///
    /// # Errors
    /// [`NotDone::QueueFull`] at once, or later when a client comes that has fewer jobs waiting.
    pub async fn run<T: Send + 'static>(
        &self,
        client: ClientKey,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let (sender, receiver) = oneshot::channel();
        let job = Job::new(move |refused: Option<NotDone>| {
            let outcome = match refused {
                Some(refused) => Err(refused),
                // The panic hook has reported the panic.
                None => catch_unwind(AssertUnwindSafe(work)).map_err(|_| NotDone::Failed),
            };
            // The caller may have left.
            let _ = sender.send(outcome);
        });
        let number = self.0.add(client, job)?;
        let _waiting = Waiting {
            shared: &self.0,
            client,
            number,
        };
        receiver.await.unwrap_or(Err(NotDone::Failed))
    }
}

impl Drop for Preparers {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.has_job.notify_all();
    }
}

/// Takes the job out of the queue when its caller leaves.
struct Waiting<'s> {
    shared: &'s Shared,
    client: ClientKey,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let job = state.queues.remove(self.client, self.number);
        self.shared.show_waiting(&state);
        drop(state);
        // After the lock: it may hold much.
        drop(job);
    }
}

impl Shared {
    fn add(self: &Arc<Self>, client: ClientKey, job: Job) -> Result<u64, NotDone> {
        let mut state = self.lock();
        // A job that a thread is free for does not count as waiting.
        let free = self.threads.saturating_sub(state.busy);
        let waiting_max = self.waiting_max.saturating_add(free);
        let (number, displaced) = state.queues.add(client, job, waiting_max)?;
        let started = self.start_thread(&mut state);
        let undone = match started {
            Ok(()) => None,
            Err(_) => state.queues.remove(client, number),
        };
        self.show_waiting(&state);
        drop(state);
        // After the lock: it may hold much.
        drop(undone);
        if let Some(displaced) = displaced {
            displaced.refuse(NotDone::QueueFull);
        }
        self.has_job.notify_one();
        match started {
            Ok(()) => Ok(number),
            Err(error) => {
                tracing::error!(%error, "no thread could be started to prepare operations");
                Err(NotDone::Failed)
            }
        }
    }

    /// Starts one more thread where all that there are have a job, and one more may work.
    ///
    /// # Errors
    /// When there is none at all.
    fn start_thread(self: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        if state.idle >= state.queues.waiting() || state.started > self.threads {
            return Ok(());
        }
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name("prepare".to_owned());
        match thread.spawn(move || shared.work()) {
            Ok(_) => state.started += 1,
            Err(error) if state.started == 0 => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    /// What each thread does.
    fn work(&self) {
        lower_priority(self.niceness);
        let mut state = self.lock();
        loop {
            if let Some((client, job)) = self.next(&mut state) {
                self.show_waiting(&state);
                drop(state);
                let watch = Stopwatch::start();
                job.run();
                let used = watch.stop();
                state = self.lock();
                if state.end(client, used) {
                    self.metrics.pauses.inc();
                }
                // A job of this client may have waited for this one, and another thread for a job.
                self.has_job.notify_one();
                continue;
            }
            if state.has_ended && state.queues.waiting() == 0 {
                state.started -= 1;
                return;
            }
            let time = self.time_to_wait(&state);
            state.idle += 1;
            let woken = self.has_job.wait_timeout(state, time);
            let timeout;
            (state, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            if timeout.timed_out() && state.queues.waiting() == 0 {
                state.started -= 1;
                return;
            }
        }
    }

    /// The next job, if one more thread may work now.
    fn next(&self, state: &mut State) -> Option<(ClientKey, Job)> {
        let now = Instant::now();
        let are_busy_for_long = state.busy == self.threads && state.moved.elapsed() >= self.long;
        if state.busy >= self.threads && !are_busy_for_long {
            return None;
        }
        // The additional thread serves clients of which nothing runs.
        let per_client = if are_busy_for_long { 1 } else { self.threads };
        let next = state.queues.next(per_client, now)?;
        state.busy += 1;
        state.moved = now;
        Some(next)
    }

    /// How long a thread without a job waits for a wake-up: until it may do a job that waits, or until it ends.
    fn time_to_wait(&self, state: &State) -> Duration {
        let now = Instant::now();
        if state.busy < self.threads {
            state.queues.pause(now).unwrap_or(IDLE_TIME)
        } else if state.busy == self.threads && state.queues.has_next(1, now) {
            self.long.saturating_sub(state.moved.elapsed())
        } else {
            IDLE_TIME
        }
    }

    fn show_waiting(&self, state: &State) {
        self.metrics.waiting.set(state.queues.waiting() as i64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns whether the client has to pause.
    fn end(&mut self, client: ClientKey, used: Used) -> bool {
        let now = Instant::now();
        self.busy -= 1;
        self.moved = now;
        self.queues.end(client, used, now)
    }
}

/// Lowers the priority of this thread. Elsewhere than on Linux it would be that of the whole process.
pub(super) fn lower_priority(niceness: i32) {
    #[cfg(target_os = "linux")]
    {
        let lowered = rustix::process::getpriority_process(None).and_then(|priority| {
            rustix::process::setpriority_process(None, (priority + niceness).min(19))
        });
        if let Err(error) = lowered {
            tracing::warn!(%error, "the priority of preparing threads could not be lowered");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
}

#[cfg(test)]
mod tests;
