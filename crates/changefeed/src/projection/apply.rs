//! One batch: decoded, folded target by target, written with the checkpoint.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bson::{Bson, DateTime, RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use tokio::time::Instant;

use crate::change::{ChangeEvent, RawChange};
use crate::log_value::shortened;
use crate::stream::{RawEvent, Signal, Start};
use crate::{Change, ChangeKind, Error, ResumeToken, SendAction, WithCauses, marker};

use super::any_projection::SourceDocument;
use super::batch::Batch;
use super::checkpoint::Checkpoint;
use super::dead_letter::DeadLetter;
use super::fold::{AS_OF, Touched, Unclear, Way, collapse, statement};
use super::give_way;
use super::leader::{Ended, Idle, Leader, Uncommitted};
use super::transaction::{Refusal, Writes, probe};
use super::transaction_size::Size;
use super::{AppliedBatch, Slot};

/// The wait before a batch that the server refuses is tried again.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// Bytes that a target costs beside the events: its statement's fixed part, and its entry in the
/// server's log.
const TARGET_BYTES: usize = 2 << 10;

/// Why a target that cannot be healed takes no changes.
const SPOILED: &str = "the projection's field in the target is spoiled";

/// A batch after decoding.
struct Decoded {
    /// Changes with their number in the batch.
    changes: Vec<(usize, Change<SourceDocument>)>,
    /// Targets of changes whose documents were too large to be sent.
    anew: Vec<Bson>,
    /// Why the collection is gone after these changes, if it is.
    gone: Option<String>,
    last: Option<Reached>,
    /// Events that were decoded: the others find no room in this transaction.
    taken: usize,
    /// Those of them that concern other partitions alone.
    foreign: usize,
    used: Size,
}

/// How far a batch reaches.
struct Reached {
    token: ResumeToken,
    /// The time of the last change.
    time: Timestamp,
    /// Every change up to this time is in the batch or before it.
    complete_until: Timestamp,
    wall_time: Option<DateTime>,
}

/// As of when the states of targets were computed, by slot.
type AsOf = HashMap<StateKey, Timestamp>;

/// Names the state of one target in one generation.
#[derive(PartialEq, Eq, Hash)]
struct StateKey {
    generation: i64,
    target: Bson,
}

impl StateKey {
    fn new(slot: &Slot, target: &Bson) -> Self {
        Self {
            generation: slot.generation(),
            target: target.clone(),
        }
    }
}

impl Leader<'_> {
    /// Applies a batch, as far as there is room in one transaction, and takes what is applied out of
    /// it; returns the reason when the stream cannot go on after it.
    pub async fn apply(&mut self, batch: &mut Batch, room: Size) -> Result<Option<String>, Ended> {
        let began = Instant::now();
        let mut gone = None;
        if !batch.events.is_empty() {
            marker::reach(marker::EVENT_READ).await;
            let decoded = self.decode(&batch.events, room)?;
            let (taken, used) = (decoded.taken, decoded.used);
            let own = taken - decoded.foreign;
            let wall_time = decoded.last.as_ref().and_then(|last| last.wall_time);
            gone = decoded.gone.clone();
            batch.used = used;
            batch.full |= taken < batch.events.len();
            let took = self.write(&batch.events[..taken], decoded).await?;
            if own > 0 {
                self.instance.projection.applied(&AppliedBatch {
                    began: began.into_std(),
                    changes: own,
                    events: &batch.events[..taken],
                });
            }
            batch.events.drain(..taken);
            self.suspects = self.suspects.saturating_sub(own);
            if own > 0 {
                self.instance.batch_size.committed(used, took, batch.full);
            }
            self.instance.publish_size();
            let metrics = &self.instance.metrics;
            if own > 0 {
                metrics.changes.inc_by(own as u64);
                metrics.batch_changes.observe(own as f64);
                metrics.batch_seconds.observe(began.elapsed().as_secs_f64());
            }
            if batch.full {
                self.give_way(taken, wall_time, took).await;
            }
        }
        if gone.is_some() || !batch.events.is_empty() {
            return Ok(gone);
        }
        match batch.end.take() {
            Some(Signal::Lost(error)) => Ok(Some(WithCauses(&error).to_string())),
            Some(Signal::Idle(token)) => {
                let position = token.cluster_time().unwrap_or(self.checkpoint.position);
                self.idle = Some(Idle {
                    token,
                    position,
                    level: None,
                });
                self.publish();
                Ok(None)
            }
            Some(Signal::Event(_) | Signal::Level(_)) | None => Ok(None),
        }
    }

    /// Rests after a batch of so many changes while others write faster than they are applied.
    async fn give_way(&mut self, changes: usize, last: Option<DateTime>, took: Duration) {
        let Some(age) = last.map(|at| self.instance.clock.since(at)) else {
            return;
        };
        if age < give_way::AGE_MIN {
            return;
        }
        // Without the server's time there is no rest: the next batch meets the fault.
        let Ok(now) = self.instance.source.now().await else {
            return;
        };
        let rest = self.give_way.rest(now, changes, age, took);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = self.instance.ending() => {}
            () = self.held.lost.cancelled() => {}
        }
    }

    fn decode(&self, events: &[RawEvent], room: Size) -> Result<Decoded, Ended> {
        let mut decoded = Decoded {
            changes: Vec::with_capacity(events.len()),
            anew: Vec::new(),
            gone: None,
            last: None,
            taken: 0,
            foreign: 0,
            used: Size::NOTHING,
        };
        let part = &self.instance.part;
        let mut targets = HashSet::new();
        for (index, event) in events.iter().enumerate() {
            if decoded.used.fills(&room) {
                break;
            }
            decoded.taken += 1;
            let malformed = |source| {
                Ended::Fault(Error::Malformed {
                    what: "an event of the change stream",
                    source,
                })
            };
            match ChangeEvent::read(&event.document).map_err(malformed)? {
                ChangeEvent::Write(change) => {
                    let read = |image: &_| self.instance.projection.read(image);
                    let readable = change.decode_with(read, &self.instance.metrics.unreadables);
                    let mut is_own = true;
                    if change.is_oversized && change.has_all_images() {
                        let anew = self.targets_of_what_is_left(&change);
                        is_own = part.is_whole() || !anew.is_empty();
                        decoded.used.targets += anew.len();
                        decoded.anew.extend(anew);
                    } else if let Some(change) = readable {
                        let before = change
                            .before()
                            .map(|it| self.instance.projection.target_of(it));
                        let after = change
                            .after()
                            .map(|it| self.instance.projection.target_of(it));
                        let own = [before, after].into_iter().flatten();
                        let own = own.filter(|target| part.holds(target)).collect::<Vec<_>>();
                        is_own = part.is_whole() || !own.is_empty() || !change.is_whole();
                        for target in own {
                            if targets.insert(target) {
                                decoded.used.targets += 1;
                                decoded.used.bytes += TARGET_BYTES;
                            }
                        }
                        if is_own {
                            decoded.changes.push((index, change));
                        }
                    }
                    if is_own {
                        decoded.used.changes += 1;
                        decoded.used.bytes += event.document.as_bytes().len();
                    } else {
                        decoded.foreign += 1;
                    }
                    decoded.last = Some(Reached::after(&change, event, decoded.last.as_ref()));
                }
                ChangeEvent::CollectionGone(operation) => {
                    decoded.gone = Some(format!("the source collection is gone ({operation})"));
                    break;
                }
                ChangeEvent::Other => decoded.used.changes += 1,
            }
        }
        Ok(decoded)
    }

    fn dead_letter(
        &self,
        event: &RawEvent,
        change: &RawChange<'_>,
        targets: Vec<Bson>,
        reason: &str,
    ) -> DeadLetter {
        DeadLetter::new(
            self.instance.projection.name(),
            change,
            &event.document,
            targets,
            reason.to_owned(),
        )
    }

    /// The targets that what is left of the documents of an oversized change names.
    fn targets_of_what_is_left(&self, change: &RawChange<'_>) -> Vec<Bson> {
        let images = [change.before, change.after].into_iter().flatten();
        let readable = images.filter_map(|image| self.instance.projection.read(image).ok());
        readable
            .map(|source| self.instance.projection.target_of(&source))
            .filter(|target| self.instance.part.holds(target))
            .collect()
    }

    /// Writes a decoded batch; returns how long the transaction took.
    async fn write(&mut self, events: &[RawEvent], decoded: Decoded) -> Result<Duration, Ended> {
        let Some(last) = &decoded.last else {
            return Ok(Duration::ZERO);
        };
        if decoded.foreign > 0 && decoded.foreign == decoded.taken {
            self.pass(last.token.clone(), last.complete_until, last.wall_time);
            return Ok(Duration::ZERO);
        }
        let mut base = Writes::default();
        base.anew.extend(decoded.anew);
        let mut touched = Touched::new(&self.instance.part);
        let mut rebuild = None;
        for (index, change) in &decoded.changes {
            if let Err(Unclear) = touched.add(&*self.instance.projection, *index, change) {
                match self.resolve(change, &touched).await? {
                    Some(targets) => base.anew.extend(targets),
                    None => rebuild = Some("a change without its pre-image could not be placed"),
                }
            }
        }
        let first_time = decoded
            .changes
            .first()
            .map(|(_, change)| change.cluster_time);
        let as_of = match first_time {
            Some(time) if time <= self.checkpoint.ahead_until => self.load_as_of(&touched).await?,
            _ => AsOf::new(),
        };
        let mut to = self.after(last);
        if let Some(reason) = rebuild {
            // Somebody may have turned the images off: without them there would be no end of builds.
            self.instance.source.enable_images().await?;
            // In the same write: whoever goes on after it knows of the build.
            if self.instance.part.is_whole() {
                to.begin_generation();
            } else {
                to.replace = Some(reason.to_owned());
            }
        }
        let took = self
            .write_touched(events, &touched, &as_of, base, to)
            .await?;
        match rebuild {
            Some(reason) if self.instance.part.is_whole() => self.tell_of_build(reason),
            Some(_) => self.replace_set().await,
            None => {}
        }
        Ok(took)
    }

    async fn write_touched(
        &mut self,
        events: &[RawEvent],
        touched: &Touched<'_>,
        as_of: &AsOf,
        base: Writes,
        to: Checkpoint,
    ) -> Result<Duration, Ended> {
        let mut poisoned: HashMap<Bson, String> = HashMap::new();
        let mut way = Way::Operators;
        let mut writes = self.plan(touched, as_of, way, &mut poisoned).await?;
        let mut attempts = 0;
        loop {
            writes
                .dead_letters
                .extend(base.dead_letters.iter().cloned());
            writes.repairs.extend(base.repairs.iter().cloned());
            let anew = base
                .anew
                .iter()
                .filter(|target| !poisoned.contains_key(target));
            writes.anew.extend(anew.cloned());
            let refused = base
                .anew
                .iter()
                .filter(|target| poisoned.contains_key(target));
            let refused = refused.map(|target| (target.clone(), "it could not be computed"));
            writes.repairs.extend(refused);
            self.set_aside(events, touched, &poisoned, &mut writes);
            match self.commit(&writes, to.clone()).await {
                Ok(took) => {
                    self.tell_of_dead_letters(&writes.dead_letters);
                    return Ok(took);
                }
                Err(Uncommitted::Ended(ended)) => return Err(ended),
                Err(Uncommitted::Failed(error)) => return Err(Ended::Fault(error)),
                // Pipelines overwrite what another program has put in the place of a state.
                Err(Uncommitted::Refused { .. }) if writes.has_operators() => {
                    way = Way::Pipelines;
                    writes = self.plan(touched, as_of, way, &mut poisoned).await?;
                }
                Err(Uncommitted::Refused { target, reason }) => {
                    attempts += 1;
                    tracing::warn!(
                        projection = to.name,
                        reason = shortened(&reason),
                        attempts,
                        "the server refused a batch of the projection, will retry"
                    );
                    if attempts >= self.instance.settings.attempts_max {
                        self.find_refused(&writes, target, reason, &mut poisoned)
                            .await?;
                    } else {
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    }
                    writes = self.plan(touched, as_of, way, &mut poisoned).await?;
                }
            }
        }
    }

    /// The updates of all targets but the poisoned ones, which a failing fold joins. Where a target may end the
    /// server, those of pipelines are healed first; what cannot be healed is poisoned.
    async fn plan(
        &mut self,
        touched: &Touched<'_>,
        as_of: &AsOf,
        way: Way,
        poisoned: &mut HashMap<Bson, String>,
    ) -> Result<Writes, Ended> {
        let writes = self.plan_unhealed(touched, as_of, way, poisoned);
        if self.suspects == 0 && way == Way::Operators {
            return Ok(writes);
        }
        let unhealed = self.heal_spoiled(writes.targets_of_pipelines()).await?;
        if unhealed.is_empty() {
            return Ok(writes);
        }
        let unhealed = unhealed.into_iter();
        poisoned.extend(unhealed.map(|target| (target, SPOILED.to_owned())));
        Ok(self.plan_unhealed(touched, as_of, way, poisoned))
    }

    fn plan_unhealed(
        &self,
        touched: &Touched<'_>,
        as_of: &AsOf,
        way: Way,
        poisoned: &mut HashMap<Bson, String>,
    ) -> Writes {
        let mut writes = Writes::default();
        for slot in self.live_slots() {
            for (target, touches) in touched.iter() {
                if poisoned.contains_key(target) {
                    continue;
                }
                let computed_as_of = match as_of.is_empty() {
                    true => None,
                    false => as_of.get(&StateKey::new(&slot, target)).copied(),
                };
                let changes = collapse(touches, computed_as_of);
                match statement(&*self.instance.projection, &slot, target, &changes, way) {
                    Ok(update) => writes.statements.extend(update),
                    Err(error) => {
                        poisoned.insert(target.clone(), error.to_string());
                    }
                }
            }
        }
        writes
            .statements
            .retain(|statement| !poisoned.contains_key(&statement.target));
        writes
    }

    /// Turns the changes of poisoned targets into dead letters, and marks the targets for repair.
    fn set_aside(
        &self,
        events: &[RawEvent],
        touched: &Touched<'_>,
        poisoned: &HashMap<Bson, String>,
        writes: &mut Writes,
    ) {
        for (target, touches) in touched.iter() {
            let Some(reason) = poisoned.get(target) else {
                continue;
            };
            for event in touches.iter().filter_map(|touch| events.get(touch.index)) {
                if let Ok(ChangeEvent::Write(change)) = ChangeEvent::read(&event.document) {
                    writes.dead_letters.push(self.dead_letter(
                        event,
                        &change,
                        vec![target.clone()],
                        reason,
                    ));
                }
            }
            writes
                .repairs
                .push((target.clone(), "its changes could not be applied"));
        }
    }

    fn tell_of_dead_letters(&self, letters: &[DeadLetter]) {
        self.instance
            .metrics
            .dead_letters
            .inc_by(letters.len() as u64);
        for DeadLetter {
            projection,
            key,
            reason,
            ..
        } in letters
        {
            tracing::warn!(
                projection,
                key = shortened(key),
                reason = shortened(reason),
                "a change could not be applied: it is a dead letter now"
            );
        }
    }

    /// Adds the targets to `poisoned` because of which the server refuses the writes.
    async fn find_refused(
        &mut self,
        writes: &Writes,
        target: Option<Bson>,
        reason: String,
        poisoned: &mut HashMap<Bson, String>,
    ) -> Result<(), Ended> {
        if let Some(target) = target {
            poisoned.insert(target, reason);
            return Ok(());
        }
        let refused = probe(&self.instance.store, &mut self.session, &writes.statements).await;
        let refused = refused.map_err(|refusal| {
            Ended::Fault(match refusal {
                Refusal::Transient(error) => error,
                refusal => Error::Refused(format!("{refusal:?}")),
            })
        })?;
        if refused.is_empty() {
            return Err(Ended::Fault(Error::Refused(reason)));
        }
        poisoned.extend(refused);
        Ok(())
    }

    /// The targets that a change with a missing image may concern: the one that the document was
    /// folded into, and the one that it belongs to now. `None` when the first is not known.
    ///
    /// Of a partition, those of its own: none, where the document belonged to another. Where its own states do not tell
    /// that, it is not known: those of other partitions may be of another time.
    async fn resolve(
        &self,
        change: &Change<SourceDocument>,
        touched: &Touched<'_>,
    ) -> Result<Option<HashSet<Bson>>, Ended> {
        let projection = &*self.instance.projection;
        let mut targets = HashSet::new();
        match change.before() {
            Some(before) => {
                targets.insert(projection.target_of(before));
            }
            None => {
                targets.extend(touched.last_target_of(&change.key));
                for slot in self.live_slots() {
                    let located = projection.locate(&slot, &change.key).await;
                    targets.extend(located.map_err(|source| Error::Database {
                        doing: "locating a target",
                        source,
                    })?);
                }
            }
        }
        let part = &self.instance.part;
        targets.retain(|target| part.holds(target));
        if targets.is_empty() && (part.is_whole() || change.before().is_none()) {
            return Ok(None);
        }
        match (&change.kind, change.after()) {
            (ChangeKind::Deleted { .. }, _) => {}
            (_, Some(after)) => {
                targets.insert(projection.target_of(after));
            }
            (_, None) => targets.extend(self.present_target_of(&change.key).await?),
        }
        targets.retain(|target| part.holds(target));
        Ok(Some(targets))
    }

    /// The target that a source document belongs to now; `None` when it is gone or cannot be read.
    async fn present_target_of(&self, key: &Bson) -> Result<Option<Bson>, Ended> {
        let instance = self.instance;
        let source = instance
            .store
            .database
            .collection::<RawDocumentBuf>(instance.source.collection());
        let present = source.find_one(doc! { "_id": key }).send().await;
        let present = present.map_err(|source| Error::Database {
            doing: "reading a source document",
            source,
        })?;
        let present = present.and_then(|present| instance.projection.read(&present).ok());
        Ok(present.map(|present| instance.projection.target_of(&present)))
    }

    async fn load_as_of(&mut self, touched: &Touched<'_>) -> Result<AsOf, Ended> {
        let slots = self.live_slots();
        let targets: Vec<Bson> = touched.iter().map(|(target, _)| target.clone()).collect();
        let fields = slots
            .iter()
            .map(|slot| (slot.path(AS_OF), Bson::from(1)))
            .collect::<bson::Document>();
        let failed = |source| Error::Database {
            doing: "reading as of when states were computed",
            source,
        };
        let targets_read = self
            .instance
            .store
            .targets
            .clone_with_type::<RawDocumentBuf>();
        let found = targets_read
            .find(doc! { "_id": { "$in": targets } })
            .projection(fields)
            .session(&mut self.session);
        let mut found = found.send().await.map_err(failed)?;
        let mut found = found.stream(&mut self.session);
        let mut as_of = AsOf::new();
        while let Some(target) = found.try_next().await.map_err(failed)? {
            let id = target.get("_id").ok().flatten();
            let Some(id) = id.and_then(|id| Bson::try_from(id).ok()) else {
                continue;
            };
            for slot in &slots {
                if let Some(time) = slot.as_of_in(&target) {
                    as_of.insert(StateKey::new(slot, &id), time);
                }
            }
        }
        Ok(as_of)
    }

    /// The checkpoint after a batch.
    fn after(&self, last: &Reached) -> Checkpoint {
        let mut to = self.checkpoint.clone();
        to.resume = Some(Start::After(last.token.clone()));
        to.position = to.position.max(last.complete_until);
        to.applied_until = to.applied_until.max(last.time);
        if let (true, Some(wall_time)) = (to.intact, last.wall_time) {
            to.level = to.level.max(wall_time);
        }
        to
    }
}

impl Reached {
    fn after(change: &RawChange<'_>, event: &RawEvent, previous: Option<&Self>) -> Self {
        // The changes of one transaction share its time, as those of one bulk insert do from
        // MongoDB 8.0 on, and a batch may end between them: with the last one in hand, only what
        // came before that time is complete for certain.
        let in_transaction = event.document.get("lsid").ok().flatten().is_some();
        let shared = previous.is_some_and(|previous| previous.time == change.cluster_time);
        let complete_until = if in_transaction || shared {
            just_before(change.cluster_time)
        } else {
            change.cluster_time
        };
        Self {
            token: change.token.clone(),
            time: change.cluster_time,
            complete_until,
            wall_time: change.wall_time,
        }
    }
}

fn just_before(time: Timestamp) -> Timestamp {
    match time.increment.checked_sub(1) {
        Some(increment) => Timestamp {
            time: time.time,
            increment,
        },
        None => Timestamp {
            time: time.time.saturating_sub(1),
            increment: u32::MAX,
        },
    }
}
