//! A general Federation v2 gateway.
//!
//! All transports (POST, GET, WebSocket, SSE, multipart) share one request pipeline: read, prepare,
//! coerce variables, execute, respond. [`pipeline`] is that pipeline, a short function whose steps
//! are modules.
//!
//! | module | gives |
//! |---|---|
//! | `check` | `--check`: reports every mistake in the settings and the supergraph |
//! | `command` | the command for operators |
//! | [`edge`] | the gateway as a service of `graphql_transport`; pages, GraphiQL |
//! | [`pipeline`] | the request pipeline |
//! | [`gateway`] | what all requests share; loading a new supergraph |
//! | [`admission`] | how many live clients are admitted in a time |
//! | [`rate_limit`] | how much cost each client may ask for in a time |
//! | [`subscriptions`] | one upstream subscription for all clients with the same one |
//! | [`execute`] | executing a prepared operation, up to the bytes of its response |
//! | [`watch`] | what operators see of each request: the access log, slow operations |
//! | [`prepare`] | parsing, validating, planning and projecting an operation; the cache of prepared operations |
//! | [`coerce`] | the client's variables, checked against the API schema |
//! | [`authorization`] | which requirements of authorisation a client meets |
//! | [`identity`] | who asks: clients' tokens |
//! | [`graph`] | a loaded supergraph: the model of the crate `federation`, subgraphs, costs |
//! | `supergraph_source` | where the supergraph is read: a file, addresses, registries; the copy on disk |
//! | [`subgraphs`] | one request to one subgraph, over kept connections: addresses, retries, breaker |
//! | [`persisted`] | automatic persisted queries, trusted documents |
//! | [`metrics`] | metrics, and other services' metrics pages at the same address |
//! | [`headers`] | the headers that pass between clients and subgraphs, trace context |
//! | [`error`] | every error code |
//! | [`json`] | reading and writing JSON without unescaping it |
//! | `sparse` | maps that give memory back when a crowd has left |
//! | [`config`] | every setting |
//!
//! No module uses one that is above it in this list. To add a setting, add a field with its
//! environment variable to [`config`].

pub mod admission;
pub mod authorization;
mod check;
pub mod coerce;
mod command;
pub mod config;
pub mod edge;
pub mod error;
pub mod execute;
pub mod gateway;
pub mod graph;
pub mod headers;
pub mod identity;
pub mod json;
pub mod metrics;
pub mod persisted;
pub mod pipeline;
pub mod prepare;
pub mod rate_limit;
mod sparse;
pub mod subgraphs;
pub mod subscriptions;
mod supergraph_source;
#[cfg(test)]
mod test_supergraph;
pub mod watch;

use std::{process::ExitCode, sync::Arc};

use graphql_transport::Front;
use service::{Health, Lifecycle, MakeResponder, Metrics, Tls};
use tokio::net::TcpListener;

pub use graphql_transport::{request, response};

use crate::{
    config::Config,
    edge::pages,
    gateway::{Gateway, reload},
    metrics::pages as metrics_pages,
};

/// The port on which the gateway listens by default.
const DEFAULT_PORT: u16 = 4000;

/// The gateway's process: reads the settings, serves, and returns the exit code.
pub fn main() -> ExitCode {
    if check::is_wanted() {
        return check::main();
    }
    if let Some(exit_code) = command::main() {
        return exit_code;
    }
    service::start_tls(
        "gateway",
        DEFAULT_PORT,
        |config: &Config| &config.service,
        |config| config.tls.is_on(),
        run,
    )
}

/// Serves on `listener` until shutdown. Without a supergraph it starts, too: it is not ready and
/// refuses operations until the supergraph can be read.
///
/// # Errors
/// If a setting is malformed, or a background task died.
pub async fn run(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let (health, metrics) = (Health::default(), Metrics::new("gateway"));
    let mut limits = config.service.serve_limits();
    limits.write.time = config.http.client_write_timeout;
    let tls = Tls::new(&config.tls, &metrics)?;
    if let Some(tls) = tls.clone() {
        let (reloads, shutdown) = (lifecycle.reloads(), lifecycle.shutdown().clone());
        lifecycle.spawn("certificate", async move {
            tls.run(reloads, shutdown).await;
            Ok(())
        });
    }
    let tracer = service::start_traces(&config.service, "gateway", &metrics, &lifecycle)?;
    let gateway = Arc::new(Gateway::new(
        config,
        &metrics,
        lifecycle.shutdown().clone(),
        &tracer,
    )?);
    register_health(&gateway, &health);
    if gateway.identities().is_some() {
        let (reading, reloads) = (Arc::clone(&gateway), lifecycle.reloads());
        lifecycle.spawn("token keys", async move {
            if let Some(identities) = reading.identities() {
                identities.run(reloads, reading.shutdown().clone()).await;
            }
            Ok(())
        });
    }
    if let Some(limits) = gateway.rate_limits().cloned() {
        let shutdown = lifecycle.shutdown().clone();
        lifecycle.spawn("rate limit", async move {
            limits.run(shutdown).await;
            Ok(())
        });
    }
    lifecycle.spawn(
        "supergraph watch",
        reload::watch(Arc::clone(&gateway), lifecycle.reloads()),
    );
    lifecycle.spawn(
        "prepared operations",
        prepare::upkeep::run(Arc::clone(&gateway)),
    );
    let operations = service::operations_routes(
        &gateway.config().service,
        &health,
        &metrics,
        metrics_pages::routes(&gateway.config().metrics_pages)?
            .merge(pages::for_operators(gateway.config())?),
        &lifecycle,
    )
    .await?;
    let sockets_end = gateway.transport().sockets_end();
    lifecycle.spawn_serving("WebSockets", async move {
        sockets_end.await;
        Ok(())
    });
    let router = pages::routes(gateway.config(), &metrics)?
        .merge(graphql_transport::routes(&gateway))
        .merge(operations);
    let front = Front::new(&gateway, router);
    let make: MakeResponder = Box::new(move |peer| {
        let front = front.for_peer(peer);
        Box::new(move |request| front.respond(request))
    });
    // The line of a request in the access log has the id of its trace.
    let make = service::traced(&tracer, watch::request::noted(gateway.watch(), make));
    service::serve_tls_within(listener, make, &lifecycle, limits, tls, &metrics).await
}

/// The gateway is ready when a supergraph is loaded and, if tokens are verified, their keys are known.
fn register_health(gateway: &Arc<Gateway>, health: &Health) {
    let checked = Arc::clone(gateway);
    health.register("supergraph", move || {
        let loaded = checked.served().is_some();
        async move {
            if loaded {
                Ok(())
            } else {
                Err("no supergraph has been loaded".to_owned())
            }
        }
    });
    if gateway.identities().is_some() {
        let checked = Arc::clone(gateway);
        health.register("token keys", move || {
            let state = checked.identities().map_or(Ok(()), |it| it.check());
            async move { state }
        });
    }
    let reported = Arc::clone(gateway);
    health.report("subgraphs", move || silent_subgraphs(&reported));
}

/// Names the subgraphs that do not answer, and their addresses that are down. They are only reported: a silent subgraph
/// must not take the gateway out of rotation, because the others still answer.
fn silent_subgraphs(gateway: &Gateway) -> Result<(), String> {
    let Some(serving) = gateway.served() else {
        return Ok(());
    };
    let limit = gateway.config().subgraph_silence_max;
    let graph = &serving.graph;
    let for_subscriptions = graph.subscriptions.iter().flatten();
    let silent = graph
        .subgraphs
        .iter()
        .chain(for_subscriptions)
        .flat_map(|subgraph| {
            let name = subgraph.name();
            let unanswered = subgraph.unanswered().filter(|it| *it >= limit);
            let silent = unanswered.map(|it| format!("{name}: no response for {} s", it.as_secs()));
            let (down, all) = subgraph.balancer().map(|it| it.down()).unwrap_or_default();
            let down = (!down.is_empty()).then(|| {
                format!(
                    "{name}: {} of {all} addresses are down ({})",
                    down.len(),
                    down.join(", ")
                )
            });
            let unavailable = subgraph.is_unavailable();
            let unavailable =
                unavailable.then(|| format!("{name}: unavailable, it gets no requests"));
            [unavailable, silent, down].into_iter().flatten()
        });
    let silent: Vec<String> = silent.collect();
    match silent.is_empty() {
        true => Ok(()),
        false => Err(silent.join(", ")),
    }
}
