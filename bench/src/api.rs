//! The stack's time to be ready, and CPU time per request and idle memory of the services, on a real
//! MongoDB, directly and through the gateway. Goals are printed beside the figures.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use serde_json::json;
use stack::ServiceProcess;

use crate::load::{Expect, HttpConnection, Load, Until, graphql_body};
use crate::process::{Memory, cpu_time, memory};
use crate::services::{LIST, LIST_WITH_COMMENTS, Services, create_comment};
use crate::stack_start::start_to_ready;

/// Load before each measurement.
const WARM_UP: Duration = Duration::from_secs(1);

/// Options of `bench api`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Connections that are kept busy.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Seconds of load for each figure.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

struct Measured {
    subgraphs: Services,
    gateway: ServiceProcess,
}

/// Starts everything, measures, and prints figures and goals.
///
/// # Errors
/// When something does not start or answers wrongly.
pub async fn run(options: Options) -> anyhow::Result<()> {
    print_start_times().await?;
    let services = Measured::start().await?;
    print_idle_memory(&services)?;
    let post_ids = services.subgraphs.seed().await?;
    print_list_size(&services).await?;
    let measure = Measure {
        services: &services,
        options: &options,
    };
    measure.print(&post_ids).await
}

async fn print_start_times() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    println!("seconds from the start of the stack to ready: (goal: 3)");
    for what in ["on no data", "on its data"] {
        let elapsed = start_to_ready(data.path()).await?;
        println!("  {what:<11} {:>4.1}", elapsed.as_secs_f64());
    }
    Ok(())
}

fn print_idle_memory(services: &Measured) -> anyhow::Result<()> {
    println!("\nidle memory (resident MiB; goal: 30 each):");
    for service in services.all() {
        println!(
            "  {:<9} {:>6.1}",
            service.service().name(),
            Memory::mib(memory(pid(service)?)?.resident)
        );
    }
    Ok(())
}

async fn print_list_size(services: &Measured) -> anyhow::Result<()> {
    let mut posts = HttpConnection::open(services.subgraphs.posts.address()).await?;
    let answer = posts.post(graphql_body(LIST, json!({}))).await?;
    println!(
        "\na response to the list of 20 posts, each with its 10 newest comments: {:.1} KiB",
        answer.len() as f64 / 1_024.0
    );
    Ok(())
}

struct Measure<'a> {
    services: &'a Measured,
    options: &'a Options,
}

impl Measure<'_> {
    /// Measures one load after the other, and prints a row for each.
    async fn print(&self, post_ids: &[String]) -> anyhow::Result<()> {
        println!(
            "\n{:<44} {:>10} {:>8} {:>8} {:>9} {:>9} {:>9}",
            "CPU ms per request of each process",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "posts",
            "comments",
            "gateway"
        );
        let list = Arc::new(vec![graphql_body(LIST, json!({}))]);
        let joined = Arc::new(vec![graphql_body(LIST_WITH_COMMENTS, json!({}))]);
        let create = post_ids.iter().map(|id| create_comment(id));
        let create: Arc<Vec<Bytes>> = Arc::new(create.collect());
        let (listed, created) = (
            Expect::Contains("\"edges\""),
            Expect::Contains("\"createdAt\""),
        );
        let Services {
            posts, comments, ..
        } = &self.services.subgraphs;
        let gateway = &self.services.gateway;
        for (name, target, bodies, expect) in [
            ("list of 20 posts, posts subgraph", posts, &list, &listed),
            (
                "list of 20 posts, through the gateway",
                gateway,
                &list,
                &listed,
            ),
            (
                "20 posts with comments(first: 10), gateway",
                gateway,
                &joined,
                &listed,
            ),
            (
                "create a comment, comments subgraph",
                comments,
                &create,
                &created,
            ),
            (
                "create a comment, through the gateway",
                gateway,
                &create,
                &created,
            ),
        ] {
            self.row(name, target, bodies, expect).await?;
        }
        println!(
            "goals: list 0.4 in posts, create 0.2 in comments, through the gateway 0.15 more in the gateway"
        );
        Ok(())
    }

    async fn row(
        &self,
        name: &str,
        target: &ServiceProcess,
        bodies: &Arc<Vec<Bytes>>,
        expect: &Expect,
    ) -> anyhow::Result<()> {
        let load = Load {
            address: target.address(),
            connections: self.options.connections,
            bodies: bodies.clone(),
            authorization: None,
            expect: expect.clone(),
            until: Until::Elapsed(WARM_UP),
        };
        load.clone().run().await?;
        let before = self.cpu_times()?;
        let report = Load {
            until: Until::Elapsed(Duration::from_secs(self.options.seconds)),
            ..load
        }
        .run()
        .await?;
        let after = self.cpu_times()?;
        let cpu_ms = |index: usize| {
            (after[index] - before[index]).as_secs_f64() * 1_000.0 / report.requests as f64
        };
        println!(
            "{name:<44} {:>10.0} {:>8.3} {:>8.3} {:>9.3} {:>9.3} {:>9.3}",
            report.requests_per_second(),
            report.latency_ms(0.5),
            report.latency_ms(0.99),
            cpu_ms(0),
            cpu_ms(1),
            cpu_ms(2),
        );
        Ok(())
    }

    fn cpu_times(&self) -> anyhow::Result<Vec<Duration>> {
        self.services
            .all()
            .iter()
            .map(|service| cpu_time(pid(service)?))
            .collect()
    }
}

impl Measured {
    async fn start() -> anyhow::Result<Self> {
        let subgraphs = Services::start().await?;
        Ok(Self {
            gateway: subgraphs.start_gateway().await?,
            subgraphs,
        })
    }

    fn all(&self) -> [&ServiceProcess; 3] {
        [
            &self.subgraphs.posts,
            &self.subgraphs.comments,
            &self.gateway,
        ]
    }
}

fn pid(process: &ServiceProcess) -> anyhow::Result<u32> {
    process
        .pid()
        .with_context(|| format!("{} has ended", process.service().name()))
}
