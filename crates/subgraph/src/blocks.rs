//! Blocked authors: who may write nothing, in all subgraphs.
//!
//! The comments subgraph writes the collection; each subgraph looks there before a signed-in person writes. There is
//! no cache: a block counts for every request that begins after it was acknowledged. A document blocks by its `_id`,
//! whatever else it holds.

use bson::{Document, RawDocumentBuf, doc};
use changefeed::{SendAction, read_all};
use mongodb::{Collection, Database};

use crate::viewer::exact;
use crate::{AccessError, DatabaseCalls, Overloaded, Person, Viewer};

/// The collection. The `_id` of a document is the id of the person that is blocked.
pub const BLOCKED_AUTHORS: &str = "blockedAuthors";

/// The look-ups of blocked authors. Clones share the connections.
#[derive(Clone)]
pub struct Blocks(DatabaseCalls<Collection<RawDocumentBuf>>);

impl Blocks {
    /// Looks in this database.
    pub fn new(calls: &DatabaseCalls<Database>) -> Self {
        Self(calls.map(|database| database.collection(BLOCKED_AUTHORS)))
    }

    /// Refuses a viewer who is blocked. A guest has no id by which to be blocked, and costs no look-up.
    ///
    /// # Errors
    /// [`AccessError::Blocked`], or what the look-up fails with.
    pub async fn require_unblocked<E>(&self, viewer: &Viewer) -> Result<(), E>
    where
        E: From<AccessError> + From<Overloaded> + From<mongodb::error::Error> + Send + 'static,
    {
        let Some(person) = viewer.person() else {
            return Ok(());
        };
        match self.blocked::<E>(vec![person.id.to_string()]).await? {
            blocked if blocked.is_empty() => Ok(()),
            _ => Err(AccessError::Blocked.into()),
        }
    }

    /// The moderator who asks, unless another one has blocked this one.
    ///
    /// # Errors
    /// [`AccessError::GuestModerates`], [`AccessError::NotModerator`] and [`AccessError::Blocked`], or what the look-up
    /// fails with.
    pub async fn require_moderator<'v, E>(&self, viewer: &'v Viewer) -> Result<&'v Person, E>
    where
        E: From<AccessError> + From<Overloaded> + From<mongodb::error::Error> + Send + 'static,
    {
        let moderator = viewer.require_moderator()?;
        self.require_unblocked::<E>(viewer).await?;
        Ok(moderator)
    }

    /// The viewer, who is no moderator while blocked: what may be done to one's own is left. Costs others no look-up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn without_blocked_rights<E>(&self, viewer: Viewer) -> Result<Viewer, E>
    where
        E: From<Overloaded> + From<mongodb::error::Error> + Send + 'static,
    {
        let Ok(moderator) = viewer.require_moderator() else {
            return Ok(viewer);
        };
        let blocked = self.blocked::<E>(vec![moderator.id.to_string()]).await?;
        Ok(match blocked.is_empty() {
            true => viewer,
            false => viewer.without_moderation(),
        })
    }

    /// Those of the persons with these ids who are blocked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn blocked<E>(&self, ids: Vec<String>) -> Result<Vec<String>, E>
    where
        E: From<Overloaded> + From<mongodb::error::Error> + Send + 'static,
    {
        let look = self.0.run(|blocks| async move {
            let of_these: Document = doc! { "_id": { "$in": ids } };
            let found = blocks.find(of_these).collation(exact());
            let found = found.projection(doc! { "_id": 1 });
            let found = read_all(found.send().await?).await?;
            let ids = found.iter().filter_map(|block| block.get_str("_id").ok());
            Ok(ids.map(str::to_owned).collect())
        });
        look.await
    }
}
