//! One topic's ring: its latest changes, and where its subscribers read.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bson::{Bson, RawDocumentBuf};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::change::ChangeEvent;
use crate::position::Position;
use crate::{Change, Cursor, FromDocument, HubSettings, ResumeToken, Unreadables};

use super::cursor::Codec;
use super::floors::{Floor, Floors};

/// One change in a ring. It is decoded when the first subscriber reads it.
pub(crate) struct Entry<T> {
    pub position: Position,
    pub token: ResumeToken,
    pub arrived: Instant,
    /// What it holds of the memory, at most: as it came, or decoded, whichever is more.
    pub bytes: usize,
    content: Mutex<EntryContent<T>>,
    cursor: OnceLock<Cursor>,
}

enum EntryContent<T> {
    Raw(RawDocumentBuf),
    Decoded(Arc<Change<T>>),
    /// It concerns no document that can be read.
    NoChange,
}

impl<T: FromDocument> Entry<T> {
    pub fn new(event: RawDocumentBuf, token: ResumeToken, position: Position) -> Self {
        let bytes = held_bytes::<T>(&event, &token, &position);
        let content = Mutex::new(EntryContent::Raw(event));
        Self {
            position,
            token,
            arrived: Instant::now(),
            bytes,
            content,
            cursor: OnceLock::new(),
        }
    }

    /// The change; `None` when it concerns no document that can be read.
    pub fn change(&self, unreadables: &Unreadables) -> Option<Arc<Change<T>>> {
        let mut content = lock(&self.content);
        if let EntryContent::Raw(event) = &*content {
            let change = match ChangeEvent::read(event) {
                Ok(ChangeEvent::Write(change)) => change.decode(unreadables),
                _ => None,
            };
            *content = change.map_or(EntryContent::NoChange, |change| {
                EntryContent::Decoded(Arc::new(change))
            });
        }
        match &*content {
            EntryContent::Decoded(change) => Some(change.clone()),
            _ => None,
        }
    }

    /// The cursor after this change, made once for all subscribers.
    pub fn cursor(&self, codec: &Codec, topic: &Bson) -> Cursor {
        self.cursor
            .get_or_init(|| codec.encode(topic, &self.token))
            .clone()
    }
}

/// Two counters before what an `Arc` holds.
const ARC: usize = 2 * size_of::<usize>();
/// What the allocator adds to each of the allocations of a change.
const ALLOCATIONS: usize = 8 * 16;
/// The change in its ring, and in the order of all; both may have room for as many again.
const PLACES: usize = 2 * (size_of::<Arc<()>>() + size_of::<(Instant, Arc<()>)>());

fn held_bytes<T: FromDocument>(
    event: &RawDocumentBuf,
    token: &ResumeToken,
    position: &Position,
) -> usize {
    let raw = event.as_bytes().len();
    let token = token.bytes();
    let decoded = ARC + size_of::<Change<T>>() + token + images_bytes(event) * T::HEAP_PER_BYTE;
    let entry = ARC + size_of::<Entry<T>>() + token + position.bytes();
    entry + raw.max(decoded) + Cursor::bytes_max(token) + PLACES + ALLOCATIONS
}

/// The size of the documents in an event.
fn images_bytes(event: &RawDocumentBuf) -> usize {
    let images = ["fullDocument", "fullDocumentBeforeChange"];
    let documents = images
        .iter()
        .filter_map(|name| event.get_document(name).ok());
    documents.map(|document| document.as_bytes().len()).sum()
}

/// What subscribers wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// The number that the next change will have.
    Next(u64),
    /// The history was lost: subscribers must query again.
    Lost,
    /// The hub stops: subscribers resume elsewhere after their last cursor.
    Stopped,
}

/// A topic with its ring.
pub(crate) struct Topic<T> {
    pub key: Bson,
    pub head: watch::Sender<Head>,
    pub subscribers: AtomicUsize,
    ring: Mutex<Ring<T>>,
}

struct Ring<T> {
    entries: VecDeque<Arc<Entry<T>>>,
    /// The number of the first entry.
    first: u64,
    bytes: usize,
    /// The ring has every change of the topic after this place.
    floor: Floor,
}

/// What was taken out of a ring.
#[derive(Default)]
pub(crate) struct Evicted {
    pub count: usize,
    pub bytes: usize,
}

/// What a subscriber finds at its number.
pub(crate) enum Lookup<T> {
    Entry(Arc<Entry<T>>),
    /// The next change has not come yet.
    Nothing,
    /// The ring begins after it: so many are gone.
    Missed(u64),
}

impl<T> Topic<T> {
    pub fn new(key: Bson, floor: Floor) -> Self {
        let ring = Ring {
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            floor,
        };
        let head = watch::Sender::new(Head::Next(0));
        Self {
            key,
            head,
            subscribers: AtomicUsize::new(0),
            ring: Mutex::new(ring),
        }
    }

    /// Appends a change and makes room for it.
    pub fn push(&self, entry: Arc<Entry<T>>, settings: &HubSettings) -> Evicted {
        let mut ring = lock(&self.ring);
        ring.bytes += entry.bytes;
        ring.entries.push_back(entry);
        let mut evicted = Evicted::default();
        while ring.entries.len() > settings.ring_count_max.max(1)
            || (ring.bytes > settings.ring_bytes_max && ring.entries.len() > 1)
        {
            ring.evict_first(&mut evicted);
        }
        let next = ring.first + ring.entries.len() as u64;
        drop(ring);
        self.head.send_replace(Head::Next(next));
        evicted
    }

    /// Takes out the changes that are older than this.
    pub fn evict_older(&self, age_max: Duration, now: Instant) -> Evicted {
        let mut ring = lock(&self.ring);
        let mut evicted = Evicted::default();
        while ring
            .entries
            .front()
            .is_some_and(|entry| now.duration_since(entry.arrived) > age_max)
        {
            ring.evict_first(&mut evicted);
        }
        evicted
    }

    /// Takes out the first change, if it came no later than this.
    pub fn evict_first(&self, arrived_by: Instant) -> Evicted {
        let mut ring = lock(&self.ring);
        let mut evicted = Evicted::default();
        if ring
            .entries
            .front()
            .is_some_and(|entry| entry.arrived <= arrived_by)
        {
            ring.evict_first(&mut evicted);
        }
        evicted
    }

    /// What a subscriber finds at a number.
    pub fn at(&self, number: u64) -> Lookup<T> {
        let ring = lock(&self.ring);
        match number.checked_sub(ring.first) {
            None => Lookup::Missed(ring.first - number),
            Some(offset) => match usize::try_from(offset)
                .ok()
                .and_then(|offset| ring.entries.get(offset))
            {
                Some(entry) => Lookup::Entry(entry.clone()),
                None => Lookup::Nothing,
            },
        }
    }

    /// The number of the first change after a place; `None` when the ring begins later.
    pub fn number_after(&self, place: &Position) -> Option<u64> {
        let ring = lock(&self.ring);
        if !ring.floor.is_reached_at(place) {
            return None;
        }
        Some(
            ring.first
                + ring
                    .entries
                    .partition_point(|entry| entry.position <= *place) as u64,
        )
    }

    /// The number that the next change will have.
    pub fn next_number(&self) -> u64 {
        let ring = lock(&self.ring);
        ring.first + ring.entries.len() as u64
    }

    /// Where the ring begins, when nothing is in it and nobody reads it.
    pub fn floor_if_unused(&self) -> Option<Floor> {
        let ring = lock(&self.ring);
        let unused = ring.entries.is_empty() && self.subscribers.load(Ordering::Acquire) == 0;
        unused.then(|| ring.floor.clone())
    }

    /// Lowers the floor of a ring that has had no change yet, or has all of them, to what is known of the past.
    pub fn extend_back(&self, from: &Position, past: &Floors) {
        let mut ring = lock(&self.ring);
        if matches!(&ring.floor, Floor::At(floor) if floor == from) {
            ring.floor = past.of(&self.key);
        }
    }

    /// Whether the ring still has the changes that came at this time.
    pub fn has_since(&self, arrived: Instant) -> bool {
        lock(&self.ring)
            .entries
            .front()
            .is_some_and(|first| first.arrived <= arrived)
    }
}

impl<T> Ring<T> {
    fn evict_first(&mut self, evicted: &mut Evicted) {
        if let Some(entry) = self.entries.pop_front() {
            self.first += 1;
            self.bytes -= entry.bytes;
            self.floor = Floor::At(entry.position.clone());
            evicted.count += 1;
            evicted.bytes += entry.bytes;
        }
    }
}

/// A poisoned lock is as good as any here: every change under it is complete.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
