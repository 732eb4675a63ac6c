//! Writes documents, each at most once: what an import has written is remembered for ever.
//!
//! A batch is one transaction: its documents, and their ids in `importedDocuments`. So after any interruption, an id is
//! there if and only if its document was. What people edit or delete afterwards is not written again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, RawDocument, RawDocumentBuf, doc};
use changefeed::{SendAction, for_each_in_session};
use mongodb::error::{
    ErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR,
    UNKNOWN_TRANSACTION_COMMIT_RESULT,
};
use mongodb::{Client, ClientSession, Collection, Database};
use subgraph::Overloaded;
use subgraph::database_error::{DUPLICATE_KEY, NAMESPACE_EXISTS, StoreError, code};
use subgraph::transaction::{Attempt, Transactional, jittered, try_transaction};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::document::{Kind, NewDocument};
use crate::tally::{Skip, Tally, add};

/// The collection of the ids that imports have written.
pub const IMPORTED: &str = "importedDocuments";
/// Documents of one transaction.
pub const BATCH_DOCUMENTS_MAX: usize = 500;
/// Their bytes, about.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// How long a failure may pass: an election takes some seconds.
const RETRIED_FOR: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("the database has failed")]
    Database(#[from] mongodb::error::Error),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error("interrupted")]
    Interrupted,
}

impl StoreError for WriteError {
    fn database(&self) -> Option<&mongodb::error::Error> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

/// Writes batches into a database.
#[derive(Clone)]
pub struct Writer {
    target: Arc<Target>,
    tally: Arc<Tally>,
    interrupted: CancellationToken,
}

struct Target {
    client: Client,
    posts: Collection<RawDocumentBuf>,
    comments: Collection<RawDocumentBuf>,
    moderated: Collection<RawDocumentBuf>,
    imported: Collection<RawDocumentBuf>,
}

impl Writer {
    /// Makes sure that the collections are there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn new(
        database: &Database,
        tally: Arc<Tally>,
        interrupted: CancellationToken,
    ) -> mongodb::error::Result<Self> {
        for name in ["posts", "comments", "moderatedComments", IMPORTED] {
            match database.create_collection(name).await {
                Err(error) if code(&error) != Some(NAMESPACE_EXISTS) => return Err(error),
                _ => {}
            }
        }
        let target = Target {
            client: database.client().clone(),
            posts: database.collection("posts"),
            comments: database.collection("comments"),
            moderated: database.collection("moderatedComments"),
            imported: database.collection(IMPORTED),
        };
        Ok(Self {
            target: Arc::new(target),
            tally,
            interrupted,
        })
    }

    /// Writes those of the documents that no import has written yet, in one transaction, and counts them.
    ///
    /// # Errors
    /// When the database fails, and goes on doing so for a minute; or when the import was interrupted while it did.
    /// Then nothing of the batch is written, or all of it: the next run finds out.
    pub async fn write(&self, batch: Vec<NewDocument>) -> Result<(), WriteError> {
        let batch = Batch(batch);
        let mut session = self.target.client.start_session().await?;
        let deadline = Instant::now() + RETRIED_FOR;
        let mut pause = PAUSE_MIN;
        let fates = loop {
            match try_transaction(&*self.target, &mut session, &batch).await {
                Ok(written) => break written.value,
                Err(error) if is_passing(&error) && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = self.interrupted.cancelled() => return Err(WriteError::Interrupted),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        };
        for (document, fate) in batch.0.iter().zip(fates) {
            match fate {
                Fate::Written => count(document, &self.tally),
                Fate::Skipped(reason) => self.tally.skip(reason),
            }
        }
        Ok(())
    }
}

/// Counts a document that was written, or would be.
pub fn count(document: &NewDocument, tally: &Tally) {
    match document.kind {
        Kind::Post => add(&tally.posts, 1),
        Kind::Comment { is_reply } => {
            add(&tally.comments, 1);
            add(&tally.replies, u64::from(is_reply));
        }
        Kind::Held => add(&tally.held, 1),
    }
    add(&tally.cut, u64::from(document.is_cut));
    add(&tally.undated, u64::from(document.is_undated));
}

/// Whether another attempt may succeed. A batch may be written again and again.
fn is_passing(error: &WriteError) -> bool {
    let Some(error) = error.database() else {
        return false;
    };
    let labels = [
        TRANSIENT_TRANSACTION_ERROR,
        UNKNOWN_TRANSACTION_COMMIT_RESULT,
        RETRYABLE_WRITE_ERROR,
    ];
    labels.iter().any(|label| error.contains_label(label))
        // Another import writes the same file.
        || code(error) == Some(DUPLICATE_KEY)
        || matches!(
            error.kind.as_ref(),
            ErrorKind::Io(_) | ErrorKind::ServerSelection { .. } | ErrorKind::ConnectionPoolCleared { .. }
        )
}

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Written,
    Skipped(Skip),
}

struct Batch(Vec<NewDocument>);

impl Transactional for Target {
    type Error = WriteError;

    fn client(&self) -> &Client {
        &self.client
    }
}

impl Attempt<Target> for Batch {
    type Output = Vec<Fate>;

    async fn attempt(
        &self,
        target: &Target,
        session: &mut ClientSession,
    ) -> Result<Vec<Fate>, WriteError> {
        let own: HashSet<ObjectId> = self.0.iter().map(|it| it.id).collect();
        let posts: HashSet<ObjectId> = self.0.iter().map(|it| it.post).collect();
        let imported = ids(&target.imported, own.union(&posts), session).await?;
        let there = ids(&target.posts, posts.iter(), session).await?;
        // Where somebody has dropped the collection of ids, these have been imported all the same.
        let comments = own.difference(&imported);
        let shown = ids(&target.comments, comments.clone(), session).await?;
        let kept = ids(&target.moderated, comments, session).await?;
        let is_there =
            |id: &ObjectId| there.contains(id) || shown.contains(id) || kept.contains(id);
        let mut fates = Vec::with_capacity(self.0.len());
        let mut new_ids = Vec::new();
        let (mut new_posts, mut new_comments, mut new_held) = (vec![], vec![], vec![]);
        for new in &self.0 {
            let is_post_gone = imported.contains(&new.post) && !there.contains(&new.post);
            let fate = match new.kind {
                _ if imported.contains(&new.id) => Fate::Skipped(Skip::Imported),
                Kind::Comment { .. } | Kind::Held if is_post_gone => Fate::Skipped(Skip::PostGone),
                _ if is_there(&new.id) => {
                    new_ids.push(doc! { "_id": new.id });
                    Fate::Skipped(Skip::Imported)
                }
                kind => {
                    new_ids.push(doc! { "_id": new.id });
                    let documents = match kind {
                        Kind::Post => &mut new_posts,
                        Kind::Comment { .. } => &mut new_comments,
                        Kind::Held => &mut new_held,
                    };
                    documents.push(&new.document);
                    Fate::Written
                }
            };
            fates.push(fate);
        }
        for (collection, documents) in [
            (&target.posts, new_posts),
            (&target.comments, new_comments),
            (&target.moderated, new_held),
            (&target.imported, new_ids.iter().collect()),
        ] {
            if !documents.is_empty() {
                let collection = collection.clone_with_type::<Document>();
                let insert = collection.insert_many(documents).ordered(false);
                insert.session(&mut *session).await?;
            }
        }
        Ok(fates)
    }
}

/// Those of the ids that a collection has.
async fn ids(
    collection: &Collection<RawDocumentBuf>,
    ids: impl Iterator<Item = &ObjectId>,
    session: &mut ClientSession,
) -> mongodb::error::Result<HashSet<ObjectId>> {
    let ids: Vec<_> = ids.copied().collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let find = collection.find(doc! { "_id": { "$in": ids } });
    let find = find.projection(doc! { "_id": 1 }).session(&mut *session);
    let found = find.send().await?;
    let mut there = HashSet::new();
    let mut take = |document: &RawDocument| there.extend(document.get_object_id("_id").ok());
    for_each_in_session(found, session, &mut take).await?;
    Ok(there)
}
