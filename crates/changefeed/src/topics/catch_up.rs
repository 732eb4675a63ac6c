//! Catching up: what a topic had before its ring begins, read from the history of the database.
//!
//! All who wait when a reading begins are served by it, whatever their topics and places: a reading costs
//! the same for one subscriber and for thousands, and nobody waits for more than the one that runs. See
//! `lanes` for who waits for whom, `reading` for one reading, and `member` for one subscriber in it.
//!
//! A subscriber asks for its turn when somebody polls it, and asks again when it has taken what the last
//! reading left in its buffer: one that takes nothing costs no reading.

mod allowance;
mod lanes;
mod member;
mod reading;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bson::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::position::Position;
use crate::{FromDocument, HubMetrics};

use self::lanes::{Lanes, Seat};
pub(crate) use self::member::End;
use self::member::{Bounds, Found, Member};
use self::reading::Reading;
use super::hub::Shared;
use super::ring::{Entry, Topic, lock};

/// What the subscriber gets.
pub(crate) enum Caught<T> {
    Entry(Arc<Entry<T>>),
    End(End),
    /// Its turn did not come in time, or was not enough.
    Late,
    /// The hub stops.
    Stopped,
}

/// All catch-ups of a hub.
pub(crate) struct CatchUps<T> {
    state: Mutex<State<T>>,
    /// Wakes the reader of each lane when a subscriber comes or leaves.
    changed: Vec<Notify>,
    /// Wakes readers that wait until less waits for subscribers.
    taken: Notify,
    metrics: HubMetrics,
}

struct State<T> {
    lanes: Lanes<T>,
    /// All members, by their addresses.
    members: HashMap<usize, Arc<Member<T>>>,
}

impl<T: FromDocument> CatchUps<T> {
    /// With so many lanes.
    pub fn new(lanes: usize, metrics: HubMetrics) -> Self {
        let state = State {
            lanes: Lanes::new(lanes),
            members: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
            changed: (0..lanes.max(1)).map(|_| Notify::new()).collect(),
            taken: Notify::new(),
            metrics,
        }
    }

    /// Puts a member into the queue of its age.
    fn wait(&self, shared: &Arc<Shared<T>>, seat: Seat<T>) {
        let now = shared.rings.head_time();
        let mut state = self.lock();
        let (lane, is_idle) = state.lanes.add(seat, now);
        self.note(&state);
        drop(state);
        if is_idle {
            tokio::spawn(read_lane(shared.clone(), lane));
        } else {
            self.changed[lane].notify_one();
        }
    }

    /// Returns when a subscriber has come to a lane, or has left one.
    async fn changed(&self, lane: usize) {
        self.changed[lane].notified().await;
    }

    fn is_awaited(&self, lane: usize) -> bool {
        self.lock().lanes.is_awaited(lane)
    }

    fn made_way(&self, shared: &Shared<T>, lane: usize, at: Position) {
        let now = shared.rings.head_time();
        self.lock().lanes.made_way(lane, at, now);
    }

    fn lost(&self, lane: usize, until: Timestamp) {
        self.lock().lanes.lost(lane, until);
    }

    fn next(&self, lane: usize) -> Option<Vec<(Position, Seat<T>)>> {
        let mut state = self.lock();
        let next = state.lanes.next(lane);
        self.note(&state);
        next
    }

    fn register(&self, member: &Arc<Member<T>>) {
        let address = Arc::as_ptr(member) as usize;
        self.lock().members.insert(address, member.clone());
    }

    fn leave(&self, member: &Arc<Member<T>>) {
        member.leave();
        let mut state = self.lock();
        state.members.remove(&(Arc::as_ptr(member) as usize));
        state.lanes.remove(member);
        self.note(&state);
        drop(state);
        for lane in &self.changed {
            lane.notify_one();
        }
        self.taken.notify_waiters();
    }

    /// Whether all buffers together are too large.
    fn is_over_bound(&self, shared: &Shared<T>) -> bool {
        let bytes = usize::try_from(self.metrics.catch_up_bytes.get()).unwrap_or(0);
        bytes > shared.settings.catch_up_bytes_max
    }

    /// Empties the fullest buffers of those that nobody reads for, as they take nothing, until all buffers
    /// together are within their bound.
    fn discard_idle(&self, shared: &Shared<T>) {
        self.discard(shared, |has_turn| !has_turn);
    }

    /// The same of all.
    fn discard_fullest(&self, shared: &Shared<T>) {
        self.discard(shared, |_| true);
    }

    fn discard(&self, shared: &Shared<T>, is_meant: impl Fn(bool) -> bool) {
        let now = Instant::now();
        let mut loads: Vec<_> = {
            let state = self.lock();
            let loads = state.members.values();
            let loads = loads.map(|member| (member.load(now), member.clone()));
            let meant = loads.filter(|((has_turn, bytes), _)| *bytes > 0 && is_meant(*has_turn));
            meant.collect()
        };
        loads.sort_by_key(|((_, bytes), _)| Reverse(*bytes));
        for (_, member) in loads {
            if !self.is_over_bound(shared) {
                return;
            }
            self.metrics.catch_up_interruptions.inc();
            member.discard();
        }
    }

    fn note(&self, state: &State<T>) {
        let waiting = state.lanes.waiting();
        self.metrics.catch_ups_waiting.set(waiting as i64);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }
}

/// One subscriber's catch-up. Dropping it ends the catch-up.
pub(crate) struct CatchUp<T: FromDocument> {
    shared: Arc<Shared<T>>,
    member: Arc<Member<T>>,
}

impl<T: FromDocument> CatchUp<T> {
    /// After this place. It begins when somebody asks for what is next.
    pub fn new(shared: Arc<Shared<T>>, topic: Arc<Topic<T>>, after: Position) -> Self {
        shared.metrics.catch_ups.inc();
        let settings = &shared.settings;
        let bounds = Bounds {
            count_max: settings.catch_up_count_max,
            waiting_count_max: settings.catch_up_buffer_count_max,
            waiting_bytes_max: settings.catch_up_buffer_bytes_max,
        };
        let member = Member::new(topic, after, bounds);
        let member = Arc::new(member);
        shared.catch_ups.register(&member);
        Self { shared, member }
    }

    /// The next change of the topic, or how the catch-up ends.
    pub async fn next(&mut self) -> Caught<T> {
        loop {
            match self.member.take() {
                Found::Entry(entry) => {
                    self.shared.catch_ups.taken.notify_waiters();
                    return Caught::Entry(entry);
                }
                Found::End(end) => return Caught::End(end),
                Found::NoTurn | Found::Nothing if self.shared.stop.is_cancelled() => {
                    return Caught::Stopped;
                }
                Found::NoTurn => self.ask(),
                Found::Nothing => {}
            }
            tokio::select! {
                () = self.member.changed() => {}
                () = self.is_late() => return Caught::Late,
                () = self.shared.stop.cancelled() => {}
            }
        }
    }

    /// Returns when it has come no further for too long.
    async fn is_late(&self) {
        let settings = &self.shared.settings;
        loop {
            let (since, has_begun) = self.member.progressed();
            let deadline = since
                + match has_begun {
                    true => settings.catch_up_time_max,
                    false => settings.catch_up_wait_max,
                };
            if deadline <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }

    fn ask(&self) {
        let seat = Seat {
            turn: self.member.ask(),
            member: self.member.clone(),
        };
        self.shared.catch_ups.wait(&self.shared, seat);
    }
}

impl<T: FromDocument> Drop for CatchUp<T> {
    fn drop(&mut self) {
        self.shared.catch_ups.leave(&self.member);
    }
}

/// Reads for those who wait in a lane until nobody does.
async fn read_lane<T: FromDocument>(shared: Arc<Shared<T>>, lane: usize) {
    shared.metrics.catching_up.inc();
    let mut reader = LaneReader {
        shared,
        lane,
        has_ended: false,
    };
    while !reader.shared.stop.is_cancelled() {
        let seats = reader.shared.catch_ups.next(lane).unwrap_or_default();
        let Some((first, _)) = seats.first() else {
            // The lane may have another reader from here on.
            reader.has_ended = true;
            return;
        };
        let first = first.clone();
        let reading = Reading::new(reader.shared.clone(), lane, first, seats);
        reading.run().await;
    }
}

/// Frees a lane whose reader ends, by a defect, too.
struct LaneReader<T: FromDocument> {
    shared: Arc<Shared<T>>,
    lane: usize,
    has_ended: bool,
}

impl<T: FromDocument> Drop for LaneReader<T> {
    fn drop(&mut self) {
        self.shared.metrics.catching_up.dec();
        if !self.has_ended {
            self.shared.catch_ups.lock().lanes.stopped(self.lane);
        }
    }
}
