//! The marks of deleted posts (`deletedPosts`): the posts subgraph writes them, a page at a time is read
//! here.

use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use changefeed::{FromDocument, SendAction, Unreadable, Unreadables, read_all};
use mongodb::action::Find;
use mongodb::options::Hint;
use mongodb::{Database, IndexModel};
use subgraph::readable::{Kind, Shape};
use subgraph::{DateTime, readable};

use super::{Collections, Store};
use crate::Error;
use crate::post::PostId;

/// The mark of a post that is being deleted, or was.
#[derive(Clone, Copy, Debug)]
pub struct DeletedPost {
    pub id: PostId,
    /// When its deletion was asked for; none where the mark does not tell.
    pub marked_at: Option<DateTime>,
}

/// Some of the marks.
#[derive(Debug)]
pub struct MarksPage {
    /// Those that can be read.
    pub marks: Vec<DeletedPost>,
    /// The place of the next page; none when this page was not full, so that no mark comes after it.
    pub next: Option<PostId>,
}

impl DeletedPost {
    /// The time that the mark is followed from: its own, or the one of its post's id.
    pub fn followed_from(&self) -> DateTime {
        self.marked_at
            .unwrap_or_else(|| DateTime::of_id(self.id.object_id()))
    }
}

impl FromDocument for DeletedPost {
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        const MARK: Shape<2> = Shape([("_id", Kind::Id), ("markedAt", Kind::Date)]);
        let [id, marked_at] = MARK.read(document)?;
        Ok(Self {
            // The shape demands it.
            id: id.id().unwrap_or_default().into(),
            marked_at: marked_at.date(),
        })
    }
}

impl Store {
    /// The newest marks that have a date, at most `limit`.
    pub async fn newest_deleted_posts(&self, limit: usize) -> Result<Vec<DeletedPost>, Error> {
        let read = self.calls.run(move |collections| async move {
            // By type: without it, values of other types come before the dates.
            let found = collections
                .marks(doc! { "markedAt": { "$type": "date" } }, limit)
                .sort(doc! { "markedAt": -1 });
            Ok(readable::all(found.send().await?, &collections.unreadables).await?)
        });
        read.await
    }

    /// The marks after a place in the order of ids, at most `limit`; the first ones without a place.
    pub async fn deleted_posts_after(
        &self,
        place: Option<PostId>,
        limit: usize,
    ) -> Result<MarksPage, Error> {
        // An id that is no `ObjectId` is no post's.
        let after = match place {
            Some(place) => doc! { "$gt": place },
            None => doc! { "$gte": ObjectId::from_bytes([0; 12]) },
        };
        let read = self.calls.run(move |collections| async move {
            let found = collections
                .marks(doc! { "_id": after }, limit)
                .sort(doc! { "_id": 1 });
            let found = read_all(found.send().await?).await?;
            Ok(MarksPage::new(&found, limit, &collections.unreadables))
        });
        read.await
    }

    /// Removes marks whose time is over, at most a page of them; one that was renewed since it was read
    /// stays.
    pub async fn forget_deleted_posts(&self, marks: &[DeletedPost]) -> Result<(), Error> {
        if marks.is_empty() {
            return Ok(());
        }
        let as_read = marks.iter().map(|mark| {
            // Null stands for a missing date too.
            let marked_at = mark.marked_at.map_or(Bson::Null, Bson::from);
            doc! { "_id": mark.id, "markedAt": marked_at }
        });
        let as_read = doc! { "$or": as_read.collect::<Vec<_>>() };
        let delete = self.calls.run(|collections| async move {
            let marks = &collections.deleted_posts;
            // The server would otherwise weigh the two indexes against each other for each mark.
            let by_id = Hint::Keys(doc! { "_id": 1 });
            marks.delete_many(as_read).hint(by_id).await?;
            Ok(())
        });
        delete.await
    }
}

impl MarksPage {
    /// A page of the documents found with this limit. One that cannot be read keeps its place.
    fn new(found: &[RawDocumentBuf], limit: usize, unreadables: &Unreadables) -> Self {
        let marks = found.iter().filter_map(|it| readable::one(it, unreadables));
        let last = found.last().filter(|_| found.len() >= limit);
        Self {
            marks: marks.collect(),
            next: last.and_then(|last| Some(last.get_object_id("_id").ok()?.into())),
        }
    }
}

impl Collections {
    /// Finds marks, without what other programs keep in them.
    fn marks(&self, filter: Document, limit: usize) -> Find<'_, RawDocumentBuf> {
        self.deleted_posts
            .find(filter)
            .projection(doc! { "markedAt": 1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
    }
}

/// Creates the index that finds the newest marks.
pub(super) async fn prepare(database: &Database) -> mongodb::error::Result<()> {
    let newest = IndexModel::builder().keys(doc! { "markedAt": 1 }).build();
    let marks = database.collection::<Document>("deletedPosts");
    marks.create_index(newest).await.map(drop)
}
