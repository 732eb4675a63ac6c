//! Watches the supergraph file. A new supergraph is loaded, checked and served; a broken one is
//! refused with a log message, and the old one is still served.

use std::{fs::Metadata, sync::Arc, time::SystemTime};

use anyhow::Context;
use tokio::time::{MissedTickBehavior, interval};

use super::Gateway;
use crate::graph::Graph;

/// The file's state when it was last read, to decide whether to read it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// The file itself, by device and number: behind a link there may be another one of the same age and size.
    file: (u64, u64),
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let file = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let file = (0, 0);
        Self {
            file,
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
        }
    }
}

/// Loads the supergraph, and again whenever its file changes, until shutdown.
///
/// Polling works on every file system: mounted config maps, network shares, files replaced by a
/// rename.
///
/// # Errors
/// Never: a supergraph that cannot be loaded is logged, counted, and tried again when it changes.
pub async fn watch(gateway: Arc<Gateway>) -> anyhow::Result<()> {
    let mut ticks = interval(gateway.config().supergraph_poll_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = Watched::default();
    loop {
        tokio::select! {
            () = gateway.shutdown().cancelled() => return Ok(()),
            _ = ticks.tick() => look(&gateway, &mut state).await,
        }
    }
}

#[derive(Default)]
struct Watched {
    stamp: Option<Stamp>,
    text: Option<String>,
    missing_was_told: bool,
}

async fn look(gateway: &Arc<Gateway>, watched: &mut Watched) {
    let path = &gateway.config().supergraph;
    let stamp = match tokio::fs::metadata(path).await {
        Ok(metadata) => Stamp::of(&metadata),
        Err(error) => {
            if !std::mem::replace(&mut watched.missing_was_told, true) {
                tracing::warn!(supergraph = %path.display(), %error, "the supergraph cannot be read, will wait for it");
            }
            return;
        }
    };
    watched.missing_was_told = false;
    if watched.stamp == Some(stamp) {
        return;
    }
    watched.stamp = Some(stamp);
    let serves_on = if gateway.served().is_some() {
        "the old one is still served"
    } else {
        "none is served"
    };
    match load(gateway, watched).await {
        Ok(true) => {
            gateway.metrics().supergraph_loads.inc();
            tracing::info!(supergraph = %path.display(), "the supergraph is loaded and served");
        }
        Ok(false) => {}
        Err(error) => {
            gateway.metrics().supergraph_failures.inc();
            tracing::error!(supergraph = %path.display(), reason = format!("{error:#}"), "the supergraph is refused, {serves_on}");
        }
    }
}

/// Loads and serves the supergraph. Returns false if its text has not changed.
async fn load(gateway: &Arc<Gateway>, watched: &mut Watched) -> anyhow::Result<bool> {
    let path = &gateway.config().supergraph;
    let text = tokio::fs::read_to_string(path)
        .await
        .context("cannot read the file")?;
    if watched.text.as_ref() == Some(&text) {
        return Ok(false);
    }
    watched.text = Some(text.clone());
    let settings = gateway.graph_settings().clone();
    // Off the event loop, so that requests continue meanwhile. A panic becomes an error.
    let graph = tokio::task::spawn_blocking(move || Graph::load(&text, settings))
        .await
        .context("loading it panicked")??;
    gateway.set_graph(graph);
    Ok(true)
}
