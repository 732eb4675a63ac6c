//! Sends the events of one operation straight to its client, around the connection's task.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prometheus_client::metrics::counter::Counter;
use socket_outlet::{Outlet, Sent};

use crate::{direct_event::DirectEvent, http::accept::Streaming, websocket};

/// A direct way to the client of one operation, on a WebSocket or by a streamed response. It never waits: what it cannot
/// send now, the operation's stream has to yield.
pub struct DirectSender {
    outlet: Arc<Outlet>,
    framing: Framing,
    deliveries: Counter,
}

enum Framing {
    /// One text frame (RFC 6455), which begins with the `next` message up to its payload.
    WebSocket { head: Box<[u8]> },
    /// One chunk (RFC 9112, section 7.1). An event that the operation's stream has yielded may wait in the server's buffer
    /// until the connection has been flushed more often than this.
    Response {
        streaming: Streaming,
        flushes_before: AtomicU64,
    },
}

impl DirectSender {
    pub(crate) fn of_websocket(outlet: Arc<Outlet>, id: &str, deliveries: Counter) -> Self {
        let head = websocket::next_head(id).into();
        Self {
            outlet,
            framing: Framing::WebSocket { head },
            deliveries,
        }
    }

    pub(crate) fn of_response(
        outlet: Arc<Outlet>,
        streaming: Streaming,
        deliveries: Counter,
    ) -> Self {
        // The head of the response has not been written.
        let flushes_before = AtomicU64::new(outlet.flushes());
        Self {
            outlet,
            framing: Framing::Response {
                streaming,
                flushes_before,
            },
            deliveries,
        }
    }

    /// Whether an event could be sent now, as far as is known without trying.
    pub fn is_free(&self) -> bool {
        self.awaited_flush().is_none() && self.outlet.is_free()
    }

    /// Notes that the operation's stream yields an event. Nothing can be sent directly until the connection has written it.
    pub fn note_yielded(&self) {
        if let Framing::Response { flushes_before, .. } = &self.framing {
            flushes_before.store(self.outlet.flushes(), Relaxed);
        }
    }

    /// Waits until the connection has written what the operation's stream has yielded; forever if nothing is awaited.
    /// Cancelling the wait loses nothing.
    pub async fn until_flushed(&self) {
        match self.awaited_flush() {
            Some(flushes) => self.outlet.until_flushed(flushes).await,
            None => std::future::pending().await,
        }
    }

    fn awaited_flush(&self) -> Option<u64> {
        match &self.framing {
            Framing::WebSocket { .. } => None,
            Framing::Response { flushes_before, .. } => {
                let flushes = flushes_before.load(Relaxed);
                (flushes == self.outlet.flushes()).then_some(flushes)
            }
        }
    }

    /// Sends an event.
    pub fn send(&self, event: &mut DirectEvent) -> Sent {
        let outlet = &self.outlet;
        let sent = match &self.framing {
            Framing::WebSocket { head } => event.send_frame(head, outlet),
            Framing::Response { streaming, .. } => match streaming {
                Streaming::Sse => event.send_event(outlet),
                Streaming::Multipart => event.send_part(outlet),
            },
        };
        if sent != Sent::Nothing && event.is_delivery() {
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

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Waker},
    };

    use socket_outlet::{OutletPlace, ThroughOutlet};
    use tokio::io::AsyncWrite;

    use super::*;

    #[test]
    fn nothing_overtakes_an_event_that_was_yielded() {
        let place = OutletPlace::default();
        let outlet = place.get_or_new(|| Arc::new(|_| Ok(0)));
        let sender = DirectSender::of_response(outlet, Streaming::Multipart, Counter::default());
        let mut connection = ThroughOutlet::new(tokio::io::sink(), place);
        let mut context = Context::from_waker(Waker::noop());
        let mut flush = || {
            Pin::new(&mut connection)
                .poll_flush(&mut context)
                .is_ready()
        };
        assert!(flush() && sender.is_free());
        sender.note_yielded();
        assert!(!sender.is_free(), "it may be in the server's buffer");
        assert!(flush() && sender.is_free());
    }
}
