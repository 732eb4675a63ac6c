//! The connections to MongoDB: their settings, their options, and their readiness check.
//!
//! A service has four clients, each with connections of its own, so that no load on one of them
//! delays another: requests ([`DatabaseSettings::requests`]), change streams
//! ([`DatabaseSettings::stream_client`]), the service's own work ([`DatabaseSettings::connect`]), and
//! the readiness check ([`DatabaseSettings::register_readiness`]).
//!
//! All of them read at the primary, whatever `readPreference` the connection string has; change streams alone are read
//! where it says. A read may decide what is written (whether a post is there, whether a comment is held, what a
//! repeated request finds), and a list must have all that its cursor, or the `operationTime` of a mutation, promises. A
//! secondary may have neither yet.

use std::time::Duration;

use anyhow::Context;
use bson::{Document, doc};
use changefeed::WithCauses;
use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Database};
use service::Health;

use crate::database_calls::{CallLimits, CallMetrics, DatabaseCalls, Overloaded};
use crate::database_spans;

/// The database's name when `MONGO_URI` names none.
pub const DEFAULT_DATABASE: &str = "rejoinder";
/// How long an operation waits for a primary (during a failover, say) before it fails, unless
/// `MONGO_URI` has a `serverSelectionTimeoutMS`.
const SERVER_SELECTION_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Connections for change streams and for the service's own work, at most, and those that each partition of a projection
/// adds: while a set of partitions replaces another one, up to three are led. A `maxPoolSize` in `MONGO_URI` may only raise
/// it: with fewer, one open stream would delay another.
const OWN_CONNECTIONS_MAX: u32 = 10;
const CONNECTIONS_OF_PARTITION: u32 = 3;
/// Readiness checks that run at a time; each uses one connection.
const CHECKS_MAX: u32 = 2;

/// Where the data is.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseSettings {
    /// Connect to MongoDB by this connection string; its path names the database. The server must be a replica
    /// set or a sharded cluster, because change streams and transactions need one. A `readPreference` counts for
    /// change streams alone: everything else is read at the primary.
    #[arg(
        long,
        env = "MONGO_URI",
        default_value = "mongodb://127.0.0.1:27017/rejoinder",
        hide_env_values = true
    )]
    pub mongo_uri: String,
    /// Limit the number of database connections for requests. A `maxPoolSize` in `MONGO_URI` takes precedence.
    #[arg(long, env = "DATABASE_CONNECTIONS_MAX", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub database_connections_max: u32,
    /// Limit the number of requests' database calls that wait for a connection; further ones fail with
    /// `OVERLOADED`. The default is 64 for each connection.
    #[arg(long, env = "DATABASE_QUEUE_MAX", default_value_t = 2048)]
    pub database_queue_max: usize,
    /// Fail a database call with `OVERLOADED` when it has waited this long for a connection. The default is
    /// well below the 30 s that a request may take.
    #[arg(long, env = "DATABASE_WAIT_MAX", alias = "database-wait-seconds-max", default_value = "5s", value_parser = service::duration_from(Duration::from_secs(1)))]
    pub database_wait_max: Duration,
    /// Partitions of the service's projection: each has a stream and a session of its own.
    #[arg(skip)]
    pub partitions: u32,
    /// Whether commands have spans.
    #[arg(skip)]
    pub is_traced: bool,
}

impl DatabaseSettings {
    /// Connects for the service's own work, and makes sure that change streams can be had. Requests
    /// of clients go through [`DatabaseSettings::requests`].
    ///
    /// # Errors
    /// When the connection string is malformed, no server answers, or it is a standalone one.
    pub async fn connect(&self, app_name: &str) -> anyhow::Result<Database> {
        let database = self
            .client(app_name, |it| self.own_connections(it), Reads::AtPrimary)
            .await?
            .0;
        if self
            .options()
            .await?
            .selection_criteria
            .is_some_and(|criteria| criteria != AT_PRIMARY)
        {
            tracing::warn!(
                "the readPreference of MONGO_URI counts for change streams alone: everything else is read at the primary"
            );
        }
        let hello = database.run_command(doc! { "hello": 1 }).await.context(
            "MongoDB does not answer: check that MONGO_URI is right and that the server runs",
        )?;
        anyhow::ensure!(
            is_replicated(&hello),
            "MongoDB runs as a standalone server: change streams need a replica set \
             (start mongod with --replSet and run rs.initiate())"
        );
        Ok(database)
    }

    /// A client of its own for the requests of clients, to be used by calls alone.
    ///
    /// # Errors
    /// When the connection string is malformed.
    pub async fn requests(
        &self,
        app_name: &str,
        metrics: CallMetrics,
    ) -> anyhow::Result<DatabaseCalls<Database>> {
        let configured = self.database_connections_max;
        // In a connection string, 0 stands for no limit.
        let connections = |in_uri: Option<u32>| in_uri.filter(|max| *max > 0).unwrap_or(configured);
        let name = format!("{app_name} requests");
        let (database, connections) = self.client(&name, connections, Reads::AtPrimary).await?;
        let limits = CallLimits {
            connections: usize::try_from(connections)?,
            queue_max: self.database_queue_max,
            wait_max: self.database_wait_max,
        };
        Ok(DatabaseCalls::new(database, limits, metrics))
    }

    fn own_connections(&self, in_uri: Option<u32>) -> u32 {
        let of_partitions = CONNECTIONS_OF_PARTITION.saturating_mul(self.partitions);
        let needed = OWN_CONNECTIONS_MAX.saturating_add(of_partitions);
        in_uri.unwrap_or_default().max(needed)
    }

    /// A client of its own for change streams: each open stream keeps one of its connections busy
    /// all the time.
    ///
    /// # Errors
    /// When the connection string is malformed.
    pub async fn stream_client(&self, app_name: &str) -> anyhow::Result<Client> {
        let name = format!("{app_name} change streams");
        let (database, _) = self
            .client(&name, |it| self.own_connections(it), Reads::WhereTheUriSays)
            .await?;
        Ok(database.client().clone())
    }

    /// Makes readiness depend on the database's answer, over connections that nothing else uses.
    ///
    /// # Errors
    /// When the connection string is malformed.
    pub async fn register_readiness(&self, app_name: &str, health: &Health) -> anyhow::Result<()> {
        let name = format!("{app_name} readiness");
        let (database, connections) = self.client(&name, |_| CHECKS_MAX, Reads::AtPrimary).await?;
        let limits = CallLimits {
            connections: usize::try_from(connections)?,
            queue_max: usize::MAX,
            // Whoever asks has a time limit of its own.
            wait_max: SERVER_SELECTION_TIME_LIMIT,
        };
        let calls = DatabaseCalls::new(database, limits, CallMetrics::default());
        health.register("mongodb", move || {
            let calls = calls.clone();
            async move {
                let ping = calls.run(|database| async move {
                    let ping = database.run_command(doc! { "ping": 1 }).await;
                    ping.map(drop).map_err(CheckError::Database)
                });
                ping.await.map_err(|error| error.to_string())
            }
        });
        Ok(())
    }

    async fn options(&self) -> anyhow::Result<ClientOptions> {
        let options = ClientOptions::parse(&self.mongo_uri).await;
        options.context("MONGO_URI is not a MongoDB connection string")
    }

    /// A client whose pool has as many connections as `connections` makes of the `maxPoolSize` in
    /// `MONGO_URI`, and their number.
    async fn client(
        &self,
        app_name: &str,
        connections: impl FnOnce(Option<u32>) -> u32,
        reads: Reads,
    ) -> anyhow::Result<(Database, u32)> {
        let mut options = self.options().await?;
        if reads == Reads::AtPrimary {
            options.selection_criteria = Some(AT_PRIMARY);
        }
        options.app_name.get_or_insert_with(|| app_name.to_owned());
        options
            .server_selection_timeout
            .get_or_insert(SERVER_SELECTION_TIME_LIMIT);
        let connections = connections(options.max_pool_size);
        options.max_pool_size = Some(connections);
        options.min_pool_size = options.min_pool_size.map(|min| min.min(connections));
        // A change stream delivers a write once the majority has it, and only waiting for the
        // majority makes that happen at once.
        options
            .write_concern
            .get_or_insert_with(WriteConcern::majority);
        if self.is_traced {
            options.command_event_handler = Some(database_spans::handler());
        }
        let name = options
            .default_database
            .clone()
            .unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        let database = Client::with_options(options)?.database(&name);
        Ok((database, connections))
    }
}

/// Which servers a client reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    AtPrimary,
    /// By the `readPreference` of the connection string.
    WhereTheUriSays,
}

const AT_PRIMARY: SelectionCriteria = SelectionCriteria::ReadPreference(ReadPreference::Primary);

/// Why the database is not ready, for operators.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("earlier readiness checks have not finished yet")]
    Waiting(#[from] Overloaded),
    #[error("{}", WithCauses(.0))]
    Database(mongodb::error::Error),
}

/// Whether the server is a member of a replica set or a router of a sharded cluster.
fn is_replicated(hello: &Document) -> bool {
    hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        database: DatabaseSettings,
    }

    #[test]
    fn each_partition_adds_connections() {
        let mut settings = Flags::parse_from(["posts"]).database;
        assert_eq!(settings.own_connections(Some(5)), 10);
        settings.partitions = 8;
        assert_eq!(settings.own_connections(Some(5)), 34);
        assert_eq!(settings.own_connections(Some(50)), 50);
    }

    #[tokio::test]
    async fn only_change_streams_are_read_where_the_uri_says() {
        let uri = "--mongo-uri=mongodb://127.0.0.1:1/x?readPreference=secondaryPreferred";
        let settings = Flags::parse_from(["posts", uri]).database;
        let requests = settings.requests("posts", CallMetrics::default()).await;
        let requests = requests.expect("a client");
        let criteria = requests.run(|database| async move {
            Ok::<_, Overloaded>(database.selection_criteria().cloned())
        });
        assert_eq!(criteria.await, Ok(Some(AT_PRIMARY)));
        let client = |reads| settings.client("posts", |it| settings.own_connections(it), reads);
        let (own, _) = client(Reads::AtPrimary).await.expect("a client");
        assert_eq!(own.selection_criteria(), Some(&AT_PRIMARY));
        let streams = settings.stream_client("posts").await.expect("a client");
        let criteria = streams.database("x").selection_criteria().cloned();
        assert!(criteria.is_some_and(|criteria| criteria != AT_PRIMARY));
    }
}
