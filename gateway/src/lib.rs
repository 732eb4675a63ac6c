//! A general Federation v2 gateway.
//!
//! A request takes the same way whatever brought it here (POST, GET, WebSocket, SSE, multipart):
//! read -> prepare -> coerce variables -> execute -> respond; [`pipeline`] is that way, one short
//! function whose steps are modules.
//!
//! | module | gives |
//! |---|---|
//! | [`edge`] | the gateway as a service of `graphql_transport`; pages, GraphiQL |
//! | [`pipeline`] | the way of every request |
//! | [`gateway`] | what all requests share; a new supergraph |
//! | [`subscriptions`] | one upstream subscription for all clients that want the same |
//! | [`execute`] | a prepared operation -> response bytes |
//! | [`prepare`] | text -> parsed, checked, planned, projected; kept in one cache |
//! | [`coerce`] | the client's variables, checked against the API schema |
//! | [`graph`] | a supergraph made ready: what the crate `federation` knows of it, subgraphs, costs |
//! | [`subgraphs`] | one request to one subgraph, over kept connections |
//! | [`persisted`] | automatic persisted queries, trusted documents |
//! | [`metrics`] | counters; other services' counters at the same address |
//! | [`headers`] | which headers travel between clients and subgraphs, trace context |
//! | [`error`] | every error code |
//! | [`json`] | reading and writing JSON without unescaping it |
//! | [`config`] | every setting |
//!
//! No module uses one that stands above it in this list. To add a setting: a field in [`config`] with its
//! variable.

pub mod coerce;
pub mod config;
pub mod edge;
pub mod error;
pub mod execute;
pub mod gateway;
pub mod graph;
pub mod headers;
pub mod json;
pub mod metrics;
pub mod persisted;
pub mod pipeline;
pub mod prepare;
pub mod subgraphs;
pub mod subscriptions;

use std::{process::ExitCode, sync::Arc};

use graphql_transport::Front;
use service::{Health, Lifecycle, Metrics};
use tokio::net::TcpListener;

pub use graphql_transport::{request, response};

use crate::{
    config::Config,
    edge::pages,
    gateway::{Gateway, reload},
    metrics::pages as metrics_pages,
};

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
        let loaded = checked.served().is_some();
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
    let sockets_end = gateway.transport().sockets_end();
    lifecycle.spawn("WebSockets", async move {
        sockets_end.await;
        Ok(())
    });
    let router = pages::routes(gateway.config())
        .merge(graphql_transport::routes(&gateway))
        .merge(operations);
    let front = Front::new(&gateway, router);
    let service = |peer| front.for_peer(peer);
    service::serve_within(listener, service, &lifecycle, limits, &metrics).await
}

/// Names the subgraphs that answer nothing. One of them must not take the whole gateway out of
/// rotation: what the others answer is still answered.
fn silent_subgraphs(gateway: &Gateway) -> Result<(), String> {
    let Some(serving) = gateway.served() else {
        return Ok(());
    };
    let silent = serving.graph.subgraphs.iter().filter_map(|subgraph| {
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
