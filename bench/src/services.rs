//! The real subgraphs on a MongoDB of their own, with posts and comments in it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use bson::doc;
use bytes::Bytes;
use mongodb::{Client, Database};
use serde_json::{Value, json};
use stack::{Service, ServiceProcess};

use crate::load::{HttpConnection, graphql_body};

/// The services' database.
const DATABASE: &str = "bench";
/// Posts that are written: one page.
const POSTS: usize = 20;
const COMMENTS_PER_POST: usize = 10;
/// Characters of a post's content.
const CONTENT_LENGTH: usize = 480;
/// A service gets this long to be ready, and the projection to catch up with the seed.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// 20 posts with comments as the post documents hold them: one fetch.
pub const LIST: &str = "query List { posts(first: 20) { edges { node { \
    title content latestComments(first: 10) { text createdAt } } } } }";
/// 20 posts with comments from their own subgraph: two fetches.
pub const LIST_WITH_COMMENTS: &str = "query ListWithComments { posts(first: 20) { edges { node { \
    title content comments(first: 10) { edges { node { text createdAt } } } } } } }";
const CREATE_POST: &str =
    "mutation ($input: CreatePostInput!) { createPost(input: $input) { post { id } } }";
const CREATE_COMMENT: &str = "mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id text createdAt } } }";

/// Both subgraphs as processes on a replica set of their own.
pub struct Services {
    pub posts: ServiceProcess,
    pub comments: ServiceProcess,
    /// Declared last, so that it is dropped after the services.
    mongo: embedded_mongo::ReplicaSet,
}

impl Services {
    /// Starts MongoDB and both services on it.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// [`Services::start`] with more settings of both services.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn start_with(settings: &[(&str, String)]) -> anyhow::Result<Self> {
        let options = embedded_mongo::Options::default().in_memory(false);
        let mongo = embedded_mongo::ReplicaSet::start(options).await?;
        let mut all = settings_on(&mongo).to_vec();
        all.extend_from_slice(settings);
        let settings = all;
        Ok(Self {
            posts: start(Service::Posts, &settings).await?,
            comments: start(Service::Comments, &settings).await?,
            mongo,
        })
    }

    /// Kills the comments service.
    ///
    /// # Errors
    /// When the system cannot report its end.
    pub async fn kill_comments(&mut self) -> anyhow::Result<()> {
        self.comments.kill().await
    }

    /// Starts it again at its address.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_comments(&mut self) -> anyhow::Result<()> {
        let mut settings = settings_on(&self.mongo).to_vec();
        settings.push(("PORT", self.comments.address().port().to_string()));
        self.comments = start(Service::Comments, &settings).await?;
        Ok(())
    }

    /// A client of MongoDB, and the services' database.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn database(&self) -> anyhow::Result<Database> {
        let client = Client::with_uri_str(self.mongo.uri()).await?;
        Ok(client.database(DATABASE))
    }

    /// Starts a gateway before them.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_gateway(&self) -> anyhow::Result<ServiceProcess> {
        self.start_gateway_with(&[]).await
    }

    /// [`Services::start_gateway`] with more settings.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_gateway_with(
        &self,
        settings: &[(&str, String)],
    ) -> anyhow::Result<ServiceProcess> {
        let supergraph =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/supergraph.graphql").to_owned();
        let mut all = vec![
            ("SUPERGRAPH", supergraph),
            ("SUBGRAPH_URL_POSTS", self.posts.url("/graphql")),
            ("SUBGRAPH_URL_COMMENTS", self.comments.url("/graphql")),
        ];
        all.extend_from_slice(settings);
        start(Service::Gateway, &all).await
    }

    /// The process of MongoDB.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn mongod(&self) -> anyhow::Result<u32> {
        let status = self
            .mongo
            .admin_command(0, doc! { "serverStatus": 1 })
            .await?;
        let pid = status.get_i64("pid").context("serverStatus has no pid")?;
        Ok(u32::try_from(pid)?)
    }

    /// The connections that MongoDB has open.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connections(&self) -> anyhow::Result<i64> {
        let status = self
            .mongo
            .admin_command(0, doc! { "serverStatus": 1 })
            .await?;
        let current = status.get_document("connections")?.get("current");
        let current = current.and_then(|it| it.as_i32().map(i64::from).or(it.as_i64()));
        current.context("serverStatus has no connections")
    }

    /// Writes the posts and their comments, waits until the posts show them all, and returns the
    /// posts' ids.
    ///
    /// # Errors
    /// When a write fails, or the posts never show the comments.
    pub async fn seed(&self) -> anyhow::Result<Vec<String>> {
        let mut posts = HttpConnection::open(self.posts.address()).await?;
        let mut comments = HttpConnection::open(self.comments.address()).await?;
        let content: String = "Lorem ipsum dolor sit amet, "
            .chars()
            .cycle()
            .take(CONTENT_LENGTH)
            .collect();
        let mut ids = Vec::new();
        for number in 0..POSTS {
            let title = format!("Post number {number}");
            let input = json!({ "input": { "title": title, "content": content } });
            let answer = ask(&mut posts, graphql_body(CREATE_POST, input)).await?;
            let id = answer["data"]["createPost"]["post"]["id"]
                .as_str()
                .with_context(|| answer.to_string())?;
            ids.push(id.to_owned());
        }
        for id in &ids {
            for _ in 0..COMMENTS_PER_POST {
                comments.post(create_comment(id)).await?;
            }
        }
        tokio::time::timeout(WAIT_LIMIT, caught_up(&mut posts))
            .await
            .context("the posts never showed the comments")??;
        Ok(ids)
    }
}

/// What both services need.
fn settings_on(mongo: &embedded_mongo::ReplicaSet) -> [(&'static str, String); 2] {
    [
        ("MONGO_URI", mongo.uri_for(DATABASE)),
        ("ANONYMOUS_WRITES", "change".to_owned()),
    ]
}

/// Starts a service of ours on a free port and waits until it is ready.
///
/// # Errors
/// When it does not start.
pub async fn start(
    service: Service,
    settings: &[(&str, String)],
) -> anyhow::Result<ServiceProcess> {
    let settings: Vec<_> = [("PORT", "0".to_owned()), ("LOG", "error".to_owned())]
        .into_iter()
        .chain(settings.iter().cloned())
        .collect();
    let program = std::env::current_exe()?;
    let mut process =
        ServiceProcess::start(Path::new(&program), service, &settings, Stdio::null()).await?;
    process.ready(WAIT_LIMIT).await?;
    Ok(process)
}

/// A mutation that comments on a post.
pub fn create_comment(post_id: &str) -> Bytes {
    let text = "A comment of a usual length: it says what it has to say, and then it ends.";
    graphql_body(
        CREATE_COMMENT,
        json!({ "input": { "postId": post_id, "text": text } }),
    )
}

async fn caught_up(posts: &mut HttpConnection) -> anyhow::Result<()> {
    let counts = graphql_body(
        "{ posts(first: 20) { edges { node { commentCount } } } }",
        json!({}),
    );
    loop {
        let answer = ask(posts, counts.clone()).await?;
        let edges = answer["data"]["posts"]["edges"]
            .as_array()
            .with_context(|| answer.to_string())?;
        if edges
            .iter()
            .all(|edge| edge["node"]["commentCount"] == COMMENTS_PER_POST)
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(connection: &mut HttpConnection, body: Bytes) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&connection.post(body).await?)?)
}
