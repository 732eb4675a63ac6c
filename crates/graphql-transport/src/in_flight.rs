//! Bounds on what clients keep in memory, in all and per client: request bodies that have not arrived
//! whole, and answers that have not been taken.
//!
//! A client decides how long its body is on the way, up to `request_body_timeout`, and how slowly it
//! takes its answer. A body that has come with its head is never counted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::gauge::Gauge;

use crate::{client_key::ClientKey, settings::HttpSettings};

/// Bodies of at most this many bytes are small: the last quarter of the bound is kept for them, so that
/// large ones leave room.
pub(crate) const SMALL_BYTES_MAX: usize = 16 * 1024;

/// There is no room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The bytes of all that is counted.
#[derive(Debug)]
pub(crate) struct InFlight {
    max: usize,
    /// Those that are not small find room while all bytes are at most so many.
    max_for_large: usize,
    per_client_max: usize,
    held: Mutex<Held>,
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    clients: BTreeMap<ClientKey, usize>,
}

impl InFlight {
    /// Request bodies. One of the largest size fits whatever the bounds are.
    pub(crate) fn bodies(settings: &HttpSettings, gauge: Gauge) -> Arc<Self> {
        let max = settings.request_bodies_bytes_max;
        let body_max = settings.request_bytes_max;
        Arc::new(Self {
            max: max.max(body_max),
            max_for_large: (max - max / 4).max(body_max),
            per_client_max: settings.request_bodies_bytes_per_client_max.max(body_max),
            held: Mutex::default(),
            gauge,
        })
    }

    /// Answers. A single one fits whatever the bounds are: services have a limit of their own.
    pub(crate) fn answers(settings: &HttpSettings, gauge: Gauge) -> Arc<Self> {
        let max = settings.answers_bytes_max;
        Arc::new(Self {
            max,
            max_for_large: max,
            per_client_max: settings.answers_bytes_per_client_max,
            held: Mutex::default(),
            gauge,
        })
    }

    /// The share of one of them; empty for now.
    pub(crate) fn share(self: &Arc<Self>, client: ClientKey) -> Share {
        Share {
            all: Arc::clone(self),
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

/// The bytes for which one body or answer counts, until dropped.
#[derive(Debug)]
pub(crate) struct Share {
    all: Arc<InFlight>,
    client: ClientKey,
    bytes: usize,
}

impl Share {
    /// Counts it as so many bytes from now on.
    ///
    /// # Errors
    /// [`Full`] where the bound of this client, or of all clients, is reached. The only body or answer
    /// that there is always fits.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let all = &self.all;
        let max = match bytes > SMALL_BYTES_MAX {
            true => all.max_for_large,
            false => all.max,
        };
        let mut held = all.lock();
        let of_client = held.clients.get(&self.client).copied().unwrap_or_default();
        let fits = of_client + more <= all.per_client_max && held.bytes + more <= max;
        if !fits && held.bytes > self.bytes {
            return Err(Full);
        }
        held.clients.insert(self.client, of_client + more);
        held.bytes += more;
        self.bytes = bytes;
        all.note(&held);
        Ok(())
    }
}

impl Share {
    /// Counts it as nothing from now on.
    pub(crate) fn clear(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.all.lock();
        held.bytes -= self.bytes;
        if let Some(of_client) = held.clients.get_mut(&self.client) {
            *of_client -= self.bytes;
            if *of_client == 0 {
                held.clients.remove(&self.client);
            }
        }
        self.all.note(&held);
        drop(held);
        self.bytes = 0;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const LARGE: usize = 100_000;

    fn bodies(max: usize, per_client_max: usize) -> Arc<InFlight> {
        let settings = HttpSettings {
            request_bytes_max: LARGE,
            request_bodies_bytes_max: max,
            request_bodies_bytes_per_client_max: per_client_max,
            ..HttpSettings::default()
        };
        InFlight::bodies(&settings, Gauge::default())
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
