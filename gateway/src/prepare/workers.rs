//! Threads that prepare operations, with less of a processor than those that answer.
//!
//! Reading, checking and planning one document is milliseconds of work that never waits. On threads like all
//! others it would take its part of the processors from the requests whose documents are known. These threads
//! have a lower priority (on Linux, where each thread has one): under load they get what the others leave,
//! and a little more.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

/// A thread without a job ends after this time: the memory of what it prepared can be given back when that is
/// freed.
const IDLE_TIME: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce() + Send>;

/// A few threads and the jobs that wait for them. Dropped, the threads end after their jobs.
pub struct Workers(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Wakes a thread.
    has_job: Condvar,
    threads_max: usize,
    niceness: i32,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    has_ended: bool,
}

/// The job panicked, or no thread could be started.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was not done")]
pub struct NotDone;

impl Workers {
    /// At most so many threads, which begin with the first jobs. Their niceness (0 to 19) is added to that of
    /// the process.
    pub fn new(threads_max: usize, niceness: u8) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            has_job: Condvar::new(),
            threads_max: threads_max.max(1),
            niceness: i32::from(niceness),
        }))
    }

    /// Does the work on one of the threads. It is done even where the caller leaves.
    ///
    /// # Errors
    /// When it panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let (sender, receiver) = oneshot::channel();
        let job = move || {
            // The panic has been written by the panic hook; the caller learns of it by the sender's end.
            if let Ok(done) = catch_unwind(AssertUnwindSafe(work)) {
                let _ = sender.send(done);
            }
        };
        self.0.add(Box::new(job));
        receiver.await.map_err(|_| NotDone)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.has_job.notify_all();
    }
}

impl Shared {
    fn add(self: &Arc<Self>, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads >= self.threads_max {
            self.has_job.notify_one();
            return;
        }
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name("prepare".to_owned());
        match thread.spawn(move || shared.work()) {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads == 0 => {
                tracing::error!(%error, "no thread to prepare operations on");
                // Their callers learn of it by the senders' end.
                state.jobs.clear();
            }
            Err(_) => self.has_job.notify_one(),
        }
    }

    fn work(&self) {
        yield_to_others(self.niceness);
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
            } else if state.has_ended {
                return;
            } else {
                state.idle += 1;
                let woken = self.has_job.wait_timeout(state, IDLE_TIME);
                let timeout;
                (state, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                if timeout.timed_out() && state.jobs.is_empty() {
                    state.threads -= 1;
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lowers the priority of this thread. Elsewhere than on Linux it would be that of the whole process.
fn yield_to_others(niceness: i32) {
    #[cfg(target_os = "linux")]
    {
        let lowered = rustix::process::getpriority_process(None).and_then(|priority| {
            rustix::process::setpriority_process(None, (priority + niceness).min(19))
        });
        if let Err(error) = lowered {
            tracing::warn!(%error, "operations are prepared with the priority of requests");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn work_is_done_on_a_bounded_number_of_threads() {
        let workers = Workers::new(2, 0);
        let on_thread = |_| workers.run(|| thread::current().id());
        let threads = join_all((0..100).map(on_thread)).await;
        let threads: std::collections::HashSet<_> =
            threads.into_iter().map(|it| it.expect("done")).collect();
        assert!((1..=2).contains(&threads.len()), "{threads:?}");
        assert!(!threads.contains(&thread::current().id()));
    }

    #[tokio::test]
    async fn work_that_panics_harms_no_other() {
        let workers = Workers::new(1, 0);
        let panicked = workers.run(|| panic!("a defect"));
        assert_eq!(panicked.await, Err::<(), _>(NotDone));
        assert_eq!(workers.run(|| 1).await, Ok(1));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_threads_have_less_priority_and_no_other_has() {
        let priority = || rustix::process::getpriority_process(None);
        let before = priority().expect("a priority");
        let workers = Workers::new(1, 5);
        let of_worker = workers.run(priority).await.expect("done");
        assert_eq!(of_worker.expect("a priority"), (before + 5).min(19));
        assert_eq!(priority().expect("a priority"), before);
    }
}
