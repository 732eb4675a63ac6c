//! Keeps what the names among a subgraph's addresses stand for.
//!
//! The system's resolver does not say for how long an answer is valid. So names are resolved again after a period, and
//! before a new connection is opened, as a client that keeps nothing would. An answer that is late, empty or a failure
//! changes nothing.

use std::{
    io::{Error, ErrorKind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

use super::{balancer::Balancer, origin::Origin};
use crate::config::SubgraphSettings;

/// What is younger than this is not resolved again before a connection is opened.
const FRESH: Duration = Duration::from_secs(1);
/// For so long, a request waits for a fresh answer while an older one is known.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) struct Names {
    /// The places of the names among the origins.
    places: Vec<usize>,
    interval: Duration,
    state: Mutex<State>,
    /// Counts the answers.
    answers: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    began: Option<Instant>,
    is_running: bool,
    /// The last failure, by the place of its name.
    failures: Vec<(usize, String)>,
}

impl Names {
    pub(super) fn new(origins: &[Origin], settings: &SubgraphSettings) -> Self {
        let is_name = |(place, origin): (usize, &Origin)| match origin.endpoint.ip() {
            Some(_) => None,
            None => Some(place),
        };
        Self {
            places: origins.iter().enumerate().filter_map(is_name).collect(),
            interval: settings.resolve_interval,
            state: Mutex::default(),
            answers: watch::Sender::new(0),
        }
    }

    /// Why there is no address.
    pub(super) fn failure(&self) -> Error {
        let state = self.lock();
        let reason = match state.failures.first() {
            Some((_, reason)) => reason.clone(),
            None => "the name has not been resolved in time".to_owned(),
        };
        Error::new(ErrorKind::NotFound, reason)
    }

    /// Whether it is time to resolve what is older than this. Then the caller does it.
    fn is_due(&self, age: Duration) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let mut state = self.lock();
        let is_due = state.began.is_none_or(|began| began.elapsed() >= age);
        if !is_due || state.is_running {
            return false;
        }
        state.began = Some(Instant::now());
        state.is_running = true;
        true
    }

    fn is_running(&self) -> bool {
        self.lock().is_running
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Balancer {
    /// Resolves the names in the background, if the last answers are old.
    pub(super) fn keep_resolved(self: &Arc<Self>) {
        if self.names.is_due(self.names.interval) {
            self.start_resolving();
        }
    }

    /// Resolves the names if it is time, and waits for a first answer.
    pub(crate) async fn get_ready(self: &Arc<Self>) {
        self.keep_resolved();
        if self.known().is_empty() {
            self.until_known(self.settings.connect_timeout).await;
        }
    }

    /// Waits until an address is known, or `time_limit` has passed.
    pub(super) async fn until_known(self: &Arc<Self>, time_limit: Duration) {
        let mut answers = self.names.answers.subscribe();
        if self.names.is_due(FRESH) {
            self.start_resolving();
        }
        let known = async {
            while self.known().is_empty() && self.names.is_running() {
                // The sender lives as long as this.
                let _ = answers.changed().await;
            }
        };
        // Without an answer, the caller says so.
        let _ = tokio::time::timeout(time_limit, known).await;
    }

    /// Resolves the names before a connection is opened. A slow answer is not waited for.
    pub(super) async fn resolve_again(self: &Arc<Self>) {
        if self.names.places.is_empty() {
            return;
        }
        let mut answers = self.names.answers.subscribe();
        if self.names.is_due(FRESH) {
            self.start_resolving();
        }
        if self.names.is_running() {
            let _ = tokio::time::timeout(PATIENCE, answers.changed()).await;
        }
    }

    /// One at a time: the system's resolver cannot be interrupted.
    fn start_resolving(self: &Arc<Self>) {
        let balancer = Arc::clone(self);
        tokio::spawn(async move {
            let running = Running(balancer);
            let balancer = &running.0;
            let mut answers: FuturesUnordered<_> = balancer
                .names
                .places
                .iter()
                .map(|place| async move {
                    let endpoint = &balancer.origins[*place].endpoint;
                    (*place, endpoint.resolve().await)
                })
                .collect();
            while let Some((place, answer)) = answers.next().await {
                balancer.take_answer(place, answer);
            }
        });
    }

    fn take_answer(&self, place: usize, answer: std::io::Result<Vec<std::net::SocketAddr>>) {
        let reason = match answer {
            Ok(addresses) if !addresses.is_empty() => {
                self.set_addresses(place, &addresses);
                self.names.lock().failures.retain(|(it, _)| *it != place);
                self.names.answers.send_modify(|count| *count += 1);
                return;
            }
            Ok(_) => "it stands for no address".to_owned(),
            Err(error) => error.to_string(),
        };
        let host = self.origins[place].endpoint.authority();
        let mut state = self.names.lock();
        let is_new = !state.failures.iter().any(|(it, _)| *it == place);
        if is_new {
            state.failures.push((place, format!("{host}: {reason}")));
        }
        drop(state);
        self.names.answers.send_modify(|count| *count += 1);
        if is_new {
            tracing::warn!(
                subgraph = self.subgraph,
                address = host,
                reason,
                "the name of a subgraph's address cannot be resolved, its last addresses stay in use"
            );
        }
    }
}

/// Ends the resolving, whatever happens.
struct Running(Arc<Balancer>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.names.lock().is_running = false;
        self.0.names.answers.send_modify(|count| *count += 1);
    }
}
