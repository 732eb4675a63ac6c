//! One mongod process: started on a free port, waited for, killed, paused and started again.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, ServerAddress};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::error::while_doing;
use crate::guard::Guarded;

/// The name of every throwaway replica set.
pub(crate) const REPLICA_SET: &str = "embedded";
/// mongod's exit code when it cannot listen on its port, among other reasons.
const EXIT_PORT_TAKEN: i32 = 48;
/// mongod's exit code when another mongod works on the data folder, among other reasons.
const EXIT_FOLDER_TAKEN: i32 = 100;
/// A smaller oplog is there to be outgrown. The server cuts an oplog only behind a checkpoint, so
/// such a node makes one every second instead of every minute.
const OUTGROWN_OPLOG_MEGABYTES: u32 = 64;
/// How many ports are tried when another process takes each one first.
const PORT_ATTEMPTS: u32 = 10;
/// A mongod that was told to stop may need this long to give up its data folder.
const FOLDER_TIME_LIMIT: Duration = Duration::from_secs(20);
/// A mongod that was killed may need this long to give up its port.
const PORT_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Recovery after a crash can take a while on a slow disk.
const START_TIME_LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How one mongod is run.
#[derive(Clone, Debug)]
pub(crate) struct NodeOptions {
    pub(crate) program: PathBuf,
    /// The name of the replica set, which its data folders have, too.
    pub(crate) replica_set: String,
    pub(crate) data_folder: PathBuf,
    pub(crate) role: Role,
    pub(crate) life: Life,
    pub(crate) test_commands: bool,
    pub(crate) oplog_megabytes: u32,
    pub(crate) cache_megabytes: u32,
}

/// How a mongod takes its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// As a member of the replica set.
    Member,
    /// By itself, to change what the replica set's configuration says of it.
    Standalone,
}

/// What ends a mongod beside its handle, and what becomes of its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Ends at once with its handle or this process; the data folder is removed.
    Throwaway,
    /// Ends in good order with this process; the data stays.
    Kept,
    /// Ends after the last process that holds a shared lock on this file.
    Shared { lock: PathBuf, scratch: PathBuf },
}

/// A mongod that accepts connections.
#[derive(Debug)]
pub(crate) struct Node {
    options: NodeOptions,
    mongod: Guarded,
    port: u16,
    client: Client,
}

impl Node {
    /// Starts a mongod on a free port.
    pub(crate) async fn start(options: NodeOptions) -> Result<Self, Error> {
        let mut attempt = 1;
        loop {
            match Self::try_when_folder_is_free(&options, free_port()?).await? {
                Err(EXIT_PORT_TAKEN) if attempt < PORT_ATTEMPTS => attempt += 1,
                result => return result.map_err(|code| ended(&options, code)),
            }
        }
    }

    /// Starts a mongod on this port. Tries again for a while when it is taken: a mongod that was just
    /// killed may still have it.
    pub(crate) async fn start_at(options: NodeOptions, port: u16) -> Result<Self, Error> {
        let started = Instant::now();
        loop {
            match Self::try_when_folder_is_free(&options, port).await? {
                Err(EXIT_PORT_TAKEN) if started.elapsed() < PORT_TIME_LIMIT => {
                    sleep(RETRY_INTERVAL).await;
                }
                result => return result.map_err(|code| ended(&options, code)),
            }
        }
    }

    /// Tries again while a mongod that was told to stop, by a killed owner's guard say, still has
    /// the data folder. The inner error is mongod's exit code.
    async fn try_when_folder_is_free(
        options: &NodeOptions,
        port: u16,
    ) -> Result<Result<Self, i32>, Error> {
        let started = Instant::now();
        loop {
            match Self::try_start_at(options, port).await? {
                Err(EXIT_FOLDER_TAKEN)
                    if folder_is_locked(options) && started.elapsed() < FOLDER_TIME_LIMIT =>
                {
                    sleep(RETRY_INTERVAL).await;
                }
                result => return Ok(result),
            }
        }
    }

    /// One attempt; the inner error is mongod's exit code.
    async fn try_start_at(options: &NodeOptions, port: u16) -> Result<Result<Self, i32>, Error> {
        std::fs::create_dir_all(&options.data_folder).map_err(while_doing(format!(
            "creating {}",
            options.data_folder.display()
        )))?;
        let mut mongod = start_process(options, port)?;
        let client = direct_client(port)?;
        let deadline = Instant::now() + START_TIME_LIMIT;
        loop {
            if let Some(status) = mongod.try_wait()? {
                return Ok(Err(status.code().unwrap_or(-1)));
            }
            // The port may be answered by somebody else's server: ask for its process id.
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .is_ok()
                && process_id(&client).await == Some(mongod.pid())
            {
                return Ok(Ok(Self {
                    options: options.clone(),
                    mongod,
                    port,
                    client,
                }));
            }
            if Instant::now() > deadline {
                mongod.signal(Signal::KILL);
                return Err(Error::TooSlow {
                    what: "the start of mongod",
                    seconds: START_TIME_LIMIT.as_secs(),
                });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Starts it again on the same port and data after [`Node::kill`].
    pub(crate) async fn restart(&mut self) -> Result<(), Error> {
        let mut again = Self::start_at(self.options.clone(), self.port).await?;
        std::mem::swap(self, &mut again);
        // The old handle's process has ended; its folder is ours now.
        again.options.life = Life::Kept;
        Ok(())
    }

    /// `127.0.0.1:<port>`, as the replica set's configuration names it.
    pub(crate) fn host(&self) -> String {
        host(self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A client that talks to this node alone, whatever its role.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn admin(&self, command: Document) -> Result<Document, Error> {
        Ok(self.client.database("admin").run_command(command).await?)
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool, Error> {
        Ok(self.mongod.try_wait()?.is_some())
    }

    /// Ends it with SIGKILL, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.mongod.signal(Signal::KILL);
        self.mongod.wait();
    }

    /// Ends it in good order: what was written is flushed, so that the next start is quick.
    pub(crate) fn stop(&mut self) {
        self.mongod.signal(Signal::CONT);
        self.mongod.signal(Signal::TERM);
        self.mongod.wait();
    }

    /// Stops the process where it stands (SIGSTOP); its sockets stay open.
    pub(crate) fn pause(&mut self) {
        self.mongod.signal(Signal::STOP);
    }

    /// Lets a paused process go on.
    pub(crate) fn resume(&mut self) {
        self.mongod.signal(Signal::CONT);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        match self.options.life {
            Life::Throwaway => {
                self.mongod.release();
                // The guard did this already, unless mongod had been killed before.
                let _ = std::fs::remove_dir_all(&self.options.data_folder);
            }
            Life::Kept => self.stop(),
            // Others may be using it: its guard ends it after the last of them.
            Life::Shared { .. } => {}
        }
    }
}

/// A node's name in the replica set's configuration.
pub(crate) fn host(port: u16) -> String {
    format!("{}:{port}", Ipv4Addr::LOCALHOST)
}

/// A client for one node by itself, before and outside of any replica set.
pub(crate) fn direct_client(port: u16) -> Result<Client, Error> {
    let address = ServerAddress::Tcp {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port: Some(port),
    };
    let options = ClientOptions::builder()
        .hosts(vec![address])
        .direct_connection(true)
        .connect_timeout(Duration::from_secs(5))
        .server_selection_timeout(Duration::from_secs(5))
        .build();
    Ok(Client::with_options(options)?)
}

fn start_process(options: &NodeOptions, port: u16) -> Result<Guarded, Error> {
    let command = command(options, port);
    let errors = options.data_folder.join("mongod.err");
    match &options.life {
        Life::Throwaway => Guarded::start(&command, "KILL", Some(&options.data_folder), &errors),
        Life::Kept => Guarded::start(&command, "TERM", None, &errors),
        Life::Shared { lock, scratch } => Guarded::start_shared(&command, lock, scratch, &errors),
    }
}

fn command(options: &NodeOptions, port: u16) -> Command {
    let mut command = Command::new(&options.program);
    if options.role == Role::Member {
        command.args(["--replSet", &options.replica_set]);
    }
    command
        .args([
            "--bind_ip",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--nounixsocket",
        ])
        .arg("--dbpath")
        .arg(&options.data_folder)
        .arg("--logpath")
        .arg(options.data_folder.join("mongod.log"))
        .args(["--quiet", "--wiredTigerCacheSizeGB"])
        .arg(format!(
            "{:.3}",
            f64::from(options.cache_megabytes) / 1024.0
        ))
        .args(["--oplogSize", &options.oplog_megabytes.to_string()])
        .args(["--setParameter", "diagnosticDataCollectionEnabled=false"])
        // A stop is a stop: no 15 s of waiting for a secondary to take over.
        .args([
            "--setParameter",
            "shutdownTimeoutMillisForSignaledShutdown=100",
        ]);
    if options.life != Life::Kept {
        // No files are made ahead of their use: 200 MB.
        command.args(["--wiredTigerEngineConfigString", "log=(prealloc=false)"]);
    }
    if options.test_commands {
        command.args(["--setParameter", "enableTestCommands=1"]);
    }
    if options.oplog_megabytes < OUTGROWN_OPLOG_MEGABYTES {
        command.args(["--syncdelay", "1"]);
    }
    command
}

async fn process_id(client: &Client) -> Option<i32> {
    let status = client
        .database("admin")
        .run_command(doc! { "serverStatus": 1 })
        .await
        .ok()?;
    match status.get("pid")? {
        mongodb::bson::Bson::Int32(pid) => Some(*pid),
        mongodb::bson::Bson::Int64(pid) => i32::try_from(*pid).ok(),
        _ => None,
    }
}

fn ended(options: &NodeOptions, exit_code: i32) -> Error {
    Error::Ended {
        status: format!("exit code {exit_code}"),
        last_words: last_words(options),
    }
}

fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(while_doing("looking for a free port"))?;
    Ok(listener
        .local_addr()
        .map_err(while_doing("looking for a free port"))?
        .port())
}

fn folder_is_locked(options: &NodeOptions) -> bool {
    last_words(options).contains("DBPathInUse")
}

/// The end of mongod's log, for the person who reads the error.
fn last_words(options: &NodeOptions) -> String {
    let read = |name: &str| std::fs::read(options.data_folder.join(name)).unwrap_or_default();
    let errors = String::from_utf8_lossy(&read("mongod.err"))
        .trim()
        .to_owned();
    let log = read("mongod.log");
    let log = String::from_utf8_lossy(&log);
    let telling = log
        .lines()
        .rev()
        .filter(|line| line.contains(r#""s":"E""#) || line.contains(r#""s":"F""#));
    let mut words: Vec<&str> = telling.take(3).collect();
    words.push(&errors);
    words.join("\n").trim().to_owned()
}

/// Whether a throwaway mongod of this crate answers on this port.
pub(crate) async fn answers(port: u16) -> bool {
    if TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .is_err()
    {
        return false;
    }
    let Ok(client) = direct_client(port) else {
        return false;
    };
    let hello = client
        .database("admin")
        .run_command(doc! { "hello": 1 })
        .await;
    hello.is_ok_and(|answer| {
        answer
            .get_str("setName")
            .is_ok_and(|name| name == REPLICA_SET)
    })
}
