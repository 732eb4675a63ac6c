//! The search of posts by MongoDB's text index.

use std::collections::HashMap;
use std::time::Duration;

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use changefeed::{SendAction, read_all};
use subgraph::database_error::{INDEX_NOT_FOUND, code, is_out_of_time};
use subgraph::turns::{TurnLimits, Turns};
use subgraph::viewer::exact;

use super::Store;
use crate::post::{PostId, SHAPE};
use crate::search::{Rank, RankedPage, SearchRequest};
use crate::{Error, search_index};

/// How long one search may take: the server reads every post that has one of its words.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(5);
/// Searches that run at the same time. They are slow where a word is common, and each keeps a connection from others.
const SEARCHES_MAX: usize = 4;
/// Those that wait for their turn, and how long.
const TURNS: TurnLimits = TurnLimits {
    waiting_max: 200,
    wait_max: Duration::from_secs(2),
};
/// MongoDB's code for a query that no index can answer: a text index begins with another field.
const NO_QUERY_EXECUTION_PLANS: i32 = 291;

/// The turns of searches.
pub(super) fn turns() -> Turns {
    Turns::new(SEARCHES_MAX, TURNS)
}

impl Store {
    /// One page of the posts that have words of a text.
    ///
    /// # Errors
    /// [`Error::SearchUnavailable`] while there is no text index, [`Error::SearchTooSlow`] when the search takes too
    /// long.
    pub async fn search_posts(&self, request: &SearchRequest) -> Result<RankedPage, Error> {
        let page = ranks(
            request,
            request.after.map(|rank| rank.after()),
            request.limit(),
        );
        let before = request
            .after
            .map(|rank| ranks(request, Some(rank.up_to()), 1));
        let (mut found, before) = tokio::try_join!(self.ranked(Some(page)), self.ranked(before))?;
        let has_next = found.len() > request.size;
        found.truncate(request.size);
        let ids: Vec<PostId> = found.iter().map(|rank| rank.id.into()).collect();
        let posts = match ids.is_empty() {
            true => Vec::new(),
            false => self.posts_by_id(&ids).await?,
        };
        let mut posts: HashMap<_, _> = posts.into_iter().map(|post| (post.id, post)).collect();
        // One that was deleted since is left out.
        let items = found.into_iter();
        let items = items.filter_map(|rank| Some((posts.remove(&rank.id.into())?, rank)));
        Ok(RankedPage {
            items: items.collect(),
            has_next,
            has_previous: !before.is_empty(),
        })
    }

    /// The ranks that a search finds; none without one.
    async fn ranked(&self, stages: Option<Vec<Document>>) -> Result<Vec<Rank>, Error> {
        let Some(stages) = stages else {
            return Ok(Vec::new());
        };
        let turn = self.searches.take().await?;
        let search = self.calls.run(|collections| async move {
            // Until the server has answered, also after the client has left.
            let _turn = turn;
            // A `$text` query names no index: the server would take any.
            if !search_index::is_usable(&collections.posts).await? {
                return Err(Error::SearchUnavailable);
            }
            let found = collections
                .posts
                .aggregate(stages)
                .max_time(SEARCH_TIME_MAX);
            let found = found.collation(exact()).with_type::<RawDocumentBuf>();
            let found = async { read_all(found.send().await?).await };
            let found = found.await.map_err(failure)?;
            Ok(found.iter().filter_map(|found| rank(found)).collect())
        });
        search.await
    }
}

/// The stages that find the best ranks. Only ranks are sorted: posts may be large.
fn ranks(request: &SearchRequest, part: Option<Document>, limit: i64) -> Vec<Document> {
    let mut matches = SHAPE.filter();
    matches.insert("$text", doc! { "$search": &request.query });
    let mut stages = vec![
        doc! { "$match": matches },
        doc! { "$project": { "score": { "$meta": "textScore" } } },
    ];
    stages.extend(part.map(|part| doc! { "$match": part }));
    stages.push(doc! { "$sort": { "score": -1, "_id": -1 } });
    stages.push(doc! { "$limit": limit });
    stages
}

fn rank(found: &RawDocument) -> Option<Rank> {
    Some(Rank {
        score: found.get_f64("score").ok()?,
        id: found.get_object_id("_id").ok()?,
    })
}

fn failure(error: mongodb::error::Error) -> Error {
    match code(&error) {
        Some(INDEX_NOT_FOUND | NO_QUERY_EXECUTION_PLANS) => Error::SearchUnavailable,
        _ if is_out_of_time(&error) => Error::SearchTooSlow,
        _ => error.into(),
    }
}
