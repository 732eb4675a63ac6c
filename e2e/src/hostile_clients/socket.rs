//! A WebSocket of an attack.

use std::time::Duration;

use graphql_transport::client::{Client, ClientEvent, ConnectError};
use tokio::time::{Instant, timeout_at};

use super::client::Attacker;

/// An upgrade that takes longer has failed.
const UPGRADE_TIME_LIMIT: Duration = Duration::from_secs(10);

/// A socket after `connection_ack`.
pub(super) struct Socket {
    client: Client,
    attacker: Attacker,
}

impl Socket {
    /// A socket, or nothing, where the gateway accepts none; that is counted.
    pub(super) async fn open(attacker: &Attacker) -> Option<Self> {
        let deadline = Instant::now() + UPGRADE_TIME_LIMIT;
        let url = format!("ws://{}/graphql", attacker.target.gateway);
        let stream = match timeout_at(deadline, attacker.connect()).await {
            Ok(stream) => stream.ok()?,
            Err(_) => {
                attacker.tally.answered("no connection in time");
                return None;
            }
        };
        match Client::over(stream, &url, deadline).await {
            Ok(client) => {
                let attacker = attacker.clone();
                return Some(Self { client, attacker });
            }
            Err(ConnectError::Timeout) => attacker.tally.answered("no upgrade in time"),
            Err(ConnectError::WebSocket(_)) => attacker.tally.answered("no upgrade"),
            Err(_) => attacker.tally.answered("no connection_ack"),
        }
        None
    }

    /// Subscribes; `request` is JSON text, perhaps one that no serializer writes. Whether it was sent.
    pub(super) async fn subscribe(&mut self, id: &str, request: &str) -> bool {
        self.attacker.tally.requested(1);
        self.client.subscribe(id, request).await.is_ok()
    }

    /// Counts the next event. False at the socket's end.
    pub(super) async fn next(&mut self) -> bool {
        let event = self.client.next().await;
        let tally = &self.attacker.tally;
        match &event {
            ClientEvent::Next(_) | ClientEvent::Error(_) => {
                tally.answered(event.code().unwrap_or("event"))
            }
            ClientEvent::Complete => {}
            ClientEvent::Closed(Some(code)) => tally.answered(&format!("closed {code}")),
            ClientEvent::Closed(None) => tally.answered("connection ended"),
        }
        !matches!(event, ClientEvent::Closed(_))
    }

    /// Counts events until the socket's end.
    pub(super) async fn read_to_end(&mut self) {
        while self.next().await {}
    }
}
