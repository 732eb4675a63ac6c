//! What this process knows of all partitions: of the set that serves, of one that is being built, and of one that was
//! switched to and is not read yet.

use bson::{Bson, DateTime, Timestamp};
use tokio::sync::watch;

use super::Slot;
use super::partition::{SetId, hash, number_of};
use super::progress::Progress;

/// Where the partitions' progress is published. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Board(watch::Sender<Known>);

/// What is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    sets: Vec<KnownSet>,
    /// The set that readers of this process use.
    serving: Option<SetId>,
    /// The set that they use next.
    next: Option<Next>,
    /// The server's time when this process began.
    began: DateTime,
}

#[derive(Clone, Debug, PartialEq)]
struct KnownSet {
    id: SetId,
    parts: Vec<Progress>,
}

/// A set that serves by now, according to the database. Its partitions may be behind those that served before: it is read
/// as soon as it has passed what readers of this process may have seen.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Next {
    set: SetId,
    from: Option<Timestamp>,
}

/// Which partitions a reader waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// All of them: for a list of targets.
    All,
    /// The one to which the target with this hash belongs.
    Target(u64),
}

impl Of {
    pub fn target(id: &Bson) -> Self {
        Self::Target(hash(id))
    }

    /// Whether a partition is one of them.
    pub fn includes(self, number: u32, count: u32) -> bool {
        match self {
            Self::All => true,
            Self::Target(hash) => number_of(hash, count) == number,
        }
    }
}

impl Board {
    pub fn new(now: DateTime) -> Self {
        Self(watch::Sender::new(Known {
            sets: Vec::new(),
            serving: None,
            next: None,
            began: now,
        }))
    }

    pub fn subscribe(&self) -> watch::Receiver<Known> {
        self.0.subscribe()
    }

    pub fn borrow(&self) -> watch::Ref<'_, Known> {
        self.0.borrow()
    }

    /// The set runs here from now on.
    pub fn add(&self, set: SetId, now: DateTime) {
        self.0.send_modify(|known| {
            if known.set(set).is_none() {
                let parts = (0..set.count).map(|_| Progress::unknown(now)).collect();
                known.sets.push(KnownSet { id: set, parts });
            }
        });
    }

    /// The set does not run here any more.
    pub fn remove(&self, set: SetId) {
        self.0
            .send_modify(|known| known.sets.retain(|known| known.id != set));
    }

    /// The database says that this set serves.
    pub fn serve(&self, set: Option<SetId>) {
        self.0.send_if_modified(|known| known.serve(set));
    }

    pub fn part(&self, set: SetId, number: u32) -> PartProgress {
        PartProgress {
            board: self.0.clone(),
            set,
            number,
        }
    }
}

impl Known {
    fn set(&self, id: SetId) -> Option<&KnownSet> {
        self.sets.iter().find(|set| set.id == id)
    }

    fn part_mut(&mut self, set: SetId, number: u32) -> Option<&mut Progress> {
        let set = self.sets.iter_mut().find(|known| known.id == set)?;
        set.parts.get_mut(number as usize)
    }

    fn serving_set(&self) -> Option<&KnownSet> {
        self.set(self.serving?)
    }

    fn serve(&mut self, set: Option<SetId>) -> bool {
        let Some(set) = set else {
            let was = (self.serving.take(), self.next.take());
            return was != (None, None);
        };
        if self.serving == Some(set) {
            return self.next.take().is_some();
        }
        if self.next.is_some_and(|next| next.set == set) {
            return self.settle();
        }
        let shown = self.serving_set().and_then(KnownSet::highest);
        self.next = Some(Next { set, from: shown });
        self.settle();
        true
    }

    /// Readers use the next set from now on, if it has come far enough. Returns whether they do.
    fn settle(&mut self) -> bool {
        let Some(next) = self.next else { return false };
        let is_far_enough = self.serving_set().is_none()
            || self.set(next.set).is_some_and(|set| match next.from {
                Some(from) => set.lowest(Of::All).is_some_and(|lowest| lowest >= from),
                None => true,
            });
        if is_far_enough {
            self.serving = Some(next.set);
            self.next = None;
        }
        is_far_enough
    }

    /// The place of the state that readers use.
    pub fn slot(&self, field: &str) -> Option<Slot> {
        let set = self.serving_set()?;
        match set.id {
            SetId::WHOLE => set.parts.first()?.slot(field),
            SetId { generation, count } => Some(Slot::new(field, generation, Some(count))),
        }
    }

    /// The same, when these partitions have passed a time.
    pub fn slot_at(&self, time: Timestamp, of: Of, field: &str) -> Option<Slot> {
        let has_passed = |set: &KnownSet| set.lowest(of).is_some_and(|lowest| lowest >= time);
        let next = self.next.and_then(|next| self.set(next.set));
        // Whoever has waited may read the next set a moment later.
        if !has_passed(self.serving_set()?) || !next.is_none_or(has_passed) {
            return None;
        }
        self.slot(field)
    }

    /// The time at which the serving state was level with the source, of the partition that is furthest behind.
    pub fn level(&self) -> DateTime {
        let set = self.serving_set().or_else(|| self.sets.last());
        let levels = set.map(|set| set.parts.iter().map(|part| part.level));
        levels.and_then(Iterator::min).unwrap_or(self.began)
    }

    /// The same of each partition of the serving set.
    pub fn levels(&self) -> impl Iterator<Item = (u32, DateTime, bool)> {
        let parts = self.serving_set().into_iter().flat_map(|set| &set.parts);
        (0..)
            .zip(parts)
            .map(|(number, part)| (number, part.level, part.leading))
    }

    /// How far the partition that is furthest behind has come.
    pub fn passed(&self) -> Option<Timestamp> {
        self.serving_set()?.lowest(Of::All)
    }

    /// Whether this process writes a partition.
    pub fn is_leading(&self) -> bool {
        let mut parts = self.sets.iter().flat_map(|set| &set.parts);
        parts.any(|part| part.leading)
    }

    /// The highest epoch of a leader.
    pub fn epoch(&self) -> i64 {
        let parts = self.sets.iter().flat_map(|set| &set.parts);
        parts.map(|part| part.epoch).max().unwrap_or_default()
    }

    /// What keeps this process from building the state.
    pub fn trouble(&self) -> Option<&str> {
        let mut parts = self.sets.iter().flat_map(|set| &set.parts);
        parts.find_map(|part| part.trouble.as_deref())
    }

    /// The partitions that readers wait for and that others write.
    pub fn written_elsewhere(&self, of: Of) -> Vec<(SetId, u32)> {
        let next = self.next.map(|next| next.set);
        let read = self.serving.into_iter().chain(next);
        // Before the first build: whichever is being built.
        let sets = self
            .sets
            .iter()
            .filter(|set| self.serving.is_none() || read.clone().any(|read| read == set.id));
        let parts = sets.flat_map(|set| {
            (0..)
                .zip(&set.parts)
                .map(move |(number, part)| (set.id, number, part))
        });
        parts
            .filter(|(set, number, part)| !part.leading && of.includes(*number, set.count))
            .map(|(set, number, _)| (set, number))
            .collect()
    }

    /// The set that serves, as readers of this process know it.
    pub fn serving(&self) -> Option<SetId> {
        self.serving
    }
}

impl KnownSet {
    fn passed(&self, of: Of) -> impl Iterator<Item = Option<Timestamp>> {
        let parts = (0..).zip(&self.parts);
        let count = self.id.count;
        parts
            .filter(move |(number, _)| of.includes(*number, count))
            .map(|(_, part)| part.passed)
    }

    /// What all of these partitions have passed.
    fn lowest(&self, of: Of) -> Option<Timestamp> {
        // `None` is less than every time.
        self.passed(of).min().flatten()
    }

    /// What one of them has passed.
    fn highest(&self) -> Option<Timestamp> {
        self.passed(Of::All).max().flatten()
    }
}

/// Publishes the progress of one partition. Without a word when its set does not run here any more.
#[derive(Clone, Debug)]
pub(crate) struct PartProgress {
    board: watch::Sender<Known>,
    set: SetId,
    number: u32,
}

impl PartProgress {
    /// The epoch of the last leader that this process has heard of.
    pub fn epoch(&self) -> i64 {
        let known = self.board.borrow();
        let set = known.set(self.set);
        let part = set.and_then(|set| set.parts.get(self.number as usize));
        part.map_or(0, |part| part.epoch)
    }

    /// Whether this process leads it.
    pub fn is_leading(&self) -> bool {
        let known = self.board.borrow();
        let set = known.set(self.set);
        let part = set.and_then(|set| set.parts.get(self.number as usize));
        part.is_some_and(|part| part.leading)
    }

    /// What the leader says.
    pub fn replace(&self, progress: Progress) {
        self.modify(|part| *part = progress);
    }

    /// This process does not lead any more.
    pub fn stand_by(&self) {
        self.modify(|part| part.leading = false);
    }

    /// What is stored, which is known already where this process leads.
    pub fn offer(&self, stored: Progress) {
        self.board.send_if_modified(|known| {
            let Some(part) = known.part_mut(self.set, self.number) else {
                return false;
            };
            let is_news = !part.leading && stored.is_news_to(part);
            if is_news {
                *part = stored;
                known.settle();
            }
            is_news
        });
    }

    fn modify(&self, change: impl FnOnce(&mut Progress)) {
        self.board.send_modify(|known| {
            if let Some(part) = known.part_mut(self.set, self.number) {
                change(part);
                known.settle();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: SetId = SetId {
        generation: 1,
        count: 2,
    };
    const NEW: SetId = SetId {
        generation: 2,
        count: 1,
    };

    fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 0 }
    }

    fn passed(time: u32, set: SetId) -> Progress {
        Progress {
            passed: Some(at(time)),
            serving: Some(set.generation),
            partitions: Some(set.count),
            ..Progress::unknown(DateTime::from_millis(i64::from(time)))
        }
    }

    fn serving_old() -> Board {
        let board = Board::new(DateTime::from_millis(0));
        board.add(OLD, DateTime::from_millis(0));
        board.serve(Some(OLD));
        board.part(OLD, 0).replace(passed(5, OLD));
        board.part(OLD, 1).replace(passed(9, OLD));
        board
    }

    #[test]
    fn a_list_waits_for_the_partition_that_is_furthest_behind_and_a_target_for_its_own() {
        let board = serving_old();
        let known = board.borrow();
        let slot_at = |time, of| known.slot_at(at(time), of, "feed");
        assert!(slot_at(5, Of::All).is_some());
        assert!(slot_at(6, Of::All).is_none());
        assert!(slot_at(9, Of::Target(1)).is_some(), "in partition 1");
        assert!(slot_at(9, Of::Target(2)).is_none(), "in partition 0");
        assert_eq!(known.level(), DateTime::from_millis(5));
    }

    #[test]
    fn a_new_set_is_read_once_it_has_passed_what_readers_have_seen() {
        let board = serving_old();
        board.add(NEW, DateTime::from_millis(0));
        board.part(NEW, 0).replace(passed(7, NEW));
        board.serve(Some(NEW));
        let path = || board.borrow().slot("feed").map(|slot| slot.to_string());
        assert_eq!(path().as_deref(), Some("feed.g1x2"));
        board.part(OLD, 0).replace(passed(8, OLD));
        assert!(
            board.borrow().slot_at(at(8), Of::All, "feed").is_none(),
            "the next read may be of the new set"
        );
        board.part(NEW, 0).replace(passed(9, NEW));
        assert_eq!(path().as_deref(), Some("feed.g2x1"));
    }

    #[test]
    fn a_set_that_stands_still_is_replaced_at_once() {
        let board = Board::new(DateTime::from_millis(0));
        board.add(OLD, DateTime::from_millis(0));
        board.serve(Some(OLD));
        board.add(NEW, DateTime::from_millis(0));
        board.serve(Some(NEW));
        assert_eq!(board.borrow().serving(), Some(NEW));
    }
}
