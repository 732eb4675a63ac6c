//! Liveness and readiness: a process is live while it answers, ready while every check passes.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// A check that takes longer than this counts as failed.
const CHECK_TIME_LIMIT: Duration = Duration::from_secs(2);
/// A run that is silent for this long is left to itself: what it waits for may never answer (a host
/// that vanished without closing its connections), though a new run would get its answer.
const SILENT_RUN_TIME: Duration = Duration::from_secs(60);
/// Runs of one check that may be left to themselves at a time, beside the one that readers wait for.
const SILENT_RUNS_MAX: usize = 2;

type Outcome = Result<(), String>;
type CheckFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The readiness checks of one process. Clones share them.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Vec<Arc<Check>>>>,
    reports: Arc<Mutex<Vec<Report>>>,
}

#[derive(Clone)]
struct Report {
    name: &'static str,
    status: Arc<dyn Fn() -> Outcome + Send + Sync>,
}

/// The answer of `GET /health/ready`.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// `ready` or `not ready`.
    pub status: &'static str,
    /// Each check with `ok` or the reason why it failed.
    pub checks: Vec<CheckResult>,
    /// What does not decide on `status`, with `ok` or what is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<CheckResult>,
}

/// One line of the readiness report.
#[derive(Debug, Serialize)]
pub struct CheckResult {
    /// The check's name, as it was registered.
    pub name: &'static str,
    /// `ok`, or the reason in words.
    pub status: String,
}

impl Health {
    /// Adds a readiness check. Its error is shown to operators as it is; a panic is an error.
    ///
    /// A run of the check is a task of its own that is never dropped before its end, whoever waits for it
    /// and however long it takes: a check may use clients whose futures must not be dropped.
    /// Readers that ask while it runs wait for its outcome together, for at most 2 s.
    pub fn register<F, Fut>(&self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check = Check {
            name,
            start: Box::new(move || Box::pin(check())),
            runs: Mutex::default(),
        };
        lock(&self.checks).push(Arc::new(check));
    }

    /// Adds a line to the readiness report that does not decide whether the process is ready: for what
    /// an operator should know, where taking the process out of rotation would not help.
    pub fn report<F>(&self, name: &'static str, status: F)
    where
        F: Fn() -> Result<(), String> + Send + Sync + 'static,
    {
        lock(&self.reports).push(Report {
            name,
            status: Arc::new(status),
        });
    }

    /// Asks every check, all at the same time. Takes 2 s at most.
    pub async fn readiness(&self) -> Readiness {
        let checks = lock(&self.checks).clone();
        let checks = join_all(checks.iter().map(|check| check.result())).await;
        let ready = checks.iter().all(|check| check.status == "ok");
        let reports = lock(&self.reports).clone();
        let result = |report: Report| CheckResult {
            name: report.name,
            status: (report.status)().err().unwrap_or_else(|| "ok".to_owned()),
        };
        Readiness {
            status: if ready { "ready" } else { "not ready" },
            checks,
            reports: reports.into_iter().map(result).collect(),
        }
    }
}

/// A check and its runs.
struct Check {
    name: &'static str,
    start: Box<dyn Fn() -> CheckFuture + Send + Sync>,
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    newest: Option<Run>,
    silent: Vec<Run>,
}

/// A run of a check, until its task has sent the outcome.
#[derive(Clone)]
struct Run {
    began: Instant,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Check {
    async fn result(self: &Arc<Self>) -> CheckResult {
        let mut run = self.run();
        let deadline = run.began + CHECK_TIME_LIMIT;
        // A run that is over its time already is not waited for: its readers would pile up.
        let outcome = timeout_at(deadline, run.outcome.wait_for(Option::is_some)).await;
        let status = match outcome {
            Ok(Ok(outcome)) => match &*outcome {
                Some(Err(reason)) => reason.clone(),
                _ => "ok".to_owned(),
            },
            Ok(Err(_)) => "the check was ended with its runtime".to_owned(),
            Err(_) => format!("no answer within {} s", run.began.elapsed().as_secs()),
        };
        CheckResult {
            name: self.name,
            status,
        }
    }

    /// The run that is under way, or a new one.
    fn run(self: &Arc<Self>) -> Run {
        let mut runs = lock(&self.runs);
        runs.newest.take_if(|run| run.is_over());
        runs.silent.retain(|run| !run.is_over());
        if runs.silent.len() < SILENT_RUNS_MAX
            && let Some(run) = runs
                .newest
                .take_if(|run| run.began.elapsed() >= SILENT_RUN_TIME)
        {
            runs.silent.push(run);
        }
        runs.newest.get_or_insert_with(|| self.begin()).clone()
    }

    fn begin(self: &Arc<Self>) -> Run {
        let (sender, outcome) = watch::channel(None);
        let check = Arc::clone(self);
        tokio::spawn(async move {
            let run = AssertUnwindSafe(async { (check.start)().await });
            let outcome = run.catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err("the check panicked".to_owned()));
            sender.send_replace(Some(outcome));
        });
        Run {
            began: Instant::now(),
            outcome,
        }
    }
}

impl Run {
    fn is_over(&self) -> bool {
        self.outcome.borrow().is_some() || self.outcome.has_changed().is_err()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn live() -> &'static str {
    "live\n"
}

/// A service that `is_leaving` is not ready, whatever the checks say.
pub(crate) async fn ready(health: Health, is_leaving: bool) -> (StatusCode, Json<Readiness>) {
    let mut readiness = health.readiness().await;
    if is_leaving {
        readiness.status = "not ready";
        readiness.checks.push(CheckResult {
            name: "shutdown",
            status: "the service is shutting down".to_owned(),
        });
    }
    let code = if readiness.status == "ready" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(readiness))
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    /// A check that counts its runs and waits in each for a permission to end.
    #[derive(Clone, Default)]
    struct Slow {
        runs: Arc<AtomicUsize>,
        dropped: Arc<AtomicUsize>,
        go: Arc<Notify>,
    }

    struct CountsDrop(Arc<AtomicUsize>);

    impl Drop for CountsDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Slow {
        fn register(&self, health: &Health, name: &'static str) {
            let slow = self.clone();
            health.register(name, move || {
                slow.runs.fetch_add(1, Ordering::Relaxed);
                let (go, dropped) = (Arc::clone(&slow.go), Arc::clone(&slow.dropped));
                async move {
                    let _counts = CountsDrop(dropped);
                    go.notified().await;
                    Ok(())
                }
            });
        }

        fn runs(&self) -> usize {
            self.runs.load(Ordering::Relaxed)
        }

        fn dropped(&self) -> usize {
            self.dropped.load(Ordering::Relaxed)
        }
    }

    async fn statuses(health: &Health) -> Vec<String> {
        let checks = health.readiness().await.checks.into_iter();
        checks.map(|check| check.status).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_never_returns_runs_once_for_a_thousand_readers() {
        let (health, slow) = (Health::default(), Slow::default());
        slow.register(&health, "slow");
        health.register("never", pending);
        health.register("good", || async { Ok(()) });
        let began = Instant::now();
        let answers = join_all((0..1000).map(|_| statuses(&health))).await;
        assert_eq!(began.elapsed(), CHECK_TIME_LIMIT, "not two limits");
        let expected = ["no answer within 2 s", "no answer within 2 s", "ok"];
        assert!(answers.iter().all(|answer| *answer == expected));
        // Whoever asks later is answered at once, with the time that it has been running.
        tokio::time::advance(Duration::from_secs(5)).await;
        let began = Instant::now();
        assert_eq!(statuses(&health).await[0], "no answer within 7 s");
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!((slow.runs(), slow.dropped()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_leaves_drops_no_check() {
        let (health, slow) = (Health::default(), Slow::default());
        slow.register(&health, "slow");
        let limit = Duration::from_millis(1);
        for _ in 0..100 {
            let left = tokio::time::timeout(limit, health.readiness()).await;
            assert!(left.is_err());
        }
        assert_eq!((slow.runs(), slow.dropped()), (1, 0));
        let (answer, ()) = tokio::join!(statuses(&health), async { slow.go.notify_one() });
        assert_eq!(answer, ["ok"]);
        // The outcome of a run that has ended is never the answer to a later question.
        slow.go.notify_one();
        assert_eq!(statuses(&health).await, ["ok"]);
        assert_eq!((slow.runs(), slow.dropped()), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_is_silent_for_long_begins_again_beside_it_and_no_more_than_so() {
        let (health, slow) = (Health::default(), Slow::default());
        slow.register(&health, "slow");
        for _ in 0..100 {
            assert_ne!(statuses(&health).await, ["ok"]);
            tokio::time::advance(SILENT_RUN_TIME / 4).await;
        }
        assert_eq!((slow.runs(), slow.dropped()), (1 + SILENT_RUNS_MAX, 0));
        slow.go.notify_waiters();
        tokio::task::yield_now().await;
        slow.go.notify_one();
        assert_eq!(statuses(&health).await, ["ok"]);
    }

    #[tokio::test]
    async fn a_report_says_what_is_wrong_and_leaves_the_process_ready() {
        let health = Health::default();
        health.register("good", || async { Ok(()) });
        health.report("peers", || Err("one of them is silent".to_owned()));
        let readiness = health.readiness().await;
        assert_eq!(readiness.status, "ready");
        assert_eq!(readiness.reports[0].status, "one of them is silent");
    }

    #[tokio::test]
    async fn a_check_that_panics_has_failed_and_runs_again() {
        let health = Health::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        health.register("panics", move || {
            assert!(counted.fetch_add(1, Ordering::Relaxed) > 1, "boom");
            async { Ok(()) }
        });
        assert_eq!(statuses(&health).await, ["the check panicked"]);
        assert_eq!(statuses(&health).await, ["the check panicked"]);
        assert_eq!(statuses(&health).await, ["ok"]);
    }
}
