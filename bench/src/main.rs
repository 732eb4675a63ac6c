//! Benchmarks: each prints figures and the ratios that matter; none is a test.
//!
//! `cargo run --release -p bench -- api` measures the services, `-- changefeed` the change feed beside
//! a bare change stream, `-- gateway` the gateway beside its peers, `-- cost` what operations are
//! estimated to cost beside what they do cost, `-- leave` how clients that disconnect affect others,
//! `-- hostile` how hostile clients do, `-- identities` what signed-in readers cost, `-- live` what it costs to deliver an
//! event to thousands of clients, `-- newest` what lists of comments cost from memory, `-- refusals` how soon hostile
//! requests are refused, `-- rate-limit` what the rate limit costs, `-- scale` the tables of `docs/scaling.md`. Load is sent to loopback only, and ends by itself.

mod api;
mod changefeed;
mod chaos;
mod gateway;
mod hostile;
mod identities;
mod leave;
mod live;
mod load;
mod newest;
mod process;
mod rate_limit;
mod refusals;
mod report;
mod scale;
mod services;
mod stack_start;

use std::process::ExitCode;

use bench_servers::{proxy, subgraphs};
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Benchmarks of Rejoinder")]
struct Arguments {
    #[command(subcommand)]
    command: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// CPU time and memory of each service, on a real MongoDB.
    Api(api::Options),
    /// The change feed beside a bare change stream.
    Changefeed(changefeed::Options),
    /// Writers and subscribers at work while everything is killed at random.
    Chaos(chaos::Options),
    /// Our gateway beside its peers, on the benchmark's own subgraphs.
    Gateway(gateway::Options),
    /// What our operations are estimated to cost, and what they do cost.
    Cost,
    /// Clients that mean harm, beside honest ones: whether these notice.
    Hostile(hostile::Options),
    /// Readers of one topic who are nobody, one person, or each somebody else: what a delivery costs.
    Identities(identities::Options),
    /// Clients that ask and leave, beside patient ones: whether anybody else notices.
    Leave(leave::Options),
    /// Our gateway beside its peers and a bare loop: what it costs to deliver an event to thousands of clients.
    Live(live::Options),
    /// The newest comments of posts, from memory and from the database: CPU time, latency, how soon a write is seen.
    Newest(newest::Options),
    /// The rate limit's table: memory for each client, and time of a check.
    RateLimit(rate_limit::Options),
    /// Requests that are meant to stop a subgraph: how soon each is refused.
    Refusals(refusals::Options),
    /// Clients of `live`.
    #[command(hide = true)]
    LiveClients(live::crowd_process::Options),
    /// The limit of `live`.
    #[command(hide = true)]
    LiveLoop(live::bare_loop::Options),
    /// The tables of `docs/scaling.md`: projection, failover, returning clients, pages, sockets, roles.
    Scale(scale::Options),
    /// Serves the benchmark's subgraphs.
    #[command(hide = true)]
    Subgraphs {
        #[arg(long)]
        port: u16,
    },
    /// Serves the bare reverse proxy.
    #[command(hide = true)]
    Proxy {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        target: hyper::Uri,
    },
}

fn main() -> ExitCode {
    // The services under measurement are this program too, as in the stack.
    if let Some(exit_code) = stack::service_main() {
        return exit_code;
    }
    if stack_start::is_called_as_stack() {
        return stack::main();
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(Arguments::parse().command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Benchmark) -> anyhow::Result<()> {
    match command {
        Benchmark::Api(options) => api::run(options).await,
        Benchmark::Changefeed(options) => changefeed::run(options).await,
        Benchmark::Chaos(options) => chaos::run(options).await,
        Benchmark::Gateway(options) => gateway::run(options).await,
        Benchmark::Cost => gateway::cost::run().await,
        Benchmark::Hostile(options) => hostile::run(options).await,
        Benchmark::Identities(options) => identities::run(options).await,
        Benchmark::Leave(options) => leave::run(options).await,
        Benchmark::Live(options) => live::run(options).await,
        Benchmark::LiveClients(options) => live::crowd_process::run(options),
        Benchmark::LiveLoop(options) => live::bare_loop::run(&options),
        Benchmark::Newest(options) => newest::run(options).await,
        Benchmark::RateLimit(options) => rate_limit::run(&options),
        Benchmark::Refusals(options) => refusals::run(options).await,
        Benchmark::Scale(options) => scale::run(options).await,
        Benchmark::Subgraphs { port } => {
            subgraphs::serve(TcpListener::bind(("127.0.0.1", port)).await?).await
        }
        Benchmark::Proxy { port, target } => {
            proxy::serve(TcpListener::bind(("127.0.0.1", port)).await?, target).await
        }
    }
}
