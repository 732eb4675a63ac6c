//! Live posts: one change stream reports which posts have changed, and their subscribers read them again.
//!
//! The stream carries only ids. The subscribers of a changed post read its present state with one query.
//! Changes that arrive meanwhile lead to one further read. So a post with a hundred new comments a
//! second needs no queue for its subscribers, and none of them lags.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::dataloader::DataLoader;
use changefeed::Projector;
use futures_util::{Stream, StreamExt, stream};
use service::{Health, Lifecycle};
use tokio::sync::{broadcast, watch};

use crate::Error;
use crate::post::{Post, PostId};
use crate::post_loader::PostLoader;

/// How many new posts may wait for one subscriber of `postAdded`. With more it ends with
/// `SUBSCRIPTION_LAGGED`.
const ADDED_MAX: usize = 1024;

/// The live posts. Clones share them.
#[derive(Clone)]
pub struct Feed {
    is_on: bool,
    added: broadcast::Sender<Added>,
    watched: Arc<Mutex<HashMap<PostId, watch::Sender<()>>>>,
}

/// An event for the subscribers of `postAdded`.
#[derive(Clone, Copy, Debug)]
enum Added {
    Post(PostId),
    /// The change stream lost its history: new posts may have been missed.
    Gap,
}

impl Default for Feed {
    /// A feed without subscribers. [`crate::post_changes`] reports the changes to it.
    fn default() -> Self {
        Self {
            is_on: true,
            added: broadcast::channel(ADDED_MAX).0,
            watched: Arc::default(),
        }
    }
}

impl Feed {
    /// A feed that takes no subscriber (`LIVE_FEED`).
    pub fn off() -> Self {
        Self {
            is_on: false,
            ..Self::default()
        }
    }

    /// Whether it takes subscribers.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether there is any subscriber, of new posts or of a changed one.
    pub fn is_heard(&self) -> bool {
        self.added.receiver_count() > 0 || !self.lock().is_empty()
    }

    /// Each post that is added from now on.
    ///
    /// # Errors
    /// [`Error::LiveFeedOff`] when it takes no subscriber.
    pub fn post_added(
        &self,
        posts: Arc<DataLoader<PostLoader>>,
    ) -> Result<impl Stream<Item = Result<Post, Error>> + use<>, Error> {
        self.require()?;
        let added = self.added.subscribe();
        Ok(stream::unfold(Some(added), move |added| {
            let posts = posts.clone();
            async move {
                let mut added = added?;
                loop {
                    let event = match added.recv().await {
                        Ok(Added::Post(id)) => posts.load_one(id).await.transpose(),
                        Ok(Added::Gap) => Some(Err(Error::ResyncRequired)),
                        Err(broadcast::error::RecvError::Lagged(missed)) => {
                            Some(Err(Error::SubscriptionLagged { missed }))
                        }
                        Err(broadcast::error::RecvError::Closed) => return None,
                    };
                    match event {
                        Some(Ok(post)) => return Some((Ok(post), Some(added))),
                        Some(Err(error)) => return Some((Err(error), None)),
                        // Deleted since.
                        None => {}
                    }
                }
            }
        }))
    }

    fn require(&self) -> Result<(), Error> {
        match self.is_on {
            true => Ok(()),
            false => Err(Error::LiveFeedOff),
        }
    }

    /// The post each time it changes from now on, as it is then.
    ///
    /// # Errors
    /// When there is no such post; [`Error::LiveFeedOff`] when it takes no subscriber.
    pub async fn post_updated(
        &self,
        id: PostId,
        posts: Arc<DataLoader<PostLoader>>,
    ) -> Result<impl Stream<Item = Result<Post, Error>> + use<>, Error> {
        self.require()?;
        // Watched before it is looked up: a deletion in between is noticed.
        let changes = Watch {
            changes: self.watch(id),
            feed: self.clone(),
            id,
        };
        posts.load_one(id).await?.ok_or(Error::PostNotFound(id))?;
        let updates = stream::unfold(Some(changes), move |changes| {
            let posts = posts.clone();
            async move {
                let mut changes = changes?;
                changes.changes.changed().await.ok()?;
                match posts.load_one(id).await {
                    Ok(Some(post)) => Some((Ok(post), Some(changes))),
                    Ok(None) => None,
                    Err(error) => Some((Err(error), None)),
                }
            }
        });
        Ok(updates.boxed())
    }

    /// A post was added.
    pub(crate) fn added(&self, id: PostId) {
        // It fails when there is no subscriber.
        let _ = self.added.send(Added::Post(id));
    }

    /// A post was changed or deleted.
    pub(crate) fn changed(&self, id: PostId) {
        if let Some(watched) = self.lock().get(&id) {
            watched.send_replace(());
        }
    }

    /// Changes may have been missed: subscribers of a post read it again, those of new posts end with an error.
    pub(crate) fn gap(&self) {
        let _ = self.added.send(Added::Gap);
        self.all_changed();
    }

    /// Every post may have changed.
    pub(crate) fn all_changed(&self) {
        for watched in self.lock().values() {
            watched.send_replace(());
        }
    }

    fn watch(&self, id: PostId) -> watch::Receiver<()> {
        self.lock()
            .entry(id)
            .or_insert_with(|| watch::channel(()).0)
            .subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PostId, watch::Sender<()>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One subscriber of a post. The last one that is dropped removes the post's entry.
struct Watch {
    changes: watch::Receiver<()>,
    feed: Feed,
    id: PostId,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.feed.lock();
        // This receiver still counts.
        if watched
            .get(&self.id)
            .is_some_and(|sender| sender.receiver_count() <= 1)
        {
            watched.remove(&self.id);
        }
    }
}

/// Ties the projection to the process: it stops once a shutdown has ended its readers, its failure ends the process, and readiness
/// depends on its lag.
pub fn supervise(projector: &Projector, lifecycle: &Lifecycle, health: &Health) {
    let (running, drained) = (projector.clone(), lifecycle.drained().clone());
    lifecycle.spawn("the projection of comments", async move {
        tokio::select! {
            finished = running.finished() => finished?,
            () = drained.cancelled() => running.stop().await,
        }
        Ok(())
    });
    let projector = projector.clone();
    health.register("comments projection", move || {
        std::future::ready(projector.ready().map_err(|not_ready| not_ready.to_string()))
    });
}
