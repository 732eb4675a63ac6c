//! Cursors without a hub: for a process that hands them out with its answers, and follows no change stream.

use std::time::Duration;

use bson::{Bson, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::position::first_after;
use crate::{Cursor, Error, OperationTime, ResumeToken, Source, WithCauses};

use super::TopicField;
use super::cursor::Codec;
use super::hub::AHEAD_SECONDS_MAX;

/// How often the cluster's time is read. A subscription after a cursor gets the changes of this time again.
const INTERVAL: Duration = Duration::from_secs(1);
/// The keys are read again each time after so many readings of the time.
const KEYS_EVERY: u64 = 10;

/// Makes cursors that the [`crate::Hub`]s of other processes resume after. It ends when it is dropped.
pub struct Cursors {
    codec: Codec,
    source: Source,
    topic_field: TopicField,
    /// The cluster's time, a moment ago.
    now: watch::Receiver<Reading>,
    _stop: DropGuard,
}

/// The cluster's time, and when it was read.
#[derive(Clone, Copy)]
struct Reading {
    time: Timestamp,
    at: Instant,
}

impl Reading {
    async fn of(source: &Source) -> Result<Self, Error> {
        // A process that sleeps meanwhile takes the time for older than it is.
        let at = Instant::now();
        let time = source.now().await?;
        Ok(Self { time, at })
    }
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
        let (sender, now) = watch::channel(Reading::of(&source).await?);
        let stop = CancellationToken::new();
        tokio::spawn(keep(source.clone(), codec.clone(), sender, stop.clone()));
        Ok(Self {
            codec,
            source,
            topic_field: topic_field.into(),
            now,
            _stop: stop.drop_guard(),
        })
    }

    /// A cursor of the last seconds: a subscription after it gets every change from now on, and some of before. It waits for
    /// nothing, so what is read after this call has all that such a subscription leaves out. The server's time may be later
    /// than that of a write that has not ended yet: so the cursor is of a second before.
    pub fn now(&self, topic: impl Into<Bson>) -> Cursor {
        let topic = self.topic_field.topic(topic.into());
        let mut before = self.now.borrow().time;
        before.time = before.time.saturating_sub(1);
        let after = first_after(before);
        self.codec.encode(&topic, &ResumeToken::before(after))
    }

    /// As [`crate::Hub::is_future`], by the cluster's time of the last second.
    pub fn is_future(&self, time: OperationTime) -> bool {
        let Reading { time: read, at } = *self.now.borrow();
        let since = u32::try_from(at.elapsed().as_secs()).unwrap_or(u32::MAX);
        let latest = read
            .time
            .saturating_add(since)
            .saturating_add(AHEAD_SECONDS_MAX);
        time.timestamp().time > latest
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
async fn keep(source: Source, codec: Codec, now: watch::Sender<Reading>, stop: CancellationToken) {
    for seconds in 1_u64.. {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        let mut reading = Reading::of(&source).await;
        // No cursor comes back here, by which a changed key would be noticed.
        if reading.is_ok()
            && seconds.is_multiple_of(KEYS_EVERY)
            && let Err(error) = codec.refresh(&source).await
        {
            reading = Err(error);
        }
        match reading {
            Ok(reading) => drop(now.send_replace(reading)),
            Err(error) => tracing::debug!(
                error = %WithCauses(&error),
                "the cluster's time, or the keys, could not be read for cursors, will retry"
            ),
        }
    }
}
