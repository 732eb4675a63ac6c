//! Rendered pages that are kept for some seconds, one rendering at a time for equal requests, and the limits.
//!
//! Whatever a crowd of crawlers does: at most `RENDERS_MAX` renderings ask the graph, each for at most `RENDER_TIMEOUT`,
//! and what is kept has a bound in bytes. What needs no answer of the graph takes none of that room: a crawler that gets no
//! `robots.txt` leaves the whole site alone. A rendering runs to its end although the request for which it began has left, so that
//! those who wait for it get it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use service::Metrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::address::Page;
use crate::config::Config;
use crate::failure::Failure;
use crate::metrics::{Outcome, PageMetrics};
use crate::origin::Origin;
use crate::rendered::Rendered;

/// What an entry takes beside its texts, about.
const ENTRY_BYTES: usize = 512;
/// Bytes of a page, about: the cache makes room for as many entries at its start.
const PAGE_BYTES: usize = 32 * 1024;

/// What is rendered: the same for all readers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub page: Page,
    pub origin: Origin,
}

type Result = std::result::Result<Arc<Rendered>, Failure>;

/// The pages that are kept, and those that are being rendered.
pub struct Kept(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    room: Arc<Semaphore>,
    time: Duration,
    time_limit: Duration,
    metrics: PageMetrics,
}

struct State {
    kept: Cache<Key, Entry, Bytes>,
    running: HashMap<Key, watch::Receiver<Option<Result>>>,
}

#[derive(Clone)]
struct Entry {
    rendered: Arc<Rendered>,
    until: Instant,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, _key: &Key, entry: &Entry) -> u64 {
        (ENTRY_BYTES + entry.rendered.bytes()) as u64
    }
}

impl Kept {
    /// Nothing is kept yet.
    pub fn new(config: &Config, metrics: &Metrics) -> Self {
        let bytes_max = config.rendered_bytes_max;
        let state = State {
            kept: Cache::with_weighter(bytes_max / PAGE_BYTES + 1, bytes_max as u64, Bytes),
            running: HashMap::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            room: Arc::new(Semaphore::new(config.renders_max)),
            time: config.rendered_time,
            time_limit: config.render_timeout,
            metrics: PageMetrics::register(metrics),
        }))
    }

    /// The page: a kept one, that of a rendering under way, or a new one by `render`.
    ///
    /// # Errors
    /// If there is no room for another rendering, or it fails.
    pub async fn get<Render, Rendering>(&self, key: Key, render: Render) -> Result
    where
        Render: FnOnce() -> Rendering,
        Rendering: Future<Output = std::result::Result<Rendered, Failure>> + Send + 'static,
    {
        let shared = &self.0;
        let mut outcome = match shared.find(&key)? {
            Found::Kept(rendered) => return Ok(rendered),
            Found::Running(outcome) => outcome,
            Found::Room(running, outcome) => {
                tokio::spawn(traces::in_current(running.run(render())));
                outcome
            }
        };
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(Failure::Defect)),
            // It panicked.
            Err(_) => Err(Failure::Defect),
        }
    }
}

enum Found {
    Kept(Arc<Rendered>),
    Running(watch::Receiver<Option<Result>>),
    Room(Running, watch::Receiver<Option<Result>>),
}

impl Shared {
    fn find(self: &Arc<Self>, key: &Key) -> std::result::Result<Found, Failure> {
        let mut state = self.state();
        let fresh = state
            .kept
            .get(key)
            .filter(|entry| entry.until > Instant::now());
        if let Some(entry) = fresh {
            self.metrics.answered(Outcome::Kept);
            return Ok(Found::Kept(Arc::clone(&entry.rendered)));
        }
        if let Some(running) = state.running.get(key) {
            self.metrics.answered(Outcome::Shared);
            return Ok(Found::Running(running.clone()));
        }
        let room = match key.page.is_of_graph() {
            true => Some(self.take_room()?),
            false => None,
        };
        self.metrics.answered(Outcome::Rendered);
        self.metrics.rendering.inc();
        let (sender, receiver) = watch::channel(None);
        state.running.insert(key.clone(), receiver.clone());
        let running = Running {
            shared: Arc::clone(self),
            key: key.clone(),
            outcome: sender,
            _room: room,
        };
        Ok(Found::Room(running, receiver))
    }

    fn take_room(&self) -> std::result::Result<OwnedSemaphorePermit, Failure> {
        let room = Arc::clone(&self.room).try_acquire_owned();
        room.map_err(|_| {
            self.metrics.answered(Outcome::Refused);
            Failure::Busy
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rendering; dropped, it is not one that runs.
struct Running {
    shared: Arc<Shared>,
    key: Key,
    outcome: watch::Sender<Option<Result>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Running {
    async fn run(self, rendering: impl Future<Output = std::result::Result<Rendered, Failure>>) {
        let rendered = timeout(self.shared.time_limit, rendering).await;
        let outcome = rendered.unwrap_or(Err(Failure::TooSlow)).map(Arc::new);
        match &outcome {
            Ok(rendered) => self.keep(rendered),
            Err(failure) => {
                self.shared.metrics.failures.inc();
                tracing::debug!(page = ?self.key.page, %failure, "a page was not rendered");
            }
        }
        self.outcome.send_replace(Some(outcome));
    }

    fn keep(&self, rendered: &Arc<Rendered>) {
        let time = rendered.kept_for(self.shared.time);
        if time.is_zero() {
            return;
        }
        let entry = Entry {
            rendered: Arc::clone(rendered),
            until: Instant::now() + time,
        };
        let mut state = self.shared.state();
        state.kept.insert(self.key.clone(), entry);
        let bytes = i64::try_from(state.kept.weight()).unwrap_or(i64::MAX);
        self.shared.metrics.kept_bytes.set(bytes);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.state().running.remove(&self.key);
        self.shared.metrics.rendering.dec();
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use http::HeaderMap;
    use tokio::sync::Notify;

    use super::*;
    use crate::origin::Origins;

    fn kept(flags: &[&str]) -> Kept {
        let flags = ["pages", "--web-dir=."].iter().chain(flags);
        Kept::new(&Config::parse_from(flags), &Metrics::new("pages"))
    }

    fn key(after: &str) -> Key {
        let origins = Origins::new(Some("https://example.org")).expect("an origin");
        Key {
            page: Page::List {
                after: Some(after.to_owned()),
            },
            origin: origins.of(&HeaderMap::new()).expect("the setting"),
        }
    }

    async fn page(text: String) -> std::result::Result<Rendered, Failure> {
        Rendered::text(text).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_rendered_again_when_its_time_is_over() {
        let kept = kept(&["--rendered-time=5s"]);
        for (wait, expected) in [(0, "first"), (4, "first"), (2, "second")] {
            tokio::time::advance(Duration::from_secs(wait)).await;
            let text = if wait == 2 { "second" } else { "first" };
            let rendered = kept.get(key("a"), || page(text.to_owned())).await;
            assert_eq!(rendered.expect("a page").body(), expected);
        }
    }

    #[tokio::test]
    async fn equal_requests_share_one_rendering_although_the_first_leaves() {
        let kept = Arc::new(kept(&[]));
        let go = Arc::new(Notify::new());
        let rendering = {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                page("once".to_owned()).await
            }
        };
        let mut first = Box::pin(kept.get(key("a"), || rendering));
        let began = futures_util::poll!(&mut first);
        assert!(began.is_pending());
        drop(first);
        let second = kept.get(key("a"), || page("twice".to_owned()));
        go.notify_one();
        assert_eq!(second.await.expect("a page").body(), "once");
    }

    #[tokio::test]
    async fn no_more_pages_are_rendered_at_once_than_allowed() {
        let kept = kept(&["--renders-max=1"]);
        let mut first = Box::pin(kept.get(key("a"), || async {
            std::future::pending::<()>().await;
            Err(Failure::Defect)
        }));
        assert!(futures_util::poll!(&mut first).is_pending());
        let second = kept.get(key("b"), || page("b".to_owned())).await;
        assert_eq!(second.err(), Some(Failure::Busy));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rendering_that_takes_too_long_or_panics_makes_room() {
        let kept = kept(&["--renders-max=1", "--render-timeout=1s"]);
        let slow = kept.get(key("a"), || async {
            std::future::pending::<()>().await;
            Err(Failure::Defect)
        });
        assert_eq!(slow.await.err(), Some(Failure::TooSlow));
        let panics = kept.get(key("a"), || async { panic!("boom") });
        assert_eq!(panics.await.err(), Some(Failure::Defect));
        let next = kept.get(key("a"), || page("next".to_owned())).await;
        assert_eq!(next.expect("a page").body(), "next");
    }

    #[tokio::test]
    async fn what_is_kept_has_a_bound_in_bytes() {
        let kept = kept(&["--rendered-bytes-max=100000", "--rendered-time=1h"]);
        for number in 0..200 {
            // A random text, which does not get smaller.
            let text = (0..1_000).map(|it| format!("{number}{it}")).collect();
            let rendered = kept.get(key(&number.to_string()), || page(text)).await;
            rendered.expect("a page");
        }
        let weight = kept.0.state().kept.weight();
        assert!((10_000..=100_000).contains(&weight), "{weight}");
    }
}
