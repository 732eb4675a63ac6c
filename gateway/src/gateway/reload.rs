//! Reads the supergraph from its source again and again. A new one is loaded, checked and served; a broken one is
//! refused with a log message, and the old one is still served.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use sha2::{Digest, Sha256};
use tokio::{pin, sync::watch::Receiver, time::timeout};

use super::Gateway;
use crate::{
    graph::Graph,
    prepare::{
        Serving,
        warm_up::{Bounds, WarmUp, Warmed},
    },
    supergraph_source::{Answer, Failure, KeptCopy, Known, Reading, Reason},
};

/// With nothing to serve, the copy on disk is loaded when the source has not answered within this time.
const START_PATIENCE: Duration = Duration::from_secs(3);
/// The first pause after a failure while nothing is served.
const START_PAUSE: Duration = Duration::from_secs(1);
/// Pauses differ by up to this part of them.
const JITTER: f64 = 0.1;

/// Loads the supergraph, and again whenever it changes, until shutdown. It is read at intervals, and when `reloads` changes.
///
/// # Errors
/// Never: a supergraph that cannot be read or loaded is logged, counted, and read again.
pub async fn watch(gateway: Arc<Gateway>, mut reloads: Receiver<u64>) -> anyhow::Result<()> {
    let shutdown = gateway.shutdown().clone();
    let mut watch = Watch::new(gateway);
    let watching = async move {
        loop {
            let pause = watch.look().await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = reloads.changed() => {}
            }
        }
    };
    shutdown.run_until_cancelled(watching).await;
    Ok(())
}

/// The SHA-256 of a supergraph's text.
type Hash = [u8; 32];

struct Watch {
    gateway: Arc<Gateway>,
    /// The source's name for the log.
    shown: String,
    known: Known,
    /// Of the text that was read last, whether it could be served or not.
    seen: Option<Hash>,
    /// Of the text that is served.
    served: Option<Hash>,
    copy: Option<KeptCopy>,
    copy_was_tried: bool,
    /// Why the last reading failed.
    failing: Option<Reason>,
    /// How many readings have failed, one after the other.
    failures: u32,
    copy_fails: bool,
}

impl Watch {
    fn new(gateway: Arc<Gateway>) -> Self {
        let shown = gateway.source().shown();
        Self {
            copy: gateway.source().copy().cloned(),
            shown,
            gateway,
            known: Known::default(),
            seen: None,
            served: None,
            copy_was_tried: false,
            failing: None,
            failures: 0,
            copy_fails: false,
        }
    }

    /// Reads the source once. Returns after how long to read it again.
    async fn look(&mut self) -> Duration {
        let Answer { outcome, pause } = self.read().await;
        match outcome {
            Ok(Reading::Unchanged) => {
                self.source_answers();
                self.confirm();
            }
            Ok(Reading::Text(text)) => {
                self.source_answers();
                self.take(text).await;
            }
            Err(failure) => self.source_fails(&failure),
        }
        if self.gateway.served().is_none() {
            self.start_from_copy().await;
        }
        self.pause().max(pause)
    }

    /// Reads the source. While nothing is served and it keeps the gateway waiting, the copy is loaded.
    async fn read(&mut self) -> Answer {
        let gateway = Arc::clone(&self.gateway);
        let mut known = std::mem::take(&mut self.known);
        let answer = {
            let reading = gateway.source().read(&mut known);
            pin!(reading);
            let is_impatient =
                gateway.served().is_none() && self.copy.is_some() && !self.copy_was_tried;
            let early = match is_impatient {
                true => timeout(START_PATIENCE, &mut reading).await.ok(),
                false => None,
            };
            match early {
                Some(answer) => answer,
                None => {
                    if is_impatient {
                        self.start_from_copy().await;
                    }
                    reading.await
                }
            }
        };
        self.known = known;
        answer
    }

    /// How long to wait until the source is read again, if it does not ask for more.
    fn pause(&self) -> Duration {
        let is_file = self.gateway.source().is_file();
        let settings = &self.gateway.config().supergraph;
        let interval = settings.interval(is_file);
        // A file costs nobody anything, and is wanted at once.
        if is_file {
            return interval;
        }
        let jitter = 1.0 + JITTER * (2.0 * fastrand::f64() - 1.0);
        let Some(doublings) = self.failures.checked_sub(1) else {
            return interval.mul_f64(jitter);
        };
        let first = match self.gateway.served() {
            Some(_) => interval.saturating_mul(2),
            None => interval.min(START_PAUSE),
        };
        let doubled = first.saturating_mul(1 << doublings.min(20));
        let longest = settings.poll_pause_max.max(interval);
        doubled.min(longest).mul_f64(jitter)
    }

    /// Loads and serves a text that is not served yet.
    async fn take(&mut self, text: String) {
        let hash: Hash = Sha256::digest(text.as_bytes()).into();
        let was_seen = self.seen.replace(hash) == Some(hash);
        if self.served == Some(hash) {
            if !was_seen {
                tracing::info!(
                    supergraph = self.shown,
                    "the source has the served supergraph again"
                );
            }
            return self.confirm();
        }
        if was_seen {
            return;
        }
        let text: Arc<str> = text.into();
        match self.load(&text).await {
            Ok(()) => {
                self.served = Some(hash);
                self.gateway.source_metrics().serves(false);
                self.gateway.metrics().supergraph_loads.inc();
                tracing::info!(
                    supergraph = self.shown,
                    "the supergraph is loaded and served"
                );
                self.keep_copy(text).await;
            }
            Err(error) => {
                self.gateway.metrics().supergraph_failures.inc();
                let serves_on = self.serves_on();
                tracing::error!(
                    supergraph = self.shown,
                    reason = format!("{error:#}"),
                    "the supergraph is refused, {serves_on}"
                );
            }
        }
    }

    async fn load(&self, text: &Arc<str>) -> anyhow::Result<()> {
        let settings = self.gateway.graph_settings().clone();
        let text = Arc::clone(text);
        // Off the event loop, so that requests continue meanwhile. A panic becomes an error.
        let graph = tokio::task::spawn_blocking(move || Graph::load(&text, settings))
            .await
            .context("loading it panicked")??;
        let serving = Arc::new(Serving::new(graph));
        let before = self.gateway.served();
        let warm_up = WarmUp {
            serving: Arc::clone(&serving),
            before: before.clone(),
            trusted: self.gateway.persisted().trusted_documents(),
            bounds: Bounds::of(&self.gateway.config().supergraph),
        };
        if before.is_some() {
            self.warm_up(warm_up).await;
            self.gateway.serve(serving);
        } else {
            // Nobody is served meanwhile: slow first answers are better than none.
            self.gateway.serve(serving);
            if !warm_up.trusted.is_empty() {
                let shutdown = self.gateway.shutdown().clone();
                tokio::spawn(shutdown.run_until_cancelled_owned(warm_up.run()));
            }
        }
        Ok(())
    }

    async fn warm_up(&self, warm_up: WarmUp) {
        let began = Instant::now();
        let Warmed {
            prepared,
            failed,
            is_cut_short,
        } = warm_up.run().await;
        if prepared + failed > 0 || is_cut_short {
            tracing::info!(
                supergraph = self.shown,
                prepared,
                failed,
                is_cut_short,
                elapsed_ms = began.elapsed().as_millis() as u64,
                "operations were prepared for the new supergraph"
            );
        }
    }

    /// What the source had last is what is served.
    fn confirm(&self) {
        if self.served.is_some() && self.served == self.seen {
            self.gateway.source_metrics().confirmed();
        }
    }

    fn source_answers(&mut self) {
        self.failures = 0;
        if self.failing.take().is_some() {
            tracing::info!(supergraph = self.shown, "the supergraph can be read again");
        }
    }

    /// Counts a failure, and logs it once.
    fn source_fails(&mut self, failure: &Failure) {
        self.gateway.source_metrics().failed(failure.reason);
        self.failures = self.failures.saturating_add(1);
        let Failure { reason, message } = failure;
        if self.failing.replace(*reason) == Some(*reason) {
            tracing::debug!(
                supergraph = self.shown,
                reason = message,
                "the supergraph still cannot be read"
            );
            return;
        }
        let serves_on = self.serves_on();
        tracing::warn!(
            supergraph = self.shown,
            reason = message,
            "the supergraph cannot be read, will try again, {serves_on}"
        );
    }

    fn serves_on(&self) -> &'static str {
        match self.gateway.served() {
            Some(_) => "the old one is still served",
            None => "none is served",
        }
    }

    /// Serves the copy on disk, once, if there is one.
    async fn start_from_copy(&mut self) {
        let Some(copy) = self.copy.clone().filter(|_| !self.copy_was_tried) else {
            return;
        };
        self.copy_was_tried = true;
        let path = copy.path().display().to_string();
        let read = tokio::task::spawn_blocking(move || copy.read()).await;
        let text = match read.unwrap_or_else(|_| Err("reading it panicked".to_owned())) {
            Ok(Some(text)) => Arc::<str>::from(text),
            Ok(None) => return,
            Err(reason) => return self.copy_is_refused(&path, reason),
        };
        if let Err(error) = self.load(&text).await {
            return self.copy_is_refused(&path, format!("{error:#}"));
        }
        self.served = Some(Sha256::digest(text.as_bytes()).into());
        self.gateway.source_metrics().serves(true);
        tracing::warn!(
            copy = path,
            supergraph = self.shown,
            "the source cannot be read: the copy of the last supergraph is served"
        );
    }

    fn copy_is_refused(&self, path: &str, reason: String) {
        self.gateway.source_metrics().failed(Reason::Copy);
        tracing::warn!(
            copy = path,
            reason,
            "the copy of the last supergraph cannot be used"
        );
    }

    async fn keep_copy(&mut self, text: Arc<str>) {
        let Some(copy) = self.copy.clone() else {
            return;
        };
        let path = copy.path().display().to_string();
        let written = tokio::task::spawn_blocking(move || copy.write(&text)).await;
        let error = match written {
            Ok(Ok(())) => {
                self.copy_fails = false;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.gateway.source_metrics().failed(Reason::Copy);
        if !std::mem::replace(&mut self.copy_fails, true) {
            tracing::warn!(
                copy = path,
                error,
                "the copy of the supergraph could not be written, the one before stays"
            );
        }
    }
}
