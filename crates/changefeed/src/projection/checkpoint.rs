//! The checkpoint: how far a projection has come, in one document that every write guards.

use bson::{DateTime, Document, Timestamp, doc};
use mongodb::ClientSession;
use serde::{Deserialize, Serialize};

use crate::stream::Start;
use crate::{Error, SendAction};

use super::Slot;
use super::partition::Part;
use super::store::ProjectionStore;

/// Before every change. (The server replaces a timestamp of zeros by the current time.)
const BEGINNING: Timestamp = Timestamp {
    time: 1,
    increment: 0,
};

/// The epoch of a checkpoint that nobody can claim any more: there is none higher.
pub(crate) const CLOSED: i64 = i64::MAX;

/// How far a projection has come. The pair of `epoch` and `resume` is what a write compares and
/// sets: whoever finds another pair there is not the leader any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    #[serde(rename = "_id")]
    pub name: String,
    /// The epoch of the leader that may write.
    pub epoch: i64,
    /// Where the stream goes on; `None` before the first start.
    pub resume: Option<Start>,
    /// Every change up to this time is applied.
    pub position: Timestamp,
    /// Some change of this time is applied, and none of a later time. Ahead of `position` while the
    /// changes of that time, which share it, may not all be applied. Missing where an older version
    /// wrote the checkpoint.
    #[serde(default = "beginning")]
    pub applied_until: Timestamp,
    /// Some targets were computed from the source as it was up to this time, ahead of `position`.
    pub ahead_until: Timestamp,
    /// The time on the server's clock at which the serving state was level with the source.
    pub level: DateTime,
    /// The generation that readers use.
    pub serving: Option<i64>,
    /// Whether the serving generation still follows the stream. False after the history was lost.
    pub intact: bool,
    /// The generation under construction.
    pub building: Option<Building>,
    /// The highest generation number given out.
    pub generations: i64,
    /// Generations whose slots can be removed.
    pub retiring: Vec<i64>,
    /// How many partitions the set has that this one is of. Missing where the projection was never divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Why the set of this partition has to be replaced by another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<String>,
}

/// A generation under construction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Building {
    pub generation: i64,
    /// The last target that is done, in the order of `_id`.
    pub after: Option<bson::Bson>,
    /// Whether all targets are done.
    pub complete: bool,
}

fn beginning() -> Timestamp {
    BEGINNING
}

impl Checkpoint {
    /// A projection that has never run.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            epoch: 0,
            resume: None,
            position: BEGINNING,
            applied_until: BEGINNING,
            ahead_until: BEGINNING,
            level: DateTime::from_millis(0),
            serving: None,
            intact: false,
            building: None,
            generations: 0,
            retiring: Vec::new(),
            partitions: None,
            replace: None,
        }
    }

    /// That of a partition of a new set, whose leader begins the build.
    pub fn of_set(part: &Part) -> Self {
        Self {
            generations: part.set.generation - 1,
            partitions: Some(part.set.count),
            ..Self::new(&part.name)
        }
    }

    /// Whether the set can serve as far as this partition is concerned.
    pub fn is_complete(&self) -> bool {
        self.serving.is_some() && self.intact && self.replace.is_none()
    }

    /// Whether the partition's stream cannot go on.
    pub fn is_lost(&self) -> bool {
        self.replace.is_some() && !self.intact && self.building.is_none()
    }

    /// The place of a generation's states.
    pub fn slot(&self, field: &str, generation: i64) -> Slot {
        Slot::new(field, generation, self.partitions)
    }

    /// The slots that follow the stream: the serving one while it is intact, and the one under
    /// construction.
    pub fn live_slots(&self, field: &str) -> Vec<Slot> {
        let serving = self.serving.filter(|_| self.intact);
        let building = self.building.as_ref().map(|building| building.generation);
        serving
            .into_iter()
            .chain(building)
            .map(|generation| self.slot(field, generation))
            .collect()
    }

    /// Begins the build of a new generation; one that is under construction is abandoned.
    pub fn begin_generation(&mut self) {
        self.retiring
            .extend(self.building.take().map(|abandoned| abandoned.generation));
        self.generations += 1;
        self.building = Some(Building {
            generation: self.generations,
            after: None,
            complete: false,
        });
    }

    /// A snapshot of the source before this time may lack a change that is applied.
    pub fn not_before(&self) -> Timestamp {
        self.position.max(self.applied_until)
    }

    /// What a write of this leader expects to find.
    fn guard(&self) -> Result<Document, Error> {
        let resume = bson::serialize_to_bson(&self.resume).map_err(malformed)?;
        Ok(doc! { "_id": &self.name, "epoch": self.epoch, "resume": resume })
    }
}

fn malformed(source: bson::error::Error) -> Error {
    Error::Malformed {
        what: "a checkpoint",
        source,
    }
}

/// Replaces a checkpoint by its successor, inside the session's transaction if there is one.
/// Returns whether `from` was still the present one.
pub(crate) async fn advance(
    store: &ProjectionStore,
    from: &Checkpoint,
    to: &Checkpoint,
    session: &mut ClientSession,
) -> Result<bool, Error> {
    let to = bson::serialize_to_document(to).map_err(malformed)?;
    let replaced = store
        .checkpoints
        .update_one(from.guard()?, doc! { "$set": to })
        .session(session)
        .await;
    let replaced = replaced.map_err(|source| Error::Database {
        doing: "storing the checkpoint",
        source,
    })?;
    Ok(replaced.matched_count == 1)
}

/// Takes the checkpoint over for a new epoch; from then on every older leader's writes fail.
/// `None` when a still newer epoch has it, or the partition's set is gone: its checkpoint came with the set, and is not
/// made again. What the session reads from then on comes after all that older leaders wrote, whichever node answers.
pub(crate) async fn claim(
    store: &ProjectionStore,
    part: &Part,
    epoch: i64,
    session: &mut ClientSession,
) -> Result<Option<Checkpoint>, Error> {
    let failed = |source| Error::Database {
        doing: "claiming the checkpoint",
        source,
    };
    let name = &part.name;
    if part.is_whole() {
        let fresh = bson::serialize_to_document(&Checkpoint::new(name)).map_err(malformed)?;
        let create = store
            .checkpoints
            .update_one(doc! { "_id": name }, doc! { "$setOnInsert": fresh })
            .upsert(true)
            .session(&mut *session);
        create.await.map_err(failed)?;
    }
    let older = doc! { "_id": name, "epoch": { "$lt": epoch } };
    let claimed = store
        .checkpoints
        .find_one_and_update(older, doc! { "$set": { "epoch": epoch } });
    claimed
        .return_document(mongodb::options::ReturnDocument::After)
        .session(session)
        .send()
        .await
        .map_err(failed)
}
