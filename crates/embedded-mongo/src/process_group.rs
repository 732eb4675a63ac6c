//! A command and all that it starts, ended together.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running command, in a process group of its own. Dropped before its end, it is killed together
/// with what it started: npm and pip start shells and interpreters, which a kill of npm or pip alone
/// would leave behind.
#[derive(Debug)]
pub struct ProcessGroup {
    leader: Child,
    has_ended: bool,
}

impl ProcessGroup {
    /// Starts the command. Ctrl-C in a terminal does not reach it: its owner drops it.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Ok(Self {
            leader: command.process_group(0).spawn()?,
            has_ended: false,
        })
    }

    /// Waits until the command itself has ended.
    ///
    /// # Errors
    /// When the system does not tell.
    pub async fn wait(mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.leader.try_wait()? {
                self.has_ended = true;
                return Ok(status);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        // The leader was not waited for yet, so the id is still its group's. An error means that
        // the whole group has ended.
        if let Some(group) = Pid::from_raw(self.leader.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.leader.wait();
    }
}
