//! Commands from any instance to the one that leads, through a collection.

use std::time::Duration;

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::change::ChangeEvent;
use crate::{Error, SendAction};

use super::Replayed;
use super::checkpoint::CLOSED;
use super::dead_letter::DeadLetter;
use super::leader::{Ended, Leader};
use super::partition::Part;
use super::repair::Repaired;
use super::store::ProjectionStore;
use super::transaction_size::Size;

/// How often a caller looks whether its command is done.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How often it looks whether the partition is still there.
const LOOK_FOR_PART_INTERVAL: Duration = Duration::from_millis(500);
/// Dead letters read at once.
const LETTERS_AT_ONCE: i64 = 100;

pub(crate) const REBUILD: &str = "rebuild";
pub(crate) const REPLAY: &str = "replay";

/// Leaves a command for the leader of a partition and waits for its result, at most until this instance stops. `None` when
/// the partition is gone, so that nobody serves the command any more.
pub(crate) async fn request(
    store: &ProjectionStore,
    part: &Part,
    kind: &str,
    nudge: impl Fn(),
    stop: &CancellationToken,
) -> Result<Option<Document>, Error> {
    let failed = |source| Error::Database {
        doing: "passing a command to the leader",
        source,
    };
    let id = uuid::Uuid::new_v4().to_string();
    let request = doc! { "_id": &id, "projection": &part.name, "kind": kind, "at": DateTime::now(), "result": Bson::Null };
    store.requests.insert_one(request).await.map_err(failed)?;
    let mut look_for_part = Instant::now();
    nudge();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            () = stop.cancelled() => return Err(Error::TaskEnded("the projection")),
        }
        let request = store
            .requests
            .find_one(doc! { "_id": &id })
            .send()
            .await
            .map_err(failed)?;
        let Some(mut request) = request else {
            return Ok(None);
        };
        if let Some(Bson::Document(result)) = request.remove("result") {
            store
                .requests
                .delete_one(doc! { "_id": &id })
                .await
                .map_err(failed)?;
            return Ok(Some(result));
        }
        // Its set may have been removed just before the command came.
        if Instant::now() >= look_for_part {
            look_for_part = Instant::now() + LOOK_FOR_PART_INTERVAL;
            if is_gone(store, part).await.map_err(failed)? {
                let removed = store.requests.delete_one(doc! { "_id": &id });
                removed.await.map_err(failed)?;
                return Ok(None);
            }
        }
    }
}

/// Whether a partition has no checkpoint that a leader could claim. That of a projection that was never divided is made by
/// its first leader.
async fn is_gone(store: &ProjectionStore, part: &Part) -> mongodb::error::Result<bool> {
    let checkpoints = store.checkpoints.clone_with_type::<Document>();
    let found = checkpoints
        .find_one(doc! { "_id": &part.name })
        .projection(doc! { "epoch": 1 })
        .send()
        .await?;
    Ok(match found {
        Some(found) => found.get_i64("epoch").is_ok_and(|epoch| epoch == CLOSED),
        None => !part.is_whole(),
    })
}

impl Leader<'_> {
    /// Serves the commands that wait.
    pub async fn serve_requests(&mut self) -> Result<(), Ended> {
        let failed = |source| {
            Ended::Fault(Error::Database {
                doing: "serving a command",
                source,
            })
        };
        let requests = self.instance.store.requests.clone();
        let open = doc! { "projection": &self.instance.part.name, "result": Bson::Null };
        let raw = requests.clone_with_type::<RawDocumentBuf>();
        let open = match raw.find(open).sort(doc! { "at": 1 }).send().await {
            Ok(open) => open.try_collect::<Vec<RawDocumentBuf>>().await,
            Err(error) => Err(error),
        };
        let open = match open {
            Ok(open) => open,
            Err(error) => {
                self.put_off("reading the commands", &error);
                return Ok(());
            }
        };
        // One that cannot be read is nobody's command.
        let open = open
            .iter()
            .filter_map(|request| Document::try_from(&**request).ok());
        for request in open {
            let Some(id) = request.get("_id") else {
                continue;
            };
            match request.get_str("kind") {
                Ok(REBUILD) => {
                    self.serve_rebuild(id, request.get_i64("started").ok(), &requests)
                        .await?
                }
                Ok(REPLAY) => {
                    let Replayed {
                        replayed,
                        remaining,
                    } = self.replay().await?;
                    let result =
                        doc! { "replayed": replayed as i64, "remaining": remaining as i64 };
                    finish(&requests, id, result).await.map_err(failed)?;
                }
                _ => finish(&requests, id, doc! { "error": "unknown command" })
                    .await
                    .map_err(failed)?,
            }
        }
        Ok(())
    }

    async fn serve_rebuild(
        &mut self,
        id: &Bson,
        started: Option<i64>,
        requests: &Collection<Document>,
    ) -> Result<(), Ended> {
        let failed = |source| {
            Ended::Fault(Error::Database {
                doing: "serving a command",
                source,
            })
        };
        match started {
            Some(generation) if self.checkpoint.serving >= Some(generation) => {
                finish(requests, id, Document::new()).await.map_err(failed)
            }
            Some(_) => Ok(()),
            None => {
                if self.checkpoint.building.is_none() {
                    self.begin_build_beside("a command").await?;
                }
                let started = doc! { "$set": { "started": self.checkpoint.generations } };
                requests
                    .update_one(doc! { "_id": id }, started)
                    .await
                    .map_err(failed)?;
                Ok(())
            }
        }
    }

    /// Tries all dead letters again.
    async fn replay(&mut self) -> Result<Replayed, Ended> {
        let failed = |source| {
            Ended::Fault(Error::Database {
                doing: "reading the dead letters",
                source,
            })
        };
        let letters = self
            .instance
            .store
            .dead_letters
            .clone_with_type::<RawDocumentBuf>();
        let mut outcome = Replayed {
            replayed: 0,
            remaining: 0,
        };
        let mut after = Bson::MinKey;
        loop {
            let next =
                doc! { "projection": self.instance.projection.name(), "_id": { "$gt": &after } };
            let page = letters
                .find(next)
                .sort(doc! { "_id": 1 })
                .limit(LETTERS_AT_ONCE)
                .send()
                .await
                .map_err(failed)?;
            let page: Vec<RawDocumentBuf> = page.try_collect().await.map_err(failed)?;
            let Some(last) = page.last() else {
                return Ok(outcome);
            };
            let last = last.get("_id").ok().flatten();
            let Some(last) = last.and_then(|id| Bson::try_from(id).ok()) else {
                return Ok(outcome);
            };
            after = last;
            for letter in &page {
                // Not one of ours, or spoiled: it stays, and stops no other.
                let Ok(letter) = bson::deserialize_from_slice::<DeadLetter>(letter.as_bytes())
                else {
                    outcome.remaining += u64::from(self.instance.part.number == 0);
                    continue;
                };
                let letter = &letter;
                if !self.is_own_letter(letter) {
                    continue;
                }
                let replayed = match self.targets_of_letter(letter).await.map_err(failed)? {
                    Some(targets) => self.repair_letter(&targets, letter).await?,
                    None => false,
                };
                match replayed {
                    true => outcome.replayed += 1,
                    false => outcome.remaining += 1,
                }
            }
        }
    }

    /// Whether it is for this partition to replay: the first target that it is known to concern is one of its own.
    fn is_own_letter(&self, letter: &DeadLetter) -> bool {
        let part = &self.instance.part;
        match letter.targets.first() {
            Some(target) => part.holds(target),
            None => part.number == 0,
        }
    }

    /// Computes a dead letter's targets again, over passing faults; returns whether that was possible.
    async fn repair_letter(
        &mut self,
        targets: &[Bson],
        letter: &DeadLetter,
    ) -> Result<bool, Ended> {
        let tried = Size::of_targets(targets.len());
        loop {
            match self.repair(targets, vec![letter.id]).await? {
                Repaired::Done(_) => return Ok(true),
                Repaired::Impossible => return Ok(false),
                Repaired::Failed(error) => self.recover(error, tried, tried).await?,
            }
        }
    }

    /// The targets that make up for a dead letter when they are computed again; `None` while the
    /// source document still cannot be read.
    async fn targets_of_letter(
        &self,
        letter: &DeadLetter,
    ) -> mongodb::error::Result<Option<Vec<Bson>>> {
        let projection = &*self.instance.projection;
        let mut targets = letter.targets.clone();
        let source = self
            .instance
            .store
            .database
            .collection::<bson::RawDocumentBuf>(self.instance.source.collection());
        if let Some(present) = source.find_one(doc! { "_id": &letter.key }).send().await? {
            let present = projection.read(&present);
            targets.extend(present.ok().map(|present| projection.target_of(&present)));
        }
        if let Some(Ok(ChangeEvent::Write(change))) =
            letter.event.as_ref().map(|event| ChangeEvent::read(event))
        {
            let images = [change.before, change.after].into_iter().flatten();
            let readable = images.filter_map(|image| projection.read(image).ok());
            targets.extend(readable.map(|source| projection.target_of(&source)));
        }
        let mut distinct: Vec<Bson> = Vec::with_capacity(targets.len());
        for target in targets {
            if !distinct.contains(&target) {
                distinct.push(target);
            }
        }
        Ok(Some(distinct))
    }
}

async fn finish(
    requests: &Collection<Document>,
    id: &Bson,
    result: Document,
) -> mongodb::error::Result<()> {
    requests
        .update_one(doc! { "_id": id }, doc! { "$set": { "result": result } })
        .await
        .map(|_| ())
}
