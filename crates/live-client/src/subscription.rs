//! The application's side of a subscription: a stream of items.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::task::JoinHandle;

use crate::client::Settings;
use crate::driver::Driver;
use crate::failure::Failure;
use crate::item::Item;
use crate::queue::{Outlet, Queued, queue};
use crate::resume::Asked;
use crate::store::{CursorStore, Mark, StoredCursor};

/// The cursor's handle, once the store has answered.
pub(crate) type Stored = Arc<Mutex<Option<Arc<StoredCursor>>>>;

/// A subscription that continues where it stopped. It ends with `None` where the server completes it, and with the
/// [`Failure`] that no other try would cure. Dropped, it closes its connection.
///
/// To ask for the next item says that the last one is applied: that its event is shown or written, or the data of its
/// gap read.
pub struct Subscription {
    outlet: Outlet,
    task: JoinHandle<()>,
    stored: Stored,
    /// Of the last item.
    mark: Mark,
    has_ended: bool,
}

impl Subscription {
    pub(crate) fn start(
        settings: Arc<Settings>,
        asked: Asked,
        after: Option<String>,
        store: Option<(Arc<dyn CursorStore>, String)>,
    ) -> Self {
        let (inlet, outlet) = queue(settings.queue_items, settings.queue_bytes);
        let stored = Stored::default();
        let driver = Driver {
            settings,
            inlet,
            stored: Arc::clone(&stored),
        };
        Self {
            outlet,
            task: tokio::spawn(driver.run(asked, after, store)),
            stored,
            mark: Mark::None,
            has_ended: false,
        }
    }

    /// Says that the last item is applied, closes the connection, and waits until the cursor is stored.
    pub async fn close(mut self) {
        self.applied();
        self.task.abort();
        // Its end, however it ends: it holds the store, too.
        let _ = (&mut self.task).await;
        let stored = self.stored();
        if let Some(stored) = stored.and_then(Arc::into_inner) {
            stored.finish().await;
        }
    }

    fn applied(&mut self) {
        let mark = std::mem::replace(&mut self.mark, Mark::None);
        if mark != Mark::None
            && let Some(stored) = &*self.stored.lock().unwrap_or_else(PoisonError::into_inner)
        {
            stored.applied(mark);
        }
    }

    fn stored(&self) -> Option<Arc<StoredCursor>> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.take()
    }
}

impl Stream for Subscription {
    type Item = Result<Item, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.applied();
        if self.has_ended {
            return Poll::Ready(None);
        }
        let end = match ready!(self.outlet.poll(context)) {
            Some(Queued::Item { item, mark, .. }) => {
                self.mark = mark;
                return Poll::Ready(Some(Ok(*item)));
            }
            Some(Queued::End(failure)) => failure,
            None => Some(Failure::new("The task of the subscription has panicked.")),
        };
        self.has_ended = true;
        Poll::Ready(end.map(Err))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Subscription");
        debug
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}
