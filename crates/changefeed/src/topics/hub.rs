//! The hub: reads the source's one stream into the rings, and lets subscribers in.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bson::{Bson, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::change::ChangeEvent;
use crate::position::{Position, first_after, last_before};
use crate::server_clock::ServerClock;
use crate::stream::{self, Content, LossPause, Pace, RawEvent, Signal, Start};
use crate::{
    CursorError, Error, FromDocument, HubMetrics, HubSettings, OperationTime, ResumeToken, Source,
    Subscription, UnknownLag, WithCauses,
};

use super::catch_up::CatchUps;
use super::cursor::Codec;
use super::follower::{Follower, Seen, SeenChange};
use super::level::Level;
use super::look_back::{Waiting, look_back};
use super::ring::lock;
use super::rings::Rings;
use super::topic_of::{TopicField, Topics, topics_of};

/// Events that wait between the stream and the rings at most.
const AHEAD_COUNT_MAX: usize = 4096;
/// The wait before the hub asks again where to begin, after the database failed.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// How often the lag's gauge is set, and whether the stream answers is looked at.
const LAG_INTERVAL: Duration = Duration::from_millis(250);
/// A stream that gives no sign of life for this long is interrupted: it gives several a second.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// A place of the stream that is not older than this is the present. A place tells whole seconds.
const RECENT_MAX: Duration = Duration::from_secs(1);
/// After a change that is not older than this, the stream is level: it usually comes within milliseconds.
const CHANGE_AGE_MAX: Duration = Duration::from_millis(100);
/// How often the server is asked for its time.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);
/// A cursor that is this far ahead of the present is not from the future. The parts of a cluster hear of its time at
/// different moments (a router of a sharded cluster, a primary that is cut off), and a subscriber that is let in
/// too early waits no longer than this.
pub(super) const AHEAD_SECONDS_MAX: u32 = 60;
/// The wait for the cluster's time. Without an answer, the cursor is accepted.
const LATEST_TIME_LIMIT: Duration = Duration::from_secs(2);

/// Hands out the changes of a collection by topic. Clones share it; it runs until [`Hub::stop`], or
/// until the last clone is dropped.
pub struct Hub<T> {
    shared: Arc<Shared<T>>,
    stop_on_drop: Arc<DropGuard>,
}

/// What the hub, its task and its subscriptions share.
pub(crate) struct Shared<T> {
    pub rings: Rings<T>,
    pub codec: Codec,
    pub source: Source,
    pub topic_field: TopicField,
    pub settings: HubSettings,
    pub metrics: HubMetrics,
    pub catch_ups: CatchUps<T>,
    /// Who keeps something up to date by the stream.
    follower: Option<Arc<dyn Follower<T>>>,
    /// When the hub was level with its source.
    level: Level,
    /// Why it cannot know, where somebody follows it.
    unknown_lag: Option<UnknownLag>,
    /// Changes up to this time were over when the hub started.
    pub started: Timestamp,
    /// When the stream last gave a sign of life.
    heard: Mutex<Instant>,
    /// Whether that is a short time ago.
    answers: watch::Sender<bool>,
    tasks: TaskTracker,
    pub stop: CancellationToken,
    /// Cancelled when the past was looked through, or will not be, or is not waited for any more.
    pub looked_back: CancellationToken,
}

impl<T: FromDocument> Hub<T> {
    /// Enables pre- and post-images on the source and opens the stream. The topic of a change is
    /// the value of `topic_field`, a top-level field of the changed document: its name, or a
    /// [`TopicField`] where several values are one topic.
    ///
    /// # Errors
    /// When the database cannot be reached, is no replica set, or refuses.
    pub async fn start(
        source: Source,
        topic_field: impl Into<TopicField>,
        settings: HubSettings,
        metrics: HubMetrics,
    ) -> Result<Self, Error> {
        Self::start_with(source, topic_field, settings, metrics, None).await
    }

    /// [`Hub::start`], with somebody who follows the whole stream.
    ///
    /// # Errors
    /// Those of [`Hub::start`].
    pub async fn start_with(
        source: Source,
        topic_field: impl Into<TopicField>,
        settings: HubSettings,
        metrics: HubMetrics,
        follower: Option<Arc<dyn Follower<T>>>,
    ) -> Result<Self, Error> {
        source.enable_images().await?;
        let codec = Codec::load(&source).await?;
        let clock = ServerClock::read(source.database()).await?;
        let unknown_lag = match &follower {
            Some(_) => source.unknown_lag().await?,
            None => None,
        };
        let started = source.now().await?;
        // Whole seconds, rounded up.
        let before =
            settings.start_before.as_secs() + u64::from(settings.start_before.subsec_nanos() > 0);
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        let start = Timestamp {
            time: started.time.saturating_sub(before),
            increment: started.increment,
        };
        let shared = Arc::new(Shared {
            rings: Rings::new(start, settings.clone(), metrics.clone()),
            codec,
            source,
            topic_field: topic_field.into(),
            catch_ups: CatchUps::new(settings.catch_up_readers_max, metrics.clone()),
            settings,
            metrics,
            follower,
            started,
            heard: Mutex::new(Instant::now()),
            answers: watch::Sender::new(true),
            level: Level::new(clock.clone()),
            unknown_lag,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            looked_back: CancellationToken::new(),
        });
        let ended = CancellationToken::new();
        let following_ended = ended.clone();
        // Not one of the hub's tasks: nobody who stops the hub waits for the server's answer.
        let database = shared.source.database().clone();
        tokio::spawn(clock.keep(database, CLOCK_INTERVAL, ended.clone()));
        shared.tasks.spawn(keep_lag(shared.clone(), ended.clone()));
        let following = follow(shared.clone(), start);
        shared.tasks.spawn(async move {
            let _ended = ended.drop_guard();
            following.await;
        });
        let waiting = Waiting::begin(&shared.settings, shared.looked_back.clone());
        let looking_back = look_back(shared.clone(), start);
        shared
            .tasks
            .spawn(waiting.watch(looking_back, following_ended));
        shared.tasks.close();
        let stop_on_drop = Arc::new(shared.stop.clone().drop_guard());
        Ok(Self {
            shared,
            stop_on_drop,
        })
    }

    /// Subscribes to a topic: to every change after the cursor, or to every change that happens
    /// after this call returned, and perhaps some of the milliseconds before (more where the hub is
    /// behind, as after an import during which nobody listened). A change that moves a document from one
    /// topic to another is a change of both. One whose topics are not known for certain (it lacks an image)
    /// is a change of all.
    ///
    /// # Errors
    /// When the cursor is not one of this topic, or is later than everything in the database. A cursor that is
    /// too old is accepted; the first item of the subscription is [`crate::TopicError::ResyncRequired`] then.
    pub async fn subscribe(
        &self,
        topic: impl Into<Bson>,
        after: Option<&str>,
    ) -> Result<Subscription<T>, CursorError> {
        let topic = self.shared.topic_field.topic(topic.into());
        let after = match after {
            Some(text) => {
                let (token, place) = self.place(&topic, text).await?;
                self.refuse_future(place.time).await?;
                Some((token, place))
            }
            None => None,
        };
        Subscription::enter(self.shared.clone(), &topic, after)
    }

    /// Creates again what the hub needs in the database, where it is missing: pre- and post-images on the
    /// source, and the key that signs cursors. Call it after [`Source::gone`].
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses.
    pub async fn prepare(&self) -> Result<(), Error> {
        self.shared.source.enable_images().await?;
        self.shared.codec.refresh(&self.shared.source).await
    }

    /// The place that a cursor names. One signed with an unknown key may come from an instance that
    /// has made a new key since the database was dropped: the keys are read again.
    async fn place(
        &self,
        topic: &Bson,
        text: &str,
    ) -> Result<(ResumeToken, Position), CursorError> {
        let codec = &self.shared.codec;
        match codec.decode(topic, text) {
            Err(CursorError::Forged) if codec.is_refresh_due() => {
                let (refreshed, source) = (codec.clone(), self.shared.source.clone());
                // A task of its own: the caller may leave, and the driver's futures must not be dropped.
                let refreshed = tokio::spawn(async move { refreshed.refresh(&source).await });
                if let Ok(Err(error)) = refreshed.await {
                    tracing::warn!(
                        error = %WithCauses(&error),
                        "the keys that sign cursors could not be read: a cursor with an unknown key is refused"
                    );
                }
                codec.decode(topic, text)
            }
            decoded => decoded,
        }
    }

    /// Refuses a place that is far later than everything in the database: its subscriber would receive nothing
    /// until the database has come up to it. Such cursors remain after the servers' clocks were set back.
    async fn refuse_future(&self, place: Timestamp) -> Result<(), CursorError> {
        let is_far_after =
            |time: Timestamp| place.time > time.time.saturating_add(AHEAD_SECONDS_MAX);
        let seen = self.shared.rings.head_time().max(self.shared.started);
        if !is_far_after(seen) {
            return Ok(());
        }
        let source = self.shared.source.clone();
        // A task of its own: the caller may leave, the time may run out, and the driver's futures must not be
        // dropped.
        let latest = tokio::spawn(async move { source.latest().await });
        let Ok(latest) = tokio::time::timeout(LATEST_TIME_LIMIT, latest).await else {
            return Ok(());
        };
        match latest {
            Ok(Ok(latest)) if is_far_after(latest) => {
                self.shared.metrics.resyncs.inc();
                Err(CursorError::Future)
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    error = %WithCauses(&error),
                    collection = self.shared.source.collection(),
                    "the cluster's time could not be read: a cursor that is ahead of this instance is accepted unchecked"
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The time since the stream last reported a change, or that there was none. An open stream does so several
    /// times a second.
    pub fn silent_for(&self) -> Duration {
        lock(&self.shared.heard).elapsed()
    }

    /// How long ago the hub had shown everything that had happened by then: what it has shown may lack changes of this
    /// last period. By the times of changes, and while there are none, by when the stream last said so.
    ///
    /// A server that is cut off from the others does not know what happened, and says that there is nothing:
    /// [`Hub::head_age`] shows that.
    pub fn behind(&self) -> Duration {
        self.shared.level.behind().max(self.silent_for())
    }

    /// How long ago the place was that the stream has reached, in whole seconds. Where nobody writes, a primary moves
    /// the cluster's time on every ten seconds, so up to 20 seconds are usual.
    pub fn head_age(&self) -> Duration {
        self.shared.level.since(self.shared.rings.head_time())
    }

    /// Whether a time is more than a minute later than everything that the hub has heard of, and than the server's clock. No
    /// write has such a time, unless the servers' clocks were set back.
    pub fn is_future(&self, time: OperationTime) -> bool {
        let time = time.timestamp();
        let seen = self.shared.rings.head_time().max(self.shared.started);
        time.time > seen.time.saturating_add(AHEAD_SECONDS_MAX)
            && self.shared.level.is_ahead(time, AHEAD_SECONDS_MAX)
    }

    /// Whether changes reach the hub: false while its stream is silent, as when the database is away. What happens
    /// meanwhile follows.
    pub fn answers(&self) -> watch::Receiver<bool> {
        self.shared.answers.subscribe()
    }

    /// Returns when the hub has ended: after [`Hub::stop`], or because of a bug.
    ///
    /// # Errors
    /// [`Error::TaskEnded`] when [`Hub::stop`] was not called.
    pub async fn finished(&self) -> Result<(), Error> {
        self.shared.tasks.wait().await;
        if self.shared.stop.is_cancelled() {
            Ok(())
        } else {
            Err(Error::TaskEnded("the live feed"))
        }
    }

    /// Ends the hub and its subscriptions.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.wait().await;
    }
}

impl<T> Clone for Hub<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            stop_on_drop: self.stop_on_drop.clone(),
        }
    }
}

impl<T> Shared<T> {
    fn follower_sees(&self, seen: Seen<'_, T>) {
        if let Some(follower) = &self.follower {
            follower.see(seen);
        }
    }

    /// What streams show: of documents too large to be sent, their topic.
    pub fn content(&self) -> Content {
        let mut kept = self.source.kept().to_vec();
        kept.push(self.topic_field.name().to_owned());
        Content::Images { kept }
    }

    /// Where a subscriber without a cursor begins: at the stream's head, but not in the past that
    /// the hub reads at its start.
    pub fn now(&self, head: ResumeToken, position: Position) -> (ResumeToken, Position) {
        let after_start = first_after(self.started);
        let earliest = Position::before(after_start);
        if position < earliest {
            (ResumeToken::before(after_start), earliest)
        } else {
            (head, position)
        }
    }
}

/// Follows the source until the hub is stopped.
async fn follow<T: FromDocument>(shared: Arc<Shared<T>>, start: Timestamp) {
    let (mut start, mut losses) = (start, LossPause::new());
    loop {
        shared.follower_sees(Seen::Began(last_before(start)));
        let end = follow_from(&shared, start).await;
        shared.follower_sees(Seen::Ended);
        let Some(end) = end else { break };
        // A collection that was dropped in the past that the hub reads at its start has been made again
        // since. Those who subscribed to what happens from now on have lost nothing. What was prepared of
        // the collection before the hub started may be gone with it.
        if let Some(at) = end.gone_at.filter(|at| *at <= shared.started) {
            shared.source.tell_gone();
            start = first_after(at);
            shared.rings.lose(start);
            continue;
        }
        tracing::warn!(
            reason = end.reason,
            collection = shared.source.collection(),
            "the live feed cannot go on: its subscribers have to query again"
        );
        shared.source.tell_gone();
        shared.metrics.stream_restarts.inc();
        tokio::select! {
            () = tokio::time::sleep(losses.after_loss()) => {}
            () = shared.stop.cancelled() => break,
        }
        match restart(&shared).await {
            Some(now) => start = now,
            None => break,
        }
        shared.rings.lose(start);
    }
    shared.rings.stop();
}

/// Follows one stream; returns why it cannot go on, `None` when the hub shall stop.
async fn follow_from<T: FromDocument>(shared: &Shared<T>, start: Timestamp) -> Option<StreamEnd> {
    let (subscribers, follower) = (shared.metrics.subscribers.clone(), shared.follower.clone());
    let is_heard = move || {
        subscribers.get() > 0
            || follower
                .as_ref()
                .is_some_and(|follower| follower.is_in_use())
    };
    let options = stream::Options {
        content: shared.content(),
        pipeline: Vec::new(),
        ahead_count_max: AHEAD_COUNT_MAX,
        ahead_bytes_max: stream::BYTES_AHEAD_MAX,
        answer_count_max: stream::ANSWER_COUNT_MAX,
        await_time: stream::AWAIT_TIME,
        restarts: shared.metrics.stream_restarts.clone(),
        pace: Pace::LiveWhileHeard(Arc::new(is_heard)),
        tells_level: true,
    };
    let mut signals = stream::read(&shared.source, Start::At(start), options);
    let shown = |head| shown_up_to(head, start, shared.unknown_lag);
    // Where the stream was after the answer before.
    let mut last_head = None;
    // When the last change of this answer happened.
    let mut last_change = None;
    loop {
        let signal = tokio::select! {
            signal = signals.recv() => signal,
            () = shared.stop.cancelled() => return None,
        };
        match signal {
            Some(Signal::Event(event)) => {
                *lock(&shared.heard) = Instant::now();
                last_change = event.document.get_datetime("wallTime").ok();
                if let Some(end) = pass(shared, &event) {
                    return Some(end);
                }
            }
            Some(Signal::Level(asked)) => {
                let head = shared.rings.head_time();
                shared.follower_sees(Seen::Reached(shown(head)));
                let is_level = match last_change.take() {
                    // An answer may have a part of what there is, above all after a fault.
                    Some(change) => shared.level.age(change) <= CHANGE_AGE_MAX,
                    // The server answers that there is nothing also where it has only not come further in its time.
                    None => {
                        shared.level.reach_moment(asked);
                        shared.level.since(head) <= RECENT_MAX || last_head == Some(head)
                    }
                };
                if is_level && shared.unknown_lag.is_none() {
                    shared.follower_sees(Seen::Level(asked));
                }
                last_head = Some(head);
            }
            Some(Signal::Idle(token)) => {
                *lock(&shared.heard) = Instant::now();
                if let Some(position) = Position::of(&token) {
                    shared.follower_sees(Seen::Reached(shown(position.time)));
                    shared.rings.reach(&token, &position);
                }
            }
            Some(Signal::Lost(error)) => return Some(WithCauses(&error).to_string().into()),
            None => return Some("the stream's reader ended".to_owned().into()),
        }
    }
}

/// The time up to which a stream has shown everything that began with the changes of `start` and has come to `head`.
fn shown_up_to(head: Timestamp, start: Timestamp, lag: Option<UnknownLag>) -> Timestamp {
    // What has the time of the beginning may be to come; and of what several shards did at the same time, a router may
    // have shown a part.
    match head <= start || lag == Some(UnknownLag::Router) {
        true => last_before(head),
        false => head,
    }
}

/// Keeps the lag's gauge up: it grows with time alone while nothing comes from the database. So does the silence.
async fn keep_lag<T>(shared: Arc<Shared<T>>, ended: CancellationToken) {
    loop {
        shared
            .metrics
            .lag_seconds
            .set(shared.level.behind().as_secs_f64());
        let answers = lock(&shared.heard).elapsed() < SILENCE_MAX;
        let changes = |known: &mut bool| std::mem::replace(known, answers) != answers;
        shared.answers.send_if_modified(changes);
        tokio::select! {
            () = tokio::time::sleep(LAG_INTERVAL) => {}
            () = ended.cancelled() => return,
        }
    }
}

/// Why a stream cannot go on.
struct StreamEnd {
    reason: String,
    /// When the collection went, if that is why.
    gone_at: Option<Timestamp>,
}

impl From<String> for StreamEnd {
    fn from(reason: String) -> Self {
        Self {
            reason,
            gone_at: None,
        }
    }
}

/// Puts an event into its topics' rings; returns why the stream cannot go on after it.
fn pass<T: FromDocument>(shared: &Shared<T>, event: &RawEvent) -> Option<StreamEnd> {
    match ChangeEvent::read(&event.document) {
        Ok(ChangeEvent::Write(change)) => {
            // Every token of MongoDB 4.2 and later tells its time.
            let Some(position) = Position::of(&change.token) else {
                return Some(
                    "a change's resume token does not tell its time"
                        .to_owned()
                        .into(),
                );
            };
            let topics = topics_of(&change, &shared.topic_field);
            let known = match &topics {
                Topics::These(topics) => Some(&topics[..]),
                Topics::Unknown => None,
            };
            let seen = SeenChange::new(&change, known, &shared.metrics.unreadables);
            shared.follower_sees(Seen::Change(seen));
            match topics {
                Topics::These(topics) => {
                    shared
                        .rings
                        .push(&event.document, &change.token, &position, topics)
                }
                Topics::Unknown => {
                    shared
                        .rings
                        .push_to_all(&event.document, &change.token, &position)
                }
            }
            if let Some(wall_time) = change.wall_time {
                shared.level.reach(wall_time);
            }
            None
        }
        Ok(ChangeEvent::CollectionGone(operation)) => Some(StreamEnd {
            reason: format!("the source collection is gone ({operation})"),
            gone_at: event.place().map(|place| place.time),
        }),
        Ok(ChangeEvent::Other) => None,
        Err(error) => Some(format!("an event could not be read: {error}").into()),
    }
}

/// Finds a new beginning after the old stream was lost; `None` when the hub shall stop.
async fn restart<T>(shared: &Shared<T>) -> Option<Timestamp> {
    loop {
        match beginning(&shared.source).await {
            Ok(now) => return Some(now),
            Err(error) => {
                tracing::warn!(
                    error = %WithCauses(&error),
                    "the live feed could not be started again, will retry"
                )
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = shared.stop.cancelled() => return None,
        }
    }
}

/// The first time after the present one. What the stream failed at may be the last thing that happened:
/// beginning with the present time, it would fail at it again.
async fn beginning(source: &Source) -> Result<Timestamp, Error> {
    source.enable_images().await?;
    Ok(first_after(source.now().await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_time_of_a_place_may_be_to_come() {
        let at = |increment| Timestamp { time: 9, increment };
        let (start, later) = (at(4), at(6));
        assert_eq!(shown_up_to(start, start, None), at(3));
        assert_eq!(shown_up_to(later, start, None), later);
        let router = Some(UnknownLag::Router);
        assert_eq!(shown_up_to(later, start, router), at(5));
    }
}
