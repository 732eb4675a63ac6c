//! All rings of a hub, and the bounds that they share.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use bson::{Bson, RawDocumentBuf, Timestamp};
use tokio::time::Instant;

use crate::position::Position;
use crate::{FromDocument, HubMetrics, HubSettings, ResumeToken};

use super::floors::Floors;
use super::ring::{Entry, Evicted, Head, Topic, lock};

/// All rings of a hub.
pub(crate) struct Rings<T> {
    settings: HubSettings,
    metrics: HubMetrics,
    state: Mutex<State<T>>,
}

struct State<T> {
    topics: HashMap<Bson, Arc<Topic<T>>>,
    /// What topics without a ring have had.
    floors: Floors,
    /// The last place that the stream has shown.
    head: ResumeToken,
    head_position: Position,
    /// Whose change came when, oldest first: who gives way when all rings together are too large.
    order: VecDeque<(Instant, Weak<Topic<T>>)>,
    count: usize,
    bytes: usize,
    /// What came before this place was lost.
    lost_before: Position,
    ended: Option<Head>,
}

/// A new subscriber's way in.
pub(crate) struct Entrance<T> {
    pub topic: Arc<Topic<T>>,
    pub head: ResumeToken,
    pub head_position: Position,
}

impl<T: FromDocument> Rings<T> {
    /// Rings that will have everything from the events of this time on.
    pub fn new(start: Timestamp, settings: HubSettings, metrics: HubMetrics) -> Self {
        let before = Position::before(start);
        let state = State {
            topics: HashMap::new(),
            head: ResumeToken::before(start),
            head_position: before.clone(),
            lost_before: before.clone(),
            floors: Floors::new(before, settings.remembered_topics_max),
            order: VecDeque::new(),
            count: 0,
            bytes: 0,
            ended: None,
        };
        Self {
            settings,
            metrics,
            state: Mutex::new(state),
        }
    }

    /// Appends a change to some topics' rings.
    pub fn push(
        &self,
        event: &RawDocumentBuf,
        token: &ResumeToken,
        position: &Position,
        topics: Vec<Bson>,
    ) {
        let mut state = lock(&self.state);
        for key in topics {
            let topic = state.topic(key);
            self.push_to(&mut state, &topic, event, token, position);
        }
        self.move_head(state, token, position);
    }

    /// Appends a change of an unknown topic to every ring. Topics without a ring have to look it up.
    pub fn push_to_all(&self, event: &RawDocumentBuf, token: &ResumeToken, position: &Position) {
        let mut state = lock(&self.state);
        let keys: Vec<Bson> = state.topics.keys().cloned().collect();
        for key in keys {
            // An unused ring may have given way to those before.
            let Some(topic) = state.topics.get(&key).cloned() else {
                continue;
            };
            self.push_to(&mut state, &topic, event, token, position);
            // Now: each ring has a copy, and there may be thousands of rings.
            state.make_room(&self.settings);
        }
        state.floors.raise(position);
        self.move_head(state, token, position);
    }

    /// The stream has shown everything up to this place.
    pub fn reach(&self, token: &ResumeToken, position: &Position) {
        self.move_head(lock(&self.state), token, position);
    }

    /// The time of the last place that the stream has shown.
    pub fn head_time(&self) -> Timestamp {
        lock(&self.state).head_position.time
    }

    /// Adds a subscriber to a topic, whose ring stays from now on.
    pub fn enter(&self, key: &Bson) -> Result<Entrance<T>, Head> {
        let mut state = lock(&self.state);
        if let Some(ended) = state.ended {
            return Err(ended);
        }
        let topic = state.topic(key.clone());
        topic.subscribers.fetch_add(1, Ordering::AcqRel);
        self.metrics.subscribers.inc();
        self.metrics.topics.set(state.topics.len() as i64);
        Ok(Entrance {
            topic,
            head: state.head.clone(),
            head_position: state.head_position.clone(),
        })
    }

    /// Removes a subscriber; the last one's ring goes when it is empty.
    pub fn leave(&self, topic: &Topic<T>) {
        let mut state = lock(&self.state);
        topic.subscribers.fetch_sub(1, Ordering::AcqRel);
        self.metrics.subscribers.dec();
        state.remove_if_unused(&topic.key);
        self.metrics.topics.set(state.topics.len() as i64);
    }

    /// Where the history begins that was not lost.
    pub fn lost_before(&self) -> Position {
        lock(&self.state).lost_before.clone()
    }

    /// Ends all subscriptions that need it: the history before the events of this time is lost.
    pub fn lose(&self, restart: Timestamp) {
        let mut state = lock(&self.state);
        state.end_all(Head::Lost);
        let before = Position::before(restart);
        state.lost_before = before.clone();
        state.head = ResumeToken::before(restart);
        state.head_position = before.clone();
        state.floors = Floors::new(before, self.settings.remembered_topics_max);
        self.publish(&state);
    }

    /// Adds what `past` knows of the time before the events of `from`, where the hub's own knowledge begins. If the hub
    /// has forgotten some of it since, there is a gap, and `past` is of no use.
    pub fn extend_back(&self, from: Timestamp, past: Floors) {
        let mut state = lock(&self.state);
        let from = Position::before(from);
        if *state.floors.base() != from {
            return;
        }
        for topic in state.topics.values() {
            topic.extend_back(&from, &past);
        }
        state.floors.extend_back(past);
        self.publish(&state);
    }

    /// Ends all subscriptions and refuses new ones.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.end_all(Head::Stopped);
        state.ended = Some(Head::Stopped);
        self.publish(&state);
    }

    fn push_to(
        &self,
        state: &mut State<T>,
        topic: &Arc<Topic<T>>,
        event: &RawDocumentBuf,
        token: &ResumeToken,
        position: &Position,
    ) {
        let entry = Arc::new(Entry::new(event.clone(), token.clone(), position.clone()));
        state.count += 1;
        state.bytes += entry.bytes;
        state
            .order
            .push_back((entry.arrived, Arc::downgrade(topic)));
        let evicted = topic.push(entry, &self.settings);
        state.account(evicted);
        self.metrics.changes.inc();
    }

    fn move_head(
        &self,
        mut state: std::sync::MutexGuard<'_, State<T>>,
        token: &ResumeToken,
        position: &Position,
    ) {
        state.head = token.clone();
        state.head_position = position.clone();
        state.make_room(&self.settings);
        self.publish(&state);
    }

    fn publish(&self, state: &State<T>) {
        self.metrics.topics.set(state.topics.len() as i64);
        self.metrics.ring_bytes.set(state.bytes as i64);
        self.metrics.ring_changes.set(state.count as i64);
        self.metrics
            .remembered_topics
            .set(state.floors.len() as i64);
        let base = state.floors.base().time.time;
        let remembered = state.head_position.time.time.saturating_sub(base);
        self.metrics.remembered_seconds.set(i64::from(remembered));
    }
}

impl<T> State<T> {
    /// A topic, with a ring from now on.
    fn topic(&mut self, key: Bson) -> Arc<Topic<T>> {
        let floors = &self.floors;
        let new = |key: &Bson| Arc::new(Topic::new(key.clone(), floors.of(key)));
        self.topics.entry(key).or_insert_with_key(new).clone()
    }

    /// Takes out what is too old, and the oldest of all while all rings together are too large.
    fn make_room(&mut self, settings: &HubSettings) {
        let now = Instant::now();
        while let Some((arrived, topic)) = self.order.front() {
            let too_old = now.duration_since(*arrived) > settings.ring_age_max;
            if !too_old && self.bytes <= settings.total_bytes_max {
                break;
            }
            let (arrived, topic) = (*arrived, topic.upgrade());
            self.order.pop_front();
            let Some(topic) = topic else { continue };
            let evicted = if too_old {
                topic.evict_older(settings.ring_age_max, now)
            } else {
                topic.evict_first(arrived)
            };
            self.account(evicted);
            self.remove_if_unused(&topic.key);
        }
        // Rings drop changes on their own too; their places in the order must not pile up.
        if self.order.len() > 2 * self.count + 1024 {
            self.order.retain(|(arrived, topic)| {
                topic
                    .upgrade()
                    .is_some_and(|topic| topic.has_since(*arrived))
            });
        }
    }

    fn account(&mut self, evicted: Evicted) {
        self.count = self.count.saturating_sub(evicted.count);
        self.bytes = self.bytes.saturating_sub(evicted.bytes);
    }

    fn remove_if_unused(&mut self, key: &Bson) {
        if let Some(floor) = self
            .topics
            .get(key)
            .and_then(|topic| topic.floor_if_unused())
        {
            self.topics.remove(key);
            self.floors.remember(key, floor);
        }
    }

    fn end_all(&mut self, head: Head) {
        for (_, topic) in self.topics.drain() {
            topic.head.send_replace(head);
        }
        self.order.clear();
        (self.count, self.bytes) = (0, 0);
    }
}
