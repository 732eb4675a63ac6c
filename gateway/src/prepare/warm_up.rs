//! Prepares operations for a graph before clients request them there: those that they have requested of the graph before
//! it, and trusted documents.
//!
//! It runs on one thread with the priority of the threads that prepare new documents, and is nobody's request: it takes no
//! turn of a client, and counts as no miss of the cache.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use apollo_compiler::ast;
use graphql_transport::ClientKey;
use tokio::sync::oneshot;

use super::{
    Built, build_weighed,
    cache::{Recent, Worth},
    prepared::Prepared,
    preparers::lower_priority,
    rollout::RolloutGroup,
    same_decisions,
    serving::Serving,
};
use crate::{config::SupergraphConfig, error::RequestError};

/// Operations that come while others are prepared are prepared, too, in so many rounds.
const ROUNDS_MAX: usize = 4;

/// What is prepared.
pub(crate) struct WarmUp {
    /// The graph for which it is.
    pub serving: Arc<Serving>,
    /// The graph that serves until then, with the operations that were requested.
    pub before: Option<Arc<Serving>>,
    pub trusted: Vec<Arc<str>>,
    pub bounds: Bounds,
}

/// How much is prepared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub time: Duration,
    /// The age of the last request.
    pub recent: Duration,
    pub operations_max: usize,
    /// Of memory.
    pub bytes_max: usize,
}

impl Bounds {
    /// As the settings have them.
    pub(crate) fn of(config: &SupergraphConfig) -> Self {
        Self {
            time: config.warm_up_time,
            recent: config.warm_up_recent,
            operations_max: config.warm_up_operations_max,
            bytes_max: config.warm_up_bytes_max,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Warmed {
    /// Operations that are prepared now, each for one group of requests.
    pub prepared: usize,
    /// Operations that the graph does not have, or that cannot be decided for their clients.
    pub failed: usize,
    /// Whether the time, the number or the bytes were used up.
    pub is_cut_short: bool,
}

impl WarmUp {
    /// Prepares the operations on a thread of its own. Returns when that is done, or its time is over. If the future is
    /// dropped, the thread ends after its current operation.
    pub(crate) async fn run(self) -> Warmed {
        let time = self.bounds.time;
        if time.is_zero() {
            return Warmed::default();
        }
        let (sender, done) = oneshot::channel();
        let stop = StopOnDrop::default();
        let is_stopped = Arc::clone(&stop.0);
        let started = thread::Builder::new()
            .name("warm-up".to_owned())
            .spawn(move || {
                lower_priority(i32::from(
                    self.serving.graph.settings.limits.prepare_niceness,
                ));
                // Nobody waits for it after its time.
                let _ = sender.send(self.prepare(&is_stopped));
            });
        if let Err(error) = started {
            tracing::warn!(%error, "no thread could be started to prepare operations for the new supergraph");
            return Warmed::default();
        }
        let cut_short = Warmed {
            is_cut_short: true,
            ..Warmed::default()
        };
        match tokio::time::timeout(time, done).await {
            Ok(warmed) => warmed.unwrap_or(cut_short),
            Err(_) => cut_short,
        }
    }

    /// Prepares the operations on this thread.
    fn prepare(&self, is_stopped: &AtomicBool) -> Warmed {
        let mut work = Work {
            serving: &self.serving,
            bounds: self.bounds,
            is_stopped,
            deadline: Instant::now() + self.bounds.time,
            bytes: 0,
            warmed: Warmed::default(),
        };
        let mut seen = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            let Some(before) = &self.before else { break };
            let mut has_new = false;
            for recent in before.prepared.recent(self.bounds.recent) {
                if !work.may_go_on() {
                    return work.warmed;
                }
                if seen.insert(recent.number()) {
                    has_new = true;
                    work.again(before, &recent);
                }
            }
            if !has_new {
                break;
            }
        }
        for (document, name) in named_operations(&self.trusted) {
            if !work.may_go_on() {
                break;
            }
            work.trusted(document, name.as_deref());
        }
        work.warmed
    }
}

/// Stops the thread when nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Work<'w> {
    serving: &'w Serving,
    bounds: Bounds,
    is_stopped: &'w AtomicBool,
    deadline: Instant,
    bytes: usize,
    warmed: Warmed,
}

impl Work<'_> {
    fn may_go_on(&mut self) -> bool {
        let Bounds {
            operations_max,
            bytes_max,
            ..
        } = self.bounds;
        let has_room = self.warmed.prepared < operations_max && self.bytes < bytes_max;
        let is_over = self.is_stopped.load(Ordering::Relaxed) || Instant::now() >= self.deadline;
        self.warmed.is_cut_short = !has_room || is_over;
        !self.warmed.is_cut_short
    }

    /// Prepares an operation that was requested of another graph, for the same requests.
    fn again(&mut self, before: &Serving, recent: &Recent<Prepared>) {
        let groups = self
            .serving
            .rollout
            .groups_like(&before.rollout, recent.group());
        for group in groups {
            let done = catch_unwind(AssertUnwindSafe(|| self.for_group(before, recent, group)));
            // The panic hook has reported a panic.
            if !matches!(done, Ok(Ok(()))) {
                self.warmed.failed += 1;
            }
        }
    }

    fn for_group(
        &mut self,
        before: &Serving,
        recent: &Recent<Prepared>,
        mut group: RolloutGroup,
    ) -> Result<(), RequestError> {
        let (document, name) = (recent.document(), recent.operation_name());
        let whose = (recent.client(), recent.is_kept());
        let base = self.operation(whose, document, name, group, &Arc::default())?;
        let RolloutGroup {
            conditions,
            authorization,
            ..
        } = recent.group();
        if conditions.is_none() && authorization.is_none() {
            return Ok(());
        }
        group.conditions = conditions.filter(|_| base.conditions.are_planned_apart());
        let touched = &base.requirements;
        if !touched.is_empty() {
            let graph = &self.serving.graph;
            let decisions = same_decisions(&before.graph, recent.prepared(), graph, touched)?;
            group.authorization = Some(decisions);
        }
        if group.conditions.is_some() || group.authorization.is_some() {
            self.operation(whose, document, name, group, touched)?;
        }
        Ok(())
    }

    fn trusted(&mut self, document: &str, name: Option<&str>) {
        let whose = (ClientKey::default(), true);
        let group = self.serving.rollout.last();
        let prepare = || self.operation(whose, document, name, group, &Arc::default());
        let done = catch_unwind(AssertUnwindSafe(prepare));
        if !matches!(done, Ok(Ok(_))) {
            self.warmed.failed += 1;
        }
    }

    /// The operation from the cache, or prepared.
    fn operation(
        &mut self,
        (client, is_kept): (ClientKey, bool),
        document: &str,
        name: Option<&str>,
        group: RolloutGroup,
        touched: &Arc<[federation::authorization::RequirementId]>,
    ) -> Result<Arc<Prepared>, RequestError> {
        let cache = &self.serving.prepared;
        if let Some(kept) = cache.look(document, name, group) {
            return Ok(kept);
        }
        let Built {
            prepared,
            bytes,
            worth,
        } = build_weighed(self.serving, document, name, group, touched)?;
        let kept = (Arc::clone(&prepared), bytes);
        match worth {
            Worth::Lasting if is_kept => cache.keep(client, document, name, group, kept),
            worth => cache.insert(client, document, name, group, kept, worth),
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.warmed.prepared += 1;
        self.serving.graph.settings.prepare_metrics.warmed.inc();
        Ok(prepared)
    }
}

/// The operations of documents by their names, and then those that may be requested without.
fn named_operations(documents: &[Arc<str>]) -> Vec<(&str, Option<String>)> {
    let (mut named, mut unnamed) = (Vec::new(), Vec::new());
    for text in documents {
        // What is wrong with it is reported to whoever requests it.
        let document =
            ast::Document::parse(&**text, "document").unwrap_or_else(|invalid| invalid.partial);
        let operations = document.definitions.iter();
        let operations = operations.filter_map(|it| it.as_operation_definition());
        let names: Vec<Option<String>> = operations
            .map(|it| it.name.as_ref().map(ToString::to_string))
            .collect();
        if names.len() == 1 {
            unnamed.push((&**text, None));
        }
        let names = names.into_iter().flatten();
        named.extend(names.map(|name| (&**text, Some(name))));
    }
    named.append(&mut unnamed);
    named
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        graph::{Graph, Settings},
        prepare,
        test_supergraph::supergraph,
    };

    const TYPES: &str = "type Query @join__type(graph: A) { a: Int b: Int }";

    fn serving(types: &str) -> Arc<Serving> {
        let graph = Graph::load(&supergraph(&["a"], types), Settings::default());
        Arc::new(Serving::new(graph.expect("the supergraph loads")))
    }

    async fn request(serving: &Arc<Serving>, document: &str, variables: &str) {
        let variables = Bytes::copy_from_slice(variables.as_bytes());
        let ready = prepare::with_variables(serving, document, None, Some(&variables)).await;
        assert!(ready.is_ok(), "{document}");
    }

    fn warm_up(serving: &Arc<Serving>, before: &Arc<Serving>) -> WarmUp {
        WarmUp {
            serving: Arc::clone(serving),
            before: Some(Arc::clone(before)),
            trusted: Vec::new(),
            bounds: Bounds {
                time: Duration::from_secs(60),
                recent: Duration::from_secs(300),
                operations_max: 100,
                bytes_max: 1 << 30,
            },
        }
    }

    fn misses(serving: &Serving) -> u64 {
        serving.graph.settings.prepare_metrics.misses.get()
    }

    const CONDITIONAL: &str = "query($x: Boolean!) { a @include(if: $x) b @skip(if: $x) }";

    #[tokio::test]
    async fn what_was_requested_is_prepared_for_the_same_values_of_its_conditions() {
        let before = serving(TYPES);
        for _ in 0..2 {
            request(&before, "{ a }", "{}").await;
            request(&before, CONDITIONAL, r#"{"x": true}"#).await;
        }
        request(&before, "{ b }", "{}").await;
        let next = serving(&format!(
            "{TYPES} type Other @join__type(graph: A) {{ c: Int }}"
        ));
        let warmed = warm_up(&next, &before).run().await;
        assert_eq!(
            (warmed.prepared, warmed.failed, warmed.is_cut_short),
            (4, 0, false)
        );
        request(&next, "{ a }", "{}").await;
        request(&next, "{ b }", "{}").await;
        request(&next, CONDITIONAL, r#"{"x": true}"#).await;
        assert_eq!(misses(&next), 0);
        request(&next, CONDITIONAL, r#"{"x": false}"#).await;
        assert_eq!(misses(&next), 1);
    }

    #[tokio::test]
    async fn what_the_new_graph_does_not_have_stops_nothing() {
        let before = serving(TYPES);
        request(&before, "{ a }", "{}").await;
        request(&before, "{ b }", "{}").await;
        let next = serving("type Query @join__type(graph: A) { b: Int }");
        let warmed = warm_up(&next, &before).run().await;
        assert_eq!((warmed.prepared, warmed.failed), (1, 1));
        request(&next, "{ b }", "{}").await;
        assert_eq!(misses(&next), 0);
    }

    #[tokio::test]
    async fn bounds_hold_and_what_was_requested_again_comes_first() {
        let before = serving(TYPES);
        for number in 0..20 {
            request(&before, &format!("{{ x{number}: a }}"), "{}").await;
        }
        request(&before, "{ again: a }", "{}").await;
        request(&before, "{ again: a }", "{}").await;
        let next = serving(TYPES);
        let mut few = warm_up(&next, &before);
        few.bounds.operations_max = 3;
        let warmed = few.run().await;
        assert_eq!((warmed.prepared, warmed.is_cut_short), (3, true));
        request(&next, "{ again: a }", "{}").await;
        assert_eq!(misses(&next), 0);
        let next = serving(TYPES);
        let mut small = warm_up(&next, &before);
        small.bounds.bytes_max = 1;
        assert_eq!(small.run().await.prepared, 1);
        let next = serving(TYPES);
        let mut old = warm_up(&next, &before);
        old.bounds.time = Duration::ZERO;
        assert_eq!(old.run().await, Warmed::default());
        let stopped = warm_up(&next, &before).prepare(&AtomicBool::new(true));
        assert_eq!((stopped.prepared, stopped.is_cut_short), (0, true));
    }

    #[tokio::test]
    async fn trusted_documents_are_prepared_by_name_and_without() {
        let next = serving(TYPES);
        let documents = ["query A { a }", "query B { b } query C { a }", "{ a"];
        let warmed = WarmUp {
            before: None,
            trusted: documents.into_iter().map(Arc::from).collect(),
            ..warm_up(&next, &next)
        };
        let warmed = warmed.run().await;
        // A by its name and without, B, C; the last one is no document.
        assert_eq!((warmed.prepared, warmed.failed), (4, 1));
        request(&next, "query A { a }", "{}").await;
        assert_eq!(misses(&next), 0);
    }
}
