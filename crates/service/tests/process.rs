//! A service as a process: what it logs, how it ends, and with which exit code.

use std::future::Future;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use service::{Lifecycle, Settings};
use tokio::net::TcpListener;

/// Set in a process that plays a service.
const ROLE: &str = "SERVICE_TEST_ROLE";

#[derive(clap::Parser)]
struct Config {
    #[command(flatten)]
    service: Settings,
    /// What the test harness is told.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _harness: Vec<String>,
}

#[test]
fn a_background_task_that_dies_ends_the_process_with_its_reason_in_the_log() {
    play(|_config, listener, lifecycle| async move {
        lifecycle.spawn("projection", async { Err(anyhow::anyhow!("no primary")) });
        let grace = Duration::from_secs(10);
        service::serve(listener, axum::Router::new(), &lifecycle, grace).await
    });
    let mut process = Process::start(
        "a_background_task_that_dies_ends_the_process_with_its_reason_in_the_log",
        &[("LOG_FORMAT", "json")],
    );
    assert_eq!(process.end().code(), Some(1));

    let log: Vec<Value> = process
        .log
        .by_ref()
        .map(|line| line.expect("a line"))
        .map(|line| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect();
    let last = log.last().expect("a line");
    assert_eq!(last["level"], "ERROR");
    assert_eq!(last["message"], "stopped by a fault");
    assert_eq!(last["service"], "doomed");
    assert_eq!(last["reason"], "projection failed: no primary");
    assert!(log.iter().all(|event| event["timestamp"].is_string()));
}

#[test]
fn with_the_log_turned_off_the_reason_is_told_all_the_same() {
    play(|_, _, _| async { Err(anyhow::anyhow!("no primary")) });
    let mut process = Process::start(
        "with_the_log_turned_off_the_reason_is_told_all_the_same",
        &[("LOG", "off")],
    );
    assert_eq!(process.end().code(), Some(1));
    let log: Vec<String> = process
        .log
        .by_ref()
        .map(|line| line.expect("a line"))
        .collect();
    assert_eq!(log, ["doomed: no primary"]);
}

#[test]
fn a_second_interrupt_ends_a_process_that_is_still_shutting_down() {
    play(|_, _, lifecycle| async move {
        let _lifecycle = lifecycle;
        std::future::pending().await
    });
    let mut process = Process::start(
        "a_second_interrupt_ends_a_process_that_is_still_shutting_down",
        &[],
    );
    process.printed(service::LISTENING);
    process.signal(Signal::TERM);
    process.logged("shutting down");
    process.signal(Signal::TERM);
    process.signal(Signal::INT);
    assert_eq!(process.end().code(), Some(130));
}

/// In the role of a service: is it, to its end. Otherwise returns.
fn play<F, Fut>(run: F)
where
    F: FnOnce(Config, TcpListener, Lifecycle) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let code = service::start("doomed", 0, |config: &Config| &config.service, run);
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

/// A service that runs, and what it writes.
struct Process {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    /// Runs the named test of this binary in its service's role.
    fn start(test: &str, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([test, "--exact", "--nocapture"])
            .env(ROLE, "1")
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env_remove("LOG")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a service");
        Self {
            output: BufReader::new(child.stdout.take().expect("a pipe")).lines(),
            log: BufReader::new(child.stderr.take().expect("a pipe")).lines(),
            child,
        }
    }

    /// Waits until it has printed a line with this text.
    fn printed(&mut self, text: &str) {
        find(&mut self.output, text);
    }

    /// Waits until it has logged a line with this text.
    fn logged(&mut self, text: &str) {
        find(&mut self.log, text);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("a running process");
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A failed test must not leave it behind; one that has ended already is fine.
        let _ = self.child.kill();
    }
}

fn find(lines: &mut impl Iterator<Item = std::io::Result<String>>, text: &str) {
    let found = lines.any(|line| line.is_ok_and(|line| line.contains(text)));
    assert!(found, "it ended before it wrote {text:?}");
}
