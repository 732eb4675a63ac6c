//! Writes each event of a feed to its clients' sockets, in groups.
//!
//! A [`Group`] reads the feed's ring once for all its members, in one task, and writes each event straight to their
//! sockets. Of a member that has nothing to say, no task wakes, and nothing is queued or allocated for it.
//!
//! Whoever cannot take an event at once falls out of the group: it becomes a reader of its own at that event, and its
//! connection's task goes on from there, with that client's own bounds and time limits. When it has caught up, it joins a
//! group again. So each event goes to each client once, in order, on exactly one of the two ways:
//!
//! - a client joins where its own reader stands, under the group's lock, and only if the group is not past that place;
//! - it leaves, or falls out, under the same lock, with the number of the event that comes next for it.
//!
//! With a rate limit, the group charges each event to its client. Whoever cannot pay falls out, and its own way charges
//! again, and says so. What was charged for an event that its socket does not take pays for it on that way.
//!
//! The task of a group takes nobody's turns ([`ClientTurns`]). So an address has only a few memberships in groups of
//! several addresses. Its other ones are in groups of its own, whose tasks take its turns: an address with thousands of
//! sockets delays others no more than before.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use graphql_transport::{
    ClientKey, ClientTurns, DirectEvent, DirectSender, Event, GaugeGuard, Sent,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::Notify, time::Instant};

use super::event_ring::{EventRing, RingReader, Shows, Taken};
use crate::{identity::until_expiry::ClientToken, rate_limit::events::EventMeter};

/// The members of one group at most. A group writes an event to all of them before its task yields: for this many, it
/// takes a third of a millisecond.
const MEMBERS_MAX: usize = 32;
/// The bytes of events after which a group's task yields, even within an event.
const STEP_BYTES_MAX: usize = 256 * 1024;
/// How many memberships an address has in groups that it shares with others. More are in groups of its own.
const SHARED_PER_ADDRESS_MAX: usize = 16;
/// A feed with fewer readers has no groups: a group's task would save nothing.
const READERS_MIN: usize = 2;

/// The groups of one feed.
pub(super) struct FanOut {
    ring: Arc<EventRing>,
    groups: Mutex<Vec<Arc<Group>>>,
    members: Gauge,
}

/// Clients whose sockets get each event from one task.
struct Group {
    /// The address of all members, if they may be of one address only.
    address: Option<ClientKey>,
    /// What its members get in addition to the events.
    shows: Shows,
    state: Mutex<GroupState>,
    /// Wakes the group's task when the last member has left.
    left: Notify,
}

struct GroupState {
    /// None once the group has ended.
    reader: Option<RingReader>,
    members: Vec<Member>,
    /// The cursor of the last event that the group has passed, if one had any.
    cursor: Option<Arc<str>>,
    /// The same with the next event, which some of the members may have.
    next_cursor: Option<Arc<str>>,
}

struct Member {
    client: Arc<DirectClient>,
    /// The number of its next event, never before the group's reader.
    next: u64,
    /// The number of the last status that it got.
    seen: u64,
    /// What it gets in addition to the events, as all members of its group do.
    shows: Shows,
    /// Whether the group has written an event to it.
    has_got: bool,
    /// When its token ends, if it has one.
    until: Option<Instant>,
}

/// A client whose socket groups can write to.
pub(super) struct DirectClient {
    sender: DirectSender,
    token: Option<ClientToken>,
    /// Charges each event to it.
    meter: Option<Arc<EventMeter>>,
    address: Address,
    place: Mutex<Place>,
    /// Wakes the client's connection when its reader is given back.
    returned: AtomicWaker,
}

/// The address of a client.
pub(super) struct Address {
    pub key: ClientKey,
    pub turns: ClientTurns,
    /// Its memberships in groups that it shares with others.
    pub shared: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Place {
    /// The group where it is a member.
    group: Option<Arc<Group>>,
    /// The group out of which it fell last. It may be there yet, with room.
    former: Weak<Group>,
    /// Its own reader, when it has fallen out of its group.
    reader: Option<RingReader>,
    /// The cursor of the last event that it got, if one had any.
    cursor: Option<Arc<str>>,
}

/// A client's membership in a group. Dropping it leaves the group.
pub(super) struct Membership<'a> {
    client: &'a DirectClient,
    _counted: GaugeGuard,
    _shared: Option<SharedPlace<'a>>,
}

/// One of the places of an address in groups that it shares with others.
struct SharedPlace<'a>(&'a AtomicUsize);

/// Whether a group took a member.
enum Added {
    Yes,
    /// It is full, has ended, or is writing right now: nobody waits for it.
    No,
    /// It is past the member's place: there is an event for the member already.
    NewEvent,
}

/// What a group's task does next.
enum Step {
    GoOn,
    Wait,
    End,
}

impl FanOut {
    /// Without groups. `members` counts the clients in those of all feeds.
    pub(super) fn new(ring: Arc<EventRing>, members: Gauge) -> Arc<Self> {
        Arc::new(Self {
            ring,
            groups: Mutex::default(),
            members,
        })
    }

    /// Makes a client that has taken all events so far a member of a group, which writes the next ones to it.
    ///
    /// # Errors
    /// Gives the reader back if the client has to read by itself now: its socket is not free, there is a new event, or
    /// nobody shares the feed.
    pub(super) fn enter<'a>(
        self: &Arc<Self>,
        reader: RingReader,
        client: &'a Arc<DirectClient>,
    ) -> Result<Membership<'a>, RingReader> {
        if self.ring.readers() < READERS_MIN || !client.sender.is_free() {
            return Err(reader);
        }
        let until = client.valid_until();
        if until.is_some_and(|until| until <= Instant::now()) {
            return Err(reader);
        }
        let shared = SharedPlace::of(&client.address.shared);
        let address = shared.is_none().then_some(client.address.key);
        let shows = reader.shows();
        let fits = |group: &Group| group.address == address && group.shows == shows;
        let membership = Membership {
            client,
            _counted: GaugeGuard::new(&self.members),
            _shared: shared,
        };
        let member = Member {
            client: Arc::clone(client),
            next: reader.position(),
            seen: reader.seen(),
            shows,
            has_got: false,
            until,
        };
        let former = lock(&client.place).former.upgrade();
        let mut member = Some(member);
        if let Some(group) = former.filter(|group| fits(group)) {
            match group.try_add(&mut member) {
                Added::Yes => return Ok(membership),
                Added::NewEvent => return Err(reader),
                Added::No => {}
            }
        }
        let mut groups = lock(&self.groups);
        for group in groups.iter().rev() {
            if !fits(group) {
                continue;
            }
            match group.try_add(&mut member) {
                Added::Yes => {
                    drop(groups);
                    // The group's reader keeps from here on what this one would.
                    drop(reader);
                    return Ok(membership);
                }
                Added::NewEvent => return Err(reader),
                Added::No => {}
            }
        }
        let group = Arc::new(Group {
            address,
            shows,
            state: Mutex::new(GroupState {
                reader: Some(reader),
                members: member.into_iter().collect(),
                cursor: None,
                next_cursor: None,
            }),
            left: Notify::new(),
        });
        lock(&client.place).group = Some(Arc::clone(&group));
        groups.push(Arc::clone(&group));
        drop(groups);
        let running = run(Arc::clone(self), group);
        match address {
            None => tokio::spawn(running),
            Some(_) => tokio::spawn(client.address.turns.clone().run(Box::pin(running))),
        };
        Ok(membership)
    }
}

/// A group's task.
async fn run(fan_out: Arc<FanOut>, group: Arc<Group>) {
    // A panic would end the task, too.
    let ending = EndGroup(&fan_out, &group);
    let mut event = DirectEvent::default();
    loop {
        let appended = fan_out.ring.until_appended();
        match group.step(&fan_out.ring, &mut event) {
            Step::GoOn => tokio::task::yield_now().await,
            Step::Wait => tokio::select! {
                () = appended => {}
                () = group.left.notified() => {}
            },
            Step::End => break,
        }
    }
    drop(ending);
}

/// Gives all members their readers back when it is dropped.
struct EndGroup<'a>(&'a FanOut, &'a Arc<Group>);

impl Drop for EndGroup<'_> {
    fn drop(&mut self) {
        let Self(fan_out, group) = self;
        group.lock().end(&fan_out.ring);
        lock(&fan_out.groups).retain(|other| !Arc::ptr_eq(other, group));
    }
}

impl Group {
    fn try_add(self: &Arc<Self>, member: &mut Option<Member>) -> Added {
        let Ok(mut state) = self.state.try_lock() else {
            return Added::No;
        };
        match (&state.reader, &member) {
            (Some(reader), Some(member)) if member.is_behind(reader) => return Added::NewEvent,
            (Some(_), Some(_)) if state.members.len() < MEMBERS_MAX => {}
            _ => return Added::No,
        }
        if let Some(member) = member.take() {
            lock(&member.client.place).group = Some(Arc::clone(self));
            state.members.push(member);
        }
        Added::Yes
    }

    /// Writes the next event to all members, if there is one, or to as many as it may in one step.
    fn step(&self, ring: &Arc<EventRing>, direct: &mut DirectEvent) -> Step {
        let mut state = self.lock();
        let GroupState {
            reader: Some(reader),
            members,
            cursor: last_cursor,
            next_cursor,
        } = &mut *state
        else {
            return Step::End;
        };
        if members.is_empty() {
            state.reader = None;
            return Step::End;
        }
        let (body, cursor) = match reader.peek() {
            None => return Step::Wait,
            Some(Taken::Status(status, number)) => {
                let position = reader.position();
                direct.set_status(status);
                write_status(members, number, direct, |member| {
                    member.give_back(ring, position, last_cursor);
                });
                reader.pass_status(number);
                direct.clear();
                return Step::GoOn;
            }
            Some(Taken::Event(Event::Next { body, cursor })) if is_text(&body) => (body, cursor),
            // The end, and whatever is not an event of its own, takes the way of one client.
            Some(_) => {
                state.end(ring);
                return Step::End;
            }
        };
        let (number, now) = (reader.position(), Instant::now());
        *next_cursor = cursor.clone().or_else(|| last_cursor.clone());
        let (mut index, mut bytes, size) = (0, 0, body.len());
        if !direct.is_of(&body) {
            direct.set(body, cursor);
        }
        while let Some(member) = members.get_mut(index) {
            if member.next > number {
                index += 1;
                continue;
            }
            if bytes >= STEP_BYTES_MAX {
                return Step::GoOn;
            }
            bytes += size;
            let sent = member.write(direct, now);
            if sent != Sent::Nothing {
                (member.next, member.has_got) = (number + 1, true);
            }
            match sent {
                Sent::Whole => index += 1,
                Sent::Begun => members
                    .swap_remove(index)
                    .give_back(ring, number, next_cursor),
                Sent::Nothing => members
                    .swap_remove(index)
                    .give_back(ring, number, last_cursor),
            }
        }
        if let Some(member) = members.first() {
            member.client.address.turns.note_competition();
        }
        last_cursor.clone_from(next_cursor);
        reader.pass(number);
        direct.clear();
        Step::GoOn
    }

    fn leave(&self, client: &DirectClient) {
        let mut state = self.lock();
        let is_it = |member: &Member| std::ptr::eq(&*member.client, client);
        let Some(index) = state.members.iter().position(is_it) else {
            return;
        };
        let member = state.members.swap_remove(index);
        member.note_cursor(&mut lock(&client.place), state.cursor_of(&member));
        if state.members.is_empty() {
            self.left.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, GroupState> {
        lock(&self.state)
    }
}

impl GroupState {
    fn end(&mut self, ring: &Arc<EventRing>) {
        let members = std::mem::take(&mut self.members);
        if let Some(position) = self.position() {
            for member in members {
                let cursor = self.cursor_of(&member);
                member.give_back(ring, position, cursor);
            }
        }
        self.reader = None;
    }

    fn position(&self) -> Option<u64> {
        self.reader.as_ref().map(RingReader::position)
    }

    /// The cursor of the last event that the member got here.
    fn cursor_of(&self, member: &Member) -> &Option<Arc<str>> {
        let has_next = self
            .position()
            .is_some_and(|position| member.next > position);
        match has_next {
            true => &self.next_cursor,
            false => &self.cursor,
        }
    }
}

/// Writes the status of this number to all members that have not got it: a few bytes for each. It costs them nothing. Gives
/// back those that cannot take it.
fn write_status(
    members: &mut Vec<Member>,
    number: u64,
    status: &mut DirectEvent,
    mut give_back: impl FnMut(Member),
) {
    let (mut index, now) = (0, Instant::now());
    while let Some(member) = members.get_mut(index) {
        if member.seen >= number {
            index += 1;
            continue;
        }
        let sent = member.write_status(status, now);
        if sent != Sent::Nothing {
            member.seen = number;
        }
        match sent {
            Sent::Whole => index += 1,
            Sent::Begun | Sent::Nothing => give_back(members.swap_remove(index)),
        }
    }
}

impl Member {
    /// Whether the reader of a group has passed an event or a status that the member has not got.
    fn is_behind(&self, reader: &RingReader) -> bool {
        reader.position() > self.next || (self.shows.status && reader.seen() > self.seen)
    }

    /// Writes an event to its socket, if its token and its rate limit allow that.
    fn write(&self, event: &mut DirectEvent, now: Instant) -> Sent {
        let meter = self.client.meter.as_ref();
        if self.has_ended(now) || meter.is_some_and(|meter| !meter.may_pass()) {
            return Sent::Nothing;
        }
        let sent = self.client.sender.send(event);
        if let (Sent::Nothing, Some(meter)) = (sent, meter) {
            meter.keep_for_next();
        }
        sent
    }

    /// Writes a status to its socket, if its token allows that.
    fn write_status(&self, status: &mut DirectEvent, now: Instant) -> Sent {
        match self.has_ended(now) {
            true => Sent::Nothing,
            false => self.client.sender.send(status),
        }
    }

    fn has_ended(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Lets the client read by itself, from its next event on. The group's reader stands at `position`, which is there or
    /// before.
    fn give_back(self, ring: &Arc<EventRing>, position: u64, cursor: &Option<Arc<str>>) {
        let mut reader = ring.join_at(position, self.seen, self.shows);
        for number in position..self.next {
            reader.pass(number);
        }
        let mut place = lock(&self.client.place);
        self.note_cursor(&mut place, cursor);
        place.reader = Some(reader);
        // Who leaves now has no need to wait for the group.
        let group = place.group.take();
        place.former = group.as_ref().map(Arc::downgrade).unwrap_or_default();
        drop(place);
        self.client.returned.wake();
    }

    fn note_cursor(&self, place: &mut Place, cursor: &Option<Arc<str>>) {
        if self.has_got && cursor.is_some() {
            place.cursor.clone_from(cursor);
        }
    }
}

impl DirectClient {
    pub(super) fn new(
        sender: DirectSender,
        token: Option<ClientToken>,
        meter: Option<Arc<EventMeter>>,
        address: Address,
    ) -> Arc<Self> {
        Arc::new(Self {
            sender,
            token,
            meter,
            address,
            place: Mutex::default(),
            returned: AtomicWaker::new(),
        })
    }

    /// Notes an event that came by the client's own reader, with its cursor if it has one.
    pub(super) fn got(&self, cursor: Option<&Arc<str>>) {
        self.sender.note_yielded();
        if let Some(cursor) = cursor {
            lock(&self.place).cursor = Some(Arc::clone(cursor));
        }
    }

    /// Waits until the client's connection has written what came by the client's own reader; forever if it has. Cancelling
    /// the wait loses nothing.
    pub(super) async fn until_flushed(&self) {
        self.sender.until_flushed().await;
    }

    /// Leaves its group, if it is in one, and gets nothing more. Returns the cursor of the last event that it got, if
    /// one had any.
    pub(super) fn withdraw(&self) -> Option<Arc<str>> {
        let group = lock(&self.place).group.take();
        if let Some(group) = group {
            group.leave(self);
        }
        lock(&self.place).cursor.clone()
    }

    fn valid_until(&self) -> Option<Instant> {
        self.token.as_ref().map(ClientToken::valid_until)
    }
}

impl<'a> SharedPlace<'a> {
    fn of(places: &'a AtomicUsize) -> Option<Self> {
        let has_room = |taken| (taken < SHARED_PER_ADDRESS_MAX).then_some(taken + 1);
        let taken = places.fetch_update(Relaxed, Relaxed, has_room);
        taken.ok().map(|_| Self(places))
    }
}

impl Drop for SharedPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Membership<'_> {
    /// Waits until the client has to read by itself. If that never comes, the group writes to it.
    pub(super) async fn until_returned(self) -> RingReader {
        poll_fn(|context| {
            self.client.returned.register(context.waker());
            match lock(&self.client.place).reader.take() {
                Some(reader) => Poll::Ready(reader),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.client.withdraw();
    }
}

fn is_text(body: &Bytes) -> bool {
    std::str::from_utf8(body).is_ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
