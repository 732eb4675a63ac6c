//! The subgraph under test, on a database of its own.

use std::ops::Deref;

use bson::doc;
use bson::oid::ObjectId;
use clap::Parser;
use embedded_mongo::TestDatabase;
use serde_json::json;
use subgraph::testing::{TestService, TestSubgraph};

/// A running posts subgraph.
pub struct Posts {
    subgraph: TestSubgraph,
}

impl Posts {
    /// Starts it on a new database.
    pub async fn start() -> Self {
        Self::start_on(embedded_mongo::test_database().await).await
    }

    /// Starts it on a database that is there.
    pub async fn start_on(database: TestDatabase) -> Self {
        Self::start_on_with(database, &[]).await
    }

    /// Starts it on a new database, with settings as on the command line.
    pub async fn start_with(flags: &[&str]) -> Self {
        Self::start_on_with(embedded_mongo::test_database().await, flags).await
    }

    /// Starts another instance on the same database.
    pub async fn another(&self, flags: &[&str]) -> TestService {
        let config = config(&self.database, flags);
        TestService::start(|listener, lifecycle| posts::run(config, listener, lifecycle)).await
    }

    /// Starts it on a database that is there, with settings as on the command line.
    pub async fn start_on_with(database: TestDatabase, flags: &[&str]) -> Self {
        let config = config(&database, flags);
        let run = |listener, lifecycle| posts::run(config, listener, lifecycle);
        Self {
            subgraph: TestSubgraph::start_on(database, run).await,
        }
    }

    /// Ends the subgraph; the database stays.
    pub async fn stop(self) -> TestDatabase {
        self.subgraph.stop().await
    }

    /// Writes a comment, as the comments subgraph would, and returns its id.
    pub async fn comment(&self, post: &str, text: &str) -> ObjectId {
        let id = ObjectId::new();
        let comment = doc! {
            "_id": id,
            "postId": ObjectId::parse_str(post).expect("an id"),
            "text": text,
            "author": "Ann",
            "createdAt": bson::DateTime::now(),
        };
        self.collection("comments")
            .insert_one(comment)
            .await
            .expect("inserted");
        id
    }

    /// Creates a post and returns its id.
    pub async fn create(&self, title: &str) -> String {
        let created = self
            .data(
                "mutation ($title: String!) {
                    createPost(input: { title: $title, content: \"Content\" }) { post { id } }
                }",
                json!({ "title": title }),
            )
            .await;
        created["createPost"]["post"]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }
}

fn config(database: &TestDatabase, flags: &[&str]) -> posts::Config {
    let mut arguments = vec!["posts", "--mongo-uri", database.uri()];
    arguments.extend(flags);
    if !flags
        .iter()
        .any(|flag| flag.starts_with("--anonymous-writes"))
    {
        // Most tests are about something else than who may write.
        arguments.push("--anonymous-writes=change");
    }
    posts::Config::parse_from(arguments)
}

impl Deref for Posts {
    type Target = TestSubgraph;

    fn deref(&self) -> &TestSubgraph {
        &self.subgraph
    }
}
