//! A general Federation v2 gateway.
//!
//! A request takes the same way whatever brought it here (POST, GET, WebSocket, SSE, multipart):
//! read -> prepare -> coerce variables -> execute -> respond; [`pipeline`] is that way, one short
//! function. Transports, settings and the life of the process stand around it.
//!
//! | module | gives |
//! |---|---|
//! | [`pipeline`] | the way of every request |
//! | [`request`], [`response`], [`error`] | what goes in, what comes out, every error code |
//! | [`graph`] | a supergraph made ready: what the crate `federation` knows of it, subgraphs, introspection |
//! | [`prepare`] | text -> parsed, checked, planned, projected; kept in one cache |
//! | [`variables`] | the client's variables, checked against the API schema |
//! | [`execute`] | a prepared operation -> response bytes |
//! | [`subgraphs`] | one request to one subgraph, over kept connections |
//! | [`json`] | reading and writing JSON without unescaping it |
//! | [`settings`] | what the modules above can be told |
//! | [`headers`] | which headers travel between clients and subgraphs |
//! | [`gateway`] | what all requests share |
//! | [`transports`] | the gateway as a service of `graphql_transport`: POST, GET, WebSocket, SSE, multipart |
//! | [`subscriptions`] | one upstream subscription for all clients that want the same |
//! | [`persisted`] | automatic persisted queries, trusted documents |
//! | [`graphiql`], [`web`] | pages |
//! | [`config`], [`reload`] | every setting; a new supergraph |
//! | [`metrics`], [`metrics_pages`] | counters; other services' counters at the same address |
//!
//! To add a setting: a field in `config.rs` with its variable.

pub mod config;
pub mod error;
pub mod execute;
pub mod gateway;
pub mod graph;
pub mod graphiql;
pub mod headers;
pub mod json;
pub mod metrics;
pub mod metrics_pages;
pub mod persisted;
pub mod pipeline;
pub mod prepare;
pub mod reload;
mod retry;
pub mod settings;
pub mod subgraphs;
pub mod subscriptions;
mod trace_context;
pub mod transports;
pub mod variables;
pub mod web;

use std::{process::ExitCode, sync::Arc};

use graphql_transport::Front;
use service::{Health, Lifecycle, Metrics};
use tokio::net::TcpListener;

pub use graphql_transport::{request, response};

use crate::{config::Config, gateway::Gateway};

/// Where the gateway listens if nothing else is said.
const DEFAULT_PORT: u16 = 4000;

/// The process, from its command line to its exit code.
pub fn main() -> ExitCode {
    service::start(
        "gateway",
        DEFAULT_PORT,
        |config: &Config| &config.service,
        run,
    )
}

/// Serves until the life ends. It starts without a supergraph, too: then it is not ready, refuses
/// operations, and picks the supergraph up when its file appears.
///
/// # Errors
/// When a setting is not well-formed, or a background task died.
pub async fn run(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let (health, metrics) = (Health::default(), Metrics::new("gateway"));
    let mut limits = config.service.serve_limits();
    limits.write.time = config.http.client_write_timeout;
    let gateway = Arc::new(Gateway::new(
        config,
        &metrics,
        lifecycle.shutdown().clone(),
    )?);
    let checked = Arc::clone(&gateway);
    health.register("supergraph", move || {
        let loaded = checked.graph().is_some();
        async move {
            if loaded {
                Ok(())
            } else {
                Err("no supergraph has been loaded".to_owned())
            }
        }
    });
    let reported = Arc::clone(&gateway);
    health.report("subgraphs", move || silent_subgraphs(&reported));
    lifecycle.spawn("supergraph watch", reload::watch(Arc::clone(&gateway)));
    lifecycle.spawn(
        "prepared operations",
        prepare::upkeep::run(Arc::clone(&gateway)),
    );
    let operations = service::operations_routes(
        &gateway.config().service,
        &health,
        &metrics,
        metrics_pages::routes(&gateway.config().metrics_pages)?,
        &lifecycle,
    )
    .await?;
    let sockets_end = gateway.serving().sockets_end();
    lifecycle.spawn("WebSockets", async move {
        sockets_end.await;
        Ok(())
    });
    let router = web::routes(gateway.config())
        .merge(graphql_transport::routes(&gateway))
        .merge(operations);
    let front = Front::new(&gateway, router);
    let service = |peer| front.for_peer(peer);
    service::serve_within(listener, service, &lifecycle, limits, &metrics).await
}

/// Names the subgraphs that answer nothing. One of them must not take the whole gateway out of
/// rotation: what the others answer is still answered.
fn silent_subgraphs(gateway: &Gateway) -> Result<(), String> {
    let Some(graph) = gateway.graph() else {
        return Ok(());
    };
    let silent = graph.subgraphs.iter().filter_map(|subgraph| {
        let unanswered = subgraph.unanswered()?;
        let limit = gateway.config().subgraph_silence_max;
        (unanswered >= limit).then(|| {
            format!(
                "{}: no answer for {} s",
                subgraph.name(),
                unanswered.as_secs()
            )
        })
    });
    let silent: Vec<String> = silent.collect();
    match silent.is_empty() {
        true => Ok(()),
        false => Err(silent.join(", ")),
    }
}
