//! The stack's MongoDB: the one of `--mongo-uri`, or a mongod of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use embedded_mongo::{Error, ReplicaSet};
use service::telemetry;

/// The database of the stack's own replica set.
const DATABASE: &str = "rejoinder";
/// The name of the stack's own replica set. Existing data folders have it, too.
const REPLICA_SET: &str = "rejoinder";
/// How often the stack looks whether its mongod still runs.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Where the data is.
pub(crate) struct Database {
    uri: String,
    own: Option<ReplicaSet>,
}

impl Database {
    /// Uses the database at `uri`, or starts a mongod on `data_dir`.
    pub(crate) async fn open(uri: Option<String>, data_dir: &Path) -> anyhow::Result<Self> {
        if let Some(uri) = uri {
            return Ok(Self { uri, own: None });
        }
        let folder = data_dir.join("mongo");
        let own = ReplicaSet::open(REPLICA_SET, &folder)
            .await
            .map_err(did_not_start)?;
        Ok(Self {
            uri: own.uri_for(DATABASE),
            own: Some(own),
        })
    }

    /// The connection string, with the name of the database.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Keeps the own mongod running; returns only when it cannot.
    pub(crate) async fn keep_running(&mut self) -> anyhow::Error {
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            if let Err(error) = self.restart_if_ended().await {
                return error;
            }
        }
    }

    /// Ends the own mongod in good order.
    pub(crate) async fn stop(self) {
        if let Some(set) = self.own
            && tokio::task::spawn_blocking(move || set.stop())
                .await
                .is_err()
        {
            telemetry::tell("mongod did not stop cleanly");
        }
    }

    async fn restart_if_ended(&mut self) -> anyhow::Result<()> {
        let Some(set) = &mut self.own else {
            return Ok(());
        };
        if let Some(node) = set.ended_node()? {
            telemetry::tell("mongod ended: starting it again");
            set.restart_node(node)
                .await
                .context("MongoDB did not start again")?;
        }
        Ok(())
    }
}

/// Adds what the user of the stack can do about it.
fn did_not_start(error: Error) -> anyhow::Error {
    let context = match error {
        Error::NoMongod { .. } => {
            "MongoDB did not start; with Docker, `docker compose up -d mongo` starts one for \
             --mongo-uri 'mongodb://127.0.0.1:27017/rejoinder?directConnection=true'"
        }
        _ => "MongoDB did not start",
    };
    anyhow::Error::new(error).context(context)
}
