//! A replica set of one node or three, initiated, with the faults that tests inject.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use tokio::time::{Instant, sleep};

use crate::cache_size::{CACHE_MEGABYTES_MIN, for_this_machine};
use crate::error::while_doing;
use crate::node::{Life, Node, NodeOptions, REPLICA_SET, Role};
use crate::{Error, locate, remembered_port, scratch};

/// Elections among three nodes take a few seconds, on a busy machine more.
const PRIMARY_TIME_LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// A node that was stepped down does not run for primary again before this time.
const STEP_DOWN_SECONDS: i32 = 5;
/// Code of the error that a second `replSetInitiate` gets.
const ALREADY_INITIALIZED: i32 = 23;

/// How a throwaway replica set is built. Each method returns the options with one of them changed.
///
/// ```
/// let three = embedded_mongo::Options::default().nodes(3);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    nodes: usize,
    test_commands: bool,
    oplog_megabytes: u32,
    cache_megabytes: u32,
    in_memory: bool,
}

impl Options {
    /// The number of nodes: one, or three where a primary must be able to fail. Default 1.
    #[must_use]
    pub fn nodes(self, nodes: usize) -> Self {
        Self { nodes, ..self }
    }

    /// Allows or forbids commands such as `configureFailPoint`. Default true.
    #[must_use]
    pub fn test_commands(self, test_commands: bool) -> Self {
        Self {
            test_commands,
            ..self
        }
    }

    /// The size of the oplog in megabytes. Default 256.
    #[must_use]
    pub fn oplog_megabytes(self, oplog_megabytes: u32) -> Self {
        Self {
            oplog_megabytes,
            ..self
        }
    }

    /// The size of each node's cache in megabytes. Default 256, the least that the server takes: tests run
    /// many servers at once.
    #[must_use]
    pub fn cache_megabytes(self, cache_megabytes: u32) -> Self {
        Self {
            cache_megabytes,
            ..self
        }
    }

    /// Whether the data is kept in memory where the system has a folder with room for it: writes do not wait for the
    /// disk then. Default true; a benchmark may want to wait.
    #[must_use]
    pub fn in_memory(self, in_memory: bool) -> Self {
        Self { in_memory, ..self }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 1,
            test_commands: true,
            oplog_megabytes: 256,
            cache_megabytes: CACHE_MEGABYTES_MIN,
            in_memory: true,
        }
    }
}

/// A running replica set. Its processes end when it is dropped, and when this process ends,
/// however it ends.
#[derive(Debug)]
pub struct ReplicaSet {
    name: String,
    nodes: Vec<Node>,
    /// Held for as long as this process works on a kept data folder.
    _folder_lock: Option<File>,
}

impl ReplicaSet {
    /// Starts a replica set on empty folders, which are removed with it.
    ///
    /// # Errors
    /// When no mongod can be had, or it does not start.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let program = locate().await?;
        let mut starts = tokio::task::JoinSet::new();
        for _ in 0..options.nodes.max(1) {
            let scratch = scratch::new_folder(options.in_memory);
            // The guard removes it, also when this process is killed.
            let node = NodeOptions {
                program: program.clone(),
                replica_set: REPLICA_SET.to_owned(),
                data_folder: scratch
                    .map_err(while_doing("creating a data folder"))?
                    .keep(),
                role: Role::Member,
                life: Life::Throwaway,
                test_commands: options.test_commands,
                oplog_megabytes: options.oplog_megabytes,
                cache_megabytes: options.cache_megabytes,
            };
            starts.spawn(Node::start(node));
        }
        let mut nodes = Vec::new();
        while let Some(started) = starts.join_next().await {
            nodes.push(started.map_err(|error| while_doing("starting the nodes")(error.into()))??);
        }
        Self::adopt(REPLICA_SET, nodes).await
    }

    /// Starts one node on a data folder that outlives it, and goes on with the data in it. Its cache
    /// suits the machine: an eighth of the memory, between 0.25 and 2 GB. `name` is the name of the
    /// replica set; the data folder keeps it, so each later call needs the same one.
    ///
    /// # Errors
    /// [`Error::DataFolderInUse`] when another process has it open; otherwise as [`Self::start`].
    pub async fn open(name: &str, data_folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(data_folder)
            .map_err(while_doing(format!("creating {}", data_folder.display())))?;
        let lock = File::create(data_folder.join("owner.lock"))
            .map_err(while_doing("creating the folder's lock"))?;
        if lock.try_lock().is_err() {
            return Err(Error::DataFolderInUse(data_folder.to_owned()));
        }
        let options = NodeOptions {
            program: locate().await?,
            replica_set: name.to_owned(),
            data_folder: data_folder.to_owned(),
            role: Role::Member,
            life: Life::Kept,
            test_commands: false,
            oplog_megabytes: 1024,
            cache_megabytes: for_this_machine(),
        };
        let node = match remembered_port::recall(data_folder) {
            None => Node::start(options).await?,
            Some(port) if remembered_port::is_free(port) => Node::start_at(options, port).await?,
            Some(_) => {
                let port = remembered_port::change(&options).await?;
                Node::start_at(options, port).await?
            }
        };
        remembered_port::remember(data_folder, node.port())?;
        let set = Self {
            name: name.to_owned(),
            nodes: vec![node],
            _folder_lock: Some(lock),
        };
        set.initiate().await?;
        Ok(set)
    }

    /// Makes a replica set of nodes that run and have this set's name.
    pub(crate) async fn adopt(name: &str, nodes: Vec<Node>) -> Result<Self, Error> {
        let set = Self {
            name: name.to_owned(),
            nodes,
            _folder_lock: None,
        };
        set.initiate().await?;
        Ok(set)
    }

    /// The connection string that names all nodes; it names no database.
    pub fn uri(&self) -> String {
        self.uri_for("")
    }

    /// The connection string with the name of a database in its path.
    pub fn uri_for(&self, database: &str) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(Node::host).collect();
        format!(
            "mongodb://{}/{database}?replicaSet={}",
            hosts.join(","),
            self.name
        )
    }

    /// Runs a command on one node's `admin` database, whatever the node's role:
    /// `configureFailPoint`, say.
    ///
    /// # Errors
    /// When the node refuses the command or does not answer.
    pub async fn admin_command(&self, node: usize, command: Document) -> Result<Document, Error> {
        self.nodes[node].admin(command).await
    }

    /// Makes the primary fail these commands of clients with this app name, so many times. `failure`
    /// is what the fail point `failCommand` takes: `{ "errorCode": 43 }` or
    /// `{ "closeConnection": true }`. It replaces the one before.
    ///
    /// # Errors
    /// When there is no primary, or the set was started without test commands.
    pub async fn fail_commands(
        &self,
        app_name: &str,
        commands: &[&str],
        failure: Document,
        times: i32,
    ) -> Result<(), Error> {
        let mut data = failure;
        data.extend(doc! { "failCommands": commands, "appName": app_name });
        let fail_point =
            doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
        self.admin_command(self.primary().await?, fail_point)
            .await?;
        Ok(())
    }

    /// The index of the primary; waits for an election that is under way.
    ///
    /// # Errors
    /// When there is none within a minute.
    pub async fn primary(&self) -> Result<usize, Error> {
        self.primary_other_than(None).await
    }

    /// Makes the primary step down, and returns the index of the new one.
    ///
    /// # Errors
    /// When there is no other node to take over.
    pub async fn step_down_primary(&self) -> Result<usize, Error> {
        let old = self.primary().await?;
        let command = doc! { "replSetStepDown": STEP_DOWN_SECONDS, "secondaryCatchUpPeriodSecs": 4, "force": true };
        self.admin_command(old, command).await?;
        self.primary_other_than(Some(old)).await
    }

    /// Ends the primary with SIGKILL and returns its index, for [`Self::restart_node`].
    ///
    /// # Errors
    /// When there is no primary.
    pub async fn kill_primary(&mut self) -> Result<usize, Error> {
        let primary = self.primary().await?;
        self.kill_node(primary);
        Ok(primary)
    }

    /// Ends a node with SIGKILL.
    pub fn kill_node(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// The index of a node whose process has ended, whoever ended it.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ended_node(&mut self) -> Result<Option<usize>, Error> {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.has_ended()? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Starts a killed node again, on its port and its data.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart_node(&mut self, node: usize) -> Result<(), Error> {
        self.nodes[node].restart().await
    }

    /// Stops a node where it stands (SIGSTOP): its sockets stay open and answer nothing.
    pub fn pause_node(&mut self, node: usize) {
        self.nodes[node].pause();
    }

    /// Lets a paused node go on (SIGCONT).
    pub fn resume_node(&mut self, node: usize) {
        self.nodes[node].resume();
    }

    /// Ends all nodes in good order. Dropping ends them too, throwaway ones with SIGKILL.
    pub fn stop(mut self) {
        self.nodes.iter_mut().for_each(Node::stop);
    }

    async fn primary_other_than(&self, old: Option<usize>) -> Result<usize, Error> {
        let deadline = Instant::now() + PRIMARY_TIME_LIMIT;
        while Instant::now() < deadline {
            for index in (0..self.nodes.len()).filter(|index| Some(*index) != old) {
                if self.has_role(index, "isWritablePrimary").await {
                    return Ok(index);
                }
            }
            sleep(POLL_INTERVAL).await;
        }
        Err(Error::TooSlow {
            what: "the election of a primary",
            seconds: PRIMARY_TIME_LIMIT.as_secs(),
        })
    }

    async fn has_role(&self, node: usize, role: &str) -> bool {
        // A killed or paused node must not hold up the question to the others.
        let hello = self.nodes[node].admin(doc! { "hello": 1 });
        match tokio::time::timeout(Duration::from_millis(500), hello).await {
            Ok(Ok(answer)) => answer.get_bool(role).unwrap_or(false),
            _ => false,
        }
    }

    /// Initiates the set, unless its data folder says that it is one already. Returns when there is
    /// a primary and every other node follows it.
    async fn initiate(&self) -> Result<(), Error> {
        match self.nodes[0]
            .admin(doc! { "replSetInitiate": self.config() })
            .await
        {
            Err(Error::Command(error)) if code(&error) == Some(ALREADY_INITIALIZED) => {}
            result => drop(result?),
        }
        let primary = self.primary().await?;
        let deadline = Instant::now() + PRIMARY_TIME_LIMIT;
        for index in (0..self.nodes.len()).filter(|index| *index != primary) {
            while !self.has_role(index, "secondary").await {
                if Instant::now() > deadline {
                    let seconds = PRIMARY_TIME_LIMIT.as_secs();
                    return Err(Error::TooSlow {
                        what: "the first copy of a secondary",
                        seconds,
                    });
                }
                sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }

    fn config(&self) -> Document {
        let mut members = Vec::new();
        for (id, node) in (0i32..).zip(&self.nodes) {
            members.push(doc! { "_id": id, "host": node.host() });
        }
        let mut config = doc! { "_id": &self.name, "version": 1, "members": members };
        if self.nodes.len() > 1 {
            // Nodes on one machine notice a lost primary soon.
            config.insert(
                "settings",
                doc! { "heartbeatIntervalMillis": 200, "electionTimeoutMillis": 1500 },
            );
        }
        config
    }
}

fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}
