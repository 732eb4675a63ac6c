//! The lease: which instance leads, judged on the server's clock.
//!
//! The lease only saves double work. What keeps two leaders from both writing is the checkpoint's
//! compare-and-set ([`super::checkpoint`]): a leader that sleeps through its lease finds, when it
//! wakes, an epoch that is not its own.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use mongodb::ClientSession;
use mongodb::options::ReturnDocument;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Error, SendAction, WithCauses};

use super::checkpoint::CLOSED;
use super::partition::Part;
use super::store::ProjectionStore;

/// For so many times the length of a lease, a partition that failed at one instance is left to others.
const LEASES_AFTER_FAULT: u32 = 10;

/// Turns of a leader whose lease has run out.
const TURNS_MAX: u32 = 3;

/// One instance's candidacy for one projection.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    store: ProjectionStore,
    name: String,
    owner: String,
    length: Duration,
    /// How often a leader renews.
    renewal: Duration,
    leaders_turn: Turn,
    /// Whether it is made where there is none. That of a partition comes and goes with its set.
    is_made: bool,
}

/// Whether a leader gets the time to renew a lease that ran out while nobody could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    NotDue,
    /// The number of this turn since the lease was last seen to be valid.
    Due(u32),
    /// It has until then; the number of this turn.
    Given(Instant, u32),
}

impl Turn {
    /// Each outage gives the leader another turn: it may come right after the one before. Not for ever, or a database that
    /// is always slow would keep a dead leader.
    fn after_outage(self) -> Self {
        match self {
            Self::NotDue => Self::Due(1),
            Self::Given(_, number) if number < TURNS_MAX => Self::Due(number + 1),
            Self::Due(_) | Self::Given(..) => self,
        }
    }
}

/// A lease as it is stored.
struct Left {
    /// Zero when it has run out.
    time: Duration,
    /// Whether somebody has it, or had it when it ran out.
    is_held: bool,
}

/// What came of the attempt to take the lease.
pub(crate) enum Acquired {
    Held(Box<HeldLease>),
    /// Another instance leads; its lease runs out after this time if it does not renew it.
    Busy {
        left: Duration,
    },
}

/// A lease that is being renewed in the background until this is dropped.
pub(crate) struct HeldLease {
    pub epoch: i64,
    /// The session that the lease names: the leader's transactions run in it.
    pub session: Option<ClientSession>,
    /// Cancelled when another instance has the lease, or it could not be renewed in time.
    pub lost: CancellationToken,
    _keeper: DropGuard,
}

impl Lease {
    /// `owner` names the instance.
    pub fn new(
        store: ProjectionStore,
        part: &Part,
        owner: &str,
        length: Duration,
        heartbeat: Duration,
    ) -> Self {
        Self {
            store,
            name: part.name.clone(),
            is_made: part.is_whole(),
            owner: owner.to_owned(),
            length,
            renewal: heartbeat.min(length / 3),
            leaders_turn: Turn::NotDue,
        }
    }

    /// Takes the lease when it is free or has run out. Each taking has a higher epoch.
    ///
    /// A leader that died inside a transaction leaves it open for up to a minute, and with it the
    /// checkpoint locked. So the lease names the leader's session, and whoever takes a lease that
    /// was not given up kills that session.
    ///
    /// The lease is made where there is none, which is so after the database was dropped too:
    /// `known` is the highest epoch that this instance has heard of, and the new one is higher.
    pub async fn acquire(&mut self, known: i64) -> Result<Acquired, Error> {
        if known == CLOSED {
            return Ok(Acquired::Busy { left: self.length });
        }
        let left = self.look().await?;
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Ok(Acquired::Busy { left });
        }
        let failed = |source| Error::Database {
            doing: "taking the lease",
            source,
        };
        if left.is_none() {
            if !self.is_made {
                return Ok(Acquired::Busy { left: self.length });
            }
            let free = doc! { "owner": "", "epoch": known, "expires": DateTime::from_millis(0) };
            let create = doc! { "$setOnInsert": free };
            let create = self
                .store
                .leases
                .update_one(doc! { "_id": &self.name }, create);
            create.upsert(true).await.map_err(failed)?;
        }
        let session = self.store.client().start_session().await.map_err(failed)?;
        let run_out = doc! { "_id": &self.name, "$expr": { "$lt": ["$expires", "$$NOW"] } };
        let take = vec![doc! { "$set": {
            "owner": &self.owner,
            "session": { "$literal": session.id() },
            "epoch": { "$add": [{ "$max": ["$epoch", known] }, 1_i64] },
            "expires": self.expires(),
        } }];
        let taken = self
            .store
            .leases
            .find_one_and_update(run_out, take)
            .return_document(ReturnDocument::Before);
        let Some(before) = taken.send().await.map_err(failed)? else {
            return Ok(Acquired::Busy { left: self.length });
        };
        let before_epoch = before
            .get_i64("epoch")
            .map_err(|_| Error::Refused("the lease has no epoch".to_owned()))?;
        let epoch = before_epoch.max(known) + 1;
        if let Ok(left) = before.get_document("session") {
            self.kill_session(left).await;
        }
        Ok(Acquired::Held(Box::new(self.keep(epoch, session))))
    }

    /// How long the lease is still valid, zero when it has run out; `None` where there is none.
    ///
    /// While the database stands still or elects a primary, nobody can renew. So a lease that has run out then counts
    /// as renewed at the moment when the database answers again: otherwise a pause of the database would replace a
    /// healthy leader, which may need a moment to connect.
    async fn look(&mut self) -> Result<Option<Duration>, Error> {
        let began = Instant::now();
        let left = self.time_left().await;
        let is_disturbed = left.is_err() || began.elapsed() > self.renewal;
        if is_disturbed {
            self.leaders_turn = self.leaders_turn.after_outage();
        }
        let (left, is_held) = match left? {
            Some(Left { time, is_held }) => (Some(time), is_held),
            None => (None, false),
        };
        if !is_held {
            // It was given up: nobody wants to renew it.
            self.leaders_turn = Turn::NotDue;
            return Ok(left);
        }
        self.leaders_turn = match (left, self.leaders_turn) {
            (Some(Duration::ZERO), Turn::Due(number)) => {
                self.leaders_turn = Turn::Given(Instant::now() + self.length, number);
                return Ok(Some(self.length));
            }
            (Some(Duration::ZERO), Turn::Given(until, _)) => {
                return Ok(Some(until.saturating_duration_since(Instant::now())));
            }
            (Some(Duration::ZERO), turn) => turn,
            _ => Turn::NotDue,
        };
        Ok(left)
    }

    /// The lease as it is stored.
    async fn time_left(&self) -> Result<Option<Left>, Error> {
        let left = doc! { "$subtract": ["$expires", "$$NOW"] };
        let found = self
            .store
            .leases
            .find_one(doc! { "_id": &self.name })
            .projection(doc! { "left_ms": left, "owner": 1 });
        let found = found.send().await.map_err(|source| Error::Database {
            doing: "reading the lease",
            source,
        })?;
        // Another type than that of a lease: whoever takes it writes it right.
        Ok(found.map(|found| {
            let left = found.get_i64("left_ms").unwrap_or_default();
            Left {
                time: Duration::from_millis(u64::try_from(left).unwrap_or_default()),
                is_held: found.get_str("owner").is_ok_and(|owner| !owner.is_empty()),
            }
        }))
    }

    async fn kill_session(&self, left: &Document) {
        let kill = doc! { "killSessions": [left] };
        match self
            .store
            .client()
            .database("admin")
            .run_command(kill)
            .await
        {
            Ok(_) => tracing::info!(
                projection = self.name,
                "the last leader ended without releasing its lease: its session was ended"
            ),
            Err(error) => {
                tracing::warn!(error = %WithCauses(&error), projection = self.name, "the last leader's session could not be ended: its transaction may hold this one up for a minute");
            }
        }
    }

    /// Gives the lease up, so that another instance need not wait for it to run out.
    pub async fn release(&self, held: HeldLease) {
        let mine = doc! { "_id": &self.name, "owner": &self.owner, "epoch": held.epoch };
        // No more renewals; one that is under way finds no lease of this owner any more.
        drop(held);
        let free = doc! { "owner": "", "expires": DateTime::from_millis(0) };
        let free = doc! { "$set": free, "$unset": { "session": "" } };
        if let Err(error) = self.store.leases.update_one(mine, free).await {
            tracing::debug!(error = %WithCauses(&error), projection = self.name, "the lease could not be released: it expires by itself");
        }
    }

    /// Gives the lease up after a fault: another instance should lead next, if there is one.
    pub async fn release_failed(&self, held: HeldLease) {
        let mine = doc! { "_id": &self.name, "owner": &self.owner, "epoch": held.epoch };
        drop(held);
        let patience = (self.length * LEASES_AFTER_FAULT).as_millis();
        let patience = i64::try_from(patience).unwrap_or(i64::MAX);
        let failed = doc! { "at": &self.owner, "until": { "$add": ["$$NOW", patience] } };
        let free = vec![
            doc! { "$set": { "owner": "", "expires": DateTime::from_millis(0), "failed": failed } },
            doc! { "$unset": "session" },
        ];
        if let Err(error) = self.store.leases.update_one(mine, free).await {
            tracing::debug!(error = %WithCauses(&error), projection = self.name, "the lease could not be released: it expires by itself");
        }
    }

    fn keep(&self, epoch: i64, session: ClientSession) -> HeldLease {
        let (lost, ended) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(self.clone().renew_until(epoch, lost.clone(), ended.clone()));
        HeldLease {
            epoch,
            session: Some(session),
            lost,
            _keeper: ended.drop_guard(),
        }
    }

    async fn renew_until(self, epoch: i64, lost: CancellationToken, ended: CancellationToken) {
        let mine = doc! { "_id": &self.name, "owner": &self.owner, "epoch": epoch };
        let mut renewed = Instant::now();
        let mut pause = self.renewal;
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = self.renewal;
            let longer = vec![doc! { "$set": { "expires": self.expires() } }];
            let began = Instant::now();
            match self.store.leases.update_one(mine.clone(), longer).await {
                Ok(renewal) if renewal.matched_count == 1 => renewed = began,
                // It was released meanwhile.
                Ok(_) if ended.is_cancelled() => return,
                Ok(_) => {
                    tracing::warn!(
                        projection = self.name,
                        epoch,
                        "another instance has taken the lease"
                    );
                    return lost.cancel();
                }
                Err(error) if renewed.elapsed() > self.length => {
                    tracing::warn!(error = %WithCauses(&error), projection = self.name, epoch, "the lease could not be renewed in time");
                    return lost.cancel();
                }
                Err(error) => {
                    // The standbys' patience begins when the database answers again.
                    pause = self.renewal / 4;
                    tracing::debug!(error = %WithCauses(&error), projection = self.name, "the lease could not be renewed yet");
                }
            }
        }
    }

    fn expires(&self) -> Document {
        doc! { "$add": ["$$NOW", i64::try_from(self.length.as_millis()).unwrap_or(i64::MAX)] }
    }
}
