//! How many upstream subscriptions each client began.

use std::{collections::HashMap, sync::Arc};

use http::HeaderMap;

use crate::request::ClientContext;

/// A client: one WebSocket, or one streamed response. All operations of a WebSocket share the headers
/// of its upgrade. As long as this lives, no other client has the same.
#[derive(Clone, Debug)]
pub(super) struct ClientId(Arc<HeaderMap>);

impl ClientId {
    pub(super) fn of(client: &ClientContext) -> Self {
        Self(Arc::clone(&client.headers))
    }

    pub(super) fn number(&self) -> ClientNumber {
        ClientNumber(Arc::as_ptr(&self.0) as usize)
    }
}

/// What tells clients apart, for as long as their [`ClientId`]s live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientNumber(usize);

/// Upstream subscriptions by the client that began them, while that client has them.
#[derive(Default)]
pub(super) struct Begun(HashMap<ClientNumber, usize>);

impl Begun {
    pub(super) fn count(&self, client: &ClientId) -> usize {
        self.0.get(&client.number()).copied().unwrap_or_default()
    }

    /// The client with the most, and how many these are.
    pub(super) fn most(&self) -> Option<(ClientNumber, usize)> {
        let all = self.0.iter().map(|(client, count)| (*client, *count));
        all.max_by_key(|(_, count)| *count)
    }

    pub(super) fn add(&mut self, client: &ClientId) {
        *self.0.entry(client.number()).or_default() += 1;
    }

    pub(super) fn remove(&mut self, client: &ClientId) {
        let number = client.number();
        if let Some(count) = self.0.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&number);
            }
        }
    }
}
