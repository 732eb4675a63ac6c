//! Runs mongod under a small shell that ends it when its owner is gone.
//!
//! `PR_SET_PDEATHSIG` would do the same with one process less, but it needs unsafe code and fires
//! when the *thread* that started the child ends, which in a test is long before its time.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;
use crate::error::while_doing;

const GUARD: &str = include_str!("guard.sh");
const GUARD_SHARED: &str = include_str!("guard_shared.sh");

/// A mongod and the shell that watches over it.
#[derive(Debug)]
pub(crate) struct Guarded {
    shell: Child,
    /// The guard reads its end: closing it tells that the owner is gone. Kept apart from the child,
    /// whose `wait` would close it.
    owner: Option<ChildStdin>,
    pid: Pid,
    /// Whether the command was ended because its guard was gone.
    is_orphan_killed: bool,
}

impl Guarded {
    /// Starts a command that ends with this process: by `signal`, after which `scratch` is removed.
    /// A command that ends before leaves `scratch` as it is. What it writes to standard error goes
    /// to the file `errors`.
    pub(crate) fn start(
        command: &Command,
        signal: &str,
        scratch: Option<&Path>,
        errors: &Path,
    ) -> Result<Self, Error> {
        let scratch = scratch.map_or(OsStr::new(""), Path::as_os_str);
        Self::start_shell(
            GUARD,
            [OsStr::new(signal), scratch],
            command,
            Stdio::piped(),
            errors,
        )
    }

    /// Starts a command that ends soon after the last process gave up its shared lock on `lock`.
    pub(crate) fn start_shared(
        command: &Command,
        lock: &Path,
        scratch: &Path,
        errors: &Path,
    ) -> Result<Self, Error> {
        Self::start_shell(
            GUARD_SHARED,
            [lock.as_os_str(), scratch.as_os_str()],
            command,
            Stdio::null(),
            errors,
        )
    }

    fn start_shell(
        script: &str,
        arguments: [&OsStr; 2],
        command: &Command,
        input: Stdio,
        errors: &Path,
    ) -> Result<Self, Error> {
        let errors =
            File::create(errors).map_err(while_doing(format!("creating {}", errors.display())))?;
        let mut shell = Command::new("sh")
            .args(["-c", script, "guard"])
            .args(arguments)
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(errors)
            // Ctrl-C in a terminal goes to the owner alone, which ends things in its own order.
            .process_group(0)
            .spawn()
            .map_err(while_doing("starting sh"))?;
        let owner = shell.stdin.take();
        let mut line = String::new();
        if let Some(output) = shell.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(while_doing("reading mongod's process id"))?;
        }
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::Ended {
            status: "no process id".to_owned(),
            last_words: line,
        })?;
        Ok(Self {
            shell,
            owner,
            pid,
            is_orphan_killed: false,
        })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal to the command itself; one that has ended already is no error.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if matches!(self.shell.try_wait(), Ok(None)) && kill_process(self.pid, signal).is_err() {
            tracing::debug!(pid = self.pid(), "the process was gone before the signal");
        }
    }

    /// The command's exit status, when it has ended.
    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        let status = self
            .shell
            .try_wait()
            .map_err(while_doing("waiting for mongod"))?;
        // The guard passes on how the command ended; a signal hit the guard itself, and nobody hears
        // of the command any more, which goes on. So it is ended here; an error means that it was.
        if status.is_some_and(|status| status.signal().is_some()) && !self.is_orphan_killed {
            self.is_orphan_killed = true;
            let _ = kill_process(self.pid, Signal::KILL);
        }
        Ok(status)
    }

    /// Tells the guard that the owner is done, and waits until the command has ended.
    pub(crate) fn release(&mut self) {
        drop(self.owner.take());
        self.wait();
    }

    /// Waits until the command has ended.
    pub(crate) fn wait(&mut self) {
        if let Err(error) = self.shell.wait() {
            tracing::debug!(%error, "the exit status of mongod's guard could not be read");
        }
    }
}
