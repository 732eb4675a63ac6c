//! Ends a service of the stack when the stack has ended, even by SIGKILL.

use std::io::Read;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// How long a service may take to end in good order once its owner is gone.
const GRACE: Duration = Duration::from_secs(5);

/// Ends this process when standard input ends. The owner holds the other end of that pipe, and the
/// kernel closes it when the owner dies, even by SIGKILL.
pub(crate) fn end_with_owner() {
    std::thread::spawn(|| {
        let mut buffer = [0; 64];
        while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
        if kill_process(getpid(), Signal::TERM).is_ok() {
            std::thread::sleep(GRACE);
        }
        std::process::exit(1);
    });
}
