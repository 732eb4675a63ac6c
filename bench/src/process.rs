//! A server process under measurement: its CPU time and memory as the kernel counts them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A server gets this long to listen.
const START_TIME_LIMIT: Duration = Duration::from_secs(30);

/// A child process that is ended when this is dropped.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts a command with its standard output and log discarded.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::piped()) // Our own services end when it is closed.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            child,
            name: name.to_owned(),
        })
    }

    /// Waits until the process accepts connections.
    ///
    /// # Errors
    /// When it ends or does not listen in time.
    pub async fn listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let started = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at its start: {status}", self.name);
            }
            if started.elapsed() > START_TIME_LIMIT {
                bail!("{} does not listen on {address}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// User and system time of the whole process so far. The kernel counts in ticks of 10 ms.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time(self.child.id()).with_context(|| format!("reading the CPU time of {}", self.name))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory now, and at its highest, in bytes.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        memory(self.child.id()).with_context(|| format!("reading the memory of {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes in memory now.
    pub resident: u64,
    /// Of that, what is not backed by a file: what the process allocated.
    pub anonymous: u64,
    /// Resident at its highest since the process started.
    pub peak: u64,
}

impl Memory {
    pub fn mib(bytes: u64) -> f64 {
        bytes as f64 / f64::from(1 << 20)
    }
}

/// User and system time of process `pid`, from `/proc/<pid>/stat` (see proc(5)).
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    /// `sysconf(_SC_CLK_TCK)`, which is 100 on every Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    // The command name is in brackets and may contain spaces: fields are counted after it.
    let (_, fields) = stat
        .rsplit_once(')')
        .context("/proc/<pid>/stat has no command name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<f64> {
        Ok(fields
            .get(index)
            .context("/proc/<pid>/stat is short")?
            .parse()?)
    };
    Ok(Duration::from_secs_f64(
        (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
    ))
}

/// Memory of process `pid`, from `/proc/<pid>/status`.
///
/// # Errors
/// When there is no such process.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let field = |name: &str| -> anyhow::Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib: u64 = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .context("no memory field")?
            .parse()?;
        Ok(kib * 1024)
    };
    Ok(Memory {
        resident: field("VmRSS:")?,
        anonymous: field("RssAnon:")?,
        peak: field("VmHWM:")?,
    })
}

/// Resident memory of process `pid` in bytes, as its page tables have it: `/proc/<pid>/status` counts in batches.
///
/// # Errors
/// When there is no such process.
pub fn exact_memory(pid: u32) -> anyhow::Result<u64> {
    let folder = Path::new("/proc").join(pid.to_string());
    let rollup = std::fs::read_to_string(folder.join("smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no memory field")?
        .parse()?;
    Ok(kib * 1024)
}

/// A port that was free a moment ago.
///
/// # Errors
/// When the loopback interface has none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}
