//! Who has which upstream subscriptions.
//!
//! A client, for the number that it may begin, is a WebSocket or a streamed response. Where places run
//! short, addresses take turns: a client that opens many sockets is still one.

use std::{collections::HashMap, hash::Hash, sync::Arc};

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

/// Upstream subscriptions by the client that began them, and by its address, while that client has them.
#[derive(Default)]
pub(super) struct Begun {
    clients: HashMap<ClientNumber, usize>,
    addresses: HashMap<ClientKey, usize>,
}

impl Begun {
    pub(super) fn count(&self, client: ClientNumber) -> usize {
        self.clients.get(&client).copied().unwrap_or_default()
    }

    pub(super) fn count_of_address(&self, address: ClientKey) -> usize {
        self.addresses.get(&address).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, client: &ClientId) {
        *self.clients.entry(client.number()).or_default() += 1;
        *self.addresses.entry(client.address).or_default() += 1;
    }

    pub(super) fn remove(&mut self, client: &ClientId) {
        one_less(&mut self.clients, client.number());
        one_less(&mut self.addresses, client.address);
    }
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
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
        one_less(&mut self.0, address);
    }
}
