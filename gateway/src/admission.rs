//! How many live clients are admitted in a time. After a restart all clients come back: each resumption makes an upstream
//! subscription that reads what its client has missed, so that a crowd at once would be slow for everybody.
//!
//! A WebSocket counts when it is opened, an event stream when it begins. There is one bucket for all clients, and one for
//! each address with a part of the rate (the same arithmetic as the rate limit's). An address within its part takes from the
//! whole bucket; one beyond it only while more than half of the bucket is there (never from one too small to have halves). So a crowd behind one address has all the
//! rate where nobody else wants it, and an address that floods keeps nobody out.
//!
//! Who is refused learns when to come again: each refused client is told a later time than the one before, at the rate at
//! which they can be admitted, with a random part. An address adds no more than its part to the time of others.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use graphql_transport::{ClientKey, Code as TransportCode};
use http::{HeaderValue, header};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use service::Metrics;

use crate::{
    error::RequestError,
    rate_limit::{Rate, Table},
};

/// An address has this part of the rate and of the burst for itself.
const ADDRESS_PART: u64 = 16;
/// Addresses that are remembered, in 512 KiB. Beyond it, those are forgotten that have used the least.
const ADDRESSES_MAX: usize = 8_192;
/// Nobody is told to wait for longer, but for the random part.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The random part is up to this share of the time to wait, and one second.
const SPREAD: f64 = 0.5;

/// Admits live clients at a rate.
pub struct Admission {
    /// What all clients may take.
    rate: Rate,
    /// What an address may take beyond its own part: half of the burst is left to others. `None` where half of it is
    /// nothing.
    spare: Option<Rate>,
    /// What each address has for itself.
    part: Rate,
    all: Mutex<All>,
    addresses: Table,
    /// Until when the clients of each address that were refused will have come again.
    queues: Table,
    /// Keyed by a secret of this process, so that nobody can find addresses that share a bucket.
    hasher: RandomState,
    /// Times are counted from a little before the first client, because 0 stands for an empty place.
    began: Instant,
    metrics: AdmissionMetrics,
}

/// Times in nanoseconds.
#[derive(Default)]
struct All {
    /// When the bucket is full again.
    full_at: u64,
    /// Until when the clients that were refused will have come again.
    queue_until: u64,
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// All clients together are too many.
    All,
    /// Those of its address are.
    Address,
}

/// What is counted of admissions. Clones share it.
#[derive(Clone, Default)]
pub struct AdmissionMetrics {
    admitted: Counter,
    refused: Family<Labels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
}

impl AdmissionMetrics {
    /// Adds it to the process's metrics.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            admitted: metrics.register(
                "gateway_admitted_clients",
                "WebSockets and event streams within LIVE_CLIENTS_RATE",
                Counter::default(),
            ),
            refused: metrics.register(
                "gateway_refused_clients",
                "WebSockets and event streams above LIVE_CLIENTS_RATE, which have to come again: too many of all clients, or of one address",
                Family::default(),
            ),
        }
    }

    fn refused(&self, reason: Reason) {
        let reason = match reason {
            Reason::All => "all",
            Reason::Address => "address",
        };
        self.refused.get_or_create(&Labels { reason }).inc();
    }
}

impl Admission {
    /// Reads the setting; `None` if it is empty.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn new(
        rate: &str,
        metrics: impl FnOnce() -> AdmissionMetrics,
    ) -> anyhow::Result<Option<Self>> {
        if rate.trim().is_empty() {
            return Ok(None);
        }
        let rate = Rate::read(rate).map_err(anyhow::Error::msg);
        let rate = rate.context("LIVE_CLIENTS_RATE")?;
        Ok(Some(Self {
            rate,
            spare: (rate.burst() >= 2).then(|| rate.with_part_of_burst(2)),
            part: rate.part(ADDRESS_PART),
            all: Mutex::default(),
            addresses: Table::new(ADDRESSES_MAX),
            queues: Table::new(ADDRESSES_MAX),
            hasher: RandomState::new(),
            began: Instant::now(),
            metrics: metrics(),
        }))
    }

    /// Admits one more client.
    ///
    /// # Errors
    /// If it has to come again later: after how many seconds.
    pub fn admit(&self, client: ClientKey) -> Result<(), u64> {
        let Err(wait) = self.admit_at(client, self.now()) else {
            self.metrics.admitted.inc();
            return Ok(());
        };
        let spread = wait.mul_f64(SPREAD) + Duration::from_secs(1);
        let wait = wait + spread.mul_f64(fastrand::f64());
        Err(wait.as_secs() + 1)
    }

    /// The refusal of an event stream.
    pub fn refusal(seconds: u64) -> RequestError {
        let message = format!("too many clients come at once: try again in {seconds} s");
        RequestError::new(TransportCode::TooManyNewClients, message)
            .with_number("retryAfter", seconds)
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    fn admit_at(&self, client: ClientKey, now: u64) -> Result<(), Duration> {
        let key = self.hasher.hash_one(client);
        let mut all = self.lock();
        let charged = self.addresses.update(key, now, |own| {
            let own = self.part.charge(own, now, 1, 1);
            let own = own.map_err(|_| Reason::Address)?;
            let taken = self.rate.charge(all.full_at, now, 1, 1);
            all.full_at = taken.map_err(|_| Reason::All)?;
            Ok(own)
        });
        let Err(reason) = charged else {
            return Ok(());
        };
        if reason == Reason::Address
            && let Some(spare) = &self.spare
            && let Ok(full_at) = spare.charge(all.full_at, now, 1, 1)
        {
            all.full_at = full_at;
            return Ok(());
        }
        self.metrics.refused(reason);
        Err(self.queued(&mut all, key, reason, now))
    }

    /// The time until all clients that were refused before will have come again, if each waits for its turn.
    fn queued(&self, all: &mut All, key: u64, reason: Reason, now: u64) -> Duration {
        let each = self.rate.time_of_one();
        let most = now.saturating_add(u64::try_from(WAIT_MAX.as_nanos()).unwrap_or(u64::MAX));
        let next = |until: u64| until.max(now).saturating_add(each).min(most);
        let mut own_until = now;
        // It is never refused.
        let _ = self.queues.update::<()>(key, now, |until| {
            own_until = next(until);
            Ok(own_until)
        });
        let own_part = each.saturating_mul(self.part.burst());
        if reason == Reason::All && own_until - now <= own_part {
            all.queue_until = next(all.queue_until);
        }
        let until = match reason {
            Reason::All => own_until.max(all.queue_until),
            Reason::Address => own_until,
        };
        Duration::from_nanos(until - now)
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since the start, by a clock that nobody sets.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// Any time but 0.
    const START: u64 = SECOND;

    fn admission(rate: &str) -> Admission {
        let admission = Admission::new(rate, AdmissionMetrics::default);
        admission.expect("well-formed").expect("a rate")
    }

    fn address(number: u32) -> ClientKey {
        ClientKey::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn ten_thousand_clients_within_twenty_seconds_are_all_admitted_by_default() {
        let config = <crate::config::Config as clap::Parser>::parse_from(["gateway"]);
        let rate = config.subscriptions.live_clients_rate;
        // From as many addresses, from a thousand, and from one, as behind a proxy.
        for addresses in [10_000, 1_000, 1] {
            let admission = admission(&rate);
            for client in 0..10_000_u32 {
                let now = START + u64::from(client) * 20 * SECOND / 10_000;
                let admitted = admission.admit_at(address(client % addresses), now);
                assert_eq!(admitted, Ok(()), "client {client} of {addresses} addresses");
            }
        }
    }

    #[test]
    fn a_crowd_at_once_is_spread_at_the_rate() {
        let admission = admission("100/1s/200");
        let waits: Vec<_> = (0..1_200)
            .filter_map(|client| admission.admit_at(address(client), START).err())
            .collect();
        assert_eq!(waits.len(), 1_000);
        // The first comes again after 10 ms, the last after 10 s, and 100 in each second.
        assert!(waits.is_sorted());
        assert_eq!(waits.first(), Some(&Duration::from_millis(10)));
        assert_eq!(waits.last(), Some(&Duration::from_secs(10)));
        let admitted = waits.iter().enumerate().filter(|(client, wait)| {
            let now = START + u64::try_from(wait.as_nanos()).expect("short");
            admission
                .admit_at(address(*client as u32 + 200), now)
                .is_ok()
        });
        assert_eq!(admitted.count(), 1_000, "whoever waits is admitted");
    }

    #[test]
    fn an_address_that_floods_keeps_nobody_out() {
        let admission = admission("1600/1s/1600");
        let (flooding, mut others_refused, mut flood_admitted) = (address(1), 0, 0);
        for ms in 0..10_000_u64 {
            let now = START + ms * 1_000_000;
            for _ in 0..5 {
                flood_admitted += u32::from(admission.admit_at(flooding, now).is_ok());
            }
            // Others come at half of the rate.
            if ms % 5 < 4 {
                let other = address(2 + u32::try_from(ms).expect("small"));
                others_refused += u32::from(admission.admit_at(other, now).is_err());
            }
        }
        assert_eq!(others_refused, 0);
        // It gets what they leave.
        assert!((8_000..9_000).contains(&flood_admitted), "{flood_admitted}");
    }

    #[test]
    fn an_address_that_floods_a_bucket_of_one_keeps_nobody_out() {
        let admission = admission("10/1s/1");
        let mut flood_admitted = 0;
        for ms in 0..10_000_u64 {
            let now = START + ms * 1_000_000;
            flood_admitted += u32::from(admission.admit_at(address(1), now).is_ok());
            // Others come once in a second, just after it.
            if ms % 1_000 == 999 {
                let other = address(2 + u32::try_from(ms).expect("small"));
                assert_eq!(admission.admit_at(other, now), Ok(()), "after {ms} ms");
            }
        }
        // Its part is a sixteenth of 10 in a second.
        assert!((6..=8).contains(&flood_admitted), "{flood_admitted}");
    }

    #[test]
    fn the_time_to_wait_has_a_bound_and_an_address_adds_its_part_to_that_of_others() {
        let admission = admission("10/1s/160");
        for client in 0..160 {
            assert_eq!(admission.admit_at(address(client), START), Ok(()));
        }
        let flooding = address(500);
        for _ in 0..10_000 {
            let wait = admission.admit_at(flooding, START).expect_err("refused");
            assert!(wait <= WAIT_MAX);
        }
        let wait = admission
            .admit_at(address(501), START)
            .expect_err("refused");
        // The burst of an address is 10.
        assert_eq!(wait, Duration::from_millis(1_100));
        let seconds = admission.admit(flooding).expect_err("refused");
        assert!((60..=92).contains(&seconds), "{seconds}");
    }

    #[test]
    fn clients_that_are_refused_together_are_told_different_times() {
        let admission = admission("1/1m/1");
        assert_eq!(admission.admit(address(1)), Ok(()));
        let told: std::collections::HashSet<_> = (2..100)
            .filter_map(|client| admission.admit(address(client)).err())
            .collect();
        assert!(told.len() > 10, "{told:?}");
    }

    #[test]
    fn an_empty_rate_admits_everybody_and_a_malformed_one_is_refused() {
        let new = |rate| Admission::new(rate, AdmissionMetrics::default);
        assert!(new(" ").is_ok_and(|admission| admission.is_none()));
        let error = new("fast").err().expect("refused");
        assert!(format!("{error:#}").starts_with("LIVE_CLIENTS_RATE: "));
    }
}
