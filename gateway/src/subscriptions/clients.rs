//! Counts which clients have started which upstream subscriptions.
//!
//! For the number of subscriptions that a client may start, a client is one WebSocket or one
//! streamed response. When all clients together reach their limit, addresses count: opening many
//! sockets gives a client no more.

use std::{collections::BTreeMap, sync::Arc};

use graphql_transport::{ClientKey, ClientSocket, request::ClientContext};
use http::HeaderMap;

/// A client: one WebSocket, or one streamed response. It is identified by the address in memory of what
/// all operations of a WebSocket share, or of its headers. While this value exists, no other client has
/// the same.
#[derive(Clone, Debug)]
pub(super) struct ClientId {
    headers: Arc<HeaderMap>,
    socket: Option<Arc<ClientSocket>>,
    /// Its network address, or IPv6 network.
    pub(super) address: ClientKey,
}

impl ClientId {
    pub(super) fn of(client: &ClientContext) -> Self {
        Self {
            headers: Arc::clone(&client.headers),
            socket: client.socket.clone(),
            address: client.key,
        }
    }

    pub(super) fn number(&self) -> ClientNumber {
        ClientNumber(match &self.socket {
            Some(socket) => Arc::as_ptr(socket) as usize,
            None => Arc::as_ptr(&self.headers) as usize,
        })
    }
}

/// Distinguishes clients while their [`ClientId`]s exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientNumber(usize);

/// Counts upstream subscriptions by the client that started them, and by its address, while that
/// client has them.
#[derive(Default)]
pub(super) struct Begun {
    clients: BTreeMap<ClientNumber, usize>,
    addresses: BTreeMap<ClientKey, usize>,
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

fn one_less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// The subscribers of one upstream subscription, counted by address.
#[derive(Default)]
pub(super) struct Subscribers(BTreeMap<ClientKey, usize>);

impl Subscribers {
    pub(super) fn count(&self) -> usize {
        self.0.values().sum()
    }

    /// The address of all subscribers, if it is the same for all.
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
