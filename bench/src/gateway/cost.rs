//! The estimated and the actual cost of our operations: those of the benchmarks, the examples and the live
//! page.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::field::Field;
use super::workloads::{self, Workload};
use crate::process::{Process, free_port};

/// So many of the operations should be estimated within a factor of two.
const GOOD_SHARE_MIN: f64 = 0.95;
/// Bodies of a workload that has many of one kind.
const BODIES_MAX: usize = 5;
/// Comments of the post that the page shows: one page, and the first of the next.
const COMMENTS: usize = 21;
/// The page sizes of the live page.
const PAGE: usize = 20;

const LIVE_PAGE: &str = concat!(
    include_str!("../../../web/src/live/graph/operations.graphql"),
    include_str!("../../../web/src/live/graph/start.graphql"),
);
const EXAMPLES: &str = include_str!("../../../examples/rust/operations.graphql");
const RELAY: &str = "query mainPostQuery($id: ID!) { post(id: $id) { id title commentChangesCursor \
    comments(first: 3) { edges { node { id author text __typename } cursor } \
    pageInfo { endCursor hasNextPage } } } }";
const APOLLO: &str =
    "query { posts(first: 1) { edges { node { id title commentCount commentChangesCursor } } } }";

/// One line of the table.
struct Row {
    name: String,
    estimated: u64,
    actual: u64,
}

impl Row {
    fn ratio(&self) -> f64 {
        match (self.estimated, self.actual) {
            (0, 0) => 1.0,
            (estimated, actual) => estimated as f64 / actual as f64,
        }
    }

    fn is_good(&self) -> bool {
        (0.5..=2.0).contains(&self.ratio())
    }
}

/// Asks a gateway in development for all of them and prints the table.
///
/// # Errors
/// When an operation fails, or too many estimates are wrong.
pub async fn run() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let field = Field::general().await?;
    let client = Client::start(field.supergraph()).await?;
    for workload in workloads::general() {
        rows.extend(client.workload(&workload).await?);
    }
    drop((client, field));
    let field = Field::ours().await?;
    let client = Client::start(field.supergraph()).await?;
    for workload in workloads::ours() {
        rows.extend(client.workload(&workload).await?);
    }
    rows.extend(client.own_operations().await?);
    print(&rows)
}

fn print(rows: &[Row]) -> anyhow::Result<()> {
    println!("| operation | estimated | actual | ratio |\n|---|--:|--:|--:|");
    for row in rows {
        let Row {
            name,
            estimated,
            actual,
        } = row;
        println!("| {name} | {estimated} | {actual} | {:.2} |", row.ratio());
    }
    let good = rows.iter().filter(|row| row.is_good()).count();
    let share = good as f64 / rows.len() as f64;
    println!("\n{good} of {} within a factor of two", rows.len());
    if share < GOOD_SHARE_MIN {
        bail!("that is fewer than {GOOD_SHARE_MIN}");
    }
    Ok(())
}

/// A gateway in development and who asks it.
struct Client {
    http: reqwest::Client,
    url: String,
    _gateway: Process,
}

impl Client {
    async fn start(supergraph: &Path) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let program = std::env::current_exe()?;
        let command = format!(
            "export LOG=error DEVELOPMENT=true SUPERGRAPH={} PORT={}; exec -a gateway '{}'",
            supergraph.display(),
            address.port(),
            program.display()
        );
        let mut gateway = Process::start("gateway", Command::new("bash").args(["-c", &command]))?;
        gateway.listening(address).await?;
        Ok(Self {
            http: reqwest::Client::new(),
            url: format!("http://{address}/graphql"),
            _gateway: gateway,
        })
    }

    async fn workload(&self, workload: &Workload) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for body in workload.bodies.iter().take(BODIES_MAX) {
            let answer = self.send(body.to_vec()).await?;
            rows.push(row(workload.name, &answer)?);
        }
        Ok(rows)
    }

    async fn send(&self, body: Vec<u8>) -> anyhow::Result<Value> {
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json");
        let answer: Value = request.body(body).send().await?.json().await?;
        if let Some(errors) = answer.get("errors") {
            bail!("{errors}");
        }
        Ok(answer)
    }

    async fn ask(&self, document: &str, name: &str, variables: Value) -> anyhow::Result<Value> {
        let name = (!name.is_empty()).then_some(name);
        let body = json!({"query": document, "operationName": name, "variables": variables});
        let answer = self.send(body.to_string().into_bytes()).await;
        answer.with_context(|| name.unwrap_or(document).to_owned())
    }

    /// The operations of the examples and of the live page, in the order in which somebody uses them.
    async fn own_operations(&self) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        let newest = self.ask(EXAMPLES, "NewestPost", json!({})).await?;
        rows.push(row("examples: NewestPost", &newest)?);
        let id = text(&newest, "/data/posts/edges/0/node/id")?;
        rows.push(row(
            "examples: newest post",
            &self.ask(APOLLO, "", json!({})).await?,
        )?);
        for number in 0..COMMENTS {
            let input = json!({"input": {"postId": id, "text": format!("comment {number}")}});
            let answer = self.ask(EXAMPLES, "WriteComment", input).await?;
            if number == 0 {
                rows.push(row("examples: WriteComment", &answer)?);
            }
        }
        let answer = self.ask(RELAY, "", json!({"id": id})).await?;
        rows.push(row("examples: relay", &answer)?);
        let start = |chosen: bool| json!({"posts": PAGE, "comments": PAGE, "id": id, "showsChosen": chosen, "showsNewest": !chosen});
        let page = json!({"id": id, "first": PAGE});
        let content = json!({"title": "title", "content": "content"});
        let operations = [
            ("Start", start(true)),
            ("Start", start(false)),
            ("Posts", json!({"first": PAGE})),
            ("Post", json!({"id": id})),
            ("PostPage", page.clone()),
            ("OlderComments", page),
            ("UpdatePost", json!({"input": {"id": id, "title": "other"}})),
        ];
        for (name, variables) in operations {
            let answer = self.ask(LIVE_PAGE, name, variables).await?;
            rows.push(row(&format!("live page: {name}"), &answer)?);
        }
        let post = self
            .live(&mut rows, "CreatePost", json!({"input": content}))
            .await?;
        let post = text(&post, "/data/createPost/post/id")?;
        let input = json!({"input": {"postId": post, "text": "text"}});
        let comment = self.live(&mut rows, "CreateComment", input).await?;
        let comment = text(&comment, "/data/createComment/comment/id")?;
        let input = json!({"input": {"id": comment, "text": "other"}});
        self.live(&mut rows, "UpdateComment", input).await?;
        self.live(
            &mut rows,
            "DeleteComment",
            json!({"input": {"id": comment}}),
        )
        .await?;
        self.live(&mut rows, "DeletePost", json!({"input": {"id": post}}))
            .await?;
        rows.extend(self.events(&id, &content).await?);
        Ok(rows)
    }

    async fn live(
        &self,
        rows: &mut Vec<Row>,
        name: &str,
        variables: Value,
    ) -> anyhow::Result<Value> {
        let answer = self.ask(LIVE_PAGE, name, variables).await?;
        rows.push(row(&format!("live page: {name}"), &answer)?);
        Ok(answer)
    }

    /// The first event of each subscription of the live page.
    async fn events(&self, post: &str, content: &Value) -> anyhow::Result<Vec<Row>> {
        let comment = json!({"input": {"postId": post, "text": "text"}});
        let new_post = json!({"input": content});
        let subscriptions = [
            ("PostAdded", json!({}), "CreatePost", &new_post),
            (
                "PostUpdated",
                json!({"id": post}),
                "CreateComment",
                &comment,
            ),
            (
                "CommentChanges",
                json!({"postId": post}),
                "CreateComment",
                &comment,
            ),
        ];
        let mut rows = Vec::new();
        for (name, variables, change, input) in subscriptions {
            let body = json!({"query": LIVE_PAGE, "operationName": name, "variables": variables});
            let request = self
                .http
                .post(&self.url)
                .header("accept", "text/event-stream");
            let mut stream = request.json(&body).send().await?;
            let mut received = String::new();
            let event = loop {
                // Until the subscription stands, a change may come too early for it: again and again.
                self.ask(LIVE_PAGE, change, input.clone()).await?;
                let wait = std::time::Duration::from_millis(500);
                if let Ok(chunk) = tokio::time::timeout(wait, stream.chunk()).await {
                    let chunk = chunk?.with_context(|| format!("{name} has ended"))?;
                    received.push_str(&String::from_utf8_lossy(&chunk));
                }
                if let Some(event) = first_event(&received) {
                    break event;
                }
            };
            rows.push(row(&format!("live page: {name}"), &event)?);
        }
        Ok(rows)
    }
}

/// The first whole event of a stream that has a cost.
fn first_event(received: &str) -> Option<Value> {
    let lines = received
        .lines()
        .filter_map(|line| line.strip_prefix("data:"));
    let mut events = lines.filter_map(|json| serde_json::from_str::<Value>(json).ok());
    events.find(|event| event.pointer("/extensions/cost").is_some())
}

fn row(name: &str, answer: &Value) -> anyhow::Result<Row> {
    let cost = |which: &str| {
        let cost = answer.pointer(&format!("/extensions/cost/{which}"));
        cost.and_then(Value::as_u64)
            .with_context(|| format!("{name} has no {which} cost"))
    };
    Ok(Row {
        name: name.to_owned(),
        estimated: cost("estimated")?,
        actual: cost("actual")?,
    })
}

fn text(answer: &Value, pointer: &str) -> anyhow::Result<String> {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    Ok(text
        .with_context(|| format!("no {pointer} in {answer}"))?
        .to_owned())
}
