//! One service as a process: start it, wait until it is ready, signal it, stop it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// A service's grace period when no setting gives it.
const GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// After its grace period a service ends by itself within this time, whatever hangs in it.
const STOP_TIME_MORE: Duration = Duration::from_secs(5);
/// The time limit of one readiness check, so that a service that hangs does not delay the next check.
const ANSWER_TIME_LIMIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The services of Rejoinder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Posts,
    Comments,
    /// The gateway in front of both.
    Gateway,
    /// What renders the pages, from the gateway's graph.
    Pages,
}

impl Service {
    /// The name that the program is called by to be this service.
    pub fn name(self) -> &'static str {
        match self {
            Self::Posts => "posts",
            Self::Comments => "comments",
            Self::Gateway => "gateway",
            Self::Pages => "pages",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        [Self::Posts, Self::Comments, Self::Gateway, Self::Pages]
            .into_iter()
            .find(|service| service.name() == name)
    }

    /// The service's own `main`.
    pub(crate) fn main(self) -> ExitCode {
        match self {
            Self::Posts => posts::main(),
            Self::Comments => comments::main(),
            Self::Gateway => gateway::main(),
            Self::Pages => pages::main(),
        }
    }
}

/// Prints what a service goes on to print, such as the gateway's access log, until it ends.
async fn print_on(mut output: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(line)) = output.next_line().await {
        // The stack has told its own addresses.
        if !line.starts_with(service::OPERATIONS) {
            service::print(line);
        }
    }
}

/// A running service. It ends when this handle is dropped, and when this process ends.
#[derive(Debug)]
pub struct ServiceProcess {
    service: Service,
    child: Child,
    address: SocketAddr,
    /// A service that still runs this long after SIGTERM is killed.
    stop_time_limit: Duration,
}

impl ServiceProcess {
    /// Starts the service and waits until it listens. `program` is one whose `main` is
    /// [`crate::main`]; `settings` are added to the environment; its log goes to `log`.
    ///
    /// # Errors
    /// When it ends before it listens; the reason is in its log.
    pub async fn start(
        program: &Path,
        service: Service,
        settings: &[(&str, String)],
        log: Stdio,
    ) -> anyhow::Result<Self> {
        let name = service.name();
        let mut command = Command::new(program);
        for (key, value) in settings {
            // The stack's own value is the one that holds, where its own setting was read from a file.
            command
                .env(key, value)
                .env_remove(service::file_variable(key));
        }
        let mut child = command
            .arg0(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C in a terminal goes to the stack alone, which stops things in its own order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let output = child.stdout.take().context("standard output is a pipe")?;
        let mut output = BufReader::new(output).lines();
        let address = loop {
            match output.next_line().await? {
                Some(line) => match line.strip_prefix(service::LISTENING) {
                    Some(address) => break address.parse()?,
                    None => continue,
                },
                None => anyhow::bail!("{name} ended before it listened: {}", child.wait().await?),
            }
        };
        tokio::spawn(print_on(output));
        Ok(Self {
            service,
            child,
            address,
            stop_time_limit: stop_time_limit(settings),
        })
    }

    /// Which service it is.
    pub fn service(&self) -> Service {
        self.service
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of this service; `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until `GET /health/ready` says yes.
    ///
    /// # Errors
    /// When the process ends before, or the time is over; with the last answer.
    pub async fn ready(&mut self, limit: Duration) -> anyhow::Result<()> {
        let name = self.service.name();
        let url = self.url("/health/ready");
        let deadline = Instant::now() + limit;
        let client = reqwest::Client::builder()
            .timeout(ANSWER_TIME_LIMIT)
            .build()?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("{name} ended before it was ready: {status}");
            }
            let answer = match client.get(&url).send().await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => response.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                anyhow::bail!(
                    "{name} was not ready within {} s: {answer}",
                    limit.as_secs()
                );
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends a signal; a process that has ended already is no error.
    pub fn signal(&self, signal: Signal) {
        // The child was not waited for yet, so the id is still its own.
        if let Some(pid) = self.pid() {
            send_signal(pid, signal);
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system cannot report it.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        // Not `Child::wait`, which closes standard input, by which a service knows its owner.
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(status),
                None => sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// When the system cannot report its end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL);
        self.wait().await?;
        Ok(())
    }

    /// Ends it with SIGTERM, so that running requests finish; SIGKILL follows when it hangs.
    ///
    /// # Errors
    /// When the system cannot report its end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        if timeout(self.stop_time_limit, self.wait()).await.is_err() {
            self.kill().await?;
        }
        Ok(())
    }
}

/// How long a service may take to stop: its delay, its grace period, and a little more.
pub(crate) fn stop_time_limit(settings: &[(&str, String)]) -> Duration {
    let value = |wanted: &str| {
        let own = settings.iter().rev().find(|(name, _)| *name == wanted);
        own.map(|(_, value)| value.clone())
            .or_else(|| std::env::var(wanted).ok())
    };
    let delay = value("SHUTDOWN_DELAY").and_then(|delay| service::duration(&delay).ok());
    let delay = delay.unwrap_or_default();
    grace(value)
        .saturating_add(delay)
        .saturating_add(STOP_TIME_MORE)
}

/// The grace period by its setting or, until the next release, by the old name of that. What a service does
/// not take does not matter here: it does not start.
fn grace(value: impl Fn(&str) -> Option<String>) -> Duration {
    if let Some(grace) = value("SHUTDOWN_GRACE") {
        return service::duration(&grace).unwrap_or(GRACE_DEFAULT);
    }
    let seconds = value("SHUTDOWN_GRACE_SECONDS").and_then(|seconds| seconds.parse().ok());
    seconds.map_or(GRACE_DEFAULT, Duration::from_secs)
}

/// Sends a signal to a process; one that has ended already is no error.
pub fn send_signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_killed_after_its_grace_period_by_either_name() {
        let limit = |settings: &[(&str, &str)]| {
            let settings: Vec<_> = settings
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect();
            stop_time_limit(&settings).saturating_sub(STOP_TIME_MORE)
        };
        assert_eq!(limit(&[]), GRACE_DEFAULT);
        let (new, old) = (("SHUTDOWN_GRACE", "2m"), ("SHUTDOWN_GRACE_SECONDS", "7"));
        assert_eq!(limit(&[new]), Duration::from_secs(120));
        assert_eq!(limit(&[old]), Duration::from_secs(7));
        assert_eq!(limit(&[old, new]), Duration::from_secs(120));
        assert_eq!(
            limit(&[old, ("SHUTDOWN_DELAY", "5s")]),
            Duration::from_secs(12)
        );
    }
}
