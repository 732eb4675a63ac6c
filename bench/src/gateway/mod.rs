//! Our gateway and its peers, measured in turn on the same subgraphs with the same load.

mod canonical;
mod contest;
pub mod cost;
mod field;
mod table;
mod workloads;

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use e2e::Tokens;
use serde_json::json;

use self::contest::{Contestant, Measurement, measure};
use self::field::Field;
use self::table::Summary;
use self::workloads::Workload;

/// The contestant that the ratios are of.
const OURS: &str = "rejoinder";
/// The same with a token on every request.
const WITH_TOKENS: &str = "rejoinder with tokens";

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
    /// Measure our own gateway a second time, with a verified token on every request.
    #[arg(long)]
    tokens: bool,
    /// Run only these workloads, by name; by default all of them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of each contestant on each workload.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of load in a round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// Runs the contest and prints its tables.
///
/// # Errors
/// When a contestant does not start, answers wrongly, or answers otherwise than ours; at the end, when
/// a goal was not met.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let tokens = options.tokens.then(Tokens::make).transpose()?;
    let contestants = contestants(&options, tokens.as_ref())?;
    let mut summary = Summary::default();
    let wanted = |workload: &Workload| {
        options.only.is_empty() || options.only.iter().any(|name| name == workload.name)
    };
    let general: Vec<Workload> = workloads::general().into_iter().filter(wanted).collect();
    let limit = Some(workloads::limit()).filter(wanted);
    if !general.is_empty() || limit.is_some() {
        let field = Field::general().await?;
        for workload in &general {
            contest(workload, &contestants, &field, &options, &mut summary).await?;
        }
        if let Some(limit) = limit {
            let pair = [ours(&options)?, bare_proxy(field.subgraph_url("products"))?];
            contest(&limit, &pair, &field, &options, &mut summary).await?;
        }
    }
    let ours: Vec<Workload> = workloads::ours().into_iter().filter(wanted).collect();
    if !ours.is_empty() {
        let field = Field::ours().await?;
        for workload in &ours {
            contest(workload, &contestants, &field, &options, &mut summary).await?;
        }
    }
    summary.print()
}

fn contestants(options: &Options, tokens: Option<&Tokens>) -> anyhow::Result<Vec<Contestant>> {
    let mut contestants = vec![ours(options)?];
    if let Some(tokens) = tokens {
        let plain = ours(options)?;
        // About as large as a common provider's: 900 bytes.
        let authorization = tokens.authorization(json!({
            "iss": "https://issuer.example/", "aud": ["graph", "account"], "sub": "3f6c1f0e-user",
            "name": "A Reader", "scope": "openid profile email",
            "roles": (0..20).map(|number| format!("role-number-{number}")).collect::<Vec<_>>(),
        }));
        contestants.push(Contestant {
            name: WITH_TOKENS.to_owned(),
            command: format!(
                "export JWT_JWKS='{}' JWT_REQUIRED=true; {}",
                tokens.jwks().display(),
                plain.command
            ),
            authorization: Some(authorization.into()),
        });
    }
    for peer in &options.peers {
        let (name, command) = peer
            .split_once('=')
            .with_context(|| format!("--peer {peer:?} has no `=`"))?;
        contestants.push(Contestant {
            name: name.to_owned(),
            command: command.to_owned(),
            authorization: None,
        });
    }
    Ok(contestants)
}

fn ours(options: &Options) -> anyhow::Result<Contestant> {
    let program = std::env::current_exe()?;
    let environment = options.ours_env.join(" ");
    Ok(Contestant {
        name: OURS.to_owned(),
        command: format!(
            "export LOG=error SUPERGRAPH={{supergraph}} PORT={{port}} {environment}; exec -a gateway '{}'",
            program.display()
        ),
        authorization: None,
    })
}

/// The limit: it asks the subgraph at `target` for the same bytes.
fn bare_proxy(target: &str) -> anyhow::Result<Contestant> {
    let program = std::env::current_exe()?;
    Ok(Contestant {
        name: "bare hyper proxy".to_owned(),
        command: format!(
            "exec '{}' proxy --port {{port}} --target {target}",
            program.display()
        ),
        authorization: None,
    })
}

async fn contest(
    workload: &Workload,
    contestants: &[Contestant],
    field: &Field,
    options: &Options,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let mut measurements: BTreeMap<&str, Vec<Measurement>> = BTreeMap::new();
    let mut ours = None;
    for _ in 0..options.rounds {
        for contestant in contestants {
            let (measurement, answers) =
                measure(contestant, field.supergraph(), workload, options.seconds).await?;
            measurements
                .entry(&contestant.name)
                .or_default()
                .push(measurement);
            if contestant.name == OURS {
                ours = Some(answers);
            } else if ours.as_ref() != Some(&answers) {
                bail!(
                    "{}: {} answers otherwise than {OURS}",
                    workload.name,
                    contestant.name
                );
            }
        }
    }
    table::print(workload, contestants, &measurements);
    summary.add(workload, contestants, &measurements);
    Ok(())
}
