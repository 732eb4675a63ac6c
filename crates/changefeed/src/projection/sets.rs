//! Which sets of partitions there are: one document, changed by compare-and-set.
//!
//! It exists from the first time on that a projection is divided: until then there is [`SetId::WHOLE`] alone. A set is
//! begun together with the checkpoints and leases of its partitions, in one transaction, and these are made by nothing
//! else: who wakes up after the end of their set finds no checkpoint to claim.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};

use crate::server_codes::{is_passing, server_code};
use crate::{Error, SendAction, WithCauses};

use super::Slot;
use super::checkpoint::{CLOSED, Checkpoint};
use super::partition::{Part, SetId};
use super::store::ProjectionStore;
use super::transaction::{Refusal, abort, commit, start};

/// A change of the sets that another one refuses is tried so often, after pauses that grow by this.
const REPLACE_ATTEMPTS: u32 = 6;
const REPLACE_PAUSE: Duration = Duration::from_millis(50);

/// The sets of one projection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sets {
    #[serde(rename = "_id")]
    name: String,
    /// How many partitions the projection should have: what the instance asks for that started last.
    pub wanted: u32,
    /// The highest generation number of a set. Each change of the sets has a number of its own, too, so that it can be
    /// compared.
    generations: i64,
    version: i64,
    /// The set that readers use; none before the first build.
    pub serving: Option<SetId>,
    /// The set under construction.
    pub building: Option<SetId>,
    /// Sets that no reader will use any more.
    pub retiring: Vec<Retiring>,
}

/// A set that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Retiring {
    pub set: SetId,
    /// When it was replaced, on the server's clock.
    pub since: DateTime,
    /// Whether it served, so that there may be readers. Missing where an older version replaced it.
    #[serde(default = "has_served")]
    pub served: bool,
}

fn has_served() -> bool {
    true
}

/// A lease as it is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenLease {
    /// Who has it, and for how long at most. None where it is free.
    pub held: Option<(String, Duration)>,
    /// The instance that failed to lead a short time ago.
    pub failed_at: Option<String>,
}

impl Sets {
    /// All sets that are maintained: those that are replaced until no reader uses them, but none that was given up before
    /// it served.
    pub fn maintained(&self) -> impl Iterator<Item = SetId> {
        let retiring = self.retiring.iter().filter(|retiring| retiring.served);
        let retiring = retiring.map(|retiring| retiring.set);
        self.serving
            .into_iter()
            .chain(self.building)
            .chain(retiring)
    }

    /// Whether the projection has another number of partitions than it should, and no build changes that.
    pub fn lacks_wanted(&self) -> bool {
        let to_come = self.building.or(self.serving);
        to_come.map(|set| set.count) != Some(self.wanted)
    }

    /// The next set, in place of one that is under construction.
    fn begin(&mut self, now: DateTime) -> SetId {
        self.generations += 1;
        let set = SetId {
            generation: self.generations,
            count: self.wanted.max(1),
        };
        let abandoned = self.building.replace(set);
        self.retire(abandoned, now, false);
        set
    }

    fn switch(&mut self, now: DateTime) {
        if let Some(built) = self.building.take() {
            let replaced = self.serving.replace(built);
            self.retire(replaced, now, true);
        }
    }

    fn retire(&mut self, set: Option<SetId>, since: DateTime, served: bool) {
        self.retiring
            .extend(set.map(|set| Retiring { set, since, served }));
    }
}

/// The sets as they are stored.
#[derive(Clone, Debug)]
pub(crate) struct SetStore {
    pub store: ProjectionStore,
    projection: String,
}

impl SetStore {
    pub fn new(store: ProjectionStore, projection: &str) -> Self {
        Self {
            store,
            projection: projection.to_owned(),
        }
    }

    /// The sets; `None` where the projection was never divided.
    pub async fn read(&self) -> Result<Option<Sets>, Error> {
        let found = self.store.sets.find_one(doc! { "_id": &self.projection });
        let found = found
            .send()
            .await
            .map_err(failed("reading the partitions"))?;
        found
            .map(|found| bson::deserialize_from_document(found).map_err(malformed))
            .transpose()
    }

    /// Notes how many partitions this instance asks for. Returns the sets.
    pub async fn want(&self, count: u32, now: DateTime) -> Result<Option<Sets>, Error> {
        loop {
            let Some(sets) = self.read().await? else {
                // One that was divided before cannot be led as a whole any more.
                if count <= 1 && !self.is_closed().await? {
                    return Ok(None);
                }
                self.divide(count, now).await?;
                continue;
            };
            if sets.wanted == count.max(1) {
                return Ok(Some(sets));
            }
            let to = Sets {
                wanted: count.max(1),
                ..sets.clone()
            };
            self.replace(&sets, to, None).await?;
        }
    }

    /// The first division of the projection.
    async fn divide(&self, count: u32, now: DateTime) -> Result<(), Error> {
        let whole = self.whole().await?.filter(|whole| whole.epoch < CLOSED);
        // Numbers of earlier sets are in use as long as their checkpoints are there.
        let used = self.generations_of_sets().await?;
        let mut sets = Sets {
            name: self.projection.clone(),
            wanted: count.max(1),
            generations: whole
                .as_ref()
                .map_or(used, |whole| used.max(whole.generations)),
            version: 0,
            serving: None,
            building: None,
            retiring: Vec::new(),
        };
        match whole {
            Some(whole) if whole.serving.is_some() => sets.serving = Some(SetId::WHOLE),
            Some(_) => sets.retire(Some(SetId::WHOLE), now, false),
            None => {}
        }
        let stored = bson::serialize_to_document(&sets).map_err(malformed)?;
        let created = self
            .store
            .sets
            .update_one(
                doc! { "_id": &self.projection },
                doc! { "$setOnInsert": stored },
            )
            .upsert(true)
            .await;
        created.map_err(failed("dividing the projection"))?;
        Ok(())
    }

    async fn is_closed(&self) -> Result<bool, Error> {
        let whole = self.whole().await?;
        Ok(whole.is_some_and(|whole| whole.epoch == CLOSED))
    }

    async fn generations_of_sets(&self) -> Result<i64, Error> {
        let doing = "reading the checkpoints";
        // Names that begin with the projection's and a slash.
        let named = doc! {
            "$gt": format!("{}/", self.projection), "$lt": format!("{}0", self.projection),
        };
        let checkpoints = self.store.checkpoints.clone_with_type::<Document>();
        let found = checkpoints
            .find(doc! { "_id": named })
            .projection(doc! { "generations": 1 });
        let found = found.send().await.map_err(failed(doing))?;
        let found: Vec<Document> = found.try_collect().await.map_err(failed(doing))?;
        // A new partition has begun none of its set's yet.
        let numbers = found.iter().filter_map(|it| it.get_i64("generations").ok());
        Ok(numbers.max().map_or(0, |highest| highest + 1))
    }

    async fn whole(&self) -> Result<Option<Checkpoint>, Error> {
        let found = self
            .store
            .checkpoints
            .find_one(doc! { "_id": &self.projection });
        found.send().await.map_err(failed("reading the checkpoint"))
    }

    /// Begins a set with the wanted number of partitions, unless another instance changes the sets. Returns it.
    pub async fn begin(&self, sets: &Sets, now: DateTime) -> Result<Option<SetId>, Error> {
        let mut to = sets.clone();
        let set = to.begin(now);
        let begun = self.replace(sets, to, Some(set)).await?;
        Ok(begun
            .is_some_and(|sets| sets.building == Some(set))
            .then_some(set))
    }

    /// Begins a set in place of this one, which cannot go on, unless that has happened. Returns a set that is begun here.
    pub async fn begin_instead(&self, of: SetId, now: DateTime) -> Result<Option<SetId>, Error> {
        loop {
            let Some(sets) = self.read().await? else {
                return Ok(None);
            };
            let is_present = sets.serving == Some(of) || sets.building == Some(of);
            let is_replaced = sets
                .building
                .is_some_and(|building| building.generation > of.generation);
            if !is_present || is_replaced {
                return Ok(None);
            }
            if let Some(set) = self.begin(&sets, now).await? {
                return Ok(Some(set));
            }
        }
    }

    /// Readers use the set under construction from now on. Returns whether they do.
    pub async fn switch(&self, sets: &Sets, now: DateTime) -> Result<bool, Error> {
        let mut to = sets.clone();
        to.switch(now);
        let serving = to.serving;
        let switched = self.replace(sets, to, None).await?;
        Ok(switched.is_some_and(|sets| sets.serving == serving))
    }

    /// Replaces the sets by their successor, together with what a new set needs. Returns the sets as they are now: the
    /// successor, unless another instance was faster. Two that do this at once may refuse each other: that passes.
    async fn replace(
        &self,
        from: &Sets,
        mut to: Sets,
        new: Option<SetId>,
    ) -> Result<Option<Sets>, Error> {
        to.version = from.version + 1;
        for attempt in 1..REPLACE_ATTEMPTS {
            match self.try_to_replace(from, &to, new).await {
                Err(error) if passes(&error) => {
                    tracing::debug!(
                        error = %WithCauses(&error),
                        "the partitions could not be changed, will retry"
                    );
                    tokio::time::sleep(REPLACE_PAUSE * attempt).await;
                    let now = self.read().await?;
                    if now.as_ref().map(|now| now.version) != Some(from.version) {
                        return Ok(now);
                    }
                }
                replaced => return replaced,
            }
        }
        self.try_to_replace(from, &to, new).await
    }

    async fn try_to_replace(
        &self,
        from: &Sets,
        to: &Sets,
        new: Option<SetId>,
    ) -> Result<Option<Sets>, Error> {
        let doing = "changing the partitions";
        let client = self.store.client();
        let mut session = client.start_session().await.map_err(failed(doing))?;
        let unchanged = |refusal| match refusal {
            Refusal::Transient(error) => error,
            refusal => Error::Refused(format!("{refusal:?}")),
        };
        start(&mut session).await.map_err(unchanged)?;
        match self.write(&mut session, from, to, new).await {
            Ok(true) => {
                commit(&mut session).await.map_err(unchanged)?;
                Ok(Some(to.clone()))
            }
            Ok(false) => {
                abort(&mut session).await;
                self.read().await
            }
            Err(error) => {
                abort(&mut session).await;
                Err(error)
            }
        }
    }

    async fn write(
        &self,
        session: &mut ClientSession,
        from: &Sets,
        to: &Sets,
        new: Option<SetId>,
    ) -> Result<bool, Error> {
        let doing = "changing the partitions";
        let present = doc! { "_id": &self.projection, "version": from.version };
        let to = bson::serialize_to_document(to).map_err(malformed)?;
        let replaced = self
            .store
            .sets
            .replace_one(present, to)
            .session(&mut *session)
            .await;
        if replaced.map_err(failed(doing))?.matched_count == 0 {
            return Ok(false);
        }
        let Some(new) = new else { return Ok(true) };
        let parts: Vec<Part> = new.parts(&self.projection).collect();
        let checkpoints = parts.iter().map(Checkpoint::of_set);
        let free = |part: &Part| {
            doc! { "_id": &part.name, "owner": "", "epoch": 0_i64, "expires": DateTime::from_millis(0) }
        };
        self.store
            .checkpoints
            .insert_many(checkpoints)
            .session(&mut *session)
            .await
            .map_err(failed(doing))?;
        self.store
            .leases
            .insert_many(parts.iter().map(free))
            .session(&mut *session)
            .await
            .map_err(failed(doing))?;
        Ok(true)
    }

    /// Removes all that a retiring set has left.
    pub async fn remove(&self, sets: &Sets, retiring: Retiring, field: &str) -> Result<(), Error> {
        let failed = failed("removing old partitions");
        let set = retiring.set;
        let names: Vec<String> = set.parts(&self.projection).map(|part| part.name).collect();
        let named = |field: &str| doc! { field: { "$in": &names } };
        let store = &self.store;
        // The checkpoints first: without them nobody writes what is removed then.
        if set == SetId::WHOLE {
            // A program of an earlier version would make another one. This one it cannot claim.
            let closed = store.checkpoints.update_one(named("_id"), closing());
            closed.await.map_err(failed)?;
        }
        let slots = self.slots_of(set, field).await?;
        if set != SetId::WHOLE {
            let removed = store.checkpoints.delete_many(named("_id"));
            removed.await.map_err(failed)?;
            store
                .leases
                .delete_many(named("_id"))
                .await
                .map_err(failed)?;
        }
        let marks = store.repairs.delete_many(named("_id.projection"));
        marks.await.map_err(failed)?;
        let requests = store.requests.delete_many(named("projection"));
        requests.await.map_err(failed)?;
        for slot in slots {
            let unset = doc! { "$unset": { slot.as_path(): "" } };
            let there = doc! { slot.as_path(): { "$exists": true } };
            let unset = store.targets.update_many(there, unset);
            unset.await.map_err(failed)?;
        }
        let mut to = sets.clone();
        to.retiring.retain(|other| *other != retiring);
        self.replace(sets, to, None).await.map(drop)
    }

    async fn slots_of(&self, set: SetId, field: &str) -> Result<Vec<Slot>, Error> {
        if set != SetId::WHOLE {
            return Ok(vec![Slot::new(field, set.generation, Some(set.count))]);
        }
        let whole = self.whole().await?;
        let slots = whole.into_iter().flat_map(|whole| {
            let building = whole.building.as_ref().map(|building| building.generation);
            let generations = whole.serving.into_iter().chain(building);
            let generations: Vec<i64> = generations.chain(whole.retiring.iter().copied()).collect();
            generations
                .into_iter()
                .map(move |generation| whole.slot(field, generation))
        });
        Ok(slots.collect())
    }

    /// Says that this instance lives, and returns all that have said so within `silence`.
    pub async fn members(&self, owner: &str, silence: Duration) -> Result<Vec<String>, Error> {
        let living = doc! { "$arrayToObject": living_within(silence) };
        let update =
            vec![doc! { "$set": { "members": { "$mergeObjects": [living, { owner: "$$NOW" }] } } }];
        let id = doc! { "_id": format!("{}/members", self.projection) };
        let members = self
            .store
            .sets
            .find_one_and_update(id, update)
            .upsert(true)
            .return_document(ReturnDocument::After);
        let members = members
            .send()
            .await
            .map_err(failed("counting the instances"))?;
        let members = members
            .as_ref()
            .and_then(|it| it.get_document("members").ok());
        Ok(members.map_or_else(Vec::new, |members| members.keys().cloned().collect()))
    }

    /// All instances that have said within `silence` that they live.
    pub async fn living(&self, silence: Duration) -> Result<Vec<String>, Error> {
        let id = doc! { "_id": format!("{}/members", self.projection) };
        let living = doc! { "living": living_within(silence) };
        let found = self.store.sets.find_one(id).projection(living).send().await;
        let found = found.map_err(failed("counting the instances"))?;
        let living = found.as_ref().and_then(|it| it.get_array("living").ok());
        let names = living.into_iter().flatten().filter_map(|member| {
            let name = member.as_document()?.get_str("k").ok()?;
            Some(name.to_owned())
        });
        Ok(names.collect())
    }

    /// Says that this instance has ended.
    pub async fn leave(&self, owner: &str) -> Result<(), Error> {
        let id = doc! { "_id": format!("{}/members", self.projection) };
        let without = doc! { "$unset": { format!("members.{owner}"): "" } };
        let left = self.store.sets.update_one(id, without).await;
        left.map(drop).map_err(failed("leaving the instances"))
    }

    /// The leases of these partitions, by name.
    pub async fn leases(&self, names: &[String]) -> Result<Vec<(String, SeenLease)>, Error> {
        let doing = "reading the leases";
        let left = doc! { "$subtract": ["$expires", "$$NOW"] };
        let failing = doc! { "$subtract": ["$failed.until", "$$NOW"] };
        let found = self
            .store
            .leases
            .find(doc! { "_id": { "$in": names } })
            .projection(doc! {
                "owner": 1, "left_ms": left, "failed_at": "$failed.at", "failed_ms": failing,
            });
        let found = found.send().await.map_err(failed(doing))?;
        let found: Vec<Document> = found.try_collect().await.map_err(failed(doing))?;
        let read = |lease: &Document| {
            let left = lease.get_i64("left_ms").unwrap_or_default();
            let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
            let owner = lease.get_str("owner").unwrap_or_default().to_owned();
            let name = lease.get_str("_id").ok()?.to_owned();
            let is_recent = lease.get_i64("failed_ms").is_ok_and(|left| left > 0);
            let failed_at = lease.get_str("failed_at").ok().filter(|_| is_recent);
            let seen = SeenLease {
                held: (!left.is_zero()).then_some((owner, left)),
                failed_at: failed_at.map(str::to_owned),
            };
            Some((name, seen))
        };
        Ok(found.iter().filter_map(read).collect())
    }

    /// The checkpoints of these partitions.
    pub async fn checkpoints(&self, names: &[String]) -> Result<Vec<Checkpoint>, Error> {
        let doing = "reading the checkpoints";
        let checkpoints = self.store.checkpoints.clone_with_type::<Document>();
        let found = checkpoints.find(doc! { "_id": { "$in": names } });
        let found = found.send().await.map_err(failed(doing))?;
        let found: Vec<Document> = found.try_collect().await.map_err(failed(doing))?;
        let read = |stored| bson::deserialize_from_document(stored).map_err(malformed);
        found.into_iter().map(read).collect()
    }

    /// The names under which a target is marked for repair now: one for each maintained set.
    pub async fn names_for(&self, targets: &[Bson]) -> Result<Vec<(String, Bson)>, Error> {
        let sets = match self.read().await? {
            Some(sets) => sets.maintained().collect(),
            None => vec![SetId::WHOLE],
        };
        let names = sets.into_iter().flat_map(|set| {
            let first = Part::new(&self.projection, set, 0);
            targets
                .iter()
                .map(move |target| (first.name_of(target), target.clone()))
        });
        Ok(names.collect())
    }
}

/// The update that closes the checkpoint of a projection that was divided: it serves nothing any more, and says so. What
/// its slots were stays known until they are removed.
fn closing() -> Vec<Document> {
    let generation = |field: &str| doc! { "$cond": [{ "$isNumber": field }, [field], []] };
    let slots = doc! { "$setUnion": [
        { "$ifNull": ["$retiring", []] }, generation("$serving"), generation("$building.generation"),
    ] };
    vec![doc! { "$set": {
        "retiring": slots, "epoch": CLOSED, "serving": Bson::Null, "building": Bson::Null, "intact": false,
        "closed": "it was divided into partitions, which have checkpoints of their own",
    } }]
}

/// The expression for those of `members`, as names and values, that have said within `silence` that they live.
fn living_within(silence: Duration) -> Document {
    let silence = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
    let lives = doc! { "$gt": ["$$this.v", { "$subtract": ["$$NOW", silence] }] };
    let present = doc! { "$objectToArray": { "$ifNull": ["$members", {}] } };
    doc! { "$filter": { "input": present, "cond": lives } }
}

/// Whether a transaction was refused for a reason that passes: mostly another one that writes the same.
fn passes(error: &Error) -> bool {
    let Error::Database { source, .. } = error else {
        return false;
    };
    source.contains_label(TRANSIENT_TRANSACTION_ERROR)
        || source.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
        || server_code(source).is_some_and(is_passing)
}

fn failed(doing: &'static str) -> impl Fn(mongodb::error::Error) -> Error + Copy {
    move |source| Error::Database { doing, source }
}

fn malformed(source: bson::error::Error) -> Error {
    Error::Malformed {
        what: "the partitions",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime = DateTime::from_millis(1_000);

    #[test]
    fn a_set_is_built_beside_the_one_that_serves_and_takes_its_place() {
        let mut sets = Sets {
            name: "newest".to_owned(),
            wanted: 4,
            generations: 3,
            version: 0,
            serving: Some(SetId::WHOLE),
            building: None,
            retiring: Vec::new(),
        };
        assert!(sets.lacks_wanted());
        let first = sets.begin(NOW);
        assert_eq!((first.generation, first.count), (4, 4));
        assert!(!sets.lacks_wanted());
        sets.wanted = 2;
        assert!(sets.lacks_wanted());
        let second = sets.begin(NOW);
        assert_eq!(sets.building, Some(second));
        sets.switch(NOW);
        assert_eq!((sets.serving, sets.building), (Some(second), None));
        let retiring = sets.retiring.iter().map(|it| (it.set, it.served));
        let retiring: Vec<(SetId, bool)> = retiring.collect();
        assert_eq!(retiring, [(first, false), (SetId::WHOLE, true)]);
        // Nobody reads the one that never served.
        let maintained: Vec<SetId> = sets.maintained().collect();
        assert_eq!(maintained, [second, SetId::WHOLE]);
    }
}
