//! What lies between a connection and its application: at most a number of items, and a number of bytes.
//!
//! Where there is no room, the connection is not read: the server notices by the network's own back-pressure.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::failure::Failure;
use crate::item::Item;
use crate::store::Mark;

/// What the application takes.
pub(crate) enum Queued {
    Item {
        item: Box<Item>,
        mark: Mark,
        /// Room for its bytes, until it is taken.
        _room: Option<OwnedSemaphorePermit>,
    },
    End(Option<Failure>),
}

/// The connection's end.
pub(crate) struct Inlet {
    items: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
}

/// The application's end.
pub(crate) struct Outlet(mpsc::Receiver<Queued>);

/// A queue for so many items and bytes. A message that is larger than all of it goes alone.
pub(crate) fn queue(items_max: usize, bytes_max: u32) -> (Inlet, Outlet) {
    let (items, taken) = mpsc::channel(items_max.max(1));
    let inlet = Inlet {
        items,
        bytes: Arc::new(Semaphore::new(bytes_max as usize)),
        bytes_max,
    };
    (inlet, Outlet(taken))
}

impl Inlet {
    /// Waits until a message of this size has room.
    pub(crate) async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let room = Arc::clone(&self.bytes).acquire_many_owned(bytes);
        // It is never closed.
        room.await.ok()
    }

    /// Waits until there is room; `false` where nobody takes anything any more.
    pub(crate) async fn send(
        &self,
        item: Item,
        mark: Mark,
        room: Option<OwnedSemaphorePermit>,
    ) -> bool {
        let item = Box::new(item);
        let queued = Queued::Item {
            item,
            mark,
            _room: room,
        };
        self.items.send(queued).await.is_ok()
    }

    pub(crate) async fn end(&self, failure: Option<Failure>) {
        // Nobody takes it: nobody is there.
        let _ = self.items.send(Queued::End(failure)).await;
    }
}

impl Outlet {
    /// `None` where the connection's end is gone without an end.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Queued>> {
        self.0.poll_recv(context)
    }
}
