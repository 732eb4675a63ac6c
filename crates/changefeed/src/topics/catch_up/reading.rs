//! One reading of the oplog, for all subscribers that waited for it.
//!
//! It continues until each member has joined its ring, has left, or has lost its turn for being slow. Where a
//! member's buffer is full, the reading waits within an allowance that all members share, so that together they
//! slow it down by no more than an [`Allowance`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bson::Bson;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::change::ChangeEvent;
use crate::position::Position;
use crate::server_codes::is_history_lost;
use crate::stream::{self, Pace, RawEvent, Signal, Start};
use crate::{FromDocument, WithCauses};

use super::super::hub::Shared;
use super::super::ring::Entry;
use super::super::topic_of::{Topics, filter, topics_of};
use super::allowance::Allowance;
use super::lanes::Seat;
use super::member::{CatchUpEnd, HeldEntry, Pushed};

/// Events that wait between the stream and the members at most.
const AHEAD_COUNT_MAX: usize = 64;
/// Bytes of events that wait between the stream and the members at most.
const AHEAD_BYTES_MAX: usize = 16 << 20;
/// Events in one answer of the server's at most: fewer than a hub's, so that a long way through changes of
/// other topics has several answers.
const ANSWER_COUNT_MAX: u32 = 1_000;
/// How long the server waits for more once it has come to the end of the history.
const AWAIT_TIME: Duration = Duration::from_millis(20);
/// A reading of more topics takes all changes and sorts them here.
const FILTER_TOPICS_MAX: usize = 1024;
/// The longest wait for a member that takes nothing, when it is the only one.
const STALL_MAX: Duration = Duration::from_secs(10);
/// How often a reading looks who may go on in a ring, while there is always more to read.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// So many times as long as a look took, the reading goes on before the next one. With many members, looks would
/// otherwise take all of its time.
const LOOK_PAUSE_FACTOR: u32 = 10;

/// A reading and its members.
pub(super) struct Reading<T> {
    shared: Arc<Shared<T>>,
    lane: usize,
    topics: HashMap<Bson, Vec<Seat<T>>>,
    members: usize,
    /// Every change up to here was handed over.
    passed: Position,
    allowance: Allowance,
    /// When the server gave its first sign of life.
    began: Option<Instant>,
    next_look: Instant,
    /// Whether somebody may have left since the last look.
    is_look_due: bool,
}

impl<T: FromDocument> Reading<T> {
    /// A reading for these members, from this place on, which none of them is before.
    pub fn new(
        shared: Arc<Shared<T>>,
        lane: usize,
        from: Position,
        seats: Vec<(Position, Seat<T>)>,
    ) -> Self {
        let mut topics: HashMap<Bson, Vec<Seat<T>>> = HashMap::new();
        let members = seats.len();
        for (_, seat) in seats {
            seat.member.begin(seat.turn);
            let key = seat.member.topic.key.clone();
            topics.entry(key).or_default().push(seat);
        }
        Self {
            shared,
            lane,
            topics,
            members,
            passed: from,
            allowance: Allowance::new(),
            began: None,
            next_look: Instant::now(),
            is_look_due: false,
        }
    }

    /// Reads to the end of the reading, and returns when the server has nothing to do for it any more: a
    /// lane never has two readings at the server.
    pub async fn run(mut self) {
        // What the hub has learned since they came may be enough for some.
        self.look();
        if self.members == 0 {
            return;
        }
        let metrics = self.shared.metrics.clone();
        metrics.catch_up_readings.inc();
        let keys: Vec<&Bson> = self.topics.keys().collect();
        let pipeline = match keys.len() > FILTER_TOPICS_MAX {
            true => Vec::new(),
            false => vec![filter(&self.shared.topic_field, &keys)],
        };
        let options = stream::Options {
            content: self.shared.content(),
            pipeline,
            ahead_count_max: AHEAD_COUNT_MAX,
            ahead_bytes_max: AHEAD_BYTES_MAX,
            answer_count_max: ANSWER_COUNT_MAX,
            await_time: AWAIT_TIME,
            restarts: metrics.stream_restarts.clone(),
            pace: Pace::Live,
            tells_level: false,
        };
        // From the time on, not after the token: the pipeline is not that of the hub's stream, and
        // a token only resumes the pipeline that gave it.
        let start = Start::At(self.passed.time);
        let (mut signals, task) = stream::read_in_task(&self.shared.source, start, options);
        self.read(&mut signals).await;
        let all = std::mem::take(&mut self.topics);
        for seat in all.into_values().flatten() {
            seat.member.end_turn(seat.turn);
        }
        drop(signals);
        tokio::select! {
            // A server that says nothing holds up a lane for so long at most.
            _ = tokio::time::timeout(self.shared.settings.catch_up_time_max, task) => {}
            () = self.shared.stop.cancelled() => {}
        }
    }

    /// Hands over what the stream shows. The members that are left have to ask again.
    async fn read(&mut self, signals: &mut mpsc::Receiver<Signal>) {
        loop {
            if Instant::now() >= self.next_look {
                self.look();
            }
            if self.members == 0 {
                return;
            }
            let signal = tokio::select! {
                signal = signals.recv() => signal,
                // One comes or leaves. Thousands may do so in a moment, and a look goes through all members.
                () = self.shared.catch_ups.changed(self.lane), if !self.is_look_due => {
                    self.is_look_due = true;
                    continue;
                }
                () = tokio::time::sleep_until(self.next_look), if self.is_look_due => continue,
                () = self.shared.stop.cancelled() => return,
            };
            match signal {
                Some(Signal::Event(event)) => {
                    if self.pass(event).await.is_err() {
                        return;
                    }
                }
                Some(Signal::Level(_)) => {}
                Some(Signal::Idle(token)) => {
                    if let Some(place) = Position::of(&token).filter(|at| *at > self.passed) {
                        self.passed = place;
                    }
                    self.look();
                }
                Some(Signal::Lost(error)) => {
                    tracing::info!(
                        error = %WithCauses(&error),
                        collection = self.shared.source.collection(),
                        "cursors of subscribers are older than the history: they have to query again"
                    );
                    return self.lose(is_history_lost(&error));
                }
                None => return,
            }
            let began = self.began.get_or_insert_with(Instant::now);
            let has_had_its_turn = began.elapsed() >= self.shared.settings.catch_up_turn_max;
            if has_had_its_turn && self.shared.catch_ups.is_awaited(self.lane) {
                return self.make_way();
            }
        }
    }

    /// Hands over one event.
    async fn pass(&mut self, event: RawEvent) -> Result<(), Gone> {
        let (token, topics) = match ChangeEvent::read(&event.document) {
            Ok(ChangeEvent::Write(change)) => match topics_of(&change, &self.shared.topic_field) {
                Topics::These(topics) => (change.token.clone(), topics),
                Topics::Unknown => (change.token.clone(), self.topics.keys().cloned().collect()),
            },
            Ok(ChangeEvent::Other) => return Ok(()),
            Ok(ChangeEvent::CollectionGone(_)) | Err(_) => {
                self.end_before(event.place());
                return Err(Gone);
            }
        };
        // Every token of MongoDB 4.2 and later tells its time.
        let Some(position) = Position::of(&token) else {
            self.end_before(None);
            return Err(Gone);
        };
        if position <= self.passed {
            return Ok(());
        }
        for topic in &topics {
            if self.topics.contains_key(topic) {
                let entry = Entry::new(event.document.clone(), token.clone(), position.clone());
                self.hand_over(topic, entry).await;
            }
        }
        self.passed = position;
        Ok(())
    }

    async fn hand_over(&mut self, topic: &Bson, entry: Entry<T>) {
        let change = HeldEntry::new(entry, &self.shared.metrics.catch_up_bytes);
        let seats = self.topics.remove(topic).unwrap_or_default();
        let mut stay = Vec::with_capacity(seats.len());
        for seat in seats {
            match self.give(&seat, &change).await {
                true => stay.push(seat),
                false => self.members -= 1,
            }
        }
        if !stay.is_empty() {
            self.topics.insert(topic.clone(), stay);
        }
        drop(change);
        self.allowance.earn();
        self.keep_bytes_within_bound().await;
    }

    /// Waits within the allowance until all buffers together are within their bound, and then empties
    /// the fullest. Those of subscribers that take nothing are emptied first.
    async fn keep_bytes_within_bound(&mut self) {
        let (shared, catch_ups) = (&self.shared, &self.shared.catch_ups);
        if !catch_ups.is_over_bound(shared) {
            return;
        }
        catch_ups.discard_idle(shared);
        loop {
            let taken = catch_ups.taken.notified();
            if !catch_ups.is_over_bound(shared) {
                return;
            }
            let has_taken = tokio::select! {
                has_taken = self.allowance.wait_for(taken) => has_taken,
                () = shared.stop.cancelled() => return,
            };
            if !has_taken {
                catch_ups.discard_fullest(shared);
                return;
            }
        }
    }

    /// Gives one member a change; false when its turn is over.
    async fn give(&mut self, seat: &Seat<T>, change: &Arc<HeldEntry<T>>) -> bool {
        loop {
            match seat.member.push(seat.turn, change) {
                Pushed::Done => return true,
                Pushed::Over => return false,
                Pushed::Full => {}
            }
            if !self.wait_for_room(seat).await {
                self.shared.metrics.catch_up_interruptions.inc();
                seat.member.pass(seat.turn, &self.passed);
                seat.member.end_turn_as_slow(seat.turn);
                return false;
            }
        }
    }

    /// Waits until a member has room; false when it is not waited for any longer.
    async fn wait_for_room(&mut self, seat: &Seat<T>) -> bool {
        loop {
            let catch_ups = &self.shared.catch_ups;
            let is_alone = self.members == 1 && !catch_ups.is_awaited(self.lane);
            let room = seat.member.room(seat.turn);
            if !is_alone {
                return tokio::select! {
                    has_room = self.allowance.wait_for(room) => has_room,
                    () = self.shared.stop.cancelled() => false,
                };
            }
            tokio::select! {
                () = room => return true,
                () = tokio::time::sleep(STALL_MAX) => return false,
                // Others may wait now.
                () = catch_ups.changed(self.lane) => {}
                () = self.shared.stop.cancelled() => return false,
            }
        }
    }

    /// Moves members into their rings, where they have come so far.
    fn look(&mut self) {
        let began = Instant::now();
        self.is_look_due = false;
        let passed = &self.passed;
        for seats in self.topics.values_mut() {
            seats.retain(|seat| !has_joined(seat, passed));
        }
        self.count();
        let pause = (began.elapsed() * LOOK_PAUSE_FACTOR).max(LOOK_INTERVAL);
        self.next_look = Instant::now() + pause;
    }

    fn forget_those_who_left(&mut self) {
        for seats in self.topics.values_mut() {
            seats.retain(|seat| seat.member.has_turn(seat.turn));
        }
        self.count();
    }

    fn count(&mut self) {
        self.topics.retain(|_, seats| !seats.is_empty());
        self.members = self.topics.values().map(Vec::len).sum();
    }

    /// The collection as it was is gone since this place; `None` where the place is not known. Subscribers that
    /// stand before it have to query again.
    fn end_before(&mut self, gone: Option<Position>) {
        self.end_where(|place| gone.as_ref().is_none_or(|gone| place < gone));
    }

    /// The stream cannot continue from its place. Members that stand there have to query again.
    fn lose(&mut self, is_too_old: bool) {
        let passed = self.passed.clone();
        if is_too_old {
            self.shared.catch_ups.lost(self.lane, passed.time);
            self.end_where(|place| place.time <= passed.time);
        } else {
            self.end_where(|place| *place <= passed);
        }
        self.ask_again();
    }

    fn end_where(&mut self, is_over: impl Fn(&Position) -> bool) {
        for seat in self.topics.values().flatten() {
            if seat
                .member
                .place(seat.turn)
                .is_some_and(|place| is_over(&place))
            {
                seat.member.end(seat.turn, CatchUpEnd::HistoryLost);
            }
        }
        self.forget_those_who_left();
    }

    /// Ends the reading for the sake of those that wait. Its members come along with the next one.
    fn make_way(&mut self) {
        let catch_ups = &self.shared.catch_ups;
        catch_ups.made_way(&self.shared, self.lane, self.passed.clone());
        self.ask_again();
    }

    /// The members wait for the next reading, each from where it stands.
    fn ask_again(&mut self) {
        let passed = self.passed.clone();
        self.members = 0;
        for seat in std::mem::take(&mut self.topics).into_values().flatten() {
            seat.member.pass(seat.turn, &passed);
            seat.member.wait_again(seat.turn);
            self.shared.catch_ups.wait(&self.shared, seat);
        }
    }
}

/// Whether a member, which has come so far, goes on in its ring, or has left.
fn has_joined<T>(seat: &Seat<T>, passed: &Position) -> bool {
    seat.member.pass(seat.turn, passed);
    let Some(place) = seat.member.place(seat.turn) else {
        return true;
    };
    match seat.member.topic.number_after(&place) {
        Some(number) => {
            seat.member.end(seat.turn, CatchUpEnd::Joined(number));
            true
        }
        None => false,
    }
}

/// The collection as it was is gone.
struct Gone;
