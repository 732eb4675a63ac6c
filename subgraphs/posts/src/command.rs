//! The commands for operators: `--rebuild` and `--replay-dead-letters`; `--doctor` is in [`doctor`].
//!
//! A command joins the projection as one more instance. If another one leads, that one does the work;
//! if none does, this one takes the lease and leads until the work is done. It asks for no number of partitions: the
//! operator's environment need not be that of the service.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use changefeed::{ProjectionMetrics, Projector, Replayed, Slot};
use service::{Lifecycle, Metrics, OldNames, telemetry};
use subgraph::collections;

use crate::comment_projection::{self, CommentProjection};
use crate::config::{Config, PARTITIONS_MAX};
use crate::{doctor, store};

/// How often this instance checks whether it has seen the switch.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Runs the command that the flags ask for, if they ask for one, to its exit code.
pub(crate) fn main() -> Option<ExitCode> {
    let (config, old_names) = service::parse::<Config>();
    if config.subgraph.doctor {
        return Some(doctor::run(&config));
    }
    if !config.rebuild && !config.replay_dead_letters {
        return None;
    }
    let exit_code = match start(&config, old_names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::tell(format_args!("posts: {error:#}"));
            ExitCode::FAILURE
        }
    };
    telemetry::flush();
    Some(exit_code)
}

fn start(config: &Config, old_names: OldNames) -> anyhow::Result<()> {
    telemetry::init(&config.subgraph.service)?;
    old_names.warn();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        let lifecycle = Lifecycle::until_signal(
            "posts",
            Duration::ZERO,
            config.subgraph.service.shutdown_grace,
        )?;
        let interrupted = || anyhow::anyhow!("interrupted before it was done");
        let projector = tokio::select! {
            joined = join(config) => joined?,
            () = lifecycle.shutdown().cancelled() => return Err(interrupted()),
        };
        let done = tokio::select! {
            done = run(config, &projector) => done,
            () = lifecycle.shutdown().cancelled() => Err(interrupted()),
        };
        projector.stop().await;
        done
    })?;
    telemetry::print(done);
    runtime.shutdown_background();
    Ok(())
}

async fn join(config: &Config) -> anyhow::Result<Projector> {
    let mut settings = config.subgraph.database.clone();
    // It leads as many as there are, if no instance runs.
    settings.partitions = PARTITIONS_MAX;
    let database = settings.connect("posts").await?;
    collections::create_if_possible(store::create_indexes(&database)).await;
    let streams = settings.stream_client("posts").await?;
    let metrics = Metrics::new("posts");
    let metrics =
        metrics.with_registry(|registry| ProjectionMetrics::register(registry, "comments"));
    let projection = CommentProjection::new(&database, metrics.unreadables().clone());
    Projector::start(
        comment_projection::source(streams, &database),
        projection,
        // If no instance runs, it leads, whatever those of this environment do.
        config.projector().leads(true).for_command(true),
        metrics,
    )
    .await
    .context("cannot follow the comments")
}

/// Runs the command and returns the line to print.
async fn run(config: &Config, projector: &Projector) -> anyhow::Result<String> {
    let before = projector.wait_until_serving().await?;
    if config.rebuild {
        let began = Instant::now();
        projector.rebuild().await?;
        let after = switched(projector, &before).await;
        return Ok(format!(
            "rebuilt in {:.1} s: generation {} serves instead of {}",
            began.elapsed().as_secs_f64(),
            after.generation(),
            before.generation()
        ));
    }
    let Replayed {
        replayed,
        remaining,
    } = projector.replay_dead_letters().await?;
    Ok(format!(
        "dead letters: {replayed} replayed, {remaining} remaining"
    ))
}

/// The slot that replaced `before`, as soon as this instance has seen the switch.
async fn switched(projector: &Projector, before: &Slot) -> Slot {
    loop {
        match projector.serving() {
            Some(slot) if slot != *before => return slot,
            _ => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
}
