//! A service in a process of its own, and requests to it.

use std::io::{BufRead, BufReader, ErrorKind, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{LIMIT, ROLE};

/// A service that runs, and what it writes.
pub struct Process {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    pub log: Option<Lines<BufReader<ChildStderr>>>,
}

impl Process {
    /// Runs a test of this binary in its service's role.
    pub fn start(test: impl Fn(), settings: &[(&str, &str)]) -> Self {
        Self::start_with_log(test, settings, Stdio::piped())
    }

    pub fn start_with_log(test: impl Fn(), settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut program = Command::new(std::env::current_exe().expect("this program"));
        Self::start_by(&mut program, test, settings, log)
    }

    pub fn start_by(
        program: &mut Command,
        test: impl Fn(),
        settings: &[(&str, &str)],
        log: Stdio,
    ) -> Self {
        let mut child = program
            .args([name_of(test), "--exact", "--nocapture"])
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
    pub fn address(&mut self) -> SocketAddr {
        self.address_after(service::LISTENING)
    }

    /// The address in the line that begins so.
    pub fn address_after(&mut self, beginning: &str) -> SocketAddr {
        let line = find(&mut self.output, beginning);
        let (_, address) = line.split_once(beginning).expect("it was found");
        address.parse().expect("an address")
    }

    /// Waits until it has logged a line with this text.
    pub fn logged(&mut self, text: &str) {
        find(self.log.as_mut().expect("a pipe"), text);
    }

    /// What is left of the log of a process that has ended.
    pub fn whole_log(&mut self) -> Vec<String> {
        let log = self.log.take().expect("a pipe");
        log.map(|line| line.expect("a line")).collect()
    }

    /// The same, of a log in JSON.
    pub fn json_log(&mut self) -> Vec<Value> {
        let lines = self.whole_log().into_iter();
        lines
            .map(|line| {
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
            })
            .collect()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("a running process");
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
    }

    pub fn end(&mut self) -> ExitStatus {
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

/// As the test harness knows it: without the crate.
fn name_of<T: Fn()>(_: T) -> &'static str {
    let name = std::any::type_name::<T>();
    name.split_once("::").expect("a path").1
}

fn find(lines: &mut impl Iterator<Item = std::io::Result<String>>, text: &str) -> String {
    let found = lines
        .filter_map(Result::ok)
        .find(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("it ended before it wrote {text:?}"))
}

/// The body of an answer; nothing when the service ends before.
pub fn fetch(address: SocketAddr, path: &str) -> String {
    let answer = until_closed(address, path, "Connection: close\r\n");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    body.unwrap_or_default().to_owned()
}

/// What comes on a connection until the service closes it, after a request with these header lines.
pub fn until_closed(address: SocketAddr, path: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let request = format!("GET {path} HTTP/1.1\r\nHost: doomed\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            panic!("no end of the answer to {path}: {answer}")
        }
        _ => answer,
    }
}

/// Waits until a counter among the service's metrics has this value: some are counted after the answer.
pub fn wait_for_count(address: SocketAddr, name: &str, expected: u64) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let count = counter(address, name);
        if count == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is {count}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The value of a counter among the service's metrics.
pub fn counter(address: SocketAddr, name: &str) -> u64 {
    let metrics = fetch(address, "/metrics");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}
