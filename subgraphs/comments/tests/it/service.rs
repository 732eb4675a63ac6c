//! The subgraph under test, on a database of its own with posts to comment on.

use std::ops::Deref;

use bson::oid::ObjectId;
use bson::{Document, doc};
use clap::Parser;
use embedded_mongo::TestDatabase;
use serde_json::{Value, json};
use subgraph::testing::TestService;

/// A running comments subgraph.
pub struct Comments {
    service: TestService,
    pub database: TestDatabase,
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
        let service = run_on(&database, flags).await;
        Self { service, database }
    }

    /// Ends the subgraph and starts it again.
    pub async fn restart(self) -> Self {
        self.service.stop().await.expect("a clean end");
        Self {
            service: run_on(&self.database, &[]).await,
            database: self.database,
        }
    }

    /// Ends the subgraph; the database stays.
    pub async fn stop(self) -> TestDatabase {
        self.service.stop().await.expect("a clean end");
        self.database
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

    /// A collection of the database.
    pub fn collection(&self, name: &str) -> mongodb::Collection<Document> {
        self.database.database().collection(name)
    }
}

/// The texts of a connection of comments.
pub fn texts(connection: &Value) -> Vec<String> {
    let edges = connection["edges"].as_array().expect("edges");
    edges
        .iter()
        .map(|edge| edge["node"]["text"].as_str().expect("a text").to_owned())
        .collect()
}

const CREATE: &str = "mutation ($post: ID!, $text: String!) {
    createComment(input: { postId: $post, text: $text }) { comment { id } }
}";

async fn run_on(database: &TestDatabase, flags: &[&str]) -> TestService {
    let arguments = ["comments", "--development", "--mongo-uri", database.uri()];
    let config = comments::Config::parse_from(arguments.iter().chain(flags));
    TestService::start(|listener, lifecycle| comments::run(config, listener, lifecycle)).await
}

impl Deref for Comments {
    type Target = TestService;

    fn deref(&self) -> &TestService {
        &self.service
    }
}
