//! Keeps what the names among a subgraph's addresses stand for.
//!
//! The system's resolver does not say for how long an answer is valid. So names are resolved again after a period, and
//! before a new connection is opened, as a client that keeps nothing would. An answer that is late, empty or a failure
//! changes nothing.

use std::{
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, watch};

use super::{balancer::Balancer, origin::Origin};
use crate::config::SubgraphSettings;

/// What is younger than this is not resolved again before a connection is opened.
const FRESH: Duration = Duration::from_secs(1);
/// For so long, a request waits for a fresh answer while an older one is known.
const PATIENCE: Duration = Duration::from_millis(100);

/// The system's resolver cannot be interrupted, and each call has a thread: so many at a time, of all subgraphs and of
/// earlier supergraphs too.
static LOOKUPS: Semaphore = Semaphore::const_new(64);

pub(super) struct Names {
    all: Mutex<Vec<Name>>,
    has_any: bool,
    interval: Duration,
    /// Counts the answers.
    answers: watch::Sender<u64>,
}

/// The name in one origin.
struct Name {
    /// Its origin's place.
    place: usize,
    began: Option<Instant>,
    is_running: bool,
    /// Why the last answer was none.
    failure: Option<String>,
}

impl Names {
    pub(super) fn new(origins: &[Origin], settings: &SubgraphSettings) -> Self {
        let name = |(place, origin): (usize, &Origin)| match origin.endpoint.ip() {
            Some(_) => None,
            None => Some(Name {
                place,
                began: None,
                is_running: false,
                failure: None,
            }),
        };
        let all: Vec<_> = origins.iter().enumerate().filter_map(name).collect();
        Self {
            has_any: !all.is_empty(),
            all: Mutex::new(all),
            interval: settings.resolve_interval,
            answers: watch::Sender::new(0),
        }
    }

    /// Why there is no address.
    pub(super) fn failure(&self) -> Error {
        let reason = self.lock().iter().find_map(|name| name.failure.clone());
        let unresolved = || "the name has not been resolved in time".to_owned();
        Error::new(ErrorKind::NotFound, reason.unwrap_or_else(unresolved))
    }

    /// The names whose last answers are older than this. The caller resolves them.
    fn due(&self, age: Duration) -> Vec<usize> {
        let mut due = Vec::new();
        if !self.has_any {
            return due;
        }
        for name in self.lock().iter_mut().filter(|name| !name.is_running) {
            if name.began.is_none_or(|began| began.elapsed() >= age) {
                name.began = Some(Instant::now());
                name.is_running = true;
                due.push(name.place);
            }
        }
        due
    }

    fn is_running(&self) -> bool {
        self.lock().iter().any(|name| name.is_running)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Name>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Balancer {
    /// Resolves the names in the background whose last answers are old.
    pub(super) fn keep_resolved(self: &Arc<Self>) {
        self.resolve(self.names.interval);
    }

    /// Resolves the names before a subscription is placed, and waits for a first answer.
    pub(crate) async fn get_ready(self: &Arc<Self>) {
        match self.known().is_empty() {
            true => self.until_known(self.settings.connect_timeout).await,
            false => self.resolve_again().await,
        }
    }

    /// Waits until an address is known, or `time_limit` has passed.
    pub(super) async fn until_known(self: &Arc<Self>, time_limit: Duration) {
        self.until_answered(time_limit, || !self.known().is_empty())
            .await;
    }

    /// Resolves the names before a connection is opened. A slow answer is not waited for.
    pub(super) async fn resolve_again(self: &Arc<Self>) {
        self.until_answered(PATIENCE, || false).await;
    }

    /// Resolves the names after no address could be connected to. A slow answer is waited for.
    pub(crate) async fn resolve_after_failure(self: &Arc<Self>) {
        self.until_answered(self.settings.connect_timeout, || false)
            .await;
    }

    /// Resolves the names whose answers are not fresh, until all are answered, it is enough, or `time_limit` has passed.
    async fn until_answered(
        self: &Arc<Self>,
        time_limit: Duration,
        is_enough: impl Fn() -> bool + Send,
    ) {
        if !self.names.has_any {
            return;
        }
        let mut answers = self.names.answers.subscribe();
        self.resolve(FRESH);
        let answered = async {
            while !is_enough() && self.names.is_running() {
                // The sender lives as long as this.
                let _ = answers.changed().await;
            }
        };
        // Without an answer, the last ones stay.
        let _ = tokio::time::timeout(time_limit, answered).await;
    }

    fn resolve(self: &Arc<Self>, age: Duration) {
        for place in self.names.due(age) {
            let balancer = Arc::clone(self);
            tokio::spawn(async move {
                let running = Running(balancer, place);
                let balancer = &running.0;
                // It is never closed.
                let _permit = LOOKUPS.acquire().await;
                let answer = balancer.origins[place].endpoint.resolve().await;
                balancer.take_answer(place, answer);
            });
        }
    }

    pub(super) fn take_answer(&self, place: usize, answer: Result<Vec<SocketAddr>>) {
        let reason = match answer {
            Ok(addresses) if !addresses.is_empty() => {
                self.set_addresses(place, &addresses);
                None
            }
            Ok(_) => Some("it stands for no address".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        let host = self.origins[place].endpoint.authority();
        let mut names = self.names.lock();
        let Some(name) = names.iter_mut().find(|name| name.place == place) else {
            return;
        };
        let before = name.failure.take();
        name.failure = reason
            .as_ref()
            .map(|reason| before.clone().unwrap_or(format!("{host}: {reason}")));
        drop(names);
        if let (Some(reason), None) = (reason, before) {
            tracing::warn!(
                subgraph = self.subgraph,
                address = host,
                reason,
                "the name of a subgraph's address cannot be resolved, its last addresses stay in use"
            );
        }
    }
}

#[cfg(test)]
impl Balancer {
    /// As if the name at this place were being resolved, until it is dropped.
    pub(super) fn resolving(self: &Arc<Self>, place: usize) -> impl Drop + use<> {
        assert!(self.names.due(Duration::ZERO).contains(&place));
        Running(Arc::clone(self), place)
    }
}

/// Ends the resolving of the name at this place, whatever happens.
struct Running(Arc<Balancer>, usize);

impl Drop for Running {
    fn drop(&mut self) {
        let names = &self.0.names;
        for name in names.lock().iter_mut().filter(|it| it.place == self.1) {
            name.is_running = false;
        }
        names.answers.send_modify(|count| *count += 1);
    }
}
