//! Who has which upstream subscriptions.
//!
//! A client, for the number that it may begin, is a WebSocket or a streamed response. Where places run
//! short, addresses take turns: a client that opens many sockets is still one.

use std::{collections::HashMap, sync::Arc};

use graphql_transport::{ClientKey, request::ClientContext};
use http::HeaderMap;

/// A client: one WebSocket, or one streamed response. All operations of a WebSocket share the headers
/// of its upgrade. As long as this lives, no other client has the same.
#[derive(Clone, Debug)]
pub(super) struct ClientId {
    headers: Arc<HeaderMap>,
    /// Where it comes from.
    pub(super) address: ClientKey,
}

impl ClientId {
    pub(super) fn of(client: &ClientContext) -> Self {
        Self {
            headers: Arc::clone(&client.headers),
            address: client.key,
        }
    }

    pub(super) fn number(&self) -> ClientNumber {
        ClientNumber(Arc::as_ptr(&self.headers) as usize)
    }
}

/// What tells clients apart, for as long as their [`ClientId`]s live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientNumber(usize);

/// Upstream subscriptions by the client that began them, while that client has them.
#[derive(Default)]
pub(super) struct Begun(HashMap<ClientNumber, usize>);

impl Begun {
    pub(super) fn count(&self, client: ClientNumber) -> usize {
        self.0.get(&client).copied().unwrap_or_default()
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

/// The subscribers of one upstream subscription, by address. Most have one.
#[derive(Default)]
pub(super) struct Subscribers(HashMap<ClientKey, usize>);

impl Subscribers {
    pub(super) fn count(&self) -> usize {
        self.0.values().sum()
    }

    /// The address that all subscribers have, if it is one.
    pub(super) fn only_address(&self) -> Option<ClientKey> {
        let mut addresses = self.0.keys().copied();
        addresses.next().filter(|_| addresses.next().is_none())
    }

    pub(super) fn add(&mut self, address: ClientKey) {
        *self.0.entry(address).or_default() += 1;
    }

    pub(super) fn remove(&mut self, address: ClientKey) {
        if let Some(count) = self.0.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&address);
            }
        }
    }
}
