//! Remembers operations that made a subgraph close the socket on which they were sent.
//!
//! A subgraph closes a whole socket for one message that it does not accept. The operation in that
//! message is not sent on a shared socket again: it gets a socket of its own, and is refused for a
//! while if the subgraph closes that one too.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;

use super::UpstreamError;

/// How long an operation is refused after the subgraph has closed its own socket.
const REFUSED_TIME: Duration = Duration::from_secs(60);
/// The number of its own sockets that an operation may lose without a close code before it is
/// refused.
const LOSSES_MAX: u32 = 2;

/// Identifies an operation at a subgraph, whatever its cursor: hashes of the address, and of the
/// text, the variables and the claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OperationKey {
    subgraph: u64,
    operation: u64,
}

/// How a socket closed, and whether other operations may have been the reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss<'a> {
    /// The close code and reason, if the subgraph sent them.
    pub close: Option<(u16, &'a str)>,
    /// Whether the socket carried no other operation.
    pub was_alone: bool,
    /// Whether no other operation can have been the reason.
    pub is_sole_suspect: bool,
}

struct Entry {
    since: Instant,
    /// How many sockets of its own it has lost.
    losses: u32,
    /// Whether a close code showed that this operation is the reason.
    is_certain: bool,
    refused: Option<(Instant, String)>,
}

/// At most `max` operations. When it is full, the subgraph with the most operations loses its
/// oldest, so that one that closes every socket does not displace those of others.
pub(super) struct Quarantine {
    entries: Mutex<HashMap<OperationKey, Entry>>,
    hasher: RandomState,
    max: usize,
    quarantined: Counter,
}

impl Quarantine {
    pub(super) fn new(max: usize, quarantined: &Counter) -> Self {
        Self {
            entries: Mutex::default(),
            hasher: RandomState::new(),
            max: max.max(1),
            quarantined: quarantined.clone(),
        }
    }

    /// `claims` are those that the operation carries: what a subgraph does with it may depend on who asks.
    pub(super) fn key(
        &self,
        url: &str,
        operation: &str,
        variables: &[u8],
        claims: Option<&[u8]>,
    ) -> OperationKey {
        OperationKey {
            subgraph: self.hasher.hash_one(url),
            operation: self.hasher.hash_one((operation, variables, claims)),
        }
    }

    /// Whether the operation needs a socket of its own.
    ///
    /// # Errors
    /// [`UpstreamError::Refused`] while the operation is not sent at all.
    pub(super) fn check(&self, key: OperationKey) -> Result<bool, UpstreamError> {
        let entries = self.lock();
        let Some(entry) = entries.get(&key) else {
            return Ok(false);
        };
        match &entry.refused {
            Some((at, reason)) if at.elapsed() < REFUSED_TIME => {
                Err(UpstreamError::Refused(reason.as_str().into()))
            }
            _ => Ok(true),
        }
    }

    /// Records that the operation may have closed its socket.
    pub(super) fn suspect(&self, key: OperationKey, loss: Loss<'_>) {
        let mut entries = self.lock();
        if !entries.contains_key(&key) {
            make_room(&mut entries, self.max);
            self.quarantined.inc();
        }
        let entry = entries.entry(key).or_insert_with(|| Entry {
            since: Instant::now(),
            losses: 0,
            is_certain: false,
            refused: None,
        });
        entry.is_certain |= loss.close.is_some() && loss.is_sole_suspect;
        if !loss.was_alone {
            return;
        }
        entry.losses += 1;
        let reason = match loss.close {
            Some((code, reason)) => format!("close code {code} {reason:?}"),
            None if entry.losses >= LOSSES_MAX => "no close code".to_owned(),
            None => return,
        };
        entry.refused = Some((Instant::now(), reason));
    }

    /// Records that the subgraph has accepted the operation: it is not the reason, unless a close
    /// code said so.
    pub(super) fn absolve(&self, key: OperationKey) {
        let mut entries = self.lock();
        if entries.get(&key).is_some_and(|entry| !entry.is_certain) {
            entries.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OperationKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(entries: &mut HashMap<OperationKey, Entry>, max: usize) {
    while entries.len() >= max {
        let mut counts = HashMap::new();
        for key in entries.keys() {
            *counts.entry(key.subgraph).or_insert(0_usize) += 1;
        }
        let largest = counts.into_iter().max_by_key(|(_, count)| *count);
        let Some((subgraph, _)) = largest else {
            return;
        };
        let of_it = entries.iter().filter(|(key, _)| key.subgraph == subgraph);
        let Some(oldest) = of_it.min_by_key(|(_, entry)| entry.since) else {
            return;
        };
        let oldest = *oldest.0;
        entries.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: Loss<'_> = Loss {
        close: Some((4400, "invalid")),
        was_alone: false,
        is_sole_suspect: true,
    };

    fn quarantine(max: usize) -> Quarantine {
        Quarantine::new(max, &Counter::default())
    }

    #[test]
    fn an_operation_that_ends_a_socket_goes_alone_and_then_nowhere() {
        let quarantine = quarantine(10);
        let key = quarantine.key("http://a/", "subscription { a }", b"{}", None);
        assert_eq!(quarantine.check(key).ok(), Some(false));
        quarantine.suspect(key, SHARED);
        assert_eq!(quarantine.check(key).ok(), Some(true));
        quarantine.absolve(key);
        assert_eq!(
            quarantine.check(key).ok(),
            Some(true),
            "the subgraph said so"
        );
        let alone = Loss {
            was_alone: true,
            ..SHARED
        };
        quarantine.suspect(key, alone);
        assert!(quarantine.check(key).is_err());
    }

    #[test]
    fn an_operation_of_another_client_is_another_one() {
        let quarantine = quarantine(10);
        let key = |claims| quarantine.key("http://a/", "subscription { a }", b"{}", claims);
        quarantine.suspect(key(Some(&b"mallory"[..])), SHARED);
        for claims in [Some(&b"alice"[..]), None] {
            assert_eq!(quarantine.check(key(claims)).ok(), Some(false));
        }
    }

    #[test]
    fn one_of_several_suspects_is_absolved_when_the_subgraph_takes_it() {
        let quarantine = quarantine(10);
        let key = quarantine.key("http://a/", "subscription { a }", b"{}", None);
        let one_of_several = Loss {
            is_sole_suspect: false,
            ..SHARED
        };
        quarantine.suspect(key, one_of_several);
        quarantine.absolve(key);
        assert_eq!(quarantine.check(key).ok(), Some(false));
    }

    #[test]
    fn a_loss_without_a_word_is_refused_when_it_repeats() {
        let quarantine = quarantine(10);
        let key = quarantine.key("http://a/", "subscription { a }", b"{}", None);
        let silent = Loss {
            close: None,
            was_alone: true,
            is_sole_suspect: true,
        };
        quarantine.suspect(key, silent);
        assert_eq!(quarantine.check(key).ok(), Some(true));
        quarantine.suspect(key, silent);
        assert!(quarantine.check(key).is_err());
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let quarantine = quarantine(2);
        let keys = ["a", "b", "c"].map(|name| quarantine.key("http://a/", name, b"{}", None));
        for key in keys {
            quarantine.suspect(key, SHARED);
        }
        let alone = keys.map(|key| quarantine.check(key).ok());
        assert_eq!(alone, [Some(false), Some(true), Some(true)]);
    }

    #[test]
    fn a_subgraph_with_many_has_none_of_another_forgotten() {
        let quarantine = quarantine(3);
        let other = quarantine.key("http://b/", "a", b"{}", None);
        quarantine.suspect(other, SHARED);
        for name in ["a", "b", "c", "d"] {
            quarantine.suspect(quarantine.key("http://a/", name, b"{}", None), SHARED);
        }
        assert_eq!(quarantine.check(other).ok(), Some(true));
        assert_eq!(quarantine.lock().len(), 3);
    }
}
