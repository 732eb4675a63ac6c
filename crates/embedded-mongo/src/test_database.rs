//! A database for one test: new and empty, dropped with its handle.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mongodb::bson::doc;
use mongodb::{Client, Database};
use tokio::sync::OnceCell;

use crate::Error;
use crate::shared_server::{admin_client, lease};

/// What the names of throwaway databases start with; the time of creation follows.
const PREFIX: &str = "embedded_mongo_test_";
/// A throwaway database older than this is a leftover of a test that was killed.
const LEFTOVER_AGE: Duration = Duration::from_secs(60 * 60);
/// A test does not wait longer than this for its database to go.
const DROP_MS_MAX: i64 = 2_000;

/// A throwaway database of a replica set.
#[derive(Debug)]
pub struct TestDatabase {
    uri: String,
    name: String,
    client: Client,
}

/// A new, empty database on the server that the test run shares (`MONGO_URI`, when set).
///
/// # Panics
/// When no mongod can be had; the message names the ways out.
pub async fn test_database() -> TestDatabase {
    match TestDatabase::create().await {
        Ok(database) => database,
        Err(error) => panic!("no database for this test: {:#}", anyhow::Error::new(error)),
    }
}

impl TestDatabase {
    async fn create() -> Result<Self, Error> {
        let server = &lease().await?.uri;
        sweep_once(server).await?;
        let name = format!(
            "{PREFIX}{}_{:.12}",
            seconds_since_1970(),
            uuid::Uuid::new_v4().simple()
        );
        let uri = with_database(server, &name);
        let client = Client::with_uri_str(&uri).await?;
        Ok(Self { uri, name, client })
    }

    /// The connection string, with this database's name in its path: what a service takes as
    /// `MONGO_URI`.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// A client on this test's runtime.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns a handle of the database, on [`TestDatabase::client`].
    pub fn database(&self) -> Database {
        self.client.database(&self.name)
    }

    /// Returns the name, which is different for each test and run.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (uri, name) = (self.uri.clone(), self.name.clone());
        // Dropping is asynchronous and the test's runtime is on its way out.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .ok()?;
            // A process that was killed in a transaction leaves it open for a minute, and locks.
            let drop = doc! { "dropDatabase": 1, "maxTimeMS": DROP_MS_MAX };
            runtime.block_on(async {
                admin_client(&uri)
                    .await
                    .ok()?
                    .database(&name)
                    .run_command(drop)
                    .await
                    .ok()
            })
        });
        if !matches!(dropped.join(), Ok(Some(_))) {
            tracing::debug!(
                database = self.name,
                "a test database could not be dropped: a later test run drops it"
            );
        }
    }
}

/// Drops what killed tests left behind, once a process.
async fn sweep_once(server: &str) -> Result<(), Error> {
    static SWEPT: OnceCell<()> = OnceCell::const_new();
    let sweep = || async {
        let client = admin_client(server).await?;
        for name in client.list_database_names().await? {
            if is_leftover(&name, seconds_since_1970()) {
                client.database(&name).drop().await?;
            }
        }
        Ok(())
    };
    SWEPT.get_or_try_init(sweep).await.copied()
}

fn is_leftover(database: &str, now_seconds: u64) -> bool {
    let created = database
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('_').next()?.parse::<u64>().ok());
    created.is_some_and(|created| created + LEFTOVER_AGE.as_secs() < now_seconds)
}

fn seconds_since_1970() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The connection string with its path replaced. A user that was looked up in the database of the
/// old path is still looked up there.
fn with_database(uri: &str, name: &str) -> String {
    let (base, query) = uri.split_once('?').unwrap_or((uri, ""));
    let (scheme, rest) = base.split_once("://").unwrap_or(("mongodb", base));
    let (authority, old_name) = rest.split_once('/').unwrap_or((rest, ""));
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    if authority.contains('@') && !old_name.is_empty() && !query.contains("authSource=") {
        parameters.push(format!("authSource={old_name}"));
    }
    format!("{scheme}://{authority}/{name}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_connection_string_is_replaced() {
        let of = |uri| with_database(uri, "t");
        assert_eq!(of("mongodb://a:1"), "mongodb://a:1/t?");
        assert_eq!(
            of("mongodb://a:1,b:2/?replicaSet=r"),
            "mongodb://a:1,b:2/t?replicaSet=r"
        );
        assert_eq!(
            of("mongodb://u:p@a/old?w=1"),
            "mongodb://u:p@a/t?w=1&authSource=old"
        );
        assert_eq!(
            of("mongodb+srv://u:p@a/old?authSource=admin"),
            "mongodb+srv://u:p@a/t?authSource=admin"
        );
    }

    #[test]
    fn only_old_throwaway_databases_are_leftovers() {
        assert!(is_leftover("embedded_mongo_test_1000_ab", 1000 + 3601));
        assert!(!is_leftover("embedded_mongo_test_1000_ab", 1000 + 3599));
        assert!(!is_leftover("mine", u64::MAX));
        assert!(!is_leftover("embedded_mongo_test_mine", u64::MAX));
    }
}
