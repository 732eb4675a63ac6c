//! Operations that are being prepared: further requests for the same one wait for the first,
//! without a turn of their own.
//!
//! After a start, or with a new supergraph, all clients send the same few documents at once.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard},
};

use graphql_transport::ClientKey;
use tokio::sync::watch;

use super::{prepared::Prepared, rollout::RolloutGroup};
use crate::error::RequestError;

/// The result of preparing an operation.
pub type Outcome = Result<Arc<Prepared>, RequestError>;

/// Identifies a prepared operation: the document, the operation's name, the group of requests.
type PreparationKey = (Arc<str>, Option<Box<str>>, RolloutGroup);

/// The operations that are being prepared, each by the first caller that requested it.
#[derive(Default)]
pub struct InPreparation(Mutex<HashMap<PreparationKey, Leader>>);

struct Leader {
    client: ClientKey,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// What a caller has to do to get an operation.
pub enum Role<'p> {
    /// It is the first caller and prepares the operation.
    Lead(Lead<'p>),
    /// It waits for the caller that prepares the operation.
    Follow(Follow),
}

/// The caller that prepares an operation. If it is dropped without an outcome, those that wait try
/// themselves.
pub struct Lead<'p> {
    all: &'p InPreparation,
    key: PreparationKey,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Lead<'_> {
    /// Passes the outcome to those that wait.
    pub fn end(self, outcome: &Outcome) {
        self.outcome.send_replace(Some(outcome.clone()));
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

/// A caller that waits for another one's outcome.
pub struct Follow {
    /// Whether both callers are the same client, which has a single queue.
    pub is_same_client: bool,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Follow {
    /// The outcome; `None` if the other caller has left.
    pub async fn outcome(&mut self) -> Option<Outcome> {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        outcome.ok()?.clone()
    }
}

impl InPreparation {
    /// Joins the callers that want the operation.
    pub fn join(
        &self,
        client: ClientKey,
        document: &Arc<str>,
        operation_name: Option<&str>,
        group: RolloutGroup,
    ) -> Role<'_> {
        let key: PreparationKey = (Arc::clone(document), operation_name.map(Box::from), group);
        match self.lock().entry(key) {
            Entry::Occupied(leader) => {
                let leader = leader.get();
                Role::Follow(Follow {
                    is_same_client: leader.client == client,
                    outcome: leader.outcome.clone(),
                })
            }
            Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(None);
                let key = place.key().clone();
                place.insert(Leader {
                    client,
                    outcome: receiver,
                });
                Role::Lead(Lead {
                    all: self,
                    key,
                    outcome: sender,
                })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PreparationKey, Leader>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
