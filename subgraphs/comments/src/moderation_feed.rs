//! The live queue of moderators: one topic over the changes of `moderatedComments`.

use bson::Bson;
use changefeed::{Change, ChangeKind, Cursor, Hub, HubMetrics, HubSettings, Source, TopicField};
use futures_util::{Stream, StreamExt};
use subgraph::Delivery;

use crate::comment::CommentId;
use crate::feed::{Live, silent_at_stop};
use crate::moderation::{ModerationEntry, STATES};
use crate::moderation_change::{
    ModerationChange, ModerationChanged, ModerationEntered, ModerationLeft,
};
use crate::{Error, Store};

/// The topic of all changes.
const TOPIC: &str = "moderation";

/// The live queue. Clones share it.
#[derive(Clone)]
pub struct ModerationFeed {
    live: Live<ModerationEntry>,
    store: Store,
}

/// Bytes of changes that are kept in memory. There is one topic, and it is a quiet one.
const BYTES_MAX: usize = 4 << 20;

/// Starts the hub over the comments in moderation. Its limits are those of the live comments, with less memory.
///
/// # Errors
/// When the database cannot be reached.
pub async fn start(
    source: Source,
    settings: HubSettings,
    metrics: HubMetrics,
) -> Result<Hub<ModerationEntry>, changefeed::Error> {
    let settings = settings.total_bytes_max(BYTES_MAX);
    Hub::start(source, topic_field(), settings, metrics).await
}

/// Every document has the field, and each of its values is the one topic.
pub fn topic_field() -> TopicField {
    TopicField::new("state").with_forms(
        |_| TOPIC.into(),
        |_| STATES.into_iter().map(Bson::from).collect(),
    )
}

impl ModerationFeed {
    /// The feed over a running hub, or without one.
    pub fn new(live: Live<ModerationEntry>, store: Store) -> Self {
        Self { live, store }
    }

    /// Every change of the queue, after the cursor or from now on.
    ///
    /// # Errors
    /// When the cursor is not one of this feed.
    pub async fn changes(
        &self,
        after: Option<String>,
        delivery: Delivery,
    ) -> Result<impl Stream<Item = Result<ModerationChange, Error>> + use<>, Error> {
        let after = delivery.after(after);
        let changes = self
            .live
            .subscribe(TOPIC, after.as_deref(), &delivery)
            .await?;
        let store = self.store.clone();
        Ok(changes.then(silent_at_stop).filter_map(move |change| {
            let (store, delivery) = (store.clone(), delivery.clone());
            async move {
                let (cursor, change) = match change {
                    Ok(change) => change,
                    Err(error) => return Some(Err(error.into())),
                };
                let present = match present(&store, &change).await {
                    Ok(present) => present,
                    Err(error) => return Some(Err(error)),
                };
                let seen = seen(&cursor, &change, present.as_ref())?;
                delivery.next_has(cursor.as_str());
                Some(Ok(seen))
            }
        }))
    }

    /// The cursor of this moment: a subscription after it receives every change from now on.
    ///
    /// # Errors
    /// When the feed has ended.
    pub async fn cursor_now(&self) -> Result<String, Error> {
        self.live.cursor_now(TOPIC).await
    }
}

/// The present entry, for a change that does not contain it.
async fn present(
    store: &Store,
    change: &Change<ModerationEntry>,
) -> Result<Option<ModerationEntry>, Error> {
    let ChangeKind::Updated { after: None, .. } = &change.kind else {
        return Ok(None);
    };
    match change.key.as_object_id() {
        Some(id) => store.moderation_entry(id.into()).await,
        None => Ok(None),
    }
}

/// A change as a subscriber sees it; none if the comment was not in the queue, and is not now. `present` is the
/// present entry, where the change does not contain it.
fn seen(
    cursor: &Cursor,
    change: &Change<ModerationEntry>,
    present: Option<&ModerationEntry>,
) -> Option<ModerationChange> {
    let cursor = cursor.to_string();
    let after = change.after().or(present);
    let was_open = change.before().map(ModerationEntry::is_open);
    let is_new = matches!(change.kind, ChangeKind::Inserted(_)) || was_open == Some(false);
    match after.filter(|entry| entry.is_open()).cloned() {
        Some(entry) if is_new => Some(ModerationChange::Entered(ModerationEntered {
            cursor,
            entry,
        })),
        Some(entry) => Some(ModerationChange::Changed(ModerationChanged {
            cursor,
            entry,
        })),
        // It was not there, for certain.
        None if is_new => None,
        None => Some(ModerationChange::Left(ModerationLeft {
            cursor,
            comment_id: CommentId::from(change.key.as_object_id()?),
        })),
    }
}
