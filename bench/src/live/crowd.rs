//! The clients, in several processes and from many addresses, as one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::try_join_all;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::Transport;
use crate::process::cpu_time;

/// An answer that takes longer is a fault.
const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// What all clients subscribe to, and from where.
#[derive(Clone, Debug)]
pub struct Clients {
    pub server: SocketAddr,
    pub transport: Transport,
    pub query: String,
    /// `{client}` is replaced by the client's number in its process, and `{process}` by that of the process.
    pub variables: String,
    pub text_length: usize,
    pub clients_per_address: usize,
    pub receive_buffer: Option<usize>,
    /// Clients come back after their last cursor when a connection ends.
    pub resumes: bool,
}

/// Running processes of clients; they end when this is dropped.
pub struct Crowd {
    processes: Vec<Process>,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    /// Starts the processes.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(clients: &Clients, processes: u8) -> anyhow::Result<Self> {
        let processes = (0..processes.into()).map(|number| Process::start(clients, number));
        Ok(Self {
            processes: processes.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Starts the processes, and connects so many clients in all.
    ///
    /// # Errors
    /// When one does not start, or cannot connect.
    pub async fn connected(clients: &Clients, processes: u8, count: usize) -> anyhow::Result<Self> {
        let mut crowd = Self::start(clients, processes)?;
        crowd.connect(count).await?;
        Ok(crowd)
    }

    /// Connects so many more clients in all; returns when they have subscribed.
    ///
    /// # Errors
    /// When one cannot.
    pub async fn connect(&mut self, clients: usize) -> anyhow::Result<()> {
        let processes = self.processes.len();
        let share = |index: usize| clients / processes + usize::from(index < clients % processes);
        let all = self.processes.iter_mut().enumerate();
        let all = all.map(|(index, it)| it.ask(format!("connect {}", share(index)), "subscribed"));
        try_join_all(all).await?;
        Ok(())
    }

    /// Waits until all clients have got the event before this number; says whether they have within the time.
    ///
    /// # Errors
    /// When one got anything else.
    pub async fn has_got(&mut self, next: u64, limit: Duration) -> anyhow::Result<bool> {
        let all = self.all(format!("until {next}"), format!("reached {next}"));
        match timeout(limit, all).await {
            Ok(result) => result.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    /// Each event's delays, of all clients, in microseconds.
    ///
    /// # Errors
    /// When a process does not answer.
    pub async fn delays_us(&mut self, from: u64, to: u64) -> anyhow::Result<Vec<Vec<u32>>> {
        let answers = self.all(format!("delays {from} {to}"), "delays ").await?;
        let mut delays = Vec::new();
        for answer in answers {
            let events: serde_json::Value = serde_json::from_str(&answer)?;
            let events = events.as_array().context("no list")?;
            delays.resize(delays.len().max(events.len()), Vec::new());
            for (event, all) in events.iter().zip(&mut delays) {
                for delay in event.as_array().context("no list")? {
                    all.push(u32::try_from(delay.as_u64().context("no number")?)?);
                }
            }
        }
        Ok(delays)
    }

    /// The first clients of the first process stop reading.
    ///
    /// # Errors
    /// When the process does not answer.
    pub async fn stall(&mut self, clients: usize) -> anyhow::Result<()> {
        let first = self.processes.first_mut().context("no process")?;
        first.ask(format!("stall {clients}"), "stalled").await?;
        Ok(())
    }

    /// They read again.
    ///
    /// # Errors
    /// When the process does not answer.
    pub async fn wake(&mut self) -> anyhow::Result<()> {
        let first = self.processes.first_mut().context("no process")?;
        first.ask("wake".to_owned(), "woken").await?;
        Ok(())
    }

    /// Why and when (on the monotonic clock) connections of clients that resume have ended since the last look.
    ///
    /// # Errors
    /// When a process does not answer, or a client did not get what it should.
    pub async fn departures(&mut self) -> anyhow::Result<Vec<(String, u64)>> {
        let mut departures = Vec::new();
        for answer in self.all("departures".to_owned(), "departures ").await? {
            let answer: Vec<(String, u64)> = serde_json::from_str(&answer)?;
            departures.extend(answer);
        }
        Ok(departures)
    }

    /// The clients that are subscribed now.
    ///
    /// # Errors
    /// When a process does not answer, or a client did not get what it should.
    pub async fn standing(&mut self) -> anyhow::Result<usize> {
        let answers = self.all("standing".to_owned(), "standing ").await?;
        let counts = answers.iter().map(|count| Ok(count.parse::<usize>()?));
        counts.sum()
    }

    /// How those ended that the server has ended.
    ///
    /// # Errors
    /// When a process does not answer.
    pub async fn ends(&mut self) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut ends = BTreeMap::new();
        for answer in self.all("ends".to_owned(), "ends ").await? {
            let answer: serde_json::Value = serde_json::from_str(&answer)?;
            for (reason, count) in answer.as_object().context("no object")? {
                *ends.entry(reason.clone()).or_default() += count.as_u64().unwrap_or(0);
            }
        }
        Ok(ends)
    }

    /// All clients close their connections.
    ///
    /// # Errors
    /// When a process does not answer.
    pub async fn leave(&mut self) -> anyhow::Result<()> {
        self.all("leave".to_owned(), "left").await?;
        Ok(())
    }

    /// The processes' own time.
    ///
    /// # Errors
    /// When one has ended.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let times = self.processes.iter().map(|process| {
            let pid = process.child.id().context("a process of clients ended")?;
            cpu_time(pid)
        });
        times.sum()
    }

    async fn all(
        &mut self,
        command: String,
        answer: impl AsRef<str>,
    ) -> anyhow::Result<Vec<String>> {
        let answer = answer.as_ref();
        let all = self.processes.iter_mut();
        try_join_all(all.map(|process| process.ask(command.clone(), answer))).await
    }
}

impl Process {
    fn start(clients: &Clients, number: usize) -> anyhow::Result<Self> {
        // A network of its own for each process: 127.16.0.1 and so on.
        let network = u8::try_from(16 + number).context("too many processes")?;
        let variables = clients.variables.replace("{process}", &number.to_string());
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("live-clients")
            .args(["--server", &clients.server.to_string()])
            .args([
                "--first-address",
                &Ipv4Addr::new(127, network, 0, 1).to_string(),
            ])
            .args([
                "--clients-per-address",
                &clients.clients_per_address.to_string(),
            ])
            .args(["--transport", clients.transport.name()])
            .args(["--query", &clients.query])
            .args(["--variables", &variables])
            .args(["--text-length", &clients.text_length.to_string()]);
        if let Some(bytes) = clients.receive_buffer {
            command.args(["--receive-buffer", &bytes.to_string()]);
        }
        if clients.resumes {
            command.arg("--resumes");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting a process of clients")?;
        let output = child.stdout.take().context("standard output is a pipe")?;
        Ok(Self {
            input: child.stdin.take().context("standard input is a pipe")?,
            output: BufReader::new(output).lines(),
            child,
        })
    }

    /// Sends a command, and returns what follows the expected start of its answer. Answers to earlier commands that
    /// nobody waits for any more are skipped.
    async fn ask(&mut self, command: String, expected: &str) -> anyhow::Result<String> {
        self.input
            .write_all(format!("{command}\n").as_bytes())
            .await
            .context("a process of clients ended")?;
        let answer = async {
            loop {
                let line = self.output.next_line().await?;
                let line = line.context("a process of clients ended")?;
                if let Some(reason) = line.strip_prefix("failed ") {
                    bail!("{reason}");
                }
                if let Some(answer) = line.strip_prefix(expected) {
                    return Ok(answer.to_owned());
                }
            }
        };
        timeout(WAIT_LIMIT, answer)
            .await
            .with_context(|| format!("no answer to {command}"))?
    }
}
