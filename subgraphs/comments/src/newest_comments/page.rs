//! The newest comments of one post, in memory, and how a change changes them.
//!
//! A page covers a part of the list: everything from its start to its end, or all of the list. What changes in that
//! part is applied; what changes after its end does not matter. Whatever does not fit makes the page useless
//! ([`Doubtful`]): it is then read again.

use std::sync::Arc;

use bson::Timestamp;
use changefeed::ChangeKind;
use subgraph::ListPosition;
use traces::TraceContext;

use crate::comment::Comment;
use crate::post::PostId;

/// How many more comments a page gets beyond what it was read for, before the last of them are dropped.
const GROWTH: usize = 8;
/// What the allocator adds to an allocation, about.
const ALLOCATION: usize = 16;
/// A comment's allocations: itself, its text, its author, and its owner's id.
const ALLOCATIONS: usize = 4;
/// Two counters before what an `Arc` holds.
const ARC: usize = 2 * size_of::<usize>();

/// The start of a post's list of comments, the newest first.
#[derive(Debug)]
pub struct Page {
    /// The newest first.
    comments: Vec<Arc<Comment>>,
    /// The last position that the page covers; none if it covers the whole list.
    end: Option<Rank>,
    /// How many comments it was read for.
    size: usize,
    /// It has every change up to this time, at least.
    as_of: Timestamp,
    /// What the comments hold of the memory.
    bytes: usize,
}

/// The order of the list: MongoDB sorts undated documents before dated ones.
type Rank = (Option<subgraph::DateTime>, bson::oid::ObjectId);

fn rank(comment: &Comment) -> Rank {
    let ListPosition { created_at, id } = comment.position();
    (created_at, id)
}

/// A change does not fit the page, or is not known in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubtful;

impl Page {
    /// The first comments of a list as it was at `as_of`, which was read for `size` of them: all if there are less.
    pub fn new(comments: Vec<Arc<Comment>>, size: usize, as_of: Timestamp) -> Self {
        let end = match comments.last() {
            Some(last) if comments.len() >= size => Some(rank(last)),
            _ => None,
        };
        let bytes = comments.iter().map(|it| held_bytes(it)).sum();
        Self {
            comments,
            end,
            size,
            as_of,
            bytes,
        }
    }

    /// The first `count` comments, or all if the list has fewer; none if the page covers less.
    pub fn first(&self, count: usize) -> Option<&[Arc<Comment>]> {
        let has_them = self.end.is_none() || self.comments.len() >= count;
        has_them.then(|| &self.comments[..count.min(self.comments.len())])
    }

    /// It has every change up to this time, at least.
    pub fn as_of(&self) -> Timestamp {
        self.as_of
    }

    /// What it holds of the memory, about: never less than it does.
    pub fn bytes(&self) -> usize {
        // The vector may have room for twice as many.
        let places = 2 * self.comments.capacity().max(self.size) * size_of::<Arc<Comment>>();
        size_of::<Self>() + places + ALLOCATION + self.bytes
    }

    /// Applies the next change of the stream. It is passed over if the page has it already.
    pub fn apply(
        &mut self,
        post: PostId,
        at: Timestamp,
        change: &ChangeKind<Comment>,
    ) -> Result<(), Doubtful> {
        if at <= self.as_of {
            return Ok(());
        }
        let here = |comment: &&Comment| comment.post_id == post;
        let (before, after) = match change {
            ChangeKind::Inserted(after) => (None, Some(after)),
            ChangeKind::Deleted {
                before: Some(before),
            } => (Some(before), None),
            ChangeKind::Updated {
                before: Some(before),
                after: Some(after),
            }
            | ChangeKind::Replaced {
                before: Some(before),
                after,
            } => (Some(before), Some(after)),
            // An image is missing.
            _ => return Err(Doubtful),
        };
        if let Some(before) = before.filter(here) {
            self.remove(before)?;
        }
        if let Some(after) = after.filter(here) {
            self.put(after)?;
        }
        Ok(())
    }

    fn covers(&self, rank: &Rank) -> bool {
        self.end.as_ref().is_none_or(|end| rank >= end)
    }

    /// Where a comment of this rank is, or would be.
    fn place(&self, of: &Rank) -> Result<usize, usize> {
        self.comments
            .binary_search_by(|comment| of.cmp(&rank(comment)))
    }

    fn remove(&mut self, comment: &Comment) -> Result<(), Doubtful> {
        let rank = rank(comment);
        if !self.covers(&rank) {
            return Ok(());
        }
        let place = self.place(&rank).map_err(|_| Doubtful)?;
        // What is there must be what the change says that was there: if it is not, the page was wrong.
        if *self.comments[place] != *comment {
            return Err(Doubtful);
        }
        let removed = self.comments.remove(place);
        self.bytes -= held_bytes(&removed);
        Ok(())
    }

    fn put(&mut self, comment: &Comment) -> Result<(), Doubtful> {
        let rank = rank(comment);
        if !self.covers(&rank) {
            return Ok(());
        }
        let place = match self.place(&rank) {
            Ok(_) => return Err(Doubtful),
            Err(place) => place,
        };
        let comment = Arc::new(comment.clone());
        self.bytes += held_bytes(&comment);
        self.comments.insert(place, comment);
        if self.comments.len() > self.size + GROWTH {
            self.shorten();
        }
        Ok(())
    }

    fn shorten(&mut self) {
        let dropped = self.comments.drain(self.size..);
        let bytes: usize = dropped.map(|comment| held_bytes(&comment)).sum();
        self.bytes -= bytes;
        self.end = self.comments.last().map(|last| rank(last));
    }
}

/// What a comment holds of the memory.
pub fn held_bytes(comment: &Comment) -> usize {
    let owner = match &comment.owner {
        subgraph::Owner::Person(id) => id.capacity(),
        _ => 0,
    };
    let texts = comment.text.capacity() + comment.author.capacity() + owner;
    let trace = match comment.trace.is_none() {
        true => 0,
        false => size_of::<TraceContext>() + ALLOCATION,
    };
    ARC + size_of::<Comment>() + texts + trace + ALLOCATIONS * ALLOCATION
}

#[cfg(test)]
mod tests;
