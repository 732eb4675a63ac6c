//! All pages that are kept: who loads them, what the stream changes in them, and which give way.
//!
//! A load registers its posts before it reads. From then on their changes are kept for it, and applied to what it has
//! read, without those that the snapshot had. So no change falls between, and none is applied twice.
//!
//! Pages and loads belong to one line of the stream. When it ends, all are dropped; a load that was registered before
//! keeps nothing.

use std::cell::LazyCell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::{Bson, Timestamp};
use changefeed::{ChangeKind, Follower, Seen};
use tokio::sync::watch;
use tokio::time::Instant;

use super::metrics::PageMetrics;
use super::page::{Page, held_bytes};
use crate::comment::Comment;
use crate::post::PostId;

/// One page may have this part of the memory of all; a larger one is not kept.
const PAGE_SHARE: usize = 16;
/// What an entry takes in the maps and the queue, besides its page.
const ENTRY_BYTES: usize = 256;
/// Changes of one post that wait for its load. A load with more keeps nothing.
const WAITING_CHANGES_MAX: usize = 256;
/// Their bytes.
const WAITING_BYTES_MAX: usize = 256 << 10;
/// Posts whose own last write is remembered until the stream has shown it. If there are more, every read waits for the
/// last of all.
const WRITTEN_POSTS_MAX: usize = 4_096;
/// No page is used for longer after the last moment of which the stream has shown all that the server had then. In
/// between, and after a fault, there may be changes that are shown in a moment.
const LEVEL_FOR: Duration = Duration::from_secs(1);
/// The stream hands changes on at once for so long after a read.
const IN_USE_FOR: Duration = Duration::from_secs(2);
/// No page is loaded for so long after the server had no snapshot.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Before every change.
const BEFORE_ALL: Timestamp = Timestamp {
    time: 0,
    increment: 0,
};

/// The pages of the posts that are read.
pub struct Pages {
    bytes_max: usize,
    state: Mutex<State>,
    /// What [`State::shown`] is, for those who wait.
    shown: watch::Sender<Shown>,
    /// The last read, in milliseconds after `began`.
    last_read_ms: AtomicU64,
    began: Instant,
    pub metrics: PageMetrics,
}

/// How far the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// It has shown every change up to this time.
    reached: Timestamp,
    /// The time of the last change that was alone at its time, if that is later: it has shown that one, too. A write of this
    /// process is shown by then, and nobody needs to wait for more.
    alone: Timestamp,
}

struct State {
    /// Whether the stream goes on.
    follows: bool,
    shown: Shown,
    /// The time of the last change that it has shown, or up to which it has shown all.
    seen: Timestamp,
    pages: HashMap<PostId, Held>,
    /// The posts with a page, in the order in which they are looked at when one has to give way.
    queue: VecDeque<PostId>,
    bytes: usize,
    loads: HashMap<PostId, Load>,
    next_load: u64,
    /// When this process last wrote to a post, where the stream may not have shown it yet.
    written: HashMap<PostId, Timestamp>,
    /// The same, of posts that are not known.
    written_anywhere: Timestamp,
    /// Up to where writes that were shown are removed from `written`.
    pruned_at: Timestamp,
    refused_until: Option<Instant>,
    /// The last moment of which the stream has shown all that the server had then, in this line.
    level_at: Option<Instant>,
    dropped: Dropped,
}

/// What is not kept any more, to be dropped without the lock: it may be as much as all pages hold.
#[derive(Default)]
struct Dropped {
    pages: Vec<Page>,
    loads: Vec<Load>,
}

struct Held {
    page: Page,
    /// Whether it was read since the queue last came to it.
    was_read: bool,
}

/// A post that is being read.
struct Load {
    number: u64,
    /// What the stream had shown before it was registered.
    from: Timestamp,
    /// What it has shown since; none if there was too much of it, or something doubtful.
    changes: Option<Vec<(Timestamp, ChangeKind<Comment>)>>,
    /// What they hold of the memory.
    bytes: usize,
    /// Tells those who wait that it is over, by its end.
    done: watch::Sender<()>,
}

/// What a reader finds.
pub enum Look {
    /// The page, which has everything that the reader has to see.
    Found(Vec<Arc<Comment>>),
    /// There is a page, but the stream has to come so far first.
    Behind(Shown),
    /// Somebody reads the page. The receiver's sender goes when it has.
    Loading(watch::Receiver<()>),
    /// There is no page of this size. It has to have everything up to this time.
    Missing(Timestamp),
    /// Nothing is kept now.
    Off,
}

impl Pages {
    /// No page; they will hold at most `bytes_max` bytes. 0 keeps none.
    pub fn new(bytes_max: usize, metrics: PageMetrics) -> Self {
        Self {
            bytes_max,
            state: Mutex::new(State {
                follows: false,
                shown: Shown::NOTHING,
                seen: BEFORE_ALL,
                pages: HashMap::new(),
                queue: VecDeque::new(),
                bytes: 0,
                loads: HashMap::new(),
                next_load: 0,
                written: HashMap::new(),
                pruned_at: BEFORE_ALL,
                written_anywhere: BEFORE_ALL,
                refused_until: None,
                level_at: None,
                dropped: Dropped::default(),
            }),
            shown: watch::Sender::new(Shown::NOTHING),
            last_read_ms: AtomicU64::new(0),
            began: Instant::now(),
            metrics,
        }
    }

    /// Whether any page is ever kept.
    pub fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    /// Looks for the first `count` comments of a post, with every change up to `seen` and everything that this process
    /// has written to the post.
    pub fn look(&self, post: PostId, count: usize, seen: Option<Timestamp>) -> Look {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_read_ms.store(now_ms.max(1), Ordering::Relaxed);
        let mut state = self.lock();
        let (own, asked) = (state.written_to(post), seen.unwrap_or(BEFORE_ALL));
        let (shown, is_level) = (state.shown, state.is_level());
        let held = state.pages.get_mut(&post).map(|held| {
            // In any case: while the stream is late, the pages that are read do not give way either.
            held.was_read = true;
            &held.page
        });
        if !is_level {
            return Look::Off;
        }
        if let Some(page) = held
            && let Some(comments) = page.first(count)
        {
            let unless_read = |time| match page.as_of() >= time {
                true => BEFORE_ALL,
                false => time,
            };
            let required = Shown {
                reached: unless_read(asked),
                alone: unless_read(own),
            };
            return match shown.is_at(required) {
                true => Look::Found(comments.to_vec()),
                false => Look::Behind(required),
            };
        }
        match state.loads.get(&post) {
            Some(load) => Look::Loading(load.done.subscribe()),
            None if state.is_refused() => Look::Off,
            // And what the stream has shown: a cursor beside the list may be of that.
            None => Look::Missing(own.max(asked).max(state.seen)),
        }
    }

    /// Waits until the stream has come so far; whoever calls limits the wait.
    pub async fn reaches(&self, required: Shown) {
        let mut shown = self.shown.subscribe();
        // The sender lives as long as `self`.
        let _ = shown.wait_for(|shown| shown.is_at(required)).await;
    }

    /// Remembers that this process has written to a post (or to one that is not known): whoever reads it from now on has
    /// to see that.
    pub fn wrote(&self, post: Option<PostId>, at: Timestamp) {
        if !self.is_on() {
            return;
        }
        let mut state = self.lock();
        let state = &mut *state;
        let shown = state.shown.alone;
        if state.written.len() >= WRITTEN_POSTS_MAX && shown > state.pruned_at {
            state.written.retain(|_, at| *at > shown);
            state.pruned_at = shown;
        }
        let of_post = match post {
            Some(post) if state.written.len() < WRITTEN_POSTS_MAX => {
                state.written.entry(post).or_insert(BEFORE_ALL)
            }
            _ => &mut state.written_anywhere,
        };
        *of_post = at.max(*of_post);
    }

    /// Registers a load of those of the posts that nobody loads. Call it before anything is read.
    pub fn begin(self: &Arc<Self>, posts: &[PostId]) -> Loading {
        let mut state = self.lock();
        let number = state.next_load;
        state.next_load += 1;
        let mut begun = Vec::with_capacity(posts.len());
        if state.follows {
            let from = state.seen;
            for post in posts {
                state.loads.entry(*post).or_insert_with(|| {
                    begun.push(*post);
                    Load {
                        number,
                        from,
                        changes: Some(Vec::new()),
                        bytes: 0,
                        done: watch::Sender::new(()),
                    }
                });
            }
        }
        drop(state);
        Loading {
            pages: self.clone(),
            number,
            posts: begun,
        }
    }

    /// The server has no snapshots: nothing is loaded for a while.
    pub fn refuse(&self) {
        self.lock().refused_until = Some(Instant::now() + REFUSED_FOR);
    }

    /// The stream has shown a change of comments of some posts, or, if they are not known, of any. It may be alone at its
    /// time.
    fn pass(
        &self,
        (at, is_alone): (Timestamp, bool),
        posts: Option<&[PostId]>,
        decode: impl FnOnce() -> Option<ChangeKind<Comment>>,
    ) {
        let is_kept = |state: &State| {
            let is_kept = |post| state.pages.contains_key(post) || state.loads.contains_key(post);
            posts.is_some_and(|posts| posts.iter().any(is_kept))
        };
        let change = LazyCell::new(decode);
        // Without the lock: a document may have 16 MB.
        if is_kept(&self.lock()) {
            LazyCell::force(&change);
        }
        let mut state = self.lock();
        match posts {
            None => {
                let dropped = state.pages.len();
                state.clear_pages();
                state.loads.values_mut().for_each(|it| it.changes = None);
                self.metrics.doubtful.inc_by(dropped as u64);
            }
            // Or a load has begun meanwhile, and the change is read now.
            Some(posts) if is_kept(&state) => {
                if let Some(change) = &*change {
                    for post in posts {
                        self.change_of(&mut state, *post, at, change);
                    }
                }
            }
            Some(_) => {}
        }
        state.seen = at.max(state.seen);
        if is_alone {
            state.shown.alone = at.max(state.shown.alone);
        }
        self.tell(state);
    }

    fn change_of(
        &self,
        state: &mut State,
        post: PostId,
        at: Timestamp,
        change: &ChangeKind<Comment>,
    ) {
        if let Some(load) = state.loads.get_mut(&post) {
            load.keep(at, change);
        }
        let Some(held) = state.pages.get_mut(&post) else {
            return;
        };
        let before = held.page.bytes();
        let applied = held.page.apply(post, at, change);
        let after = held.page.bytes();
        state.bytes = state.bytes - before + after;
        if applied.is_err() {
            self.metrics.doubtful.inc();
            state.remove(post);
        } else if after > self.bytes_max / PAGE_SHARE {
            self.metrics.evicted.inc();
            state.remove(post);
        } else {
            self.make_room(state);
        }
    }

    /// Tells those who wait how far the stream is. Only the stream itself does so.
    fn tell(&self, state: MutexGuard<'_, State>) {
        let shown = state.shown;
        self.release(state);
        let is_new = |it: &mut Shown| std::mem::replace(it, shown) != shown;
        self.shown.send_if_modified(is_new);
    }

    /// Drops what is not kept any more, without the lock.
    fn release(&self, mut state: MutexGuard<'_, State>) {
        self.metrics.pages.set(state.pages.len() as i64);
        self.metrics.bytes.set(state.bytes as i64);
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        drop(dropped);
    }

    /// Keeps a page, in the place of the one that there was.
    fn keep(&self, state: &mut State, post: PostId, page: Page) {
        state.remove(post);
        if page.bytes() > self.bytes_max / PAGE_SHARE {
            state.dropped.pages.push(page);
            return;
        }
        state.bytes += page.bytes() + ENTRY_BYTES;
        state.queue.push_back(post);
        let was_read = false;
        state.pages.insert(post, Held { page, was_read });
        self.make_room(state);
    }

    /// Drops pages until all fit: in turn, those that nobody has read since their last turn.
    fn make_room(&self, state: &mut State) {
        while state.bytes > self.bytes_max {
            let Some(post) = state.queue.pop_front() else {
                return;
            };
            match state.pages.get_mut(&post) {
                Some(held) if held.was_read => {
                    held.was_read = false;
                    state.queue.push_back(post);
                }
                Some(_) => {
                    self.metrics.evicted.inc();
                    state.remove(post);
                }
                // It went before, and its place is left.
                None => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower<Comment> for Pages {
    fn see(&self, seen: Seen<'_, Comment>) {
        match seen {
            Seen::Began(after) => {
                let mut state = self.lock();
                state.clear();
                state.follows = self.is_on();
                state.shown = Shown {
                    reached: after,
                    alone: after,
                };
                state.seen = after;
                self.tell(state);
            }
            Seen::Change(change) => {
                let posts = change.topics().map(posts_of);
                let decode = || change.decode().map(|change| change.kind);
                let is_alone = !change.is_in_transaction();
                self.pass((change.cluster_time(), is_alone), posts.as_deref(), decode);
            }
            Seen::Reached(time) => {
                let mut state = self.lock();
                let Shown { reached, alone } = state.shown;
                state.shown = Shown {
                    reached: time.max(reached),
                    alone: time.max(alone),
                };
                state.seen = time.max(state.seen);
                self.tell(state);
            }
            Seen::Level(moment) => {
                let mut state = self.lock();
                state.level_at = state.level_at.max(Some(moment));
            }
            Seen::Ended => {
                let mut state = self.lock();
                state.clear();
                state.follows = false;
                self.release(state);
            }
        }
    }

    fn is_in_use(&self) -> bool {
        let last = match self.last_read_ms.load(Ordering::Relaxed) {
            0 => return false,
            last => Duration::from_millis(last),
        };
        self.is_on() && self.began.elapsed().saturating_sub(last) < IN_USE_FOR
    }
}

impl Shown {
    const NOTHING: Self = Self {
        reached: BEFORE_ALL,
        alone: BEFORE_ALL,
    };

    fn is_at(&self, required: Self) -> bool {
        self.reached >= required.reached && self.alone >= required.alone
    }
}

impl State {
    /// When this process has last written to a post.
    fn written_to(&self, post: PostId) -> Timestamp {
        let of_post = self.written.get(&post).copied().unwrap_or(BEFORE_ALL);
        of_post.max(self.written_anywhere)
    }

    fn is_level(&self) -> bool {
        self.follows && self.level_at.is_some_and(|at| at.elapsed() <= LEVEL_FOR)
    }

    fn is_refused(&self) -> bool {
        self.refused_until
            .is_some_and(|until| Instant::now() < until)
    }

    fn remove(&mut self, post: PostId) {
        if let Some(held) = self.pages.remove(&post) {
            self.bytes -= held.page.bytes() + ENTRY_BYTES;
            self.dropped.pages.push(held.page);
        }
        // Places of pages that are gone must not pile up.
        if self.queue.len() > 2 * self.pages.len() + 64 {
            let pages = &self.pages;
            let mut seen = std::collections::HashSet::with_capacity(pages.len());
            self.queue
                .retain(|post| pages.contains_key(post) && seen.insert(*post));
        }
    }

    fn clear_pages(&mut self) {
        let pages = self.pages.drain().map(|(_, held)| held.page);
        self.dropped.pages.extend(pages);
        self.queue.clear();
        self.bytes = 0;
    }

    /// Nothing is kept of the line that ended, and its loads keep nothing.
    fn clear(&mut self) {
        self.clear_pages();
        let loads = self.loads.drain().map(|(_, load)| load);
        self.dropped.loads.extend(loads);
        self.level_at = None;
    }
}

impl Load {
    fn keep(&mut self, at: Timestamp, change: &ChangeKind<Comment>) {
        let Some(changes) = &mut self.changes else {
            return;
        };
        let (before, after) = images(change);
        let images = before.into_iter().chain(after);
        self.bytes += images.map(held_bytes).sum::<usize>();
        if changes.len() < WAITING_CHANGES_MAX && self.bytes <= WAITING_BYTES_MAX {
            changes.push((at, change.clone()));
        } else {
            self.changes = None;
        }
    }
}

/// A load under way. If it is dropped before [`Loading::finish`], nothing is kept.
pub struct Loading {
    pages: Arc<Pages>,
    number: u64,
    /// Those that were registered.
    posts: Vec<PostId>,
}

impl Loading {
    /// Keeps what was read, with the changes since. `read` are the first comments of each post's list as it was at
    /// `as_of`, read for `size` of them.
    pub fn finish(self, read: &HashMap<PostId, Vec<Arc<Comment>>>, size: usize, as_of: Timestamp) {
        let mut state = self.pages.lock();
        for post in &self.posts {
            let Some(load) = state.take_load(*post, self.number) else {
                continue;
            };
            // A server that was elected a moment ago may have an older snapshot than what the stream has shown.
            if let Some(changes) = &load.changes
                && as_of >= load.from
            {
                let comments = read.get(post).cloned().unwrap_or_default();
                let mut page = Page::new(comments, size, as_of);
                let mut changes = changes.iter();
                match changes.try_for_each(|(at, change)| page.apply(*post, *at, change)) {
                    Ok(()) => self.pages.keep(&mut state, *post, page),
                    Err(_) => {
                        self.pages.metrics.doubtful.inc();
                        state.dropped.pages.push(page);
                    }
                }
            }
            state.dropped.loads.push(load);
        }
        self.pages.release(state);
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        let mut state = self.pages.lock();
        for post in &self.posts {
            let load = state.take_load(*post, self.number);
            state.dropped.loads.extend(load);
        }
        self.pages.release(state);
    }
}

/// The posts among a change's topics: other programs may write anything as a comment's post.
fn posts_of(topics: &[Bson]) -> Vec<PostId> {
    let ids = topics.iter().filter_map(Bson::as_object_id);
    ids.map(PostId::from).collect()
}

/// The documents of a change, as far as they are known.
fn images(change: &ChangeKind<Comment>) -> (Option<&Comment>, Option<&Comment>) {
    match change {
        ChangeKind::Inserted(after) => (None, Some(after)),
        ChangeKind::Updated { before, after } => (before.as_ref(), after.as_ref()),
        ChangeKind::Replaced { before, after } => (before.as_ref(), Some(after)),
        ChangeKind::Deleted { before } => (before.as_ref(), None),
    }
}

impl State {
    /// The load of a post, if it is still this one.
    fn take_load(&mut self, post: PostId, number: u64) -> Option<Load> {
        let is_it = self.loads.get(&post).is_some_and(|it| it.number == number);
        is_it.then(|| self.loads.remove(&post)).flatten()
    }
}

#[cfg(test)]
mod tests;
