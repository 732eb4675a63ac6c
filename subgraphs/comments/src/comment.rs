//! A comment, as MongoDB stores it and as clients see it.

use std::sync::Arc;

use async_graphql::dataloader::DataLoader;
use async_graphql::{ComplexObject, Context, Enum, SimpleObject};
use bson::RawDocument;
use changefeed::{FromDocument, Unreadable};
use serde::Serialize;
use subgraph::limits::answer::count_bytes;
use subgraph::list_size::{PAGE, list_size, names};
use subgraph::page::ListTag;
use subgraph::text::TextRule;
use subgraph::{
    Connection, DateTime, Id, ListPosition, Order, Owner, PageArguments, StoredComment, Viewer,
    WrittenIn,
};

use crate::Error;
use crate::loaders::{
    CommentLoader, CommentPageLoader, CommentsOf, ReactionLoader, ReplyCountLoader,
};
use crate::post::{Post, PostId};
use crate::reaction::{KINDS_MAX, Reaction, ReactionCount, Reactions};
use crate::store::{CommentList, Parent, PersonOnComment};

/// The id of a comment.
pub type CommentId = Id<Comment>;

/// What the text of a new or changed comment has to be like.
pub const TEXT: TextRule = TextRule {
    field: "text",
    max_chars: 5_000,
};
/// Marks the cursors of lists of comments.
pub const COMMENTS_LIST: ListTag = ListTag(b'c');
/// Marks the cursors of the same list, by the number of replies.
pub const MOST_REPLIED_LIST: ListTag = ListTag(b'm');
/// Marks the cursors of lists of replies.
pub const REPLIES_LIST: ListTag = ListTag(b'r');

/// Who may see a comment.
#[derive(Clone, Copy, Debug, Default, Enum, Eq, PartialEq)]
pub enum CommentStatus {
    /// Everybody.
    #[default]
    Visible,
    /// Its author and moderators: it waits for a moderator, who shows it with `restoreComment` or hides it.
    Held,
    /// Moderators: one of them has hidden it. Its author gets it back where a `createComment` is sent again, and may
    /// delete it; nobody may edit it.
    Hidden,
}

/// A comment on a post.
#[derive(Clone, Debug, PartialEq, SimpleObject, Serialize)]
#[serde(rename_all = "camelCase")]
#[graphql(complex)]
pub struct Comment {
    /// Identifies the comment and never changes. A new comment has this id only if this one was deleted
    /// and the new one is created with the same `idempotencyKey`.
    #[serde(rename = "_id")]
    pub id: CommentId,
    #[graphql(skip)]
    pub post_id: PostId,
    /// The id of the comment that this one replies to; null if it replies to none. It never changes, and stays when
    /// that comment is deleted or hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<CommentId>,
    #[graphql(skip)]
    pub text: String,
    /// The name of the comment's author; "Anonymous" if none was given.
    pub author: String,
    #[graphql(flatten)]
    #[serde(flatten)]
    pub owner: Owner,
    #[graphql(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime>,
    #[graphql(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime>,
    /// Whether the text was changed after the comment was created.
    pub edited: bool,
    /// Written by reactions alone.
    #[graphql(skip)]
    #[serde(skip)]
    pub reactions: Reactions,
    /// Who may see the comment. Lists, counts, `comment` and live events have visible ones only. You meet others
    /// where you wrote one that is held, and, as a moderator, in `moderationQueue`.
    #[serde(skip)]
    pub status: CommentStatus,
    /// For what its change brings about; clients do not see it.
    #[graphql(skip)]
    #[serde(rename = "rejoinderTrace", skip_serializing_if = "WrittenIn::is_none")]
    pub trace: WrittenIn,
}

#[ComplexObject]
impl Comment {
    /// The comment's text: 1 to 5,000 characters. Empty if another program wrote the comment without one.
    async fn text(&self, ctx: &Context<'_>) -> async_graphql::Result<&str> {
        count_bytes(ctx, self.text.len())?;
        Ok(&self.text)
    }

    /// The post that the comment is about.
    async fn post(&self) -> Post {
        Post { id: self.post_id }
    }

    /// The comment that this one replies to. Null if it replies to none, or if that one was deleted, is held or hidden,
    /// or is not one of the same post.
    async fn parent(&self, ctx: &Context<'_>) -> Result<Option<Comment>, Error> {
        let Some(parent) = self.parent_id else {
            return Ok(None);
        };
        let comments = ctx.data_unchecked::<DataLoader<CommentLoader>>();
        let parent = comments.load_one(parent).await?;
        Ok(parent.filter(|parent| parent.post_id == self.post_id))
    }

    /// How many replies the comment has. Replies are comments of the post, too, so they also count in its
    /// `commentCount`.
    async fn reply_count(&self, ctx: &Context<'_>) -> Result<u64, Error> {
        let counts = ctx.data_unchecked::<DataLoader<ReplyCountLoader>>();
        Ok(counts.load_one(self.as_parent()).await?.unwrap_or_default())
    }

    /// The replies to the comment, in pages, the oldest first. Use `first` (and `after`) to page forwards, or `last`
    /// (and `before`) to page backwards. Without either, the first 20 are returned.
    #[graphql(directive = list_size::apply(PAGE, names(["first", "last"]), names(["edges"]), Some(false)))]
    async fn replies(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many replies from the start of the list: 0 to 100.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Start after the reply with this cursor.")] after: Option<String>,
        #[graphql(desc = "How many replies from the end of the list: 0 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before the reply with this cursor.")] before: Option<String>,
    ) -> Result<Connection<Arc<Comment>>, Error> {
        let request = PageArguments {
            first,
            after,
            last,
            before,
        }
        .check(REPLIES_LIST, Order::OldestFirst)?;
        let list = CommentsOf {
            list: CommentList::Replies(self.as_parent()),
            request,
            after: None,
        };
        let pages = ctx.data_unchecked::<DataLoader<CommentPageLoader>>();
        let page = pages.load_one(list).await?.unwrap_or_default();
        Ok(Connection::new(&request, page, |reply| reply.position()))
    }

    /// How many people chose each reaction to the comment, without those that nobody chose. A comment's `updatedAt` and
    /// `edited` do not change with them.
    #[graphql(directive = list_size::apply(Some(KINDS_MAX), None, None, None))]
    async fn reactions(&self) -> Vec<ReactionCount> {
        self.reactions.counts()
    }

    /// Your own reaction to the comment; null if you have none, or are not signed in.
    #[graphql(tag = "viewer")]
    async fn viewer_reaction(&self, ctx: &Context<'_>) -> Result<Option<Reaction>, Error> {
        let viewer = Viewer::of(ctx);
        let Some(person) = viewer.person() else {
            return Ok(None);
        };
        let of = PersonOnComment {
            comment: self.id,
            person: person.id.clone(),
        };
        let reactions = ctx.data_unchecked::<DataLoader<ReactionLoader>>();
        reactions.load_one(of).await
    }

    /// When the comment was created. The time in its id, if another program wrote it without a date.
    async fn created_at(&self) -> DateTime {
        self.created_at.unwrap_or_else(|| self.id.created_at())
    }

    /// When the text was last changed. Equal to `createdAt` if it never was.
    async fn updated_at(&self) -> DateTime {
        self.version()
    }

    /// Whether you may edit this: its author may, and so may moderators. Nobody may edit a comment that is hidden.
    #[graphql(tag = "viewer")]
    async fn viewer_can_edit(&self, ctx: &Context<'_>) -> bool {
        self.require_editable(&Viewer::of(ctx)).is_ok()
    }

    /// Whether you may delete this: its author may, and so may moderators.
    #[graphql(tag = "viewer")]
    async fn viewer_can_delete(&self, ctx: &Context<'_>) -> bool {
        self.require_deletable(&Viewer::of(ctx)).is_ok()
    }
}

impl Comment {
    /// The comment's `updatedAt` as clients see it.
    pub fn version(&self) -> DateTime {
        self.updated_at
            .or(self.created_at)
            .unwrap_or_else(|| self.id.created_at())
    }

    /// Whether the viewer may know of the comment. If it is held or hidden, its author and moderators may; what guests
    /// wrote is nobody's then, whatever the settings are.
    pub fn is_known_to(&self, viewer: &Viewer) -> bool {
        let is_visible = self.status == CommentStatus::Visible;
        is_visible || viewer.is_moderator() || viewer.is_author(&self.owner)
    }

    /// Refuses a viewer who may not edit the comment.
    ///
    /// # Errors
    /// Those of [`Comment::require_deletable`]; [`Error::CommentHidden`].
    pub fn require_editable(&self, viewer: &Viewer) -> Result<(), Error> {
        self.require_deletable(viewer)?;
        match self.status {
            CommentStatus::Hidden => Err(Error::CommentHidden(self.id)),
            CommentStatus::Visible | CommentStatus::Held => Ok(()),
        }
    }

    /// Refuses a viewer who may not delete the comment.
    ///
    /// # Errors
    /// [`Error::CommentNotFound`] where the viewer may not know of it, [`Error::Access`].
    pub fn require_deletable(&self, viewer: &Viewer) -> Result<(), Error> {
        if !self.is_known_to(viewer) {
            return Err(Error::CommentNotFound(self.id));
        }
        // Of what is held or hidden, whoever may know of it.
        if self.status == CommentStatus::Visible && !viewer.may_change(&self.owner) {
            return Err(viewer.refusal().into());
        }
        Ok(())
    }

    /// Refuses to go on with a comment whose `updatedAt` is another than the one that was seen, if one was.
    ///
    /// # Errors
    /// [`Error::CommentChanged`].
    pub fn require_unchanged(&self, seen: Option<DateTime>) -> Result<(), Error> {
        match seen {
            Some(seen) if seen != self.version() => Err(Error::CommentChanged(self.id)),
            _ => Ok(()),
        }
    }

    /// Whether nothing but its reactions tells it from what it was before.
    pub fn differs_in_reactions_alone(&self, before: &Self) -> bool {
        // By name, so that a new field is not forgotten.
        let Self {
            id,
            post_id,
            parent_id,
            text,
            author,
            owner,
            created_at,
            updated_at,
            edited,
            reactions,
            status,
            trace: _,
        } = self;
        *reactions != before.reactions
            && (id, post_id, parent_id) == (&before.id, &before.post_id, &before.parent_id)
            && (text, author, owner) == (&before.text, &before.author, &before.owner)
            && (created_at, updated_at) == (&before.created_at, &before.updated_at)
            && (edited, status) == (&before.edited, &before.status)
    }

    /// The comment as one that others reply to.
    pub fn as_parent(&self) -> Parent {
        Parent {
            post: self.post_id,
            comment: self.id,
        }
    }

    /// The comment's position in its post's list.
    pub fn position(&self) -> ListPosition {
        ListPosition {
            created_at: self.created_at,
            id: self.id.object_id(),
        }
    }
}

impl Comment {
    /// Dates a new comment. Right before its insert and never earlier: lists are ordered by date, and live events by the
    /// time of the insert.
    #[must_use]
    pub fn created_now(self) -> Self {
        let now = Some(DateTime::now());
        Self {
            created_at: now,
            updated_at: now,
            ..self
        }
    }
}

impl FromDocument for Comment {
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        let StoredComment {
            id,
            post_id,
            parent_id,
            text,
            author,
            owner,
            created_at,
            updated_at,
            edited,
        } = StoredComment::from_document(document)?;
        Ok(Self {
            id: id.into(),
            post_id: post_id.into(),
            parent_id: parent_id.map(Into::into),
            text,
            author,
            owner,
            created_at,
            updated_at,
            edited,
            reactions: Reactions::of(document),
            status: CommentStatus::Visible,
            trace: WrittenIn::of(document),
        })
    }
}
