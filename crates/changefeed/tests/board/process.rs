//! Instances of the projection in processes of their own, which can be killed and stopped.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use changefeed::ProjectorSettings;

use super::Board;

const URI: &str = "CHANGEFEED_TEST_CHILD_URI";
const PAUSE_AT: &str = "CHANGEFEED_PAUSE_AT";

/// Runs the projection for ever where [`Instance`] has started this program. The test
/// `an_instance_in_another_process` of each file that uses it calls this.
pub async fn run_if_asked(settings: ProjectorSettings) {
    let Ok(uri) = std::env::var(URI) else {
        return;
    };
    let board = Board::open(uri, None).await;
    let projector = board.project(settings).await;
    if projector.wait_until_serving().await.is_ok() {
        eprintln!("serving");
    }
    while !projector.lag().leading {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eprintln!("leading");
    std::future::pending::<()>().await;
}

/// Whether this program was started to pause at a point.
pub fn pauses_at_a_point() -> bool {
    std::env::var_os(PAUSE_AT).is_some()
}

/// Another process that runs the projection. It ends with this handle.
pub struct Instance {
    process: Child,
    says: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl Instance {
    /// One that pauses when it reaches this point.
    pub fn start(board: &Board, pause_at: Option<&str>) -> Self {
        Self::start_with(board, pause_at.map(|point| (PAUSE_AT, point.into())))
    }

    /// One with another variable of the environment.
    pub fn start_with(board: &Board, variable: Option<(&str, OsString)>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this test's program"));
        command
            .args(["an_instance_in_another_process", "--exact", "--nocapture"])
            .env(URI, &board.uri);
        if let Some((name, value)) = variable {
            command.env(name, value);
        }
        let mut process = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("another process");
        let errors = BufReader::new(process.stderr.take().expect("its standard error"));
        let (said, says) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            errors
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| said.send(line))
        });
        Self { process, says }
    }

    pub async fn said(&mut self, line: &str) {
        let said = async {
            while let Some(said) = self.says.recv().await {
                if said == line {
                    return true;
                }
            }
            false
        };
        let said = tokio::time::timeout(super::PATIENCE, said).await;
        assert_eq!(said, Ok(true), "the other process says {line:?}");
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.process.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "{name} is sent");
    }

    pub fn kill(mut self) {
        self.process.kill().expect("the process is killed");
        self.process.wait().expect("the process has ended");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
