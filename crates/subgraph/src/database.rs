//! The connection to MongoDB: its setting, its options, and its readiness check.

use std::time::Duration;

use anyhow::Context;
use bson::{Document, doc};
use mongodb::options::{ClientOptions, WriteConcern};
use mongodb::{Client, Database};
use service::Health;

/// The database's name when `MONGO_URI` names none.
pub const DEFAULT_DATABASE: &str = "rejoinder";
/// How long an operation waits for a primary (during a failover, say) before it fails, unless
/// `MONGO_URI` has a `serverSelectionTimeoutMS`.
const SERVER_SELECTION_TIME_LIMIT: Duration = Duration::from_secs(10);

/// Where the data is.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseSettings {
    /// MongoDB's connection string; its path names the database. It must lead to a replica set or
    /// a sharded cluster: change streams and transactions need one.
    #[arg(
        long,
        env = "MONGO_URI",
        default_value = "mongodb://127.0.0.1:27017/rejoinder",
        hide_env_values = true
    )]
    pub mongo_uri: String,
}

impl DatabaseSettings {
    /// Connects for queries, and makes sure that change streams can be had.
    ///
    /// # Errors
    /// When the connection string is malformed, no server answers, or it is a standalone one.
    pub async fn connect(&self, app_name: &str) -> anyhow::Result<Database> {
        let database = self.client(app_name).await?;
        let hello = database
            .run_command(doc! { "hello": 1 })
            .await
            .context("MongoDB does not answer: MONGO_URI tells where it is")?;
        anyhow::ensure!(
            is_replicated(&hello),
            "MongoDB runs as a standalone server: change streams need a replica set \
             (start mongod with --replSet and run rs.initiate())"
        );
        Ok(database)
    }

    /// A client of its own for change streams: each open stream keeps one of its connections busy
    /// all the time.
    ///
    /// # Errors
    /// When the connection string is malformed.
    pub async fn stream_client(&self, app_name: &str) -> anyhow::Result<Client> {
        Ok(self
            .client(&format!("{app_name} change streams"))
            .await?
            .client()
            .clone())
    }

    async fn client(&self, app_name: &str) -> anyhow::Result<Database> {
        let mut options = ClientOptions::parse(&self.mongo_uri)
            .await
            .context("MONGO_URI is not a MongoDB connection string")?;
        options.app_name.get_or_insert_with(|| app_name.to_owned());
        options
            .server_selection_timeout
            .get_or_insert(SERVER_SELECTION_TIME_LIMIT);
        // A change stream delivers a write once the majority has it, and only waiting for the
        // majority makes that happen at once.
        options
            .write_concern
            .get_or_insert_with(WriteConcern::majority);
        let name = options
            .default_database
            .clone()
            .unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        Ok(Client::with_options(options)?.database(&name))
    }
}

/// Makes readiness depend on the database's answer.
pub fn register_readiness(health: &Health, database: &Database) {
    let database = database.clone();
    health.register("mongodb", move || {
        let database = database.clone();
        async move {
            let ping = database.run_command(doc! { "ping": 1 }).await;
            ping.map(|_| ()).map_err(|error| error.to_string())
        }
    });
}

/// Whether the server is a member of a replica set or a router of a sharded cluster.
fn is_replicated(hello: &Document) -> bool {
    hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid")
}
