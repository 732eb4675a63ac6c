//! Sends the events of one operation straight to its client, around the connection's task.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;

use super::{
    message::next_head,
    outlet::{Outlet, Sent},
};

/// The end of a `next` message.
const TAIL: &[u8] = b"}";

/// A direct way to the client of one WebSocket operation. It never waits: what it cannot send now, the operation's
/// stream has to yield.
pub struct DirectSender {
    outlet: Arc<Outlet>,
    /// The `next` message up to its payload.
    head: Box<[u8]>,
    deliveries: Counter,
}

impl DirectSender {
    pub(crate) fn new(outlet: Arc<Outlet>, id: &str, deliveries: Counter) -> Self {
        Self {
            outlet,
            head: next_head(id).into(),
            deliveries,
        }
    }

    /// Whether an event could be sent now, as far as is known without trying.
    pub fn is_free(&self) -> bool {
        self.outlet.is_free()
    }

    /// Sends a response, which has to be JSON, and thus UTF-8. `buffer` is scratch space, to be used again for the next
    /// client.
    pub fn send(&self, body: &Bytes, buffer: &mut Vec<u8>) -> Sent {
        let sent = self.outlet.send(&self.head, body, TAIL, buffer);
        if sent != Sent::Nothing {
            self.deliveries.inc();
        }
        sent
    }
}

impl fmt::Debug for DirectSender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DirectSender")
            .finish_non_exhaustive()
    }
}
