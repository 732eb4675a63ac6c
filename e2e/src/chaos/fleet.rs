//! The system under test: three MongoDB nodes, several instances of each subgraph, and gateways, behind a balancer if
//! there are several.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use bson::{Document, Timestamp, doc};
use embedded_mongo::ReplicaSet;
use graphql_transport::testing::HeldPort;
use mongodb::{Client, Database};
use serde_json::{Value, json};
use stack::{Service, ServiceProcess};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::{Balancer, Tokens};

use super::Options;

/// A service gets this long to be ready, with an election in between.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// One request of a writer.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// A token ends after this time: many do while an answer is awaited, and each subscription does.
const TOKEN_LIFE: Duration = Duration::from_secs(5);
/// With it, subgraphs know who asks, and answer the gateway alone.
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Between two tries of something that a fault stands in the way of.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// All processes, each in a lock that a fault holds while it harms the process.
pub struct Fleet {
    program: PathBuf,
    /// The replica set; faults of it are injected one at a time.
    pub mongo: Mutex<ReplicaSet>,
    uri: String,
    http: reqwest::Client,
    /// Those of posts, then those of comments, then the gateways.
    pub instances: Vec<Instance>,
    /// Before the gateways, if there are several.
    balancer: Option<Balancer>,
    /// The provider of tokens, where everybody is signed in.
    tokens: Option<Tokens>,
}

/// Who asks, where everybody is signed in.
#[derive(Clone, Copy, Debug)]
pub enum Person {
    /// One of those who write.
    Writer(usize),
    /// One of those who read.
    Reader(usize),
    /// Whoever may do anything.
    Moderator,
}

/// One process of a service, which keeps its port over restarts.
pub struct Instance {
    service: Service,
    port: HeldPort,
    settings: Vec<(&'static str, String)>,
    /// The process, for whoever harms it.
    pub process: Mutex<Option<ServiceProcess>>,
}

impl Instance {
    fn new(service: Service, settings: Vec<(&'static str, String)>) -> Self {
        Self {
            service,
            port: HeldPort::any(),
            settings,
            process: Mutex::new(None),
        }
    }

    /// Which service it is.
    pub fn service(&self) -> Service {
        self.service
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/graphql", self.port.address())
    }
}

impl Fleet {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let three = embedded_mongo::Options::default().nodes(3);
        let mongo = ReplicaSet::start(three).await?;
        let uri = mongo.uri_for("chaos");
        let tokens = options.identities.then(Tokens::make).transpose()?;
        let mut settings = vec![
            ("MONGO_URI", uri.clone()),
            // It would mend what the run looks for.
            ("PROJECTION_AUDIT_INTERVAL", "0s".to_owned()),
        ];
        settings.push(match &tokens {
            Some(_) => ("SUBGRAPH_SECRET", SECRET.to_owned()),
            None => ("ANONYMOUS_WRITES", "change".to_owned()),
        });
        let mut of_posts = settings.clone();
        if options.partitions > 0 {
            of_posts.push(("PROJECTION_PARTITIONS", options.partitions.to_string()));
        }
        let some = |service, count: usize, settings: &Vec<(&'static str, String)>| {
            let some = (0..count.max(1)).map(|_| Instance::new(service, settings.clone()));
            some.collect::<Vec<_>>()
        };
        let posts = some(Service::Posts, options.posts_instances, &of_posts);
        let comments = some(Service::Comments, options.comments_instances, &settings);
        // One gateway is also tried with one address of each subgraph, which it does not choose.
        let urls = |instances: &[Instance]| {
            let known = match options.gateways {
                0 | 1 => &instances[..1],
                _ => instances,
            };
            let urls: Vec<String> = known.iter().map(|it| it.url("http")).collect();
            urls.join(", ")
        };
        let supergraph =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/supergraph.graphql").to_owned();
        let mut settings = vec![
            ("SUPERGRAPH", supergraph),
            ("SUBGRAPH_URL_POSTS", urls(&posts)),
            ("SUBGRAPH_URL_COMMENTS", urls(&comments)),
        ];
        if let Some(tokens) = &tokens {
            let jwks = tokens.jwks().to_str().context("a path that is not UTF-8")?;
            settings.extend([
                ("JWT_JWKS", jwks.to_owned()),
                ("JWT_LEEWAY", "0s".to_owned()),
                ("JWT_REQUIRED", "true".to_owned()),
                ("SUBGRAPH_SECRET", SECRET.to_owned()),
                ("SUBGRAPH_CLAIMS", "sub, name, scope".to_owned()),
                ("VIEWER_TAGS", "posts, comments".to_owned()),
            ]);
        }
        let gateways = some(Service::Gateway, options.gateways, &settings);
        let balancer = match gateways.len() {
            1 => None,
            _ => Some(Balancer::start(gateways.iter().map(|it| it.port.address())).await?),
        };
        let fleet = Self {
            program: options.program.clone(),
            http: reqwest::Client::builder().timeout(REQUEST_LIMIT).build()?,
            instances: posts.into_iter().chain(comments).chain(gateways).collect(),
            balancer,
            mongo: Mutex::new(mongo),
            uri,
            tokens,
        };
        for instance in &fleet.instances {
            fleet.ensure_running(instance).await?;
        }
        fleet.heal().await?;
        Ok(fleet)
    }

    /// Starts an instance that is not running, on the port that it had.
    ///
    /// # Errors
    /// When it does not become ready in time.
    pub async fn ensure_running(&self, instance: &Instance) -> anyhow::Result<()> {
        let mut slot = instance.process.lock().await;
        self.restart(instance, &mut slot).await
    }

    /// The same for someone who holds the instance's lock.
    ///
    /// # Errors
    /// When it does not become ready in time.
    pub async fn restart(
        &self,
        instance: &Instance,
        slot: &mut Option<ServiceProcess>,
    ) -> anyhow::Result<()> {
        if slot.is_some() {
            return Ok(());
        }
        let port = instance.port.address().port();
        let settings: Vec<_> = [("PORT", port.to_string()), ("LOG", "error".to_owned())]
            .into_iter()
            .chain(instance.settings.iter().cloned())
            .collect();
        let deadline = Instant::now() + READY_LIMIT;
        // A start may fail while there is no primary: an operator's supervisor tries again too.
        let process = loop {
            match ServiceProcess::start(&self.program, instance.service, &settings, Stdio::null())
                .await
            {
                Ok(process) => break process,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(RETRY_PAUSE).await,
            }
        };
        *slot = Some(process);
        Ok(())
    }

    /// Ends all faults and waits until everything is ready again.
    ///
    /// # Errors
    /// When something does not come back.
    pub async fn heal(&self) -> anyhow::Result<()> {
        self.mongo.lock().await.primary().await?;
        for instance in &self.instances {
            let mut slot = instance.process.lock().await;
            let deadline = Instant::now() + READY_LIMIT;
            loop {
                self.restart(instance, &mut slot).await?;
                let Some(process) = slot.as_mut() else {
                    continue;
                };
                match process.ready(READY_LIMIT).await {
                    Ok(()) => break,
                    Err(error) if Instant::now() > deadline => return Err(error),
                    // It ended at its start, for want of a primary: a supervisor starts it again.
                    Err(_) => *slot = None,
                }
            }
        }
        Ok(())
    }

    /// Stops every process.
    ///
    /// # Errors
    /// When the system cannot report a process's end.
    pub async fn stop(&self) -> anyhow::Result<()> {
        for instance in &self.instances {
            if let Some(mut process) = instance.process.lock().await.take() {
                process.stop().await?;
            }
        }
        Ok(())
    }

    /// Whether everybody is signed in.
    pub fn has_identities(&self) -> bool {
        self.tokens.is_some()
    }

    /// The value of `Authorization` with a new token; none where nobody is signed in.
    pub fn authorization(&self, person: Person) -> Option<String> {
        let (name, scope) = match person {
            Person::Writer(number) => (format!("writer-{number}"), ""),
            Person::Reader(number) => (format!("reader-{number}"), ""),
            Person::Moderator => ("moderator".to_owned(), "moderate"),
        };
        let claims = json!({ "sub": name, "name": name, "scope": scope });
        let tokens = self.tokens.as_ref()?;
        Some(tokens.authorization_for(TOKEN_LIFE, claims))
    }

    /// All instances of a service.
    pub fn of(&self, service: Service) -> impl Iterator<Item = &Instance> {
        let of = move |instance: &&Instance| instance.service == service;
        self.instances.iter().filter(of)
    }

    /// Where a client with this number connects: half of them to the gateways, the others to the comments
    /// instances in turn. Who is signed in connects to the gateways.
    pub fn endpoint(&self, client: usize, scheme: &str) -> String {
        if client.is_multiple_of(2) || self.has_identities() {
            return self.gateway(scheme);
        }
        let comments: Vec<&Instance> = self.of(Service::Comments).collect();
        comments[client / 2 % comments.len()].url(scheme)
    }

    /// So many numbers of clients, from 0, have all endpoints.
    pub fn endpoints(&self) -> usize {
        2 * self.of(Service::Comments).count()
    }

    /// The endpoint of the gateway, or of the balancer before the gateways.
    pub fn gateway(&self, scheme: &str) -> String {
        let only = || self.of(Service::Gateway).next().map(|it| it.url(scheme));
        match &self.balancer {
            Some(balancer) => format!("{scheme}://{}/graphql", balancer.address()),
            None => only().unwrap_or_default(),
        }
    }

    /// Where the posts are asked for in the end: through the gateway and, where nobody is signed in, at each instance.
    pub fn endpoints_of_posts(&self) -> Vec<String> {
        let own = self.of(Service::Posts).map(|it| it.url("http"));
        let own = own.filter(|_| !self.has_identities());
        own.chain([self.gateway("http")]).collect()
    }

    /// Posts a GraphQL request; `None` when it got no answer or an internal error, so that the caller
    /// tries again.
    pub async fn ask(
        &self,
        endpoint: &str,
        person: Person,
        query: &str,
        variables: Value,
    ) -> Option<Value> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let mut request = self
            .http
            .post(endpoint)
            .header("content-type", "application/json")
            .body(body);
        if let Some(authorization) = self.authorization(person) {
            request = request.header("authorization", authorization);
        }
        let answer = request.send().await.ok()?.bytes().await.ok()?;
        serde_json::from_slice(&answer).ok()
    }

    /// Creates posts and returns their ids.
    ///
    /// # Errors
    /// When a mutation is refused.
    pub async fn create_posts(&self, count: usize) -> anyhow::Result<Vec<String>> {
        const CREATE: &str =
            "mutation ($input: CreatePostInput!) { createPost(input: $input) { post { id } } }";
        let endpoint = self.endpoint(0, "http");
        let mut ids = Vec::new();
        for number in 0..count {
            let input =
                json!({ "input": { "title": format!("Post {number}"), "content": "Chaos" } });
            let answer = self
                .ask(&endpoint, Person::Moderator, CREATE, input)
                .await
                .context("no answer")?;
            let id = answer["data"]["createPost"]["post"]["id"]
                .as_str()
                .with_context(|| answer.to_string())?;
            ids.push(id.to_owned());
        }
        Ok(ids)
    }

    /// The database, over connections of the caller's own.
    ///
    /// # Errors
    /// When the replica set cannot be reached.
    pub async fn database(&self) -> anyhow::Result<Database> {
        let client = Client::with_uri_str(&self.uri).await?;
        client
            .default_database()
            .context("the connection string names a database")
    }

    /// The cluster's time of now.
    ///
    /// # Errors
    /// When there is no primary.
    pub async fn operation_time(&self) -> anyhow::Result<Timestamp> {
        let answer: Document = self
            .database()
            .await?
            .run_command(doc! { "ping": 1 })
            .await?;
        Ok(answer.get_timestamp("operationTime")?)
    }
}
