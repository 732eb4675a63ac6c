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

use super::store::ProjectionStore;

/// One instance's candidacy for one projection.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    store: ProjectionStore,
    name: String,
    owner: String,
    length: Duration,
    /// How often a leader renews.
    renewal: Duration,
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
    pub fn new(store: ProjectionStore, name: &str, length: Duration, heartbeat: Duration) -> Self {
        let owner = uuid::Uuid::new_v4().to_string();
        Self {
            store,
            name: name.to_owned(),
            owner,
            length,
            renewal: heartbeat.min(length / 3),
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
    pub async fn acquire(&self, known: i64) -> Result<Option<HeldLease>, Error> {
        let failed = |source| Error::Database {
            doing: "taking the lease",
            source,
        };
        let free = doc! { "owner": "", "epoch": known, "expires": DateTime::from_millis(0) };
        let create = self
            .store
            .leases
            .update_one(doc! { "_id": &self.name }, doc! { "$setOnInsert": free });
        create.upsert(true).await.map_err(failed)?;
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
            return Ok(None);
        };
        let before_epoch = before
            .get_i64("epoch")
            .map_err(|_| Error::Refused("the lease has no epoch".to_owned()))?;
        let epoch = before_epoch.max(known) + 1;
        if let Ok(left) = before.get_document("session") {
            self.kill_session(left).await;
        }
        Ok(Some(self.keep(epoch, session)))
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
    pub async fn release(&self, epoch: i64) {
        let mine = doc! { "_id": &self.name, "owner": &self.owner, "epoch": epoch };
        let free =
            doc! { "$set": { "expires": DateTime::from_millis(0) }, "$unset": { "session": "" } };
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
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep(self.renewal) => {}
            }
            let longer = vec![doc! { "$set": { "expires": self.expires() } }];
            let began = Instant::now();
            match self.store.leases.update_one(mine.clone(), longer).await {
                Ok(renewal) if renewal.matched_count == 1 => renewed = began,
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
                    tracing::debug!(error = %WithCauses(&error), projection = self.name, "the lease could not be renewed yet")
                }
            }
        }
    }

    fn expires(&self) -> Document {
        doc! { "$add": ["$$NOW", i64::try_from(self.length.as_millis()).unwrap_or(i64::MAX)] }
    }
}
