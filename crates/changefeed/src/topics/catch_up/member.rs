//! One subscriber in a catch-up: where it stands, and the changes that wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::Gauge;
use crate::position::Position;

use super::super::ring::{Entry, Topic, lock};

/// How long a single change of one that is read for is kept where all buffers together are too large. A
/// subscriber that somebody polls takes it much sooner.
const SINGLE_KEPT_FOR: Duration = Duration::from_secs(1);

/// What one subscriber may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Changes one catch-up delivers at most.
    pub count_max: usize,
    /// Changes that wait for it at most.
    pub waiting_count_max: usize,
    /// Bytes of them at most. A single larger change still passes.
    pub waiting_bytes_max: usize,
}

/// A subscriber that catches up. A reading fills its buffer, the subscriber empties it.
pub(super) struct Member<T> {
    pub topic: Arc<Topic<T>>,
    bounds: Bounds,
    state: Mutex<State<T>>,
    /// Wakes the subscriber when there may be something to take, or its turn has changed.
    changed: Notify,
    /// Wakes a reading that waits for room.
    emptied: Notify,
}

struct State<T> {
    waiting: VecDeque<Arc<HeldEntry<T>>>,
    /// Since when the subscriber takes nothing of what waits.
    untouched_since: Instant,
    bytes: usize,
    /// Everything of the topic up to here was taken, or waits.
    read: Position,
    /// Everything of the topic up to here was taken.
    taken: Position,
    /// Changes that were taken, or wait.
    count: usize,
    /// The turn that it waits for, or has. None between two turns.
    turn: Option<u64>,
    turns: u64,
    has_begun: bool,
    /// Whether a reading once went on without it, as its buffer was full.
    is_slow: bool,
    /// When it was asked for, began, or last came further.
    progressed: Instant,
    /// What comes after the changes that wait.
    end: Option<CatchUpEnd>,
    has_left: bool,
}

/// How a catch-up ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CatchUpEnd {
    /// Go on in the ring at this number.
    Joined(u64),
    /// The history does not go back so far, or the collection was dropped since, or the way is too long.
    HistoryLost,
}

/// A change that waits for subscribers: held once for all of them, and counted once.
pub(super) struct HeldEntry<T> {
    pub entry: Arc<Entry<T>>,
    bytes: Gauge,
}

impl<T> HeldEntry<T> {
    pub fn new(entry: Entry<T>, bytes: &Gauge) -> Arc<Self> {
        bytes.inc_by(entry.bytes as i64);
        Arc::new(Self {
            entry: Arc::new(entry),
            bytes: bytes.clone(),
        })
    }
}

impl<T> Drop for HeldEntry<T> {
    fn drop(&mut self) {
        self.bytes.dec_by(self.entry.bytes as i64);
    }
}

/// What the subscriber finds.
pub(super) enum Taken<T> {
    Entry(Arc<Entry<T>>),
    End(CatchUpEnd),
    /// Nothing waits, and no reading will bring more: the subscriber has to ask for a turn.
    NoTurn,
    Nothing,
}

/// What became of a change that a reading had for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Done,
    /// There is no room for it.
    Full,
    /// The turn is over.
    Over,
}

impl<T> Member<T> {
    pub fn new(topic: Arc<Topic<T>>, after: Position, bounds: Bounds) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            untouched_since: Instant::now(),
            bytes: 0,
            read: after.clone(),
            taken: after,
            count: 0,
            turn: None,
            turns: 0,
            has_begun: false,
            is_slow: false,
            progressed: Instant::now(),
            end: None,
            has_left: false,
        };
        Self {
            topic,
            bounds,
            state: Mutex::new(state),
            changed: Notify::new(),
            emptied: Notify::new(),
        }
    }

    /// A turn to wait for.
    pub fn ask(&self) -> u64 {
        let mut state = lock(&self.state);
        state.turns += 1;
        state.turn = Some(state.turns);
        state.progress(false);
        state.turns
    }

    /// The turn made way for others, and is waited for again.
    pub fn wait_again(&self, turn: u64) {
        let mut state = lock(&self.state);
        if state.turn == Some(turn) {
            state.progress(false);
            self.changed.notify_one();
        }
    }

    /// The turn that it waited for begins.
    pub fn begin(&self, turn: u64) {
        let mut state = lock(&self.state);
        if state.turn == Some(turn) {
            state.progress(true);
            self.changed.notify_one();
        }
    }

    /// Since when it has come no further, and whether a reading has begun that should bring it further.
    pub fn progressed(&self) -> (Instant, bool) {
        let state = lock(&self.state);
        (state.progressed, state.has_begun)
    }

    /// Where it stands; `None` when the turn is over.
    pub fn place(&self, turn: u64) -> Option<Position> {
        let state = lock(&self.state);
        (state.turn == Some(turn)).then(|| state.read.clone())
    }

    /// Whether the turn is not over.
    pub fn has_turn(&self, turn: u64) -> bool {
        lock(&self.state).turn == Some(turn)
    }

    /// Hands over the next change of its topic.
    pub fn push(&self, turn: u64, change: &Arc<HeldEntry<T>>) -> Pushed {
        let mut state = lock(&self.state);
        if state.turn != Some(turn) {
            return Pushed::Over;
        }
        if change.entry.position <= state.read {
            return Pushed::Done;
        }
        if state.count >= self.bounds.count_max {
            state.finish(CatchUpEnd::HistoryLost);
            self.changed.notify_one();
            return Pushed::Over;
        }
        let bytes = state.bytes + change.entry.bytes;
        let is_full = state.waiting.len() >= self.bounds.waiting_count_max
            || bytes > self.bounds.waiting_bytes_max;
        if is_full && !state.waiting.is_empty() {
            return Pushed::Full;
        }
        state.bytes = bytes;
        state.count += 1;
        state.read = change.entry.position.clone();
        state.progress(true);
        if state.waiting.is_empty() {
            state.untouched_since = Instant::now();
        }
        state.waiting.push_back(change.clone());
        self.changed.notify_one();
        Pushed::Done
    }

    /// Returns once the buffer is half empty, or the turn over.
    pub async fn room(&self, turn: u64) {
        loop {
            let emptied = self.emptied.notified();
            {
                let state = lock(&self.state);
                if state.turn != Some(turn) || state.is_half_empty(&self.bounds) {
                    return;
                }
            }
            emptied.await;
        }
    }

    /// It stands here at least: the topic has no change in between that was not handed over.
    pub fn pass(&self, turn: u64, place: &Position) {
        let mut state = lock(&self.state);
        if state.turn == Some(turn) {
            state.progress(true);
            if state.read < *place {
                state.read = place.clone();
            }
        }
    }

    /// Ends the turn. The subscriber asks for another one when it has taken what waits.
    pub fn end_turn(&self, turn: u64) {
        let mut state = lock(&self.state);
        if state.turn == Some(turn) {
            state.turn = None;
            self.changed.notify_one();
        }
    }

    /// Ends the turn because the buffer is full. From now on it waits in the lane for slow subscribers.
    pub fn end_turn_as_slow(&self, turn: u64) {
        lock(&self.state).is_slow = true;
        self.end_turn(turn);
    }

    /// Whether a reading once went on without it, as its buffer was full.
    pub fn is_slow(&self) -> bool {
        lock(&self.state).is_slow
    }

    /// Ends the catch-up: what waits is delivered first.
    pub fn end(&self, turn: u64, end: CatchUpEnd) {
        let mut state = lock(&self.state);
        if state.turn == Some(turn) {
            state.finish(end);
            self.changed.notify_one();
        }
    }

    /// Whether a reading fills the buffer, or will, and bytes of what may be thrown away at this time: a
    /// single change of one that is read for is not, at first, or it might never get that change.
    pub fn load(&self, now: Instant) -> (bool, usize) {
        let state = lock(&self.state);
        let has_turn = state.turn.is_some();
        let is_fresh = now.duration_since(state.untouched_since) < SINGLE_KEPT_FOR;
        let kept = has_turn && state.waiting.len() == 1 && is_fresh;
        (has_turn, if kept { 0 } else { state.bytes })
    }

    /// Throws away the changes that wait. They are read again when the subscriber comes for them.
    pub fn discard(&self) {
        let mut state = lock(&self.state);
        state.count -= state.waiting.len();
        state.clear();
        state.read = state.taken.clone();
        (state.turn, state.end) = (None, None);
        self.changed.notify_one();
        self.emptied.notify_one();
    }

    /// Throws away what waits, since the subscriber has left.
    pub fn leave(&self) {
        let mut state = lock(&self.state);
        state.clear();
        (state.turn, state.has_left) = (None, true);
        self.emptied.notify_one();
    }

    /// The next change, or why there is none.
    pub fn take(&self) -> Taken<T> {
        let mut state = lock(&self.state);
        if let Some(change) = state.waiting.pop_front() {
            state.bytes -= change.entry.bytes;
            state.taken = change.entry.position.clone();
            state.untouched_since = Instant::now();
            if state.is_half_empty(&self.bounds) {
                self.emptied.notify_one();
            }
            return Taken::Entry(change.entry.clone());
        }
        match (state.end, state.turn) {
            (Some(end), _) => Taken::End(end),
            (None, None) => Taken::NoTurn,
            (None, Some(_)) => Taken::Nothing,
        }
    }

    /// Waits until there may be something to take.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl<T> State<T> {
    fn is_half_empty(&self, bounds: &Bounds) -> bool {
        self.waiting.len() <= bounds.waiting_count_max / 2
            && self.bytes <= bounds.waiting_bytes_max / 2
    }

    fn progress(&mut self, has_begun: bool) {
        self.progressed = Instant::now();
        self.has_begun = has_begun;
    }

    fn finish(&mut self, end: CatchUpEnd) {
        (self.turn, self.end) = (None, Some(end));
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawDocumentBuf, Timestamp};

    use super::super::super::floors::Floor;
    use super::*;
    use crate::ResumeToken;

    const fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 0 }
    }

    fn change<T: crate::FromDocument>(time: u32, bytes: &Gauge) -> Arc<HeldEntry<T>> {
        let token = ResumeToken::before(at(time));
        let entry = Entry::new(RawDocumentBuf::new(), token, Position::before(at(time)));
        HeldEntry::new(entry, bytes)
    }

    const BOUNDS: Bounds = Bounds {
        count_max: 100,
        waiting_count_max: 100,
        waiting_bytes_max: 100_000,
    };

    struct Any;

    impl crate::FromDocument for Any {
        fn from_document(_: &bson::RawDocument) -> Result<Self, crate::Unreadable> {
            Ok(Self)
        }
    }

    #[test]
    fn a_single_change_is_kept_for_whoever_may_be_about_to_take_it() {
        let place = Position::before(at(1));
        let topic = Arc::new(Topic::new(Bson::Null, Floor::At(place.clone())));
        let member: Member<Any> = Member::new(topic, place.clone(), BOUNDS);
        let gauge = Gauge::default();
        let turn = member.ask();
        assert_eq!(member.push(turn, &change(2, &gauge)), Pushed::Done);
        let now = Instant::now();
        assert_eq!(member.load(now), (true, 0));
        let bytes = usize::try_from(gauge.get()).expect("bytes");
        assert_eq!(member.load(now + SINGLE_KEPT_FOR), (true, bytes));
        member.discard();
        assert_eq!(gauge.get(), 0);
        // It is read again from where the subscriber stands.
        assert!(matches!(member.take(), Taken::NoTurn));
        let turn = member.ask();
        assert_eq!(member.place(turn), Some(place));
        assert_eq!(member.push(turn, &change(2, &gauge)), Pushed::Done);
        assert!(matches!(member.take(), Taken::Entry(_)));
        assert_eq!(member.push(turn, &change(2, &gauge)), Pushed::Done);
        assert!(matches!(member.take(), Taken::Nothing), "not twice");
    }
}
