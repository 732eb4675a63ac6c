//! What of a file is imported, and which comment each reply belongs to: found out before anything is written.
//!
//! A file is read twice, because a parent may come after its child, and a damaged file must not be imported in part.
//! What has to be remembered of a comment takes 32 bytes, however long its text is.

use rustc_hash::FxHashMap;

use crate::date;
use crate::document;
use crate::error::Fault;
use crate::html;
use crate::key::Key;
use crate::record::{Record, SourceComment, SourcePost, Status, Unread};
use crate::tally::Skip;

/// Comments of one file: the index of so many takes 640 MB.
pub const COMMENTS_MAX: usize = 20_000_000;
/// Posts of one file.
pub const POSTS_MAX: usize = 2_000_000;

/// No key: of a comment without an id, or without a parent.
const NO_KEY: u64 = 0;
/// Values of [`CommentEntry::top`] that are no position.
const UNKNOWN: u32 = u32::MAX;
const BEING_FOUND: u32 = u32::MAX - 1;
const NONE: u32 = u32::MAX - 2;

/// What an import does with comments that wait for a moderator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pending {
    /// They wait in Rejoinder's moderation queue.
    Hold,
    /// They are left out.
    Skip,
}

/// Where a comment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Show,
    Hold,
    Skip(Skip),
}

/// What is known of a post.
#[derive(Clone, Copy, Debug)]
pub struct PostEntry {
    pub key: Option<Key>,
    pub skip: Option<Skip>,
    /// Milliseconds since 1970.
    pub created: Option<i64>,
    is_thread: bool,
    has_comments: bool,
}

struct CommentEntry {
    key: u64,
    parent: u64,
    post: u64,
    /// The comment that this one belongs below, or itself: the last one that is imported, of those that one comes by
    /// when one goes from parent to parent.
    top: u32,
    verdict: Verdict,
    /// Whether the second reading has come by.
    is_taken: bool,
}

/// What becomes of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub key: Key,
    pub post: Key,
    pub parent: Option<Key>,
    pub is_held: bool,
    /// The date of its post, in milliseconds since 1970.
    pub post_created: Option<i64>,
}

/// Collects what the index has, in the first reading.
pub struct IndexBuilder {
    pending: Pending,
    posts: Vec<PostEntry>,
    comments: Vec<CommentEntry>,
    /// The first comment since the last post.
    since_post: usize,
}

/// The index of a file.
pub struct Index {
    posts: Vec<PostEntry>,
    /// The first post of each key.
    by_key: FxHashMap<u64, u32>,
    /// By key, each once.
    comments: Vec<CommentEntry>,
}

impl IndexBuilder {
    pub fn new(pending: Pending) -> Self {
        Self {
            pending,
            posts: Vec::new(),
            comments: Vec::new(),
            since_post: 0,
        }
    }

    /// Adds a record of a site.
    ///
    /// # Errors
    /// When there are too many.
    pub fn add(&mut self, record: &Record, site: &str) -> Result<(), Fault> {
        match record {
            Record::Post(_) if self.posts.len() >= POSTS_MAX => Err(Fault::TooMany {
                what: "posts",
                max: POSTS_MAX,
            }),
            Record::Comment(_) if self.comments.len() >= COMMENTS_MAX => Err(Fault::TooMany {
                what: "comments",
                max: COMMENTS_MAX,
            }),
            Record::Post(post) => {
                self.add_post(post, site);
                Ok(())
            }
            Record::Comment(comment) => {
                self.add_comment(comment, site);
                Ok(())
            }
        }
    }

    fn add_post(&mut self, post: &SourcePost, site: &str) {
        let key = post.id.as_ref().map(|id| Key::of_post(site, id));
        let skip = match (key, post.unread) {
            (None, _) => Some(Skip::NoId),
            (_, Some(Unread::Unpublished)) => Some(Skip::Unpublished),
            (_, Some(Unread::Password)) => Some(Skip::Password),
            (_, Some(Unread::OtherType)) => Some(Skip::OtherType),
            (_, Some(Unread::Deleted)) => Some(Skip::DeletedPost),
            (_, None) => None,
        };
        self.posts.push(PostEntry {
            key,
            skip,
            created: post.created.iter().find_map(|date| date::parse(date)),
            is_thread: post.is_thread,
            has_comments: false,
        });
        // Its comments came before it.
        for comment in &mut self.comments[self.since_post..] {
            if comment.post == NO_KEY {
                comment.post = key.map_or(NO_KEY, |key| key.0);
            }
        }
        self.since_post = self.comments.len();
    }

    fn add_comment(&mut self, comment: &SourceComment, site: &str) {
        let verdict = match (comment.status, self.pending) {
            (Status::Spam, _) => Verdict::Skip(Skip::Spam),
            (Status::Deleted, _) => Verdict::Skip(Skip::DeletedComment),
            (Status::Pingback, _) => Verdict::Skip(Skip::Pingback),
            (Status::OtherType, _) => Verdict::Skip(Skip::OtherCommentType),
            (Status::Pending, Pending::Skip) => Verdict::Skip(Skip::Pending),
            _ if is_blank(&comment.text) => Verdict::Skip(Skip::Blank),
            (Status::Pending, Pending::Hold) => Verdict::Hold,
            (Status::Approved, _) => Verdict::Show,
        };
        let key = |id: &String| Key::of_comment(site, id).0;
        let post = comment.post.as_ref().filter(|post| !post.is_empty());
        self.comments.push(CommentEntry {
            key: comment.id.as_ref().map_or(NO_KEY, key),
            parent: comment.parent.as_ref().map_or(NO_KEY, key),
            post: post.map_or(NO_KEY, |post| Key::of_post(site, post).0),
            top: UNKNOWN,
            verdict,
            is_taken: false,
        });
    }

    /// The index, once the whole file was read.
    pub fn finish(self) -> Index {
        let Self {
            mut posts,
            mut comments,
            ..
        } = self;
        let mut by_key = FxHashMap::default();
        for (ordinal, post) in (0_u32..).zip(&mut posts) {
            if let Some(key) = post.key
                && *by_key.entry(key.0).or_insert(ordinal) != ordinal
            {
                post.skip = Some(Skip::Duplicate);
            }
        }
        comments.retain(|comment| comment.key != NO_KEY);
        // Stable: of equal ones, the first in the file is kept.
        comments.sort_by_key(|comment| comment.key);
        comments.dedup_by_key(|comment| comment.key);
        comments.shrink_to_fit();
        for comment in &mut comments {
            let post = by_key.get(&comment.post);
            let post = post.and_then(|ordinal| posts.get_mut(*ordinal as usize));
            match (post, comment.verdict) {
                (_, Verdict::Skip(_)) => {}
                (Some(post), _) if post.skip.is_none() => post.has_comments = true,
                _ => comment.verdict = Verdict::Skip(Skip::PostNotImported),
            }
        }
        for post in &mut posts {
            if post.is_thread && !post.has_comments {
                post.skip.get_or_insert(Skip::NoComments);
            }
        }
        let mut index = Index {
            posts,
            by_key,
            comments,
        };
        for position in 0..index.comments.len() {
            index.find_top(position);
        }
        index
    }
}

impl Index {
    /// What is known of the post with this number in the file.
    pub fn post(&self, ordinal: usize) -> Option<&PostEntry> {
        self.posts.get(ordinal)
    }

    /// What becomes of a comment, in the second reading; or why it is not imported.
    ///
    /// # Errors
    /// When the file was another one before.
    pub fn take(&mut self, key: Option<Key>) -> Result<Result<Placed, Skip>, Fault> {
        let Some(key) = key else {
            return Ok(Err(Skip::NoId));
        };
        let position = self.position(key.0).ok_or(Fault::Changed)?;
        let comment = &mut self.comments[position];
        if std::mem::replace(&mut comment.is_taken, true) {
            return Ok(Err(Skip::Duplicate));
        }
        let comment = &self.comments[position];
        let is_held = match comment.verdict {
            Verdict::Skip(reason) => return Ok(Err(reason)),
            verdict => verdict == Verdict::Hold,
        };
        let parent = comment.top as usize;
        let parent = (parent != position).then(|| self.comments.get(parent));
        let ordinal = self.by_key.get(&comment.post);
        let post = ordinal.and_then(|ordinal| self.posts.get(*ordinal as usize));
        Ok(Ok(Placed {
            key,
            post: Key(comment.post),
            parent: parent.flatten().map(|parent| Key(parent.key)),
            is_held,
            post_created: post.and_then(|post| post.created),
        }))
    }

    fn position(&self, key: u64) -> Option<usize> {
        let found = self.comments.binary_search_by_key(&key, |entry| entry.key);
        found.ok()
    }

    /// Goes from a comment to its parent, and so on, up to one that is known; then back.
    fn find_top(&mut self, position: usize) {
        let mut path = Vec::new();
        let mut next = Some(position);
        let mut top = NONE;
        while let Some(at) = next {
            match self.comments[at].top {
                UNKNOWN => {}
                // A circle: it is cut where it was entered.
                BEING_FOUND => break,
                known => {
                    top = known;
                    break;
                }
            }
            self.comments[at].top = BEING_FOUND;
            path.push(at);
            let CommentEntry { parent, post, .. } = self.comments[at];
            let parent = (parent != NO_KEY).then(|| self.position(parent)).flatten();
            next = parent.filter(|parent| self.comments[*parent].post == post);
        }
        for at in path.into_iter().rev() {
            let comment = &mut self.comments[at];
            if top == NONE && !matches!(comment.verdict, Verdict::Skip(_)) {
                top = u32::try_from(at).unwrap_or(NONE);
            }
            comment.top = top;
        }
    }
}

/// Whether nothing is left of a text that anybody could see.
fn is_blank(html: &str) -> bool {
    // Most texts begin with a word.
    if html
        .trim_start()
        .starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return false;
    }
    let source = html::Source {
        lines: html::Lines::AsTyped,
        base: None,
        has_shortcodes: false,
    };
    document::is_blank(html::to_markdown(html, source, ENOUGH_BYTES))
}

/// A text is blank if its beginning of so many bytes is.
const ENOUGH_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests;
