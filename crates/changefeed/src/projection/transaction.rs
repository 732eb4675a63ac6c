//! The one way to write: data and checkpoint in one transaction, compared and set.

use std::collections::HashSet;
use std::time::Duration;

use bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};

use crate::server_codes::{UNAUTHORIZED, is_passing, server_code};
use crate::{Error, SendAction, WithCauses, marker};

use super::Slot;
use super::any_projection::AnyProjection;
use super::checkpoint::{Checkpoint, advance};
use super::compute::{At, StateBytes, compute};
use super::dead_letter::DeadLetter;
use super::fold::{STALE, Statement};
use super::instance::Instance;
use super::partition::Part;
use super::store::{ProjectionStore, repair_id};
use super::update_commands::update_commands;

/// A commit whose outcome is unknown is asked for again this often.
const COMMIT_ATTEMPTS: u32 = 20;
const COMMIT_PAUSE: Duration = Duration::from_millis(100);

/// Targets computed again within a batch's transaction at most, and bytes of their states. Further ones
/// are marked for repair.
const ANEW_TARGETS_MAX: usize = 100;
const ANEW_BYTES_MAX: usize = 8 << 20;
/// Targets that one command marks for repair.
const REPAIRS_AT_ONCE: usize = 1_000;

/// What one transaction writes beside the checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// Updates of targets, encoded.
    pub statements: Vec<Statement>,
    /// Events that are passed without being applied.
    pub dead_letters: Vec<DeadLetter>,
    /// Targets to compute again within the transaction, as far as it can take them.
    pub anew: Vec<Bson>,
    /// Targets to compute again later, each with the reason. They may belong to other partitions of the set.
    pub repairs: Vec<(Bson, &'static str)>,
    /// Targets that were computed again.
    pub repaired: Vec<Bson>,
    /// Dead letters that are settled.
    pub settled: Vec<ObjectId>,
}

/// What is stored after a commit.
pub(crate) struct Committed {
    /// The checkpoint, with the time up to which states were computed ahead.
    pub checkpoint: Checkpoint,
    /// Whether there are targets to compute again later.
    pub repairs: bool,
}

/// Why a transaction was not committed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another leader went on: step down.
    Superseded,
    /// A passing fault, or more than the server takes at once: try again with less.
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

    /// Whether some states are brought forward by update operators.
    pub fn has_operators(&self) -> bool {
        self.statements
            .iter()
            .any(|statement| !statement.is_pipeline)
    }

    /// The targets whose states are brought forward by pipelines, each once.
    pub fn targets_of_pipelines(&self) -> impl Iterator<Item = Bson> {
        let pipelines = self
            .statements
            .iter()
            .filter(|statement| statement.is_pipeline);
        let targets: HashSet<Bson> = pipelines
            .map(|statement| statement.target.clone())
            .collect();
        targets.into_iter()
    }

    /// Writes all of it and moves the checkpoint from `from` to `to`, or does nothing. Returns what
    /// is stored now.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is written then, unless the outcome of the commit stayed unknown, which
    /// the next compare-and-set finds out.
    pub async fn commit(
        &self,
        instance: &Instance,
        session: &mut ClientSession,
        from: &Checkpoint,
        mut to: Checkpoint,
    ) -> Result<Committed, Refusal> {
        if self.is_empty() {
            let moved = advance(&instance.store, from, &to, session)
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
        let written = self.write(instance, session, from, &mut to);
        match written.await {
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

    async fn write(
        &self,
        instance: &Instance,
        session: &mut ClientSession,
        from: &Checkpoint,
        to: &mut Checkpoint,
    ) -> Result<bool, Refusal> {
        let Instance {
            projection,
            part,
            store,
            state_bytes,
            ..
        } = instance;
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
        if !anew.is_empty() {
            repairs
                .extend(compute_anew(&**projection, store, state_bytes, session, &anew, to).await?);
        }
        let later = !repairs.is_empty();
        self.write_bookkeeping(store, session, part, &repairs)
            .await
            .map_err(refusal)?;
        Ok(later)
    }

    /// The targets whose fold asked to be computed again.
    async fn gone_stale(
        &self,
        store: &ProjectionStore,
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
            let mut found = found.send().await.map_err(refusal)?;
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
        store: &ProjectionStore,
        session: &mut ClientSession,
        part: &Part,
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
                .map(|target| repair_id(&part.name, target))
                .collect();
            store
                .repairs
                .delete_many(doc! { "_id": { "$in": ids } })
                .session(&mut *session)
                .await?;
        }
        Self::mark_for_repair(store, session, part, repairs).await
    }

    /// Marks targets for repair, each with the reason, within the session's transaction.
    pub async fn mark_for_repair(
        store: &ProjectionStore,
        session: &mut ClientSession,
        part: &Part,
        repairs: &[(Bson, &'static str)],
    ) -> mongodb::error::Result<()> {
        for repairs in repairs.chunks(REPAIRS_AT_ONCE) {
            let marks = repairs.iter();
            let marks =
                marks.map(|(target, reason)| (part.name_of(target), target.clone(), *reason));
            Self::mark(store, session, marks.collect()).await?;
        }
        Ok(())
    }

    /// Marks targets for repair under these names, within the session's transaction.
    pub async fn mark(
        store: &ProjectionStore,
        session: &mut ClientSession,
        marks: Vec<(String, Bson, &'static str)>,
    ) -> mongodb::error::Result<()> {
        for marks in marks.chunks(REPAIRS_AT_ONCE) {
            let marks = marks.iter().map(|(name, target, reason)| {
                doc! {
                    "q": { "_id": repair_id(name, target) },
                    "u": { "$set": { "reason": *reason, "at": DateTime::now() } },
                    "upsert": true,
                }
            });
            let mark =
                doc! { "update": store.repairs.name(), "updates": marks.collect::<Vec<_>>() };
            let marked = store.database.run_command(mark).session(&mut *session);
            marked.await?;
        }
        Ok(())
    }
}

/// Computes states from the source as it is now, ahead of the checkpoint, and stores them: a piece at
/// a time, so that no more than a few MB of them are in memory. Returns those left for a repair.
async fn compute_anew(
    projection: &dyn AnyProjection,
    store: &ProjectionStore,
    state_bytes: &StateBytes,
    session: &mut ClientSession,
    targets: &[Bson],
    to: &mut Checkpoint,
) -> Result<Vec<(Bson, &'static str)>, Refusal> {
    let slots = to.live_slots(projection.field());
    let (mut repairs, mut bytes) = (Vec::new(), 0);
    let (mut left, later) = targets.split_at(targets.len().min(ANEW_TARGETS_MAX));
    let mut reason = "its transaction could not take it";
    while !left.is_empty() && bytes < ANEW_BYTES_MAX {
        let (piece, rest) = left.split_at(left.len().min(state_bytes.targets_at_once()));
        let at = At::NotBefore(to.not_before());
        let computed = match compute(projection, store, piece, at).await {
            Ok(Some(computed)) => computed,
            Ok(None) => {
                reason = "it could not be computed";
                break;
            }
            Err(error) => {
                tracing::warn!(
                    error = %WithCauses(&error),
                    projection = to.name,
                    "targets could not be computed and are marked for repair"
                );
                reason = "it could not be computed";
                break;
            }
        };
        to.ahead_until = to.ahead_until.max(computed.as_of);
        let (statements, unsendable) = computed.into_statements(piece, &slots);
        bytes += state_bytes.learn(piece.len(), &statements);
        update_targets(store, session, &statements).await?;
        let unsendable = unsendable.into_iter();
        repairs.extend(unsendable.map(|unsendable| (*unsendable.target, "its state is too large")));
        left = rest;
    }
    let left = left.iter().chain(later);
    repairs.extend(left.map(|target| (target.clone(), reason)));
    let ahead = doc! { "$set": { "ahead_until": to.ahead_until } };
    let told = store
        .checkpoints
        .update_one(doc! { "_id": &to.name }, ahead)
        .session(session)
        .await;
    told.map(|_| repairs).map_err(refusal)
}

/// Tries each statement in a transaction that is thrown away, and returns the targets that refuse.
pub(crate) async fn probe(
    store: &ProjectionStore,
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

pub(crate) async fn start(session: &mut ClientSession) -> Result<(), Refusal> {
    let transaction = session.start_transaction();
    let transaction = transaction
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority())
        // Whatever the client's is: the driver refuses a transaction that reads elsewhere.
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    transaction.await.map_err(refusal)
}

pub(crate) async fn update_targets(
    store: &ProjectionStore,
    session: &mut ClientSession,
    statements: &[Statement],
) -> Result<(), Refusal> {
    let bypass = store.bypasses_validation();
    for (command, statements) in update_commands(store.targets.name(), statements, bypass) {
        let reply = store
            .database
            .run_raw_command(command)
            .session(&mut *session);
        let reply = reply.await.map_err(|source| {
            if server_code(&source) == Some(UNAUTHORIZED) && store.respect_validation() {
                tracing::info!("the database user has no right to bypass the target collection's validator: writes respect it from now on");
                return Refusal::Transient(Error::Database {
                    doing: "writing a batch past a validator",
                    source,
                });
            }
            refusal(source)
        })?;
        if let Some(refused) = first_refused(&reply, statements) {
            return Err(refused);
        }
    }
    Ok(())
}

/// The first statement that the server refused, if there is one.
fn first_refused(reply: &Document, statements: &[Statement]) -> Option<Refusal> {
    let error = reply
        .get_array("writeErrors")
        .ok()?
        .first()?
        .as_document()?;
    let message = error.get_str("errmsg").unwrap_or("no reason given");
    if error.get_i32("code").is_ok_and(is_passing) {
        return Some(Refusal::Transient(Error::Refused(message.to_owned())));
    }
    let index = error
        .get_i32("index")
        .ok()
        .and_then(|index| usize::try_from(index).ok());
    Some(Refusal::Writes {
        target: index
            .and_then(|index| statements.get(index))
            .map(|statement| statement.target.clone()),
        reason: message.to_owned(),
    })
}

pub(crate) async fn commit(session: &mut ClientSession) -> Result<(), Refusal> {
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

pub(crate) async fn abort(session: &mut ClientSession) {
    if let Err(error) = session.abort_transaction().await {
        tracing::debug!(error = %WithCauses(&error), "a transaction could not be aborted: the server aborts it when its time is over");
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
    let passing = source.contains_label(TRANSIENT_TRANSACTION_ERROR)
        || server_code(&source).is_some_and(is_passing);
    if refused_by_server && !passing {
        return Refusal::Writes {
            target: None,
            reason: WithCauses(&source).to_string(),
        };
    }
    Refusal::Transient(Error::Database {
        doing: "writing a batch",
        source,
    })
}
