//! A service as a process: what it logs, how it ends, and with which exit code.

use std::fs::File;
use std::future::Future;
use std::io::{BufRead, BufReader, ErrorKind, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use axum::routing::get;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use service::{Health, Lifecycle, Metrics, Settings};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// Set in a process that plays a service.
const ROLE: &str = "SERVICE_TEST_ROLE";
/// Enough for whatever is waited for; only a failure takes as long.
const LIMIT: Duration = Duration::from_secs(20);

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
    play(|config, listener, lifecycle| async move {
        lifecycle.spawn("projection", async { Err(anyhow::anyhow!("no primary")) });
        serve(axum::Router::new(), &config, listener, &lifecycle).await
    });
    let mut process = Process::start(
        "a_background_task_that_dies_ends_the_process_with_its_reason_in_the_log",
        &[("LOG_FORMAT", "json")],
    );
    assert_eq!(process.end().code(), Some(1));

    let log = process.json_log();
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
    assert_eq!(process.whole_log(), ["doomed: no primary"]);
}

#[test]
fn a_second_interrupt_ends_a_process_that_is_still_shutting_down() {
    play(|config, listener, lifecycle| async move {
        lifecycle.spawn("feed", std::future::pending());
        serve(axum::Router::new(), &config, listener, &lifecycle).await
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

#[test]
fn a_process_whose_log_has_no_reader_any_more_answers_and_ends() {
    play(talkative);
    let mut process = Process::start(
        "a_process_whose_log_has_no_reader_any_more_answers_and_ends",
        &[],
    );
    drop(process.log.take());
    let dropped = process.answers_whatever_it_logs();
    assert!(dropped > 0);
}

#[test]
fn a_process_whose_log_goes_to_a_full_disk_answers_and_ends() {
    play(talkative);
    let full = File::options().write(true).open("/dev/full");
    let mut process = Process::start_with_log(
        "a_process_whose_log_goes_to_a_full_disk_answers_and_ends",
        &[],
        full.expect("a file").into(),
    );
    let dropped = process.answers_whatever_it_logs();
    assert!(dropped > 0);
}

#[test]
fn a_process_whose_log_nobody_reads_answers_and_ends() {
    play(talkative);
    let mut process = Process::start("a_process_whose_log_nobody_reads_answers_and_ends", &[]);
    let dropped = process.answers_whatever_it_logs();
    assert!(dropped > 0);
}

#[test]
fn a_process_whose_log_file_is_at_the_limit_of_file_sizes_answers_and_ends() {
    play(talkative);
    let file = tempfile::tempfile().expect("a file");
    let mut process = Process::start_by(
        // The limit is in units of 512 or 1024 bytes, by the shell.
        Command::new("sh")
            .args(["-c", "ulimit -f 64; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().expect("this program")),
        "a_process_whose_log_file_is_at_the_limit_of_file_sizes_answers_and_ends",
        &[],
        file.try_clone().expect("a file").into(),
    );
    let dropped = process.answers_whatever_it_logs();
    assert!(dropped > 0);
    let length = file.metadata().expect("its length").len();
    assert!(length >= 32 * 1024, "{length} bytes were logged");
}

#[test]
fn a_flood_of_equal_lines_is_summed_up_in_the_log() {
    play(|config, listener, lifecycle| async move {
        for attempt in 0..1000 {
            tracing::warn!(attempt, "the stream broke");
        }
        tracing::warn!("the stream is back");
        talkative(config, listener, lifecycle).await
    });
    let mut process = Process::start(
        "a_flood_of_equal_lines_is_summed_up_in_the_log",
        &[("LOG_FORMAT", "json"), ("LOG", "process=warn")],
    );
    let address = process.address();
    assert_eq!(counter(address, "log_lines_suppressed_total"), 900);
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
    let log = process.json_log();
    assert_eq!(log.len(), 102, "{log:#?}");
    assert_eq!(log[0]["attempt"], 0);
    assert_eq!(log[99]["attempt"], 99);
    assert_eq!(log[100]["message"], "the stream is back");
    let summary = &log[101];
    assert_eq!(
        summary["message"],
        "900 more lines like the last one were left out"
    );
    assert_eq!(summary["level"], "WARN");
    assert_eq!(summary["lines"], 900);
    assert_eq!(summary["of"], "process");
    assert_eq!(summary["like"], "the stream broke");
}

#[test]
fn a_panic_is_an_event_of_the_log() {
    play(talkative);
    let mut process = Process::start("a_panic_is_an_event_of_the_log", &[("LOG_FORMAT", "json")]);
    let address = process.address();
    assert_eq!(fetch(address, "/panic"), "caught");
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
    let log = process.json_log();
    let panic = log
        .iter()
        .find(|event| event["message"] == "a thread panicked");
    let panic = panic.expect("its event");
    assert_eq!(panic["reason"], "boom 1");
    assert!(
        panic["location"]
            .as_str()
            .is_some_and(|at| at.contains("process.rs:"))
    );
}

#[test]
fn a_background_task_that_never_returns_is_abandoned_after_one_grace_period() {
    play(|config, listener, lifecycle| async move {
        lifecycle.spawn("feed", std::future::pending());
        talkative(config, listener, lifecycle).await
    });
    let mut process = Process::start(
        "a_background_task_that_never_returns_is_abandoned_after_one_grace_period",
        &[("SHUTDOWN_GRACE_SECONDS", "1")],
    );
    process.address();
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(1));
    process.logged("the background tasks did not stop within 1 s");
}

#[test]
fn a_service_that_hangs_is_abandoned_after_its_grace_period() {
    play(|config, listener, lifecycle| async move {
        talkative(config, listener, lifecycle).await?;
        std::future::pending().await
    });
    let mut process = Process::start(
        "a_service_that_hangs_is_abandoned_after_its_grace_period",
        &[("SHUTDOWN_GRACE_SECONDS", "1")],
    );
    process.address();
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(1));
    process.logged("the service did not end within 1 s");
}

#[test]
fn a_process_whose_every_thread_is_busy_ends_after_its_grace_period() {
    play(talkative);
    let mut process = Process::start(
        "a_process_whose_every_thread_is_busy_ends_after_its_grace_period",
        &[("SHUTDOWN_GRACE_SECONDS", "0")],
    );
    let address = process.address();
    let hung = std::thread::spawn(move || fetch(address, "/hang"));
    process.logged("every thread hangs");
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(1));
    process.logged("the process did not end within 3 s: something in it hangs");
    assert_eq!(hung.join().expect("no panic"), "");
}

#[test]
fn a_service_that_is_told_to_end_before_it_serves_ends_at_once() {
    play(|_, _, lifecycle| async move {
        let _lifecycle = lifecycle;
        std::future::pending().await
    });
    let mut process = Process::start(
        "a_service_that_is_told_to_end_before_it_serves_ends_at_once",
        &[("SHUTDOWN_GRACE_SECONDS", "3600")],
    );
    process.address();
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
}

/// A service that, when it is asked to, logs more than a pipe and the queue of lines hold, panics, or
/// blocks every thread of its runtime.
async fn talkative(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let log = || async {
        for _ in 0..100 {
            tracing::error!(text = "x".repeat(32 * 1024), "a long line");
        }
        "logged"
    };
    let panic = || async {
        let number = std::hint::black_box(1);
        match tokio::spawn(async move { panic!("boom {number}") }).await {
            Err(error) if error.is_panic() => "caught",
            _ => "not a panic",
        }
    };
    let hang = || async {
        let threads = Handle::current().metrics().num_workers();
        let barrier = Arc::new(Barrier::new(threads));
        for _ in 0..threads {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                if barrier.wait().is_leader() {
                    tracing::info!("every thread hangs");
                }
                loop {
                    std::thread::park();
                }
            });
        }
        std::future::pending::<&'static str>().await
    };
    let router = axum::Router::new()
        .route("/log", get(log))
        .route("/panic", get(panic))
        .route("/hang", get(hang))
        .merge(operations(&config, &lifecycle).await?);
    serve(router, &config, listener, &lifecycle).await
}

#[test]
fn metrics_are_on_the_public_port_in_development_only() {
    const TEST: &str = "metrics_are_on_the_public_port_in_development_only";
    play(public_and_operations);
    for (development, is_there) in [("true", true), ("false", false)] {
        let mut process = Process::start(TEST, &[("DEVELOPMENT", development)]);
        let address = process.address();
        assert_eq!(fetch(address, "/health/live"), "live\n");
        assert_eq!(fetch(address, "/metrics/page") == "a page", is_there);
        assert_eq!(fetch(address, "/metrics").contains("# EOF"), is_there);
    }
}

#[test]
fn metrics_are_on_the_operations_port_alone_where_there_is_one() {
    const TEST: &str = "metrics_are_on_the_operations_port_alone_where_there_is_one";
    play(public_and_operations);
    for development in ["true", "false"] {
        let settings = [("OPERATIONS_PORT", "0"), ("DEVELOPMENT", development)];
        let mut process = Process::start(TEST, &settings);
        let public = process.address();
        let operations = process.address_after(service::OPERATIONS);
        assert_eq!(fetch(operations, "/metrics/page"), "a page");
        assert!(fetch(operations, "/metrics").contains("# EOF"));
        assert_eq!(fetch(public, "/health/live"), "live\n");
        for path in ["/metrics", "/metrics/page"] {
            assert_eq!(fetch(public, path), "", "{path}");
        }
        process.signal(Signal::TERM);
        assert_eq!(process.end().code(), Some(0));
    }
}

#[test]
fn an_operations_port_that_cannot_be_used_is_refused_by_name() {
    const TEST: &str = "an_operations_port_that_cannot_be_used_is_refused_by_name";
    play(public_and_operations);
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let taken = held.local_addr().expect("an address").port().to_string();
    for (port, code, name) in [
        (&*taken, 1, "OPERATIONS_PORT"),
        ("many", 2, "--operations-port"),
    ] {
        let mut process = Process::start(TEST, &[("OPERATIONS_PORT", port)]);
        assert_eq!(process.end().code(), Some(code));
        let log = process.whole_log().join("\n");
        assert!(log.contains(name), "{log}");
    }
}

async fn public_and_operations(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let router = operations(&config, &lifecycle).await?;
    serve(router, &config, listener, &lifecycle).await
}

async fn operations(config: &Config, lifecycle: &Lifecycle) -> anyhow::Result<axum::Router> {
    let (health, metrics) = (Health::default(), Metrics::new("doomed"));
    let pages = axum::Router::new().route("/metrics/page", get(|| async { "a page" }));
    service::operations_routes(&config.service, &health, &metrics, pages, lifecycle).await
}

#[test]
fn a_connection_that_sends_no_request_is_closed() {
    const TEST: &str = "a_connection_that_sends_no_request_is_closed";
    play(waiting);
    let mut process = Process::start(TEST, &[("FIRST_REQUEST_SECONDS", "1")]);
    let address = process.address();
    let silent = [
        "",
        "P",
        "GET / HTTP/1.1\r\nhost: a",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
    ]
    .map(|begin| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream.write_all(begin.as_bytes()).expect("sent");
        stream
    });
    for mut stream in silent {
        // Closed, with or without words.
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let closed = read
            .as_ref()
            .map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true);
        assert!(closed, "{read:?}");
    }
}

#[test]
fn silent_connections_leave_room_for_those_that_work() {
    const TEST: &str = "silent_connections_leave_room_for_those_that_work";
    play(waiting);
    let mut process = Process::start(
        TEST,
        &[
            ("CONNECTIONS_MAX", "4"),
            ("CONNECTIONS_PER_ADDRESS_MAX", "4"),
        ],
    );
    let address = process.address();
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(address).expect("a connection"))
        .collect();
    assert_eq!(fetch(address, "/answer"), "an answer");
    drop(silent);

    let wait = |_| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let request = b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request).expect("sent");
        stream
    };
    let working: Vec<TcpStream> = (0..4).map(wait).collect();
    for _ in 0..4 {
        process.logged("waits");
    }
    let mut refused = TcpStream::connect(address).expect("a connection");
    let mut answer = String::new();
    refused.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.contains(r#""code":"TOO_MANY_CONNECTIONS""#),
        "{answer}"
    );
    drop(working);
}

/// A service with an answer, and one that never comes.
async fn waiting(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let wait = || async {
        tracing::info!("waits");
        std::future::pending::<&'static str>().await
    };
    let router = axum::Router::new()
        .route("/answer", get(|| async { "an answer" }))
        .route("/wait", get(wait));
    serve(router, &config, listener, &lifecycle).await
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
    log: Option<Lines<BufReader<ChildStderr>>>,
}

impl Process {
    /// Runs the named test of this binary in its service's role.
    fn start(test: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_with_log(test, settings, Stdio::piped())
    }

    fn start_with_log(test: &str, settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut program = Command::new(std::env::current_exe().expect("this program"));
        Self::start_by(&mut program, test, settings, log)
    }

    fn start_by(program: &mut Command, test: &str, settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut child = program
            .args([test, "--exact", "--nocapture"])
            .env(ROLE, "1")
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env_remove("LOG")
            .env("DEVELOPMENT", "true")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a service");
        let log = child.stderr.take();
        Self {
            output: BufReader::new(child.stdout.take().expect("a pipe")).lines(),
            log: log.map(|log| BufReader::new(log).lines()),
            child,
        }
    }

    /// Waits until it listens.
    fn address(&mut self) -> SocketAddr {
        self.address_after(service::LISTENING)
    }

    /// The address in the line that begins so.
    fn address_after(&mut self, beginning: &str) -> SocketAddr {
        let line = find(&mut self.output, beginning);
        let (_, address) = line.split_once(beginning).expect("it was found");
        address.parse().expect("an address")
    }

    /// Goes through a life with many log lines and a panic; returns how many lines were dropped.
    fn answers_whatever_it_logs(&mut self) -> u64 {
        let address = self.address();
        assert_eq!(fetch(address, "/log"), "logged");
        assert_eq!(fetch(address, "/panic"), "caught");
        assert_eq!(fetch(address, "/health/live"), "live\n");
        let dropped = || counter(address, "log_lines_dropped_total");
        let deadline = Instant::now() + LIMIT;
        while dropped() == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let dropped = dropped();
        self.signal(Signal::TERM);
        assert_eq!(self.end().code(), Some(0));
        dropped
    }

    /// Waits until it has printed a line with this text.
    fn printed(&mut self, text: &str) {
        find(&mut self.output, text);
    }

    /// Waits until it has logged a line with this text.
    fn logged(&mut self, text: &str) {
        find(self.log.as_mut().expect("a pipe"), text);
    }

    /// What is left of the log of a process that has ended.
    fn whole_log(&mut self) -> Vec<String> {
        let log = self.log.take().expect("a pipe");
        log.map(|line| line.expect("a line")).collect()
    }

    /// The same, of a log in JSON.
    fn json_log(&mut self) -> Vec<Value> {
        let lines = self.whole_log().into_iter();
        lines
            .map(|line| {
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
            })
            .collect()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("a running process");
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
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

fn find(lines: &mut impl Iterator<Item = std::io::Result<String>>, text: &str) -> String {
    let found = lines
        .filter_map(Result::ok)
        .find(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("it ended before it wrote {text:?}"))
}

/// The body of an answer; nothing when the service ends before.
fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let request = format!("GET {path} HTTP/1.1\r\nHost: doomed\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer to {path}"),
        _ => {}
    }
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    body.unwrap_or_default().to_owned()
}

/// The value of a counter among the service's metrics.
fn counter(address: SocketAddr, name: &str) -> u64 {
    let metrics = fetch(address, "/metrics");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}

async fn serve(
    router: axum::Router,
    config: &Config,
    listener: TcpListener,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let metrics = Metrics::new("doomed");
    service::serve(listener, router, lifecycle, &config.service, &metrics).await
}
