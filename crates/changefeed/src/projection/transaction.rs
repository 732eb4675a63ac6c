//! The one way to write: data and checkpoint in one transaction, compared and set.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{ReadConcern, WriteConcern};

use crate::{Error, marker};

use super::checkpoint::{Checkpoint, advance};
use super::compute::{At, compute};
use super::dead_letter::DeadLetter;
use super::fold::{STALE, Statement};
use super::store::{Store, repair_id};
use super::update_commands::{Unsendable, update_commands};
use super::{Projection, Slot};

/// A commit whose outcome is unknown is asked for again this often.
const COMMIT_ATTEMPTS: u32 = 20;
const COMMIT_PAUSE: Duration = Duration::from_millis(100);

/// What one transaction writes beside the checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// Updates of targets.
    pub statements: Vec<Statement>,
    /// Events that are passed without being applied.
    pub dead_letters: Vec<DeadLetter>,
    /// Targets to compute anew within the transaction.
    pub anew: Vec<Bson>,
    /// Targets to compute anew later, each with the reason.
    pub repairs: Vec<(Bson, &'static str)>,
    /// Targets that were computed anew.
    pub repaired: Vec<Bson>,
    /// Dead letters that are settled.
    pub settled: Vec<ObjectId>,
}

/// What is stored after a commit.
pub(crate) struct Committed {
    /// The checkpoint, which may tell of states computed ahead.
    pub checkpoint: Checkpoint,
    /// Whether there are targets to compute anew later.
    pub repairs: bool,
}

/// Why a transaction was not committed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another leader went on: step down.
    Superseded,
    /// A passing fault: try again.
    Transient(Error),
    /// The server refuses these writes, because of this target if it says so.
    Writes {
        target: Option<Bson>,
        reason: String,
    },
}

impl Writes {
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
            && self.anew.is_empty()
            && self.dead_letters.is_empty()
            && self.repairs.is_empty()
            && self.repaired.is_empty()
            && self.settled.is_empty()
    }

    /// Writes all of it and moves the checkpoint from `from` to `to`, or does nothing. Returns what
    /// is stored now.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is written then, unless the outcome of the commit stayed unknown, which
    /// the next compare-and-set finds out.
    pub async fn commit<P: Projection>(
        &self,
        projection: &P,
        store: &Store,
        session: &mut ClientSession,
        from: &Checkpoint,
        mut to: Checkpoint,
    ) -> Result<Committed, Refusal> {
        if self.is_empty() {
            let moved = advance(store, from, &to, session)
                .await
                .map_err(Refusal::Transient)?;
            let unchanged = Committed {
                checkpoint: to,
                repairs: false,
            };
            return if moved {
                Ok(unchanged)
            } else {
                Err(Refusal::Superseded)
            };
        }
        start(session).await?;
        match self.write(projection, store, session, from, &mut to).await {
            Ok(repairs) => {
                marker::reach(marker::IN_TRANSACTION).await;
                commit(session).await?;
                marker::reach(marker::AFTER_COMMIT).await;
                Ok(Committed {
                    checkpoint: to,
                    repairs,
                })
            }
            Err(refusal) => {
                abort(session).await;
                Err(refusal)
            }
        }
    }

    async fn write<P: Projection>(
        &self,
        projection: &P,
        store: &Store,
        session: &mut ClientSession,
        from: &Checkpoint,
        to: &mut Checkpoint,
    ) -> Result<bool, Refusal> {
        match advance(store, from, to, session).await {
            Ok(true) => {}
            Ok(false) => return Err(Refusal::Superseded),
            Err(Error::Database { source, .. }) => return Err(refusal(source)),
            Err(error) => return Err(Refusal::Transient(error)),
        }
        update_targets(store, session, &self.statements).await?;
        let mut anew = self.anew.clone();
        anew.extend(self.gone_stale(store, session).await?);
        let mut repairs = self.repairs.clone();
        if !anew.is_empty() && !compute_anew(projection, store, session, &anew, to).await? {
            repairs.extend(
                anew.into_iter()
                    .map(|target| (target, "it could not be computed")),
            );
        }
        let later = !repairs.is_empty();
        self.write_bookkeeping(store, session, &to.name, &repairs)
            .await
            .map_err(refusal)?;
        Ok(later)
    }

    /// The targets whose fold asked to be computed anew.
    async fn gone_stale(
        &self,
        store: &Store,
        session: &mut ClientSession,
    ) -> Result<Vec<Bson>, Refusal> {
        let mut stale = Vec::new();
        for slot in self.slots_that_may_go_stale() {
            let of_slot = |statement: &&Statement| statement.may_go_stale.as_ref() == Some(slot);
            let targets = self
                .statements
                .iter()
                .filter(of_slot)
                .map(|statement| statement.target.clone());
            let stale_now =
                doc! { "_id": { "$in": targets.collect::<Vec<_>>() }, slot.path(STALE): true };
            let found = store
                .targets
                .find(stale_now)
                .projection(doc! { "_id": 1 })
                .session(&mut *session);
            let mut found = found.await.map_err(refusal)?;
            let mut found = found.stream(session);
            while let Some(mut target) = found.try_next().await.map_err(refusal)? {
                stale.extend(target.remove("_id"));
            }
        }
        Ok(stale)
    }

    fn slots_that_may_go_stale(&self) -> Vec<&Slot> {
        let mut slots: Vec<&Slot> = Vec::new();
        for slot in self
            .statements
            .iter()
            .filter_map(|statement| statement.may_go_stale.as_ref())
        {
            if !slots.contains(&slot) {
                slots.push(slot);
            }
        }
        slots
    }

    async fn write_bookkeeping(
        &self,
        store: &Store,
        session: &mut ClientSession,
        projection: &str,
        repairs: &[(Bson, &'static str)],
    ) -> mongodb::error::Result<()> {
        if !self.dead_letters.is_empty() {
            store
                .dead_letters
                .insert_many(&self.dead_letters)
                .session(&mut *session)
                .await?;
        }
        if !self.settled.is_empty() {
            store
                .dead_letters
                .delete_many(doc! { "_id": { "$in": &self.settled } })
                .session(&mut *session)
                .await?;
        }
        if !self.repaired.is_empty() {
            let ids: Vec<Document> = self
                .repaired
                .iter()
                .map(|target| repair_id(projection, target))
                .collect();
            store
                .repairs
                .delete_many(doc! { "_id": { "$in": ids } })
                .session(&mut *session)
                .await?;
        }
        for (target, reason) in repairs {
            let row = doc! { "$set": { "reason": *reason, "at": DateTime::now() } };
            let insert = store
                .repairs
                .update_one(doc! { "_id": repair_id(projection, target) }, row);
            insert.upsert(true).session(&mut *session).await?;
        }
        Ok(())
    }
}

/// Computes states from the source as it is now, ahead of the checkpoint, and stores them. Returns
/// false when they cannot be computed.
async fn compute_anew<P: Projection>(
    projection: &P,
    store: &Store,
    session: &mut ClientSession,
    targets: &[Bson],
    to: &mut Checkpoint,
) -> Result<bool, Refusal> {
    let computed = match compute(projection, store, targets, At::NotBefore(to.not_before())).await {
        Ok(Some(computed)) => computed,
        Ok(None) => return Ok(false),
        Err(error) => {
            tracing::warn!(
                error = error.with_causes(),
                projection = to.name,
                "targets could not be computed"
            );
            return Ok(false);
        }
    };
    let slots = to.live_slots(projection.field());
    let statements = slots.iter().flat_map(|slot| computed.replacements(slot));
    update_targets(store, session, &statements.collect::<Vec<_>>()).await?;
    to.ahead_until = to.ahead_until.max(computed.as_of);
    let ahead = doc! { "$set": { "ahead_until": to.ahead_until } };
    let told = store
        .checkpoints
        .update_one(doc! { "_id": &to.name }, ahead)
        .session(session)
        .await;
    told.map(|_| true).map_err(refusal)
}

/// Tries each statement in a transaction that is thrown away, and returns the targets that refuse.
pub(crate) async fn probe(
    store: &Store,
    session: &mut ClientSession,
    statements: &[Statement],
) -> Result<Vec<(Bson, String)>, Refusal> {
    let mut refused = Vec::new();
    for statement in statements {
        start(session).await?;
        let tried = update_targets(store, session, std::slice::from_ref(statement)).await;
        abort(session).await;
        match tried {
            Ok(()) => {}
            Err(Refusal::Writes { reason, .. }) => refused.push((statement.target.clone(), reason)),
            Err(other) => return Err(other),
        }
    }
    Ok(refused)
}

async fn start(session: &mut ClientSession) -> Result<(), Refusal> {
    let transaction = session.start_transaction();
    let transaction = transaction
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority());
    transaction.await.map_err(refusal)
}

async fn update_targets(
    store: &Store,
    session: &mut ClientSession,
    statements: &[Statement],
) -> Result<(), Refusal> {
    for command in update_commands(store.targets.name(), statements) {
        let (command, statements) = command?;
        let reply = store
            .database
            .run_raw_command(command)
            .session(&mut *session);
        if let Some(refused) = first_refused(&reply.await.map_err(refusal)?, statements) {
            return Err(refused);
        }
    }
    Ok(())
}

impl From<Unsendable> for Refusal {
    fn from(Unsendable { target, reason }: Unsendable) -> Self {
        Self::Writes {
            target: Some(*target),
            reason,
        }
    }
}

/// The first statement that the server refused, if there is one.
fn first_refused(reply: &Document, statements: &[Statement]) -> Option<Refusal> {
    let error = reply
        .get_array("writeErrors")
        .ok()?
        .first()?
        .as_document()?;
    let index = error
        .get_i32("index")
        .ok()
        .and_then(|index| usize::try_from(index).ok());
    Some(Refusal::Writes {
        target: index
            .and_then(|index| statements.get(index))
            .map(|statement| statement.target.clone()),
        reason: error
            .get_str("errmsg")
            .unwrap_or("no reason given")
            .to_owned(),
    })
}

async fn commit(session: &mut ClientSession) -> Result<(), Refusal> {
    let mut attempts = 1;
    loop {
        match session.commit_transaction().await {
            Ok(()) => return Ok(()),
            Err(error)
                if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
                    && attempts < COMMIT_ATTEMPTS =>
            {
                attempts += 1;
                tokio::time::sleep(COMMIT_PAUSE).await;
            }
            Err(source) => {
                return Err(Refusal::Transient(Error::Database {
                    doing: "committing a batch",
                    source,
                }));
            }
        }
    }
}

async fn abort(session: &mut ClientSession) {
    if let Err(error) = session.abort_transaction().await {
        tracing::debug!(%error, "the transaction could not be aborted: the server will");
    }
}

/// Tells faults that pass from refusals that stay.
fn refusal(source: mongodb::error::Error) -> Refusal {
    let refused_by_server = matches!(
        source.kind.as_ref(),
        mongodb::error::ErrorKind::Command(_)
            | mongodb::error::ErrorKind::Write(_)
            | mongodb::error::ErrorKind::InsertMany(_)
    );
    if refused_by_server && !source.contains_label(TRANSIENT_TRANSACTION_ERROR) {
        return Refusal::Writes {
            target: None,
            reason: source.to_string(),
        };
    }
    Refusal::Transient(Error::Database {
        doing: "writing a batch",
        source,
    })
}
