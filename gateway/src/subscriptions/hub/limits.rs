//! How many feeds there may be, and how much may wait in all of them together.

use std::{cmp::Reverse, collections::HashMap};

use graphql_transport::{ClientKey, Code as TransportCode, Event};
use tokio::time::Instant;

use super::{FeedKey, Feeds, RunningFeed, SubscriptionHub};
use crate::{
    error::{Code, RequestError},
    subscriptions::{
        clients::ClientId,
        event_ring::{AddressBytes, EventRing},
    },
};

impl SubscriptionHub {
    pub(super) fn make_room(
        &self,
        feeds: &mut Feeds,
        client: &ClientId,
    ) -> Result<(), RequestError> {
        let of_client_max = self.feeds_of_client_max;
        if feeds.begun.count(client.number()) >= of_client_max {
            return Err(RequestError::new(
                TransportCode::TooManySubscriptions,
                format!(
                    "one client may have at most {of_client_max} different subscriptions at a time: end one first"
                ),
            ));
        }
        let of_address_max = self.feeds_of_address_max;
        if feeds.begun.count_of_address(client.address) >= of_address_max {
            return Err(RequestError::new(
                TransportCode::TooManySubscriptions,
                format!(
                    "the clients of one address may have at most {of_address_max} different subscriptions at a time: end one first"
                ),
            ));
        }
        if feeds.running.len() < self.feeds_max {
            return Ok(());
        }
        let limit_reached = RequestError::new(
            Code::SubscriptionLimitReached,
            format!(
                "the limit of {} different subscriptions is reached: try again later",
                self.feeds_max
            ),
        );
        let gives_way = newest_of_the_greediest_address(feeds, client)
            .or_else(|| newest_of_the_greediest_neighbour(feeds, client));
        let ended = gives_way.and_then(|key| feeds.running.remove(&key));
        let Some(ended) = ended else {
            return Err(limit_reached);
        };
        self.limited.inc();
        ended.events.append(Event::failed(limit_reached));
        ended.stop.cancel();
        Ok(())
    }

    /// Drops events after `ring` got one: of its address, and of all feeds.
    pub fn keep_bytes_within_bounds(&self, ring: &EventRing) {
        if let Some(address) = ring.crowded_address() {
            self.shorten_stalled(&address);
        }
        self.keep_all_bytes_within_bound();
    }

    /// Drops events of an address that has more than it may, of feeds with stalled clients. The others' feeds wait
    /// for their clients.
    fn shorten_stalled(&self, address: &AddressBytes) {
        let feeds = self.lock();
        let now = Instant::now();
        let rings = feeds.running.values().map(|entry| &entry.events);
        let stalled = rings.filter_map(|ring| Some((ring.stalled_bytes(address, now)?, ring)));
        let mut stalled: Vec<_> = stalled.collect();
        stalled.sort_by_key(|(bytes, _)| Reverse(*bytes));
        for (_, ring) in stalled {
            if ring.crowded_address().is_none() {
                return;
            }
            ring.evict_half();
        }
    }

    /// Drops events while those of all feeds exceed the bound together: first of feeds with stalled
    /// clients, then of the largest feeds. One event that is larger than the whole bound does not
    /// count for a second, in which its clients can take it.
    fn keep_all_bytes_within_bound(&self) {
        let waiting = || usize::try_from(self.waiting_bytes.get()).unwrap_or_default();
        if waiting() <= self.waiting_bytes_max {
            return;
        }
        let mut feeds = self.lock();
        let now = Instant::now();
        let (spared, spared_bytes) = self.oversized(&feeds, now).unzip();
        feeds.oversized = spared;
        let is_over = || waiting() > self.waiting_bytes_max + spared_bytes.unwrap_or_default();
        let others = feeds.running.values();
        let others = others.filter(|entry| Some(entry.number) != spared);
        let mut rings: Vec<_> = others
            .map(|entry| (entry.events.eviction_priority(now), &entry.events))
            .collect();
        rings.sort_by_key(|(priority, _)| Reverse(*priority));
        for (_, ring) in rings {
            if !is_over() {
                return;
            }
            ring.evict_half();
        }
    }

    /// A feed with an event larger than the whole bound, and that event's bytes. It is the same
    /// feed as before, if it still has one.
    fn oversized(&self, feeds: &Feeds, now: Instant) -> Option<(u64, usize)> {
        let all = feeds.running.values().filter_map(|entry| {
            let bytes = entry.events.oversized(self.waiting_bytes_max, now)?;
            Some((entry.number, bytes))
        });
        all.max_by_key(|(number, _)| (Some(*number) == feeds.oversized, Reverse(*number)))
    }
}

/// The feed to end for a new client: the newest one of the address with the most feeds that no
/// other address has joined. `None` unless that address would still have more than the client's own
/// address.
fn newest_of_the_greediest_address(feeds: &Feeds, client: &ClientId) -> Option<FeedKey> {
    let mut counts: HashMap<ClientKey, usize> = HashMap::new();
    let addresses = feeds.running.values();
    for address in addresses.filter_map(|entry| entry.subscribers.only_address()) {
        *counts.entry(address).or_default() += 1;
    }
    let own = counts.get(&client.address).copied().unwrap_or_default();
    let (greediest, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    if most <= own + 1 {
        return None;
    }
    newest(feeds, |entry| {
        entry.subscribers.only_address() == Some(greediest)
    })
}

/// The feed to end for a new client of the same address: the newest one of the client that has
/// started the most. `None` unless that client would still have more than the new one. Feeds that
/// other clients have joined stay.
fn newest_of_the_greediest_neighbour(feeds: &Feeds, client: &ClientId) -> Option<FeedKey> {
    let is_neighbours = |entry: &RunningFeed| {
        entry.subscribers.count() == 1 && entry.subscribers.only_address() == Some(client.address)
    };
    let neighbours = feeds.running.values().filter(|entry| is_neighbours(entry));
    let begun = |client| feeds.begun.count(client);
    let greediest = neighbours
        .filter_map(|entry| entry.begun_by)
        .max_by_key(|neighbour| begun(*neighbour))?;
    if begun(greediest) <= begun(client.number()) + 1 {
        return None;
    }
    newest(feeds, |entry| {
        is_neighbours(entry) && entry.begun_by == Some(greediest)
    })
}

fn newest(feeds: &Feeds, is_one: impl Fn(&RunningFeed) -> bool) -> Option<FeedKey> {
    let those = feeds.running.iter().filter(|(_, entry)| is_one(entry));
    let newest = those.max_by_key(|(_, entry)| entry.number);
    newest.map(|(key, _)| key.clone())
}
