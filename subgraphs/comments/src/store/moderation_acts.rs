//! What moderators do. Each act is one transaction, which also leaves a line in `moderationActs`. An act that finds
//! everything as it would leave it changes nothing and leaves no line.

use bson::{Bson, Document, RawDocumentBuf, doc};
use changefeed::SendAction;
use mongodb::{ClientSession, Database, IndexModel};
use subgraph::DateTime;
use subgraph::blocks::BLOCKED_AUTHORS;
use subgraph::viewer::exact;

use super::comment_keys::code;
use super::moderated::{Located, StoredEntry, all_reporters};
use super::transaction::Attempt;
use super::{Collections, Store};
use crate::Error;
use crate::block::Block;
use crate::comment::{Comment, CommentId, CommentStatus};
use crate::moderation::Moderator;
use crate::written::Written;

/// The collection of the lines. Nothing reads it but people.
pub(super) const ACTS: &str = "moderationActs";
/// MongoDB's code for a collection that exists.
const NAMESPACE_EXISTS: i32 = 48;

impl Store {
    /// Moves a comment out of sight and returns it; none if it does not exist.
    pub async fn hide_comment(
        &self,
        id: CommentId,
        by: Moderator,
        reason: String,
    ) -> Result<Written<Option<Comment>>, Error> {
        self.in_transaction(Hide { id, by, reason }).await
    }

    /// Shows a held or hidden comment, or settles the reports of a visible one, and returns it; none if it does not
    /// exist.
    ///
    /// # Errors
    /// [`Error::PostNotFound`] when its post is gone, [`Error::CommentChanged`] when its `updatedAt` is another than
    /// `if_updated_at`.
    pub async fn restore_comment(
        &self,
        id: CommentId,
        by: Moderator,
        reason: Option<String>,
        if_updated_at: Option<DateTime>,
    ) -> Result<Written<Option<Comment>>, Error> {
        let restore = Restore {
            id,
            by,
            reason,
            if_updated_at,
        };
        self.in_transaction(restore).await
    }

    /// Blocks an author and returns the block; the first one where there is one already.
    pub async fn block_author(&self, block: Block, by: Moderator) -> Result<Block, Error> {
        Ok(self.in_transaction(BlockAuthor { block, by }).await?.value)
    }

    /// Removes an author's block, if there is one.
    pub async fn unblock_author(
        &self,
        author: String,
        by: Moderator,
        reason: Option<String>,
    ) -> Result<(), Error> {
        let unblock = UnblockAuthor { author, by, reason };
        self.in_transaction(unblock).await.map(drop)
    }
}

/// The line of an act: who, what and when, and why if the moderator says so.
pub(super) fn line(act: &'static str, by: &Moderator, reason: Option<&str>) -> Document {
    let mut line = doc! {
        "at": DateTime::now(), "act": act, "by": by.id.as_str(), "name": by.name.as_str(),
    };
    line.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
    line
}

/// The line of an act on a comment.
pub(super) fn line_about(
    comment: &Comment,
    act: &'static str,
    by: &Moderator,
    reason: Option<&str>,
) -> Document {
    let mut line = line(act, by, reason);
    line.insert("commentId", comment.id);
    line.insert("postId", comment.post_id);
    let author = comment.owner.id();
    line.extend(author.map(|author| ("authorId".to_owned(), author.as_str().into())));
    line
}

struct Hide {
    id: CommentId,
    by: Moderator,
    reason: String,
}

impl Attempt for Hide {
    type Output = Option<Comment>;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let located = collections.take(self.id, session).await?;
        let Some(comment) = located.comment() else {
            remove_orphan(collections, &located, session).await?;
            return Ok(None);
        };
        if comment.status == CommentStatus::Hidden {
            return Ok(Some(comment.clone()));
        }
        let visible = located.visible.as_ref();
        let visible = visible.map(|(document, _)| document.as_ref());
        let Some(document) = visible.or(located.kept_document()) else {
            return Ok(None);
        };
        let why = (self.by.name.as_str(), self.reason.as_str());
        let entry = StoredEntry::hidden(comment, document, located.known(), why);
        collections.put_entry(&entry, session).await?;
        let line = line_about(comment, "HIDE", &self.by, Some(&self.reason));
        collections.leave_line(line, session).await?;
        Ok(Some(Comment {
            status: CommentStatus::Hidden,
            ..comment.clone()
        }))
    }
}

struct Restore {
    id: CommentId,
    by: Moderator,
    reason: Option<String>,
    if_updated_at: Option<DateTime>,
}

impl Attempt for Restore {
    type Output = Option<Comment>;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let located = collections.locate(self.id, session).await?;
        let Some(comment) = located.comment() else {
            remove_orphan(collections, &located, session).await?;
            return Ok(None);
        };
        comment.require_unchanged(self.if_updated_at)?;
        let Some(entry) = located.known() else {
            return Ok(Some(comment.clone()));
        };
        let act = match comment.status {
            CommentStatus::Visible if entry.is_open() => "SETTLE_REPORTS",
            CommentStatus::Visible => return Ok(Some(comment.clone())),
            CommentStatus::Held => "APPROVE",
            CommentStatus::Hidden => "RESTORE",
        };
        if let (None, Some(document)) = (&located.visible, located.kept_document()) {
            collections.require_post(comment, session).await?;
            // In the place of a copy, should another program have written one.
            let put = collections
                .comments
                .replace_one(doc! { "_id": self.id }, document.to_owned());
            put.upsert(true).session(&mut *session).await?;
        }
        match all_reporters(entry) {
            reporters if reporters.is_empty() => {
                collections.remove_entry(self.id, session).await?;
            }
            reporters => {
                let entry = StoredEntry::settled(comment, &reporters);
                collections.put_entry(&entry, session).await?;
            }
        }
        let line = line_about(comment, act, &self.by, self.reason.as_deref());
        collections.leave_line(line, session).await?;
        Ok(Some(Comment {
            status: CommentStatus::Visible,
            ..comment.clone()
        }))
    }
}

struct BlockAuthor {
    block: Block,
    by: Moderator,
}

impl Attempt for BlockAuthor {
    type Output = Block;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Block, Error> {
        let author = self.block.author_id.as_str();
        let found = collections.blocks.find_one(doc! { "_id": author });
        let found = found.collation(exact());
        if let Some(found) = found.session(&mut *session).send().await? {
            return Ok(Block::read(self.block.author_id.clone(), &found));
        }
        let Block { since, reason, .. } = &self.block;
        let block = doc! {
            "_id": author, "since": since.map(Bson::from), "reason": reason.as_deref(),
            "by": self.by.id.as_str(), "name": self.by.name.as_str(),
        };
        let block = RawDocumentBuf::try_from(&block).map_err(mongodb::error::Error::from)?;
        let insert = collections.blocks.insert_one(block);
        insert.session(&mut *session).await?;
        let mut line = line("BLOCK", &self.by, reason.as_deref());
        line.insert("authorId", author);
        collections.leave_line(line, session).await?;
        Ok(self.block.clone())
    }
}

struct UnblockAuthor {
    author: String,
    by: Moderator,
    reason: Option<String>,
}

impl Attempt for UnblockAuthor {
    type Output = ();

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<(), Error> {
        let delete = collections.blocks.delete_one(doc! { "_id": &self.author });
        let delete = delete.collation(exact());
        if delete.session(&mut *session).await?.deleted_count == 0 {
            return Ok(());
        }
        let mut line = line("UNBLOCK", &self.by, self.reason.as_deref());
        line.insert("authorId", &self.author);
        Ok(collections.leave_line(line, session).await?)
    }
}

impl Collections {
    /// Makes sure that the comment's post exists.
    async fn require_post(
        &self,
        comment: &Comment,
        session: &mut ClientSession,
    ) -> Result<(), Error> {
        let post = self.posts.find_one(doc! { "_id": comment.post_id });
        match post.session(session).send().await? {
            Some(_) => Ok(()),
            None => Err(Error::PostNotFound(comment.post_id)),
        }
    }
}

/// Removes the entry of a visible comment that another program, or a crash, has deleted without it.
async fn remove_orphan(
    collections: &Collections,
    located: &Located,
    session: &mut ClientSession,
) -> Result<(), Error> {
    if let Some(entry) = located.known() {
        collections.remove_entry(entry.id, session).await?;
    }
    Ok(())
}

/// Makes the collections of the lines and of the blocks, and the index by which people find what was done about an
/// author. In a transaction over several shards MongoDB makes no collection.
pub(super) async fn prepare(database: &Database) -> mongodb::error::Result<()> {
    let of_author = IndexModel::builder().keys(doc! { "authorId": 1, "_id": -1 });
    let acts = database.collection::<Document>(ACTS);
    acts.create_index(of_author.build()).await?;
    match database.create_collection(BLOCKED_AUTHORS).await {
        Err(error) if code(&error) == Some(NAMESPACE_EXISTS) => Ok(()),
        created => created,
    }
}
