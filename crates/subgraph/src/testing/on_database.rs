//! A subgraph under test with a database of its own, which tests may read and change beside it.

use std::future::Future;
use std::ops::Deref;

use bson::{Document, doc};
use embedded_mongo::TestDatabase;
use mongodb::Collection;
use service::Lifecycle;
use tokio::net::TcpListener;

use super::TestService;

/// A running subgraph and its database.
pub struct TestSubgraph {
    service: TestService,
    /// The database. It is dropped with this value.
    pub database: TestDatabase,
}

impl TestSubgraph {
    /// Runs a subgraph on a database that is there.
    pub async fn start_on<F, Fut>(database: TestDatabase, run: F) -> Self
    where
        F: FnOnce(TcpListener, Lifecycle) -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let service = TestService::start(run).await;
        Self { service, database }
    }

    /// Ends the subgraph; the database stays.
    pub async fn stop(self) -> TestDatabase {
        self.service.stop().await.expect("a clean end");
        self.database
    }

    /// A collection of the database.
    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.database.database().collection(name)
    }

    /// Records every operation from now on, and returns the collection of the records.
    pub async fn profile(&self) -> Collection<Document> {
        let database = self.database.database();
        let profiled = database.run_command(doc! { "profile": 2 }).await;
        profiled.expect("profiled");
        self.collection("system.profile")
    }
}

impl Deref for TestSubgraph {
    type Target = TestService;

    fn deref(&self) -> &TestService {
        &self.service
    }
}
