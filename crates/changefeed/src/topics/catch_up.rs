//! Catch-up: reads from the oplog what a topic had before its ring buffer begins.
//!
//! One reading serves all subscribers that wait when it begins, whatever their topics and places. It costs the
//! same for one subscriber and for thousands, and a newcomer waits for the present reading at most. See `lanes`
//! for the order of readings, `reading` for one reading, and `member` for one subscriber in it.
//!
//! A subscriber asks for a turn when it is polled, and again when it has taken what the last reading left in
//! its buffer. So a subscriber that takes nothing costs no reading.

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
pub(crate) use self::member::CatchUpEnd;
use self::member::{Bounds, Member, Taken};
use self::reading::Reading;
use super::hub::Shared;
use super::ring::{Entry, Topic, lock};

/// What a catch-up gives its subscriber next.
pub(crate) enum Caught<T> {
    Entry(Arc<Entry<T>>),
    End(CatchUpEnd),
    /// Its turn did not come in time, or was not enough.
    Late,
    /// The hub stops; nothing more comes.
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
    /// No subscriber catches up yet. `lanes`: how many readings may run at once.
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

    /// Empties the buffers of members without a turn, which take nothing, the fullest first, until all buffers
    /// together are within their bound.
    fn discard_idle(&self, shared: &Shared<T>) {
        self.discard(shared, |has_turn| !has_turn);
    }

    /// Empties the buffers of all members, the fullest first, until they are within their bound.
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
                Taken::Entry(entry) => {
                    self.shared.catch_ups.taken.notify_waiters();
                    return Caught::Entry(entry);
                }
                Taken::End(end) => return Caught::End(end),
                Taken::NoTurn | Taken::Nothing if self.shared.stop.is_cancelled() => {
                    return Caught::Stopped;
                }
                Taken::NoTurn => self.ask(),
                Taken::Nothing => {}
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

/// Runs the readings of a lane until no subscriber waits in it.
async fn read_lane<T: FromDocument>(shared: Arc<Shared<T>>, lane: usize) {
    shared.metrics.catching_up.inc();
    let mut reader = LaneReader {
        shared,
        lane,
        has_ended: false,
    };
    tokio::select! {
        // Whoever waits may need no reading then.
        () = reader.shared.looked_back.cancelled() => {}
        () = reader.shared.stop.cancelled() => {}
    }
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

/// Frees the lane when its reader ends, also by a panic.
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
