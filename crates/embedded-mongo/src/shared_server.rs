//! The server that all processes of a test run share, because starting one takes a second.
//!
//! Every process that uses it holds a shared lock on one file for its whole life; the kernel gives
//! the lock back when the process ends, even with SIGKILL. The server's guard waits for the lock
//! alone, so it ends the server after the last user and never before. Each server lives in a folder
//! of its own, whose `port` file appears when it is ready.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mongodb::Client;
use tokio::sync::OnceCell;

use crate::cache_size::CACHE_MEGABYTES_MIN;
use crate::error::while_doing;
use crate::locate::{cache_folder, is_on_path};
use crate::node::{self, Life, Node, NodeOptions, REPLICA_SET, Role};
use crate::{Error, Options, ReplicaSet, locate, remembered_port, scratch};

/// This process's hold on the server.
#[derive(Debug)]
pub(crate) struct Lease {
    /// The server's connection string; it may name a database.
    pub(crate) uri: String,
    /// What keeps the server alive.
    _hold: Hold,
}

#[derive(Debug)]
enum Hold {
    /// `MONGO_URI`: it is not ours to keep or to end.
    Foreign,
    /// The shared lock, which the guard of the server watches.
    Lock { _users: File },
    /// A server of this process alone.
    Own { _server: ReplicaSet },
}

/// The server of this process: `MONGO_URI`, or the one that runs already, or a new one.
pub(crate) async fn lease() -> Result<&'static Lease, Error> {
    static LEASE: OnceCell<Lease> = OnceCell::const_new();
    LEASE.get_or_try_init(take_lease).await
}

async fn take_lease() -> Result<Lease, Error> {
    if let Ok(uri) = std::env::var("MONGO_URI") {
        return Ok(Lease {
            uri,
            _hold: Hold::Foreign,
        });
    }
    // Each test has a runtime that ends with it, and waiting for a lock blocks: so a thread of its own.
    let lease = tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(while_doing("starting a runtime"))?;
        runtime.block_on(join_or_start())
    });
    lease
        .await
        .map_err(|error| while_doing("starting the test server")(error.into()))?
}

async fn join_or_start() -> Result<Lease, Error> {
    if !is_on_path("flock") {
        // Without util-linux nobody can wait for the last user: each process has its own server.
        let server = ReplicaSet::start(Options::default()).await?;
        return Ok(Lease {
            uri: server.uri(),
            _hold: Hold::Own { _server: server },
        });
    }
    let program = locate().await?;
    let folder = cache_folder().join("test-servers");
    fs::create_dir_all(&folder).map_err(while_doing(format!("creating {}", folder.display())))?;
    let users_path = folder.join("users.lock");
    let users = open_lock(&users_path)?;
    users
        .lock_shared()
        .map_err(while_doing("waiting for the last run's server to end"))?;

    // Where its data is in memory, its folder is. Some processes may see no room there: they share another server.
    let folder = scratch::memory().unwrap_or(folder);
    let starting = open_lock(&folder.join("start.lock"))?;
    starting.lock().map_err(while_doing(
        "waiting for another process that starts the server",
    ))?;
    let port = match running_server(&folder).await {
        Some(port) => port,
        None => start_server(program, &folder, &users_path).await?,
    };
    let uri = format!("mongodb://{}/?replicaSet={REPLICA_SET}", node::host(port));
    Ok(Lease {
        uri,
        _hold: Hold::Lock { _users: users },
    })
}

/// The port of a server that answers. Folders of servers that do not are removed: their guards
/// were killed before they could.
async fn running_server(folder: &Path) -> Option<u16> {
    let mut found = None;
    for entry in fs::read_dir(folder).ok()?.filter_map(Result::ok) {
        let Some(port) = remembered_port::recall(&entry.path()) else {
            continue;
        };
        if node::answers(port).await {
            found = Some(port);
        } else {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    found
}

async fn start_server(program: PathBuf, folder: &Path, users: &Path) -> Result<u16, Error> {
    let home = tempfile::Builder::new()
        .prefix("server-")
        .tempdir_in(folder);
    let home = home
        .map_err(while_doing("creating the server's folder"))?
        .keep();
    let options = NodeOptions {
        program,
        replica_set: REPLICA_SET.to_owned(),
        data_folder: home.join("data"),
        role: Role::Member,
        life: Life::Shared {
            lock: users.to_owned(),
            scratch: home.clone(),
        },
        test_commands: true,
        oplog_megabytes: 512,
        cache_megabytes: CACHE_MEGABYTES_MIN,
    };
    let node = Node::start(options).await?;
    let port = node.port();
    ReplicaSet::adopt(REPLICA_SET, vec![node]).await?;
    remembered_port::remember(&home, port)?;
    Ok(port)
}

fn open_lock(path: &Path) -> Result<File, Error> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path);
    file.map_err(while_doing(format!("opening {}", path.display())))
}

/// A client for administration, which does not wait long for a server that is gone.
pub(crate) async fn admin_client(uri: &str) -> Result<Client, Error> {
    let mut options = mongodb::options::ClientOptions::parse(uri).await?;
    options.server_selection_timeout = Some(std::time::Duration::from_secs(5));
    Ok(Client::with_options(options)?)
}
