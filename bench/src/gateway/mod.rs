//! Our gateway beside its peers, in turns, on the same subgraphs and the same load.

mod contest;
mod data;
pub mod proxy;
pub mod subgraphs;
mod workloads;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use self::contest::{Contestant, Measurement, measure};
use self::workloads::Workload;
use crate::process::{Process, free_port};
use crate::report::median;

/// The contestant that the ratios are of.
const OURS: &str = "rejoinder";

/// Options of `bench gateway`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Another gateway: `name=command`. The command runs in a shell with `{supergraph}` and `{port}`
    /// replaced and must `exec` the server. May be given several times.
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    peers: Vec<String>,
    /// Environment for our own gateway, `NAME=VALUE`; may be given several times.
    #[arg(long = "ours-env", value_name = "NAME=VALUE")]
    ours_env: Vec<String>,
    /// Only these workloads.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of each contestant on each workload.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of load in a round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
}

/// Runs the contest and prints its table.
///
/// # Errors
/// When a contestant does not start, answers wrongly, or answers otherwise than ours.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let contestants = contestants(&options)?;
    let program = std::env::current_exe()?;

    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut subgraphs = Process::start(
        "the benchmark's subgraphs",
        Command::new(&program).args(["subgraphs", "--port", &address.port().to_string()]),
    )?;
    subgraphs.listening(address).await?;
    let folder = tempfile::tempdir()?;
    let supergraph = folder.path().join("supergraph.graphql");
    std::fs::write(&supergraph, compose(address)?)?;

    for workload in workloads::all() {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == workload.name) {
            continue;
        }
        contest(&workload, &contestants, &supergraph, &options).await?;
    }

    if options.only.is_empty() || options.only.iter().any(|name| name == "small") {
        limit(&program, address, &options).await?;
    }
    Ok(())
}

fn contestants(options: &Options) -> anyhow::Result<Vec<Contestant>> {
    let program = std::env::current_exe()?;
    let environment = options.ours_env.join(" ");
    let mut contestants = vec![Contestant {
        name: OURS.to_owned(),
        command: format!(
            "export LOG=error SUPERGRAPH={{supergraph}} PORT={{port}} {environment}; exec -a gateway '{}'",
            program.display()
        ),
    }];
    for peer in &options.peers {
        let (name, command) = peer
            .split_once('=')
            .with_context(|| format!("--peer {peer:?} has no `=`"))?;
        contestants.push(Contestant {
            name: name.to_owned(),
            command: command.to_owned(),
        });
    }
    Ok(contestants)
}

fn compose(address: SocketAddr) -> anyhow::Result<String> {
    let subgraphs: Vec<schema::Subgraph> = subgraphs::sdl()
        .into_iter()
        .map(|(name, sdl)| schema::Subgraph {
            name: name.to_owned(),
            url: subgraphs::url(address, name),
            sdl,
        })
        .collect();
    schema::compose::compose(&subgraphs)
}

async fn contest(
    workload: &Workload,
    contestants: &[Contestant],
    supergraph: &Path,
    options: &Options,
) -> anyhow::Result<()> {
    let mut measurements: BTreeMap<&str, Vec<Measurement>> = BTreeMap::new();
    let mut ours = None;
    for _ in 0..options.rounds {
        for contestant in contestants {
            let (measurement, answer) =
                measure(contestant, supergraph, workload, options.seconds).await?;
            measurements
                .entry(&contestant.name)
                .or_default()
                .push(measurement);
            if contestant.name == OURS {
                ours = Some(answer);
            } else if ours.as_ref() != Some(&answer) {
                bail!(
                    "{}: {} answers otherwise than {OURS}",
                    workload.name,
                    contestant.name
                );
            }
        }
    }
    print_table(workload.name, contestants, &measurements);
    Ok(())
}

fn print_table(
    workload: &str,
    contestants: &[Contestant],
    measurements: &BTreeMap<&str, Vec<Measurement>>,
) {
    println!(
        "\n{workload} (medians of the rounds; ratio: CPU of {OURS} over CPU of the other, round by round)"
    );
    println!(
        "{:<22} {:>10} {:>9} {:>9} {:>10} {:>10} {:>7}",
        "", "requests/s", "p50 ms", "p99 ms", "CPU ms", "peak MiB", "ratio"
    );
    let ours = &measurements[OURS];
    for contestant in contestants {
        let rounds = &measurements[contestant.name.as_str()];
        let of = |field: fn(&Measurement) -> f64| median(rounds.iter().map(field));
        let ratio = median(
            ours.iter()
                .zip(rounds)
                .map(|(ours, other)| ours.cpu_ms / other.cpu_ms),
        );
        println!(
            "{:<22} {:>10.0} {:>9.3} {:>9.3} {:>10.4} {:>10.1} {:>7.2}",
            contestant.name,
            of(|round| round.requests_per_second),
            of(|round| round.p50_ms),
            of(|round| round.p99_ms),
            of(|round| round.cpu_ms),
            of(|round| round.peak_mib),
            ratio,
        );
    }
}

/// The small workload against the bare proxy, which asks the products subgraph for the same bytes.
async fn limit(program: &Path, subgraphs: SocketAddr, options: &Options) -> anyhow::Result<()> {
    let target = subgraphs::url(subgraphs, "products");
    let proxy = Contestant {
        name: "bare hyper proxy".to_owned(),
        command: format!(
            "exec '{}' proxy --port {{port}} --target {target}",
            program.display()
        ),
    };
    let ours = contestants(options)?.swap_remove(0);
    let folder = tempfile::tempdir()?;
    let supergraph = folder.path().join("supergraph.graphql");
    std::fs::write(&supergraph, compose(subgraphs)?)?;
    let workload = Workload {
        name: "small, against the limit",
        ..workloads::small()
    };
    contest(&workload, &[ours, proxy], &supergraph, options).await
}
