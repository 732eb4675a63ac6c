//! All pages that are kept: who loads them, what the stream changes in them, and which give way.
//!
//! A load registers its posts before it reads. From then on their changes are kept for it, and applied to what it has
//! read, without those that the snapshot had. So no change falls between, and none is applied twice.
//!
//! Pages and loads belong to one line of the stream. When it ends, all are dropped; a load that was registered before
//! keeps nothing.

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
/// No page is used for longer after the last moment at which the stream had shown all that the server had. In between,
/// and after a fault, there may be changes that are shown in a moment.
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
    /// The stream has shown every change up to this time.
    reached: watch::Sender<Timestamp>,
    /// The last read, in milliseconds after `began`.
    last_read_ms: AtomicU64,
    began: Instant,
    pub metrics: PageMetrics,
}

struct State {
    /// Whether the stream goes on.
    follows: bool,
    /// It has shown every change up to this time.
    reached: Timestamp,
    /// The time of the last change that it has shown, or `reached`.
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
    /// When the stream had last shown all that the server had, in this line.
    level_at: Option<Instant>,
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
    /// There is a page, but the stream has not shown everything up to this time.
    Behind(Timestamp),
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
                reached: BEFORE_ALL,
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
            }),
            reached: watch::Sender::new(BEFORE_ALL),
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
        if !state.is_level() || state.is_refused() {
            return Look::Off;
        }
        let required = state.required(post).max(seen.unwrap_or(BEFORE_ALL));
        let reached = state.reached;
        if let Some(held) = state.pages.get_mut(&post)
            && let Some(comments) = held.page.first(count)
        {
            if held.page.as_of().max(reached) < required {
                return Look::Behind(required);
            }
            held.was_read = true;
            return Look::Found(comments.to_vec());
        }
        match state.loads.get(&post) {
            Some(load) => Look::Loading(load.done.subscribe()),
            // And what the stream has shown: a cursor beside the list may be of that.
            None => Look::Missing(required.max(state.seen)),
        }
    }

    /// Waits until the stream has shown every change up to a time; whoever calls limits the wait.
    pub async fn reaches(&self, time: Timestamp) {
        let mut reached = self.reached.subscribe();
        // The sender lives as long as `self`.
        let _ = reached.wait_for(|reached| *reached >= time).await;
    }

    /// Remembers that this process has written to a post (or to one that is not known): whoever reads it from now on has
    /// to see that.
    pub fn wrote(&self, post: Option<PostId>, at: Timestamp) {
        if !self.is_on() {
            return;
        }
        let mut state = self.lock();
        let state = &mut *state;
        let reached = state.reached;
        if state.written.len() >= WRITTEN_POSTS_MAX && reached > state.pruned_at {
            state.written.retain(|_, at| *at > reached);
            state.pruned_at = reached;
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

    /// The stream has shown a change of comments of some posts, or, if they are not known, of any.
    fn pass(
        &self,
        at: Timestamp,
        posts: Option<&[PostId]>,
        decode: impl FnOnce() -> Option<ChangeKind<Comment>>,
    ) {
        let mut state = self.lock();
        match posts {
            None => {
                let dropped = state.pages.len();
                state.clear_pages();
                state.loads.values_mut().for_each(|it| it.changes = None);
                self.metrics.doubtful.inc_by(dropped as u64);
            }
            Some(posts) => {
                let is_kept =
                    |post| state.pages.contains_key(post) || state.loads.contains_key(post);
                if posts.iter().any(is_kept)
                    && let Some(change) = decode()
                {
                    for post in posts {
                        self.change_of(&mut state, *post, at, &change);
                    }
                }
            }
        }
        state.seen = at.max(state.seen);
        self.show(&state);
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

    fn reach(&self, mut state: MutexGuard<'_, State>, time: Timestamp) {
        state.reached = time.max(state.reached);
        state.seen = time.max(state.seen);
        let reached = state.reached;
        drop(state);
        self.reached.send_if_modified(|it| {
            let grows = reached > *it;
            *it = reached.max(*it);
            grows
        });
    }

    /// Keeps a page, in the place of the one that there was.
    fn keep(&self, state: &mut State, post: PostId, page: Page) {
        state.remove(post);
        if page.bytes() > self.bytes_max / PAGE_SHARE {
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

    fn show(&self, state: &State) {
        self.metrics.pages.set(state.pages.len() as i64);
        self.metrics.bytes.set(state.bytes as i64);
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
                (state.reached, state.seen) = (after, after);
                self.show(&state);
                drop(state);
                self.reached.send_replace(after);
            }
            Seen::Change(change) => {
                let posts = change.topics().map(posts_of);
                let decode = || change.decode().map(|change| change.kind);
                self.pass(change.cluster_time(), posts.as_deref(), decode);
            }
            Seen::Reached(time) => self.reach(self.lock(), time),
            Seen::Level => self.lock().level_at = Some(Instant::now()),
            Seen::Ended => {
                let mut state = self.lock();
                state.clear();
                state.follows = false;
                self.show(&state);
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

impl State {
    /// What a reader of a post has to see in any case.
    fn required(&self, post: PostId) -> Timestamp {
        let of_post = self.written.get(&post).copied().unwrap_or(BEFORE_ALL);
        of_post.max(self.written_anywhere)
    }

    fn is_level(&self) -> bool {
        self.follows && self.level_at.is_some_and(|at| at.elapsed() <= LEVEL_FOR)
    }

    fn is_refused(&mut self) -> bool {
        if self
            .refused_until
            .is_some_and(|until| Instant::now() >= until)
        {
            self.refused_until = None;
        }
        self.refused_until.is_some()
    }

    fn remove(&mut self, post: PostId) {
        if let Some(held) = self.pages.remove(&post) {
            self.bytes -= held.page.bytes() + ENTRY_BYTES;
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
        self.pages.clear();
        self.queue.clear();
        self.bytes = 0;
    }

    /// Nothing is kept of the line that ended, and its loads keep nothing.
    fn clear(&mut self) {
        self.clear_pages();
        self.loads.clear();
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
            let Some(changes) = load.changes.filter(|_| as_of >= load.from) else {
                continue;
            };
            let comments = read.get(post).cloned().unwrap_or_default();
            let mut page = Page::new(comments, size, as_of);
            let mut changes = changes.iter();
            match changes.try_for_each(|(at, change)| page.apply(*post, *at, change)) {
                Ok(()) => self.pages.keep(&mut state, *post, page),
                Err(_) => {
                    self.pages.metrics.doubtful.inc();
                }
            }
        }
        self.pages.show(&state);
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        let mut state = self.pages.lock();
        for post in &self.posts {
            state.take_load(*post, self.number);
        }
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
