//! A post's comments by how many replies they have. No document has that number, so all of them are counted and put
//! into order for each page: `docs/decisions/replies.md` says what that costs.

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use changefeed::{OperationTime, SendAction, for_each_in_session};
use mongodb::options::ReadConcern;
use subgraph::stored_comment::{SHAPE, of_posts};
use subgraph::{BeyondCursors, Page, PageRequest, RankedPosition, readable};

use super::replies::{COUNT_TIME_MAX, replies_of, too_many};
use super::{Collections, Store};
use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::post::PostId;

impl Store {
    /// One page of a post's comments, those with the most replies first, with everything up to `after`.
    ///
    /// # Errors
    /// [`Error::TooManyReplies`] when they cannot be counted in [`COUNT_TIME_MAX`]; [`Error::NotThereYet`] when the database
    /// does not have everything up to `after` yet.
    pub async fn most_replied(
        &self,
        post: PostId,
        request: PageRequest<RankedPosition>,
        after: Option<OperationTime>,
    ) -> Result<Page<(RankedPosition, Comment)>, Error> {
        // Until the server has answered, also after the client has left.
        let turn = Arc::new(self.counts.take().await?);
        let read = self.run_after(after, |collections| {
            let turn = turn.clone();
            async move {
                let _turn = turn;
                collections.most_replied(post, request, after).await
            }
        });
        read.await
    }
}

impl Collections {
    async fn most_replied(
        &self,
        post: PostId,
        request: PageRequest<RankedPosition>,
        after: Option<OperationTime>,
    ) -> Result<Page<(RankedPosition, Comment)>, Error> {
        let comments = &self.comments;
        let mut session = self.session_after(after).await?;
        let ranked = comments.aggregate(stages(post, &request, comments.name()));
        let ranked = ranked.max_time(COUNT_TIME_MAX);
        let ranked = match after {
            Some(_) => ranked.read_concern(ReadConcern::majority()),
            None => ranked,
        };
        let ranked = ranked.with_type::<RawDocumentBuf>().session(&mut session);
        let ranked = ranked.send().await.map_err(too_many)?;
        let mut found = None;
        let mut take = |document: &RawDocument| found = Some(document.to_owned());
        let read = for_each_in_session(ranked, &mut session, &mut take);
        read.await.map_err(too_many)?;
        let Some(ranked) = found else {
            return Ok(Page::default());
        };
        let beyond = BeyondCursors {
            behind: !items(&ranked, "behind").is_empty(),
            ahead: !items(&ranked, "ahead").is_empty(),
        };
        let page = request.page(items(&ranked, "page"), beyond);

        let ids = page.items.iter().map(|it| it.position.id);
        let of_ids = doc! { "_id": { "$in": ids.collect::<Vec<_>>() } };
        let found = comments.find(of_ids).send().await?;
        let found = readable::all::<Comment>(found, &self.unreadables).await?;
        let found = found.into_iter().map(|comment| (comment.id, comment));
        let mut found: HashMap<CommentId, Comment> = found.collect();
        // One that was deleted a moment ago is left out; the list goes on after its cursor all the same.
        let items = page.items.into_iter().filter_map(|position| {
            let comment = found.remove(&position.position.id.into())?;
            Some((position, comment))
        });
        Ok(Page {
            items: items.collect(),
            has_next: page.has_next,
            has_previous: page.has_previous,
        })
    }
}

/// The stages that give one document: the positions of the page, and whether there is anything beyond its cursors.
fn stages(post: PostId, request: &PageRequest<RankedPosition>, name: &str) -> Vec<Document> {
    let readable = |mut filter: Document| {
        filter.extend(SHAPE.filter());
        doc! { "$match": filter }
    };
    let counts = [
        readable(replies_of(post)),
        doc! { "$group": { "_id": "$parentId", "rank": { "$sum": 1 } } },
    ];
    let beyond = |stages: Option<Vec<Document>>| {
        // Nothing without a cursor.
        stages.unwrap_or_else(|| vec![doc! { "$match": { "$expr": false } }])
    };
    vec![
        readable(of_posts([post.object_id()])),
        doc! { "$project": {
            "rank": { "$literal": 0 },
            "createdAt": { "$ifNull": ["$createdAt", null] },
            "isComment": { "$literal": true },
        } },
        doc! { "$unionWith": { "coll": name, "pipeline": counts.to_vec() } },
        doc! { "$group": {
            "_id": "$_id",
            "rank": { "$sum": "$rank" },
            "createdAt": { "$max": "$createdAt" },
            "isComment": { "$max": "$isComment" },
        } },
        // Without those whose replies are still there.
        doc! { "$match": { "isComment": true } },
        doc! { "$facet": {
            "page": request.ranked_stages(),
            "behind": beyond(request.ranked_behind()),
            "ahead": beyond(request.ranked_ahead()),
        } },
    ]
}

fn items(ranked: &RawDocument, facet: &str) -> Vec<RankedPosition> {
    let Ok(items) = ranked.get_array(facet) else {
        return Vec::new();
    };
    let documents = items.into_iter().filter_map(|it| it.ok()?.as_document());
    documents.filter_map(RankedPosition::read).collect()
}
