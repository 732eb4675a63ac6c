//! Live comments: the changes of one post's comments, as types of the graph.

use std::future::{pending, ready};
use std::sync::Arc;
use std::time::Duration;

use bson::Bson;
use changefeed::{
    Change, ChangeKind, Cursor, Cursors, Error as FeedError, FromDocument, Hub, OperationTime,
    Subscription, TopicError,
};
use futures_util::{Stream, StreamExt};
use service::{Health, Lifecycle};
use subgraph::Delivery;
use traces::{Kind, Tracer};

use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::comment_change::{
    CommentAdded, CommentChange, CommentDeleted, CommentEdited, CommentReactionsChanged,
};
use crate::known_posts::KnownPosts;
use crate::post::PostId;
use crate::store::Store;

/// Where subscriptions are served, or a cursor for those of other instances alone. Clones share it.
pub enum Live<T> {
    /// The process follows the changes.
    On(Hub<T>),
    /// It does not (`LIVE_FEED`).
    Off(Arc<Cursors>),
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        match self {
            Self::On(hub) => Self::On(hub.clone()),
            Self::Off(cursors) => Self::Off(cursors.clone()),
        }
    }
}

impl<T: FromDocument> Live<T> {
    /// The hub, if there is one.
    pub fn hub(&self) -> Option<&Hub<T>> {
        match self {
            Self::On(hub) => Some(hub),
            Self::Off(_) => None,
        }
    }

    /// Subscribes to a topic, and ties the delivery to it.
    ///
    /// # Errors
    /// [`Error::LiveFeedOff`] where there is no hub; when the cursor is not one of this topic.
    pub async fn subscribe(
        &self,
        topic: impl Into<Bson>,
        after: Option<&str>,
        delivery: &Delivery,
    ) -> Result<Subscription<T>, Error> {
        let hub = self.hub().ok_or(Error::LiveFeedOff)?;
        let changes = hub.subscribe(topic, after).await?;
        delivery.while_it_answers(hub.answers());
        delivery.stands_after(changes.start().as_str());
        Ok(changes)
    }

    /// The cursor of this moment: a subscription after it receives every change from now on.
    ///
    /// # Errors
    /// When the feed has ended.
    pub async fn cursor_now(&self, topic: impl Into<Bson>) -> Result<String, Error> {
        Ok(match self {
            Self::On(hub) => hub.subscribe(topic, None).await?.start().to_string(),
            Self::Off(cursors) => cursors.now(topic).to_string(),
        })
    }

    /// Creates again what it needs in the database, where it is missing.
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses.
    pub async fn prepare(&self) -> Result<(), FeedError> {
        match self {
            Self::On(hub) => hub.prepare().await,
            Self::Off(cursors) => cursors.prepare().await,
        }
    }
}

/// The live comments of all posts. Clones share them.
#[derive(Clone)]
pub struct Feed {
    live: Live<Comment>,
    known: KnownPosts,
    store: Store,
    tracer: Tracer,
}

impl Feed {
    /// The feed over a running hub, or without one.
    pub fn new(live: Live<Comment>, known: KnownPosts, store: Store) -> Self {
        Self {
            live,
            known,
            store,
            tracer: Tracer::off(),
        }
    }

    /// The feed with a span for each delivery of a change that was made in a recorded trace.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Whether a time is later than every write there can be.
    pub fn is_future(&self, time: OperationTime) -> bool {
        match &self.live {
            Live::On(hub) => hub.is_future(time),
            Live::Off(cursors) => cursors.is_future(time),
        }
    }

    /// Each comment that is added to a post, from now on or after the cursor of `delivery`.
    ///
    /// # Errors
    /// When there is no such post, or the cursor is not one of this post or too old.
    pub async fn comment_added(
        &self,
        post: PostId,
        delivery: Delivery,
    ) -> Result<impl Stream<Item = Result<Comment, Error>> + use<>, Error> {
        let after = delivery.after(None);
        let changes = self.subscribe(post, after.as_deref(), &delivery).await?;
        let tracer = self.tracer.clone();
        Ok(changes.filter_map(move |change| {
            ready(match change {
                Ok((cursor, change)) => match seen_from(post, &cursor, &change, None) {
                    Some(CommentChange::Added(added)) => {
                        delivered(&tracer, &change, "deliver commentAdded");
                        delivery.next_has(&added.cursor);
                        Some(Ok(added.comment))
                    }
                    _ => None,
                },
                Err(error) => Some(Err(error.into())),
            })
        }))
    }

    /// Every change among a post's comments, after the cursor or from now on; those of nothing but reactions if `reactions`.
    ///
    /// # Errors
    /// When there is no such post, or the cursor is not one of this post or too old.
    pub async fn comment_changes(
        &self,
        post: PostId,
        after: Option<String>,
        reactions: bool,
        delivery: Delivery,
    ) -> Result<impl Stream<Item = Result<CommentChange, Error>> + use<>, Error> {
        let after = delivery.after(after);
        let changes = self.subscribe(post, after.as_deref(), &delivery).await?;
        let (store, tracer) = (self.store.clone(), self.tracer.clone());
        Ok(changes.filter_map(move |change| {
            let (store, delivery, tracer) = (store.clone(), delivery.clone(), tracer.clone());
            async move {
                let (cursor, change) = match change {
                    Ok(change) => change,
                    Err(error) => return Some(Err(error.into())),
                };
                let present = match present(&store, &change).await {
                    Ok(present) => present,
                    Err(error) => return Some(Err(error)),
                };
                let seen = seen_from(post, &cursor, &change, present.as_ref())?;
                let is_left_out = !reactions && matches!(seen, CommentChange::ReactionsChanged(_));
                (!is_left_out).then(|| {
                    delivered(&tracer, &change, "deliver commentChanges");
                    delivery.next_has(cursor.as_str());
                    Ok(seen)
                })
            }
        }))
    }

    /// The cursor of this moment: a subscription after it receives every change from now on.
    ///
    /// # Errors
    /// When the feed has ended.
    pub async fn cursor_now(&self, post: PostId) -> Result<String, Error> {
        self.live.cursor_now(post).await
    }

    async fn subscribe(
        &self,
        post: PostId,
        after: Option<&str>,
        delivery: &Delivery,
    ) -> Result<impl Stream<Item = Result<(Cursor, Arc<Change<Comment>>), TopicError>> + use<>, Error>
    {
        self.known.require(post).await?;
        let changes = self.live.subscribe(post, after, delivery).await?;
        Ok(changes.then(silent_at_stop))
    }
}

/// A hub stops when the process ends: then the close of the connection tells a subscriber to resume elsewhere. An error
/// would be an answer, and most clients do not come back after one.
pub(crate) async fn silent_at_stop<T>(item: Result<T, TopicError>) -> Result<T, TopicError> {
    match item {
        Err(TopicError::Stopped { .. }) => pending().await,
        item => item,
    }
}

/// Tells of the delivery of a change to one subscriber, in the trace of the mutation that made it.
fn delivered(tracer: &Tracer, change: &Change<Comment>, name: &'static str) {
    if !tracer.is_on() {
        return;
    }
    let before = change.before().map(|before| &before.trace);
    let Some(comment) = change.after() else {
        return;
    };
    let Some(context) = comment.trace.since(before) else {
        return;
    };
    let mut span = tracer.root(Some(context), name, Kind::Consumer);
    span.link(&context);
    span.set("rejoinder.comment.id", &comment.id.to_string());
    span.set("rejoinder.post.id", &comment.post_id.to_string());
}

/// The present comment, for a change that does not contain it.
async fn present(store: &Store, change: &Change<Comment>) -> Result<Option<Comment>, Error> {
    let ChangeKind::Updated { after: None, .. } = &change.kind else {
        return Ok(None);
    };
    let Some(id) = change.key.as_object_id() else {
        return Ok(None);
    };
    Ok(store.comments_by_id(&[id.into()]).await?.pop())
}

/// A change as a subscriber of a post sees it; none if it does not affect this post. `present` is the
/// present comment, where the change does not contain it.
fn seen_from(
    post: PostId,
    cursor: &Cursor,
    change: &Change<Comment>,
    present: Option<&Comment>,
) -> Option<CommentChange> {
    let here =
        |comment: Option<&Comment>| comment.filter(|comment| comment.post_id == post).cloned();
    let cursor = cursor.to_string();
    let deleted = |comment_id| CommentDeleted {
        cursor: cursor.clone(),
        comment_id,
        post_id: post,
    };
    let after = here(change.after().or(present));
    let came_from_elsewhere = change.before().is_some_and(|before| before.post_id != post);
    match (&change.kind, here(change.before()), after) {
        (ChangeKind::Inserted(_), _, None) => None,
        (kind, _, Some(comment))
            if came_from_elsewhere || matches!(kind, ChangeKind::Inserted(_)) =>
        {
            Some(CommentChange::Added(CommentAdded { cursor, comment }))
        }
        (ChangeKind::Deleted { .. }, _, _) => {
            let id: CommentId = change.key.as_object_id()?.into();
            Some(CommentChange::Deleted(deleted(id)))
        }
        (_, Some(before), Some(comment)) if comment.differs_in_reactions_alone(&before) => {
            Some(CommentChange::ReactionsChanged(CommentReactionsChanged {
                cursor,
                comment,
            }))
        }
        (_, _, Some(comment)) => Some(CommentChange::Edited(CommentEdited { cursor, comment })),
        // Moved to another post.
        (_, Some(comment), None) => Some(CommentChange::Deleted(deleted(comment.id))),
        // It may have been a comment of this post: the change has no document to say so.
        (_, None, None) if change.before().is_none() => {
            let id: CommentId = change.key.as_object_id()?.into();
            Some(CommentChange::Deleted(deleted(id)))
        }
        (_, None, None) => None,
    }
}

/// Ties a hub to the process: it stops once a shutdown has ended its subscribers, and its failure ends the process.
/// `name` is for the log.
pub fn supervise<T: FromDocument>(hub: &Hub<T>, name: &'static str, lifecycle: &Lifecycle) {
    let (running, drained) = (hub.clone(), lifecycle.drained().clone());
    lifecycle.spawn(name, async move {
        tokio::select! {
            finished = running.finished() => finished?,
            () = drained.cancelled() => running.stop().await,
        }
        Ok(())
    });
}

/// Makes readiness depend on when the hub's change stream last answered, which it does several times a second.
pub fn register_readiness(hub: &Hub<Comment>, health: &Health, silence_max: Duration) {
    let hub = hub.clone();
    health.register("comments feed", move || {
        let silent = hub.silent_for();
        ready(if silent > silence_max {
            Err(format!(
                "the change stream has been silent for {} s",
                silent.as_secs()
            ))
        } else {
            Ok(())
        })
    });
}
