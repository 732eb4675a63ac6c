//! A comment in moderation, as MongoDB stores it and as moderators see it.

use async_graphql::dataloader::DataLoader;
use async_graphql::{ComplexObject, Context, Enum, SimpleObject};
use bson::{Document, RawArray, RawDocument, doc};
use changefeed::{FromDocument, Unreadable};
use serde::Serialize;
use subgraph::list_size::list_size;
use subgraph::page::ListTag;
use subgraph::readable::{Kind, Shape, Value};
use subgraph::stored_comment;
use subgraph::{DateTime, FieldCost, ListPosition};

use crate::Error;
use crate::comment::{Comment, CommentId, CommentStatus};
use crate::loaders::{BlockLoader, CommentLoader};
use crate::post::PostId;

/// Reports of one comment that are kept until a moderator has looked at it. Further ones are accepted and not kept.
pub const REPORTS_MAX: usize = 50;
/// Persons who are remembered because their report of a comment was settled, the latest ones.
pub const REPORTERS_MAX: usize = 50;
/// Reasons of reports that clients get.
const REASONS_MAX: usize = 10;
/// What the list of reasons costs.
pub const REASONS_COST: FieldCost = FieldCost::List {
    sizes: &[],
    default: REASONS_MAX,
    max: REASONS_MAX,
    item: 0,
};

/// Which comments a list of moderators has.
#[derive(Clone, Copy, Debug, Enum, Eq, PartialEq)]
pub enum ModerationList {
    /// Those that wait for a moderator: held ones, and visible ones that somebody has reported.
    Open,
    /// Those that a moderator has hidden.
    Hidden,
}

impl ModerationList {
    /// The value of `list` in a document.
    pub fn stored(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Hidden => "HIDDEN",
        }
    }

    /// Marks the cursors of this list.
    pub fn tag(self) -> ListTag {
        match self {
            Self::Open => ListTag(b'o'),
            Self::Hidden => ListTag(b'h'),
        }
    }
}

/// The value of `state` in a document.
pub fn stored_status(status: CommentStatus) -> &'static str {
    match status {
        CommentStatus::Visible => "VISIBLE",
        CommentStatus::Held => "HELD",
        CommentStatus::Hidden => "HIDDEN",
    }
}

/// All values of `state`.
pub const STATES: [&str; 3] = ["VISIBLE", "HELD", "HIDDEN"];

/// More than any value of `state` or `list` has.
const WORD: Kind = Kind::Name { bytes_max: 16 };

/// Which documents are comments in moderation, as far as one table says it.
const SHAPE: Shape<8> = Shape([
    ("_id", Kind::Id),
    ("postId", Kind::Reference),
    ("state", WORD),
    ("list", WORD),
    ("createdAt", Kind::Date),
    ("reason", Kind::Text { bytes_max: 4 << 10 }),
    (
        "moderator",
        Kind::Text {
            bytes_max: subgraph::author::BYTES_MAX,
        },
    ),
    ("comment", Kind::Document),
]);

/// The comment in an entry, as [`ModerationEntry`] finds it.
pub fn comment_in(entry: &RawDocument) -> Option<&RawDocument> {
    let [comment] = Shape([("comment", Kind::Document)]).read(entry).ok()?;
    comment.document()
}

/// The aggregation expression that is true for the documents that [`ModerationEntry`] is read from.
pub fn readable() -> Document {
    let is_in = |list: &str, states: &[&str]| {
        doc! { "$and": [{ "$eq": ["$list", list] }, { "$not": [{ "$in": ["$state", states] }] }] }
    };
    let is_kept = doc! { "$cond": [
        { "$eq": [{ "$type": "$comment" }, "object"] },
        { "$and": [
            stored_comment::SHAPE.expression_below("comment"),
            { "$eq": ["$comment._id", "$_id"] },
        ] },
        false,
    ] };
    doc! { "$and": [
        SHAPE.expression(),
        { "$in": ["$state", STATES.to_vec()] },
        { "$not": [is_in("OPEN", &["VISIBLE", "HELD"])] },
        { "$not": [is_in("HIDDEN", &["HIDDEN"])] },
        { "$or": [{ "$eq": ["$state", "VISIBLE"] }, is_kept] },
    ] }
}

/// A comment that waits for a moderator, or that one has hidden.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(complex)]
pub struct ModerationEntry {
    /// The id of the comment.
    #[graphql(name = "commentId")]
    pub id: CommentId,
    #[graphql(skip)]
    pub post_id: PostId,
    /// Who may see the comment: VISIBLE if it was reported and nobody has decided yet.
    pub status: CommentStatus,
    /// The list that has the comment; null if none does.
    pub list: Option<ModerationList>,
    /// When the comment came into its list. Read as the time in the comment's id if another program left it out.
    #[graphql(skip)]
    pub since: Option<DateTime>,
    /// Why a moderator has hidden the comment. Null if none has.
    pub reason: Option<String>,
    /// The name of the moderator who has hidden the comment. Null if none has.
    pub moderator: Option<String>,
    /// Those that no moderator has settled.
    #[graphql(skip)]
    pub reports: Vec<Report>,
    /// Whose reports were settled.
    #[graphql(skip)]
    pub reporters: Vec<String>,
    /// The comment, if it is not among the visible ones, or was read from there.
    #[graphql(skip)]
    pub comment: Option<Comment>,
}

/// What a person says against a comment.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The id of the person.
    pub by: String,
    pub reason: String,
    pub at: DateTime,
}

#[ComplexObject]
impl ModerationEntry {
    /// The comment. Null if it was deleted a moment ago.
    async fn comment(&self, ctx: &Context<'_>) -> Result<Option<Comment>, Error> {
        match &self.comment {
            Some(comment) => Ok(Some(comment.clone())),
            None => {
                ctx.data_unchecked::<DataLoader<CommentLoader>>()
                    .load_one(self.id)
                    .await
            }
        }
    }

    /// When the comment came into its list.
    async fn since(&self) -> DateTime {
        self.since.unwrap_or_else(|| self.id.created_at())
    }

    /// How many people have reported the comment since a moderator last decided about it: 0 to 50. Further reports
    /// are not counted.
    async fn report_count(&self) -> usize {
        self.reports.len()
    }

    /// The reasons of the latest of these reports, the newest first: at most 10.
    #[graphql(directive = list_size::apply(Some(REASONS_MAX as i32), None, None, None))]
    async fn report_reasons(&self) -> Vec<&str> {
        let newest = self.reports.iter().rev().take(REASONS_MAX);
        newest.map(|report| report.reason.as_str()).collect()
    }

    /// Whether the author of the comment is blocked. False for guests.
    async fn author_is_blocked(&self, ctx: &Context<'_>) -> Result<bool, Error> {
        let Some(comment) = self.comment(ctx).await? else {
            return Ok(false);
        };
        let Some(author) = comment.owner.id() else {
            return Ok(false);
        };
        let blocks = ctx.data_unchecked::<DataLoader<BlockLoader>>();
        Ok(blocks.load_one(author.to_string()).await?.is_some())
    }
}

impl ModerationEntry {
    /// The entry's position in its list.
    pub fn position(&self) -> ListPosition {
        ListPosition {
            created_at: self.since,
            id: self.id.object_id(),
        }
    }

    /// Whether the comment waits for a moderator.
    pub fn is_open(&self) -> bool {
        self.list == Some(ModerationList::Open)
    }
}

impl FromDocument for ModerationEntry {
    /// An id of one letter takes 8 bytes in the document, and a `String` and an allocation here.
    const HEAP_PER_BYTE: usize = 5;

    /// [`readable`] says the same at the server.
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        let [id, post_id, state, list, since, reason, moderator, comment] = SHAPE.read(document)?;
        // The shape demands both.
        let id: CommentId = id.id().unwrap_or_default().into();
        let post_id = post_id.id().unwrap_or_default().into();
        let status = match state {
            Value::Text(b"VISIBLE") => CommentStatus::Visible,
            Value::Text(b"HELD") => CommentStatus::Held,
            Value::Text(b"HIDDEN") => CommentStatus::Hidden,
            _ => return Err(unreadable("state", "VISIBLE, HELD or HIDDEN is expected")),
        };
        let list = match (list, status == CommentStatus::Hidden) {
            (Value::Text(b"OPEN"), false) => Some(ModerationList::Open),
            (Value::Text(b"HIDDEN"), true) => Some(ModerationList::Hidden),
            (Value::Text(b"OPEN" | b"HIDDEN"), _) => {
                return Err(unreadable("list", "it has none of this state"));
            }
            _ => None,
        };
        let comment = match (status, comment.document()) {
            (CommentStatus::Visible, _) => None,
            (_, Some(comment)) => Some(Comment {
                status,
                ..Comment::from_document(comment)?
            }),
            (_, None) => return Err(unreadable("comment", "the comment is missing")),
        };
        if comment.as_ref().is_some_and(|comment| comment.id != id) {
            return Err(unreadable("comment", "it has another id"));
        }
        Ok(Self {
            id,
            post_id,
            status,
            list,
            since: since.date(),
            reason: reason.text().map(Into::into),
            moderator: moderator.text().map(Into::into),
            reports: document
                .get_array("reports")
                .map(reports)
                .unwrap_or_default(),
            reporters: document
                .get_array("reporters")
                .map(texts)
                .unwrap_or_default(),
            comment,
        })
    }
}

/// Those of the items that are reports.
fn reports(items: &RawArray) -> Vec<Report> {
    let documents = items
        .into_iter()
        .filter_map(|item| item.ok()?.as_document());
    let reports = documents.filter_map(|report| {
        Some(Report {
            by: report.get_str("by").ok()?.to_owned(),
            reason: report.get_str("reason").ok()?.to_owned(),
            at: DateTime::from_millis(report.get_datetime("at").ok()?.timestamp_millis()),
        })
    });
    fitted(reports.take(REPORTS_MAX))
}

fn texts(items: &RawArray) -> Vec<String> {
    let texts = items.into_iter().filter_map(|item| item.ok()?.as_str());
    fitted(texts.take(REPORTERS_MAX).map(str::to_owned))
}

/// A list without room for more: many of them are kept.
fn fitted<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.shrink_to_fit();
    items
}

fn unreadable(field: &'static str, reason: &str) -> Unreadable {
    Unreadable {
        field: field.into(),
        reason: format!("the field {field} has an invalid value: {reason}"),
    }
}

#[cfg(test)]
mod tests;
