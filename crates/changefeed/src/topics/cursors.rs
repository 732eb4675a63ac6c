//! Cursors without a hub: for a process that hands them out with its answers, and follows no change stream.

use std::time::Duration;

use bson::{Bson, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::position::first_after;
use crate::{Cursor, Error, OperationTime, ResumeToken, Source, WithCauses};

use super::TopicField;
use super::cursor::Codec;
use super::hub::AHEAD_SECONDS_MAX;

/// How often the cluster's time is read. A subscription after a cursor gets the changes of this time again.
const INTERVAL: Duration = Duration::from_secs(1);

/// Makes cursors that the [`crate::Hub`]s of other processes resume after. It ends when it is dropped.
pub struct Cursors {
    codec: Codec,
    source: Source,
    topic_field: TopicField,
    /// The cluster's time, a moment ago.
    now: watch::Receiver<Timestamp>,
    _stop: DropGuard,
}

impl Cursors {
    /// Enables pre- and post-images on the source, as the hubs do, and reads the cluster's time from now on, once a second.
    /// Source and topic field are those of the hubs.
    ///
    /// # Errors
    /// When the database cannot be reached, is no replica set, or refuses.
    pub async fn start(source: Source, topic_field: impl Into<TopicField>) -> Result<Self, Error> {
        source.enable_images().await?;
        let codec = Codec::load(&source).await?;
        let (sender, now) = watch::channel(source.now().await?);
        let stop = CancellationToken::new();
        tokio::spawn(keep(source.clone(), sender, stop.clone()));
        Ok(Self {
            codec,
            source,
            topic_field: topic_field.into(),
            now,
            _stop: stop.drop_guard(),
        })
    }

    /// A cursor of the last second: a subscription after it gets every change from now on, and some of before. It waits for
    /// nothing, so what is read after this call has all that such a subscription leaves out.
    pub fn now(&self, topic: impl Into<Bson>) -> Cursor {
        let topic = self.topic_field.topic(topic.into());
        let after = first_after(*self.now.borrow());
        self.codec.encode(&topic, &ResumeToken::before(after))
    }

    /// As [`crate::Hub::is_future`], by the cluster's time of the last second.
    pub fn is_future(&self, time: OperationTime) -> bool {
        let now = self.now.borrow().time;
        time.timestamp().time > now.saturating_add(AHEAD_SECONDS_MAX)
    }

    /// Creates again what cursors and the hubs need in the database, where it is missing. Call it after the collection is
    /// gone.
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses.
    pub async fn prepare(&self) -> Result<(), Error> {
        self.source.enable_images().await?;
        self.codec.refresh(&self.source).await
    }
}

/// Without an answer the time stays: a subscription after an older cursor gets more again.
async fn keep(source: Source, now: watch::Sender<Timestamp>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        match source.now().await {
            Ok(time) => drop(now.send_replace(time)),
            Err(error) => tracing::debug!(
                error = %WithCauses(&error),
                "the cluster's time could not be read for cursors, will retry"
            ),
        }
    }
}
