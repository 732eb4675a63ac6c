//! Runs the contestants in turn on one workload, in rounds, and measures each.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use serde_json::json;

use super::canonical::canonical;
use super::workloads::Workload;
use crate::load::{Expect, HttpConnection, Load, Until, graphql_body};
use crate::process::{Memory, Process, free_port};

/// Load before the measurement, so that caches, pools and allocators are warm.
const WARM_UP: Duration = Duration::from_millis(700);
/// How often memory is looked at during a load.
const MEMORY_INTERVAL: Duration = Duration::from_millis(20);

/// A gateway under measurement.
pub struct Contestant {
    /// Its name in the table.
    pub name: String,
    /// A bash command; `{supergraph}` and `{port}` are replaced. It must `exec` the server, so that
    /// the measured process is the server itself.
    pub command: String,
    /// The value of `Authorization` on every request to it.
    pub authorization: Option<Arc<str>>,
}

/// What one contestant did in one round.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    pub requests_per_second: f64,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of the latency in milliseconds.
    pub p99_ms: f64,
    /// CPU time of the gateway's process for each request, in milliseconds.
    pub cpu_ms: f64,
    /// Highest resident memory in MiB, with the program's own pages.
    pub peak_mib: f64,
    /// Highest anonymous memory seen, in MiB: what it allocated.
    pub peak_anonymous_mib: f64,
}

/// One round of one contestant on one workload, in a process of its own; with its answers to all
/// bodies of the workload in canonical form.
///
/// # Errors
/// When the contestant does not start or answers wrongly.
pub async fn measure(
    contestant: &Contestant,
    supergraph: &Path,
    workload: &Workload,
    seconds: u64,
) -> anyhow::Result<(Measurement, Vec<String>)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let command = contestant
        .command
        .replace("{supergraph}", &supergraph.display().to_string())
        .replace("{port}", &address.port().to_string());
    let mut process = Process::start(
        &contestant.name,
        Command::new("bash").args(["-c", &command]),
    )?;
    process.listening(address).await?;

    // The cold workload's operations must be new to the process; the others are warmed up.
    let distinct = workload.bodies.len() > 1;
    let answer = if distinct {
        first_answer(
            contestant,
            address,
            &graphql_body("{ __typename }", json!({})),
        )
        .await?
    } else {
        first_answer(contestant, address, &workload.bodies[0]).await?
    };
    let load = Load {
        address,
        connections: workload.connections,
        bodies: workload.bodies.clone().into(),
        authorization: contestant.authorization.clone(),
        expect: if distinct {
            Expect::Contains("\"data\"")
        } else {
            Expect::Same(answer)
        },
        until: Until::Elapsed(WARM_UP),
    };
    let until = if distinct {
        Until::Count(workload.bodies.len())
    } else {
        Until::Elapsed(Duration::from_secs(seconds))
    };
    if !distinct {
        load.clone().run().await?;
    }
    let before = process.cpu_time()?;
    let load = Load { until, ..load }.run();
    let (report, peak_anonymous) = with_peak_anonymous(&process, load)
        .await
        .with_context(|| contestant.name.clone())?;
    let cpu = process.cpu_time()? - before;
    let measurement = Measurement {
        requests_per_second: report.requests_per_second(),
        p50_ms: report.latency_ms(0.5),
        p99_ms: report.latency_ms(0.99),
        cpu_ms: cpu.as_secs_f64() * 1_000.0 / report.requests as f64,
        peak_mib: Memory::mib(process.memory()?.peak),
        peak_anonymous_mib: Memory::mib(peak_anonymous),
    };
    let mut answers = Vec::with_capacity(workload.bodies.len());
    let mut connection = HttpConnection::open(address).await?;
    connection
        .authorization
        .clone_from(&contestant.authorization);
    for body in &workload.bodies {
        let answer = connection.post(body.clone()).await?;
        answers.push(canonical(&answer).context("an answer is not JSON")?);
    }
    Ok((measurement, answers))
}

/// Runs the load and looks at the process's anonymous memory all the while.
async fn with_peak_anonymous<T>(
    process: &Process,
    load: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, u64)> {
    let mut load = std::pin::pin!(load);
    let mut peak = 0;
    loop {
        tokio::select! {
            done = &mut load => return Ok((done?, peak.max(process.memory()?.anonymous))),
            () = tokio::time::sleep(MEMORY_INTERVAL) => peak = peak.max(process.memory()?.anonymous),
        }
    }
}

async fn first_answer(
    contestant: &Contestant,
    address: SocketAddr,
    body: &Bytes,
) -> anyhow::Result<Bytes> {
    /// A gateway may listen before its subgraphs are known to it.
    const ATTEMPTS: u32 = 100;
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let mut connection = HttpConnection::open(address).await?;
        connection
            .authorization
            .clone_from(&contestant.authorization);
        match connection.post(body.clone()).await {
            Ok(answer) if !answer.windows(8).any(|part| part == b"\"errors\"") => {
                return Ok(answer);
            }
            Ok(answer) => {
                last = String::from_utf8_lossy(&answer[..answer.len().min(400)]).into_owned()
            }
            Err(error) => last = format!("{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("no answer without errors: {last}")
}
