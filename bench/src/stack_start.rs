//! How long the stack takes from its start to `ready:`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use stack::process::{Signal, send_signal};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The name that this program is called by to be the stack.
const STACK: &str = "stack";

/// Whether this process was started by [`start_to_ready`].
pub fn is_called_as_stack() -> bool {
    let called_as = std::env::args_os().next();
    called_as.is_some_and(|name| Path::new(&name).file_name() == Some(OsStr::new(STACK)))
}

/// Starts a stack with a mongod of its own on the data in a folder, waits for its `ready:`, and stops
/// it. Web pages are not built.
///
/// # Errors
/// When it does not get ready.
pub async fn start_to_ready(data_dir: &Path) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut stack = Command::new(std::env::current_exe()?)
        .arg0(STACK)
        .args(["--no-web", "--port", "0", "--data-dir"])
        .arg(data_dir)
        .env_remove("MONGO_URI")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting the stack")?;
    let output = stack.stdout.take().context("standard output is a pipe")?;
    let line = BufReader::new(output).lines().next_line().await?;
    let elapsed = started.elapsed();
    anyhow::ensure!(
        line.as_deref()
            .is_some_and(|line| line.starts_with("ready: ")),
        "the stack did not get ready: {line:?}"
    );
    if let Some(pid) = stack.id() {
        send_signal(pid, Signal::TERM);
    }
    stack.wait().await?;
    Ok(elapsed)
}
