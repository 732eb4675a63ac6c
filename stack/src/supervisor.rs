//! Keeps one service running: whenever it ends, it is started again, after growing pauses.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use service::telemetry;
use tokio::time::{Instant, sleep};

use crate::{Service, ServiceProcess};

/// The first start, and each one again, must lead to readiness within this time.
const READY_TIME_LIMIT: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A service that ran for longer is started again without a growing pause.
const STEADY_AFTER: Duration = Duration::from_secs(30);

/// How a service is started.
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) service: Service,
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// A service that is being looked after.
pub(crate) struct Supervised {
    plan: Plan,
    process: ServiceProcess,
    started: Instant,
    pause: Duration,
}

impl Supervised {
    /// Starts the service and waits until it is ready. A service that fails here would fail again,
    /// so it is not started again.
    pub(crate) async fn start(plan: Plan) -> anyhow::Result<Self> {
        let mut process = start_process(&plan).await?;
        process.ready(READY_TIME_LIMIT).await?;
        Ok(Self {
            plan,
            process,
            started: Instant::now(),
            pause: PAUSE_MIN,
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.process.url(path)
    }

    /// Starts the service again whenever it ends. Never returns by itself.
    pub(crate) async fn keep_running(&mut self) -> anyhow::Error {
        let name = self.plan.service.name();
        loop {
            let reason = match self.process.wait().await {
                Ok(status) => format!("{name} ended ({status})"),
                Err(error) => return error,
            };
            self.pause = if self.started.elapsed() > STEADY_AFTER {
                PAUSE_MIN
            } else {
                self.pause
            };
            telemetry::tell(format_args!(
                "{reason}: starting it again in {} ms",
                self.pause.as_millis()
            ));
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            self.started = Instant::now();
            match start_process(&self.plan).await {
                Ok(process) => self.process = process,
                Err(error) => telemetry::tell(format_args!("{error:#}")),
            }
        }
    }

    /// Ends the service in good order.
    pub(crate) async fn stop(&mut self) {
        if let Err(error) = self.process.stop().await {
            telemetry::tell(format_args!(
                "{} did not stop cleanly: {error:#}",
                self.plan.service.name()
            ));
        }
    }
}

async fn start_process(plan: &Plan) -> anyhow::Result<ServiceProcess> {
    ServiceProcess::start(
        &plan.program,
        plan.service,
        &plan.settings,
        Stdio::inherit(),
    )
    .await
}
