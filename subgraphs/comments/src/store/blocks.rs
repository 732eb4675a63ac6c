//! The blocks of authors: who is blocked, as moderators see and decide it. The look-ups before each write are in
//! `subgraph::blocks`.

use bson::{Bson, Document, RawDocumentBuf, doc};
use changefeed::SendAction;
use mongodb::options::IndexOptions;
use mongodb::{ClientSession, Database, IndexModel};
use subgraph::blocks::BLOCKED_AUTHORS;
use subgraph::moderation_acts::Line;
use subgraph::transaction::Attempt;
use subgraph::viewer::exact;
use subgraph::{BeyondCursors, ListPosition, Moderator, Page, PageRequest, readable};

use super::{Collections, Store};
use crate::Error;
use crate::block::{Block, BlockedId, listed};

impl Store {
    /// One page of the blocks.
    pub async fn blocked_authors(
        &self,
        request: &PageRequest<ListPosition<BlockedId>>,
    ) -> Result<Page<Block>, Error> {
        let asked = request.clone();
        let read = self.calls.run(|collections| async move {
            let read = readable::within_limit(listed, &collections.unreadables, async |readable| {
                collections
                    .blocks
                    .find(asked.filter(readable.unwrap_or_default()))
                    .collation(exact())
                    .sort(asked.sort())
                    .limit(asked.limit())
                    .send()
                    .await
            });
            Ok(read.await?)
        });
        let (items, behind, ahead) = tokio::try_join!(
            read,
            self.any_block(request.filter_behind(listed)),
            self.any_block(request.filter_ahead(listed)),
        )?;
        Ok(request.page(items, BeyondCursors { behind, ahead }))
    }

    async fn any_block(&self, filter: Option<Document>) -> Result<bool, Error> {
        let Some(filter) = filter else {
            return Ok(false);
        };
        let look = self.calls.run(|collections| async move {
            let found = collections.blocks.find_one(filter).collation(exact());
            Ok(found.projection(doc! { "_id": 1 }).send().await?.is_some())
        });
        look.await
    }

    /// Blocks an author and returns the block; the first one where there is one already.
    pub async fn block_author(&self, block: Block, by: Moderator) -> Result<Block, Error> {
        Ok(self
            .calls
            .in_transaction(BlockAuthor { block, by })
            .await?
            .value)
    }

    /// Removes an author's block, if there is one.
    pub async fn unblock_author(
        &self,
        author: String,
        by: Moderator,
        reason: Option<String>,
    ) -> Result<(), Error> {
        let unblock = UnblockAuthor { author, by, reason };
        self.calls.in_transaction(unblock).await.map(drop)
    }
}

struct BlockAuthor {
    block: Block,
    by: Moderator,
}

impl Attempt<Collections> for BlockAuthor {
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
        let line = Line::new("BLOCK", &self.by, reason.as_deref()).of_person(author);
        collections.acts.leave(line, session).await?;
        Ok(self.block.clone())
    }
}

struct UnblockAuthor {
    author: String,
    by: Moderator,
    reason: Option<String>,
}

impl Attempt<Collections> for UnblockAuthor {
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
        let line = Line::new("UNBLOCK", &self.by, self.reason.as_deref());
        let line = line.of_person(&self.author);
        Ok(collections.acts.leave(line, session).await?)
    }
}

/// Makes the collection, which no transaction over several shards does, and the index of the list.
pub(super) async fn prepare(database: &Database) -> mongodb::error::Result<()> {
    let newest = IndexModel::builder()
        .keys(doc! { "since": -1, "_id": -1 })
        .options(IndexOptions::builder().collation(exact()).build());
    let blocks = database.collection::<RawDocumentBuf>(BLOCKED_AUTHORS);
    blocks.create_index(newest.build()).await.map(drop)
}
