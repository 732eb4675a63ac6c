//! The subgraph under test, on a database of its own with posts to comment on.

use std::ops::Deref;

use bson::doc;
use bson::oid::ObjectId;
use clap::Parser;
use embedded_mongo::TestDatabase;
use serde_json::{Value, json};
use subgraph::testing::{TestService, TestSubgraph};

/// A running comments subgraph.
pub struct Comments {
    subgraph: TestSubgraph,
}

impl Comments {
    /// Starts it on a new database.
    pub async fn start() -> Self {
        Self::start_on(embedded_mongo::test_database().await).await
    }

    /// Starts it on a new database, with settings as on the command line.
    pub async fn start_with(flags: &[&str]) -> Self {
        Self::start_on_with(embedded_mongo::test_database().await, flags).await
    }

    /// Starts it on a database that is there.
    pub async fn start_on(database: TestDatabase) -> Self {
        Self::start_on_with(database, &[]).await
    }

    /// Starts it on a database that is there, with settings as on the command line.
    pub async fn start_on_with(database: TestDatabase, flags: &[&str]) -> Self {
        let config = config(&database, flags);
        let run = |listener, lifecycle| comments::run(config, listener, lifecycle);
        Self {
            subgraph: TestSubgraph::start_on(database, run).await,
        }
    }

    /// Starts another instance on the same database.
    pub async fn another(&self, flags: &[&str]) -> TestService {
        let config = config(&self.database, flags);
        TestService::start(|listener, lifecycle| comments::run(config, listener, lifecycle)).await
    }

    /// Ends the subgraph and starts it again.
    pub async fn restart(self) -> Self {
        Self::start_on(self.stop().await).await
    }

    /// Ends the subgraph; the database stays.
    pub async fn stop(self) -> TestDatabase {
        self.subgraph.stop().await
    }

    /// Waits until replies have their index, which is made in the background.
    pub async fn replies_are_indexed(&self) {
        loop {
            let names = self.collection("comments").list_index_names().await;
            if names.is_ok_and(|names| names.iter().any(|name| name == "replies")) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Adds a post to comment on, as the posts subgraph would.
    pub async fn post(&self) -> String {
        let id = ObjectId::new();
        let post =
            doc! { "_id": id, "title": "T", "content": "C", "createdAt": bson::DateTime::now() };
        self.collection("posts")
            .insert_one(post)
            .await
            .expect("inserted");
        id.to_hex()
    }

    /// Writes a comment and returns its id.
    pub async fn comment(&self, post: &str, text: &str) -> String {
        let created = self
            .data(CREATE, json!({ "post": post, "text": text }))
            .await;
        created["createComment"]["comment"]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }

    /// Where the changes of a post stand.
    pub async fn cursor(&self, post: &str) -> String {
        let entities = self
            .data(
                "query ($of: [_Any!]!) { _entities(representations: $of) {
                    ... on Post { commentChangesCursor }
                } }",
                json!({ "of": [{ "__typename": "Post", "id": post }] }),
            )
            .await;
        let cursor = &entities["_entities"][0]["commentChangesCursor"];
        cursor.as_str().expect("a cursor").to_owned()
    }

    /// The texts of a post's comments, newest first.
    pub async fn texts(&self, post: &str) -> Vec<String> {
        let entities = self
            .data(
                "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
                    comments(first: 100) { edges { node { text } } }
                } } }",
                json!({ "of": [{ "__typename": "Post", "id": post }] }),
            )
            .await;
        texts(&entities["_entities"][0]["comments"])
    }
}

fn config(database: &TestDatabase, flags: &[&str]) -> comments::Config {
    let mut arguments = vec!["comments", "--development", "--mongo-uri", database.uri()];
    arguments.extend(flags);
    if !flags
        .iter()
        .any(|flag| flag.starts_with("--anonymous-writes"))
    {
        // Most tests are about something else than who may write.
        arguments.push("--anonymous-writes=change");
    }
    comments::Config::parse_from(arguments)
}

/// The texts of a connection of comments.
pub fn texts(connection: &Value) -> Vec<String> {
    let edges = connection["edges"].as_array().expect("edges");
    edges
        .iter()
        .map(|edge| edge["node"]["text"].as_str().expect("a text").to_owned())
        .collect()
}

pub const CREATE: &str = "mutation ($post: ID!, $text: String!) {
    createComment(input: { postId: $post, text: $text }) { comment { id } }
}";

impl Deref for Comments {
    type Target = TestSubgraph;

    fn deref(&self) -> &TestSubgraph {
        &self.subgraph
    }
}
