//! A bound on request bodies that have not arrived whole, in all and per client.
//!
//! A client decides how long its body is on the way, up to `request_body_timeout`, and what came of it
//! takes memory for so long. A body that has come with its head is never counted.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::gauge::Gauge;

use crate::{
    client_key::ClientKey,
    code::{Code, Refusal},
    settings::HttpSettings,
};

/// A body that is no larger than this, in bytes, counts as small: the last quarter of the bound is
/// kept for those, so that large uploads leave room for them.
const SMALL_BYTES_MAX: usize = 16 * 1024;

/// The bytes of all unfinished bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    max: usize,
    /// What a body that is not small may fill the whole up to.
    max_for_large: usize,
    per_client_max: usize,
    held: Mutex<Held>,
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    clients: HashMap<ClientKey, usize>,
}

impl Bodies {
    /// One body of the largest size fits whatever the bounds are.
    pub(crate) fn new(settings: &HttpSettings, gauge: Gauge) -> Self {
        let max = settings.request_bodies_bytes_max;
        let body_max = settings.request_bytes_max;
        Self {
            max: max.max(body_max),
            max_for_large: (max - max / 4).max(body_max),
            per_client_max: settings.request_bodies_bytes_per_client_max.max(body_max),
            held: Mutex::default(),
            gauge,
        }
    }

    /// The share of one body; empty for now.
    pub(super) fn share(&self, client: ClientKey) -> Share<'_> {
        Share {
            bodies: self,
            client,
            bytes: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, held: &Held) {
        let bytes = i64::try_from(held.bytes);
        self.gauge.set(bytes.unwrap_or(i64::MAX));
    }
}

/// What one body takes of the bounds, until it is dropped.
pub(super) struct Share<'a> {
    bodies: &'a Bodies,
    client: ClientKey,
    bytes: usize,
}

impl Share<'_> {
    /// Notes that so many bytes of the body have come.
    ///
    /// # Errors
    /// `TOO_MANY_REQUEST_BYTES`.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let bodies = self.bodies;
        let max = match bytes > SMALL_BYTES_MAX {
            true => bodies.max_for_large,
            false => bodies.max,
        };
        let mut held = bodies.lock();
        let of_client = held.clients.get(&self.client).copied().unwrap_or_default();
        if of_client + more > bodies.per_client_max || held.bytes + more > max {
            return Err(Refusal::new(
                Code::TooManyRequestBytes,
                "too many request bodies are on the way, of this client or of all; send the request \
                 again",
            ));
        }
        held.clients.insert(self.client, of_client + more);
        held.bytes += more;
        self.bytes = bytes;
        bodies.note(&held);
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.bodies.lock();
        held.bytes -= self.bytes;
        if let Some(of_client) = held.clients.get_mut(&self.client) {
            *of_client -= self.bytes;
            if *of_client == 0 {
                held.clients.remove(&self.client);
            }
        }
        self.bodies.note(&held);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const LARGE: usize = 100_000;

    fn bodies(max: usize, per_client_max: usize) -> Bodies {
        let settings = HttpSettings {
            request_bytes_max: LARGE,
            request_bodies_bytes_max: max,
            request_bodies_bytes_per_client_max: per_client_max,
            ..HttpSettings::default()
        };
        Bodies::new(&settings, Gauge::default())
    }

    fn client(number: u8) -> ClientKey {
        ClientKey::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
    }

    #[test]
    fn one_client_leaves_room_for_another() {
        let bodies = bodies(8 * LARGE, 2 * LARGE);
        let mut shares: Vec<_> = (0..3).map(|_| bodies.share(client(1))).collect();
        let grown = shares.iter_mut().map(|share| share.grow_to(LARGE).is_ok());
        assert_eq!(Vec::from_iter(grown), [true, true, false]);
        let mut other = bodies.share(client(2));
        assert_eq!(other.grow_to(LARGE), Ok(()));
        assert_eq!(bodies.gauge.get(), 3 * LARGE as i64);
        shares.remove(0);
        let mut share = bodies.share(client(1));
        assert_eq!(share.grow_to(LARGE), Ok(()));
    }

    #[test]
    fn large_bodies_leave_room_for_small_ones() {
        let bodies = bodies(4 * LARGE, 4 * LARGE);
        let mut shares: Vec<_> = (0..4).map(|number| bodies.share(client(number))).collect();
        let grown = shares.iter_mut().map(|share| share.grow_to(LARGE).is_ok());
        assert_eq!(Vec::from_iter(grown), [true, true, true, false]);
        assert_eq!(shares[3].grow_to(SMALL_BYTES_MAX), Ok(()));
    }

    #[test]
    fn what_is_held_comes_back() {
        let bodies = bodies(LARGE, LARGE);
        let mut share = bodies.share(client(1));
        for bytes in [1, 10, 10, LARGE] {
            share.grow_to(bytes).expect("room");
        }
        assert!(bodies.share(client(1)).grow_to(1).is_err());
        drop(share);
        let held = bodies.lock();
        assert_eq!((held.bytes, held.clients.len()), (0, 0));
    }
}
