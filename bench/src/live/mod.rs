//! One event for thousands of clients: our gateway beside its peers and beside the least that it can cost.
//!
//! | module | gives |
//! |---|---|
//! | `contest` | one contestant with one number of clients, measured |
//! | `upstream` | the events: a subgraph for the gateways, a feed for the bare loop |
//! | `bare_loop` | the limit: a process that only writes ready bytes to all sockets |
//! | `crowd` | the clients, in several processes: as one |
//! | `crowd_process` | such a process: one loop for its clients |
//! | `receiver` | one client of it |
//! | `message` | an event's text, with its number and time |
//! | `wire` | frames of WebSockets, chunks of HTTP/1.1 |
//! | `table` | the figures of the contest and its goals |
//! | `delay` | from an insert into MongoDB to the clients, beside a bare change stream |
//! | `stalled` | clients that stop reading |
//! | `restarts` | clients that resume, while a subgraph and the gateway restart |
//! | `topics` | a topic with one reader among thousands |
//!
//! Every client checks that each event is the one after the last; one that is missing, doubled or otherwise than expected
//! ends the run. The contestants take turns, each in a process of its own.

pub mod bare_loop;
mod contest;
mod crowd;
pub mod crowd_process;
mod delay;
mod message;
mod receiver;
mod restarts;
mod stalled;
mod table;
mod topics;
mod upstream;
mod wire;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::contest::{Contestant, Events};
use self::table::Size;
use self::upstream::Upstream;
use crate::report::Goals;

const OURS: &str = "rejoinder";
const BARE_LOOP: &str = "bare loop";

/// Options of `bench live`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Connect this many clients; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000, 10_000])]
    clients: Vec<usize>,
    /// Only these figures; by default all of them.
    #[arg(long, value_delimiter = ',', default_values = ["contest", "delay", "stalled", "topics"])]
    only: Vec<Figure>,
    /// Only this figure: clients with cursors, the largest number of `--clients`, while the comments service is killed ten
    /// times, the gateway restarts, and a new supergraph comes.
    #[arg(long)]
    restarts: bool,
    /// How clients subscribe: WebSockets, server-sent events, or both.
    #[arg(long, value_delimiter = ',', default_values_t = [Transport::Ws])]
    transport: Vec<Transport>,
    /// Another gateway: `name=command`. The command runs in a shell with `{supergraph}` and `{port}` replaced and must
    /// `exec` the server. May be given several times.
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    peers: Vec<String>,
    /// Environment for our own gateway, `NAME=VALUE`; may be given several times.
    #[arg(long = "ours-env", value_name = "NAME=VALUE")]
    ours_env: Vec<String>,
    /// Send this many events a second.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Send fewer a second where more would be delivered than this: all processes share the machine, and the slowest
    /// contestant has to keep up.
    #[arg(long, default_value_t = 25_000.0)]
    deliveries_per_second: f64,
    /// Send events for this many seconds in each round.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Bytes of an event's text.
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Rounds of each contestant with each number of clients.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Processes of clients.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    processes: u8,
    /// Clients that have the same address.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    clients_per_address: u16,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Figure {
    /// All contestants, with each number of clients.
    Contest,
    /// From an insert's acknowledgement to the clients.
    Delay,
    /// Clients that stop reading.
    Stalled,
    /// A topic with one reader among many.
    Topics,
}

/// How a client subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// graphql-transport-ws.
    Ws,
    /// graphql-sse, a connection for each subscription.
    Sse,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Runs the contest and prints its tables.
///
/// # Errors
/// When a contestant does not start, or a client does not get every event once and in order; at the end, when a goal was
/// missed.
pub async fn run(options: Options) -> anyhow::Result<()> {
    raise_descriptors()?;
    let contestants = contestants(&options)?;
    let ours = contestants.first().context("no contestant")?;
    let mut goals = Goals::default();
    if options.restarts {
        for &transport in &options.transport {
            restarts::run(transport, &options, &mut goals).await?;
        }
        return goals.met();
    }
    for &transport in &options.transport {
        for figure in &options.only {
            match figure {
                Figure::Contest => contest(&contestants, transport, &options, &mut goals).await,
                Figure::Delay => delay::run(transport, &options, &mut goals).await,
                Figure::Stalled => stalled::run(ours, transport, &options, &mut goals).await,
                Figure::Topics => topics::run(ours, transport, &options, &mut goals).await,
            }?;
        }
    }
    goals.met()
}

async fn contest(
    contestants: &[Contestant],
    transport: Transport,
    options: &Options,
    goals: &mut Goals,
) -> anyhow::Result<()> {
    println!(
        "\n{transport}: events of {} bytes; us of the server's CPU for each delivery, its memory for each client",
        options.bytes
    );
    table::print_head();
    let mut upstream = Upstream::start(options.bytes).await?;
    let mut sizes = Vec::new();
    for &clients in &options.clients {
        let per_second = options
            .rate
            .min(options.deliveries_per_second / clients as f64);
        let events = Events {
            count: (per_second * options.seconds).ceil() as u64,
            per_second,
        };
        let mut rounds = vec![Vec::new(); contestants.len()];
        for _ in 0..options.rounds {
            for (contestant, rounds) in contestants.iter().zip(&mut rounds) {
                let name = &contestant.name;
                let measured = contest::measure(
                    contestant,
                    &mut upstream,
                    transport,
                    clients,
                    events,
                    options,
                )
                .await
                .with_context(|| format!("{name}, {clients} clients"))?;
                table::print_line(clients, name, &measured);
                rounds.push(measured);
            }
        }
        sizes.push(Size { clients, rounds });
    }
    table::judge(contestants, &sizes, goals);
    Ok(())
}

fn contestants(options: &Options) -> anyhow::Result<Vec<Contestant>> {
    let program = std::env::current_exe()?;
    let program = program.display();
    let environment = options.ours_env.join(" ");
    let mut contestants = vec![
        Contestant {
            name: OURS.to_owned(),
            // The default allows as many connections as the largest crowd has clients. All of them come at once.
            command: format!(
                "export LOG=error SUPERGRAPH={{supergraph}} PORT={{port}} CONNECTIONS_MAX=20000 LIVE_CLIENTS_RATE= \
                 {environment}; \
                 exec -a gateway '{program}'"
            ),
            is_gateway: true,
        },
        Contestant {
            name: BARE_LOOP.to_owned(),
            command: format!("exec '{program}' live-loop --port {{port}} --feed {{feed}}"),
            is_gateway: false,
        },
    ];
    for peer in &options.peers {
        let (name, command) = peer
            .split_once('=')
            .with_context(|| format!("--peer {peer:?} has no `=`"))?;
        contestants.push(Contestant {
            name: name.to_owned(),
            command: command.to_owned(),
            is_gateway: true,
        });
    }
    Ok(contestants)
}

/// Raises the limit of open files as far as it may be; all processes of the run inherit it.
fn raise_descriptors() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("the limit of open files")
}
