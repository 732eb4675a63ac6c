//! Liveness and readiness: a process is live while it answers, ready while every check passes.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use serde::Serialize;

/// A check that takes longer than this counts as failed.
const CHECK_TIME_LIMIT: Duration = Duration::from_secs(2);

type Check =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// The readiness checks of one process. Clones share them.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Vec<(&'static str, Check)>>>,
}

/// The answer of `GET /health/ready`.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// `ready` or `not ready`.
    pub status: &'static str,
    /// Each check with `ok` or the reason why it failed.
    pub checks: Vec<CheckResult>,
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
    /// Adds a readiness check. Its error is shown to operators as it is.
    pub fn register<F, Fut>(&self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.lock().push((name, check));
    }

    /// Runs every check.
    pub async fn readiness(&self) -> Readiness {
        let checks = self.lock().clone();
        let mut results = Vec::with_capacity(checks.len());
        let mut ready = true;
        for (name, check) in checks {
            let result = tokio::time::timeout(CHECK_TIME_LIMIT, check()).await;
            let status = match result {
                Ok(Ok(())) => "ok".to_owned(),
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {} s", CHECK_TIME_LIMIT.as_secs()),
            };
            ready &= status == "ok";
            results.push(CheckResult { name, status });
        }
        Readiness {
            status: if ready { "ready" } else { "not ready" },
            checks: results,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(&'static str, Check)>> {
        self.checks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

pub(crate) async fn live() -> &'static str {
    "live\n"
}

pub(crate) async fn ready(health: Health) -> (StatusCode, Json<Readiness>) {
    let readiness = health.readiness().await;
    let code = if readiness.status == "ready" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(readiness))
}
