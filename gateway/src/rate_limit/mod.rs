//! The rate limit: how much cost each client may ask for in a time. Off without `RATE_LIMIT`.
//!
//! | module | gives |
//! |---|---|
//! | `rates` | which rate applies to a client |
//! | `gcra` | the arithmetic of one client's bucket |
//! | `table` | the buckets of all clients, in bounded memory |
//! | `events` | charges the events of a subscription, and ends it above the limit |
//! | `metrics` | what is counted |
//!
//! A request is charged 1 when it arrives, and the rest of its cost once that is known: what is refused before has cost 1,
//! and a client above its limit is refused before its document is looked at. `docs/decisions/rate-limit.md` says why it is
//! as it is.

pub(crate) mod events;
mod gcra;
mod metrics;
mod rates;
mod table;

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use graphql_transport::{ClientKey, Code as TransportCode};
use http::{HeaderValue, header};
use tokio_util::sync::CancellationToken;

pub use gcra::{Excess, Rate};
pub use metrics::RateLimitMetrics;
pub use table::{Table, Updated};

use crate::{
    config::{RateLimitConfig, RateLimitMode},
    error::{Code, RequestError},
    identity::Identity,
};
use events::EventMeter;
use metrics::Reason;
use rates::Rates;

/// How often clients that have used up a part of their limit are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// The buckets of all clients.
pub struct RateLimits {
    rates: Rates,
    table: Table,
    /// Keyed by a secret of this process, so that nobody can find identities that share a bucket or a set.
    hasher: RandomState,
    is_enforced: bool,
    /// Times are counted from a little before the first request, because 0 stands for an empty place.
    began: Instant,
    metrics: RateLimitMetrics,
}

/// All mistakes in the settings.
pub(crate) fn mistakes(config: &RateLimitConfig, has_tokens: bool) -> Vec<String> {
    rates::mistakes(config, has_tokens)
}

/// A client's bucket, and the rate at which it is filled.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    key: u64,
    rate: Rate,
    /// Whether the request was above the limit when it arrived, and is only measured. It is not charged any more, as if
    /// it had been refused.
    is_only_measured: bool,
}

impl RateLimits {
    /// Reads the settings; `None` if `RATE_LIMIT` is not set.
    ///
    /// # Errors
    /// If a setting is malformed, or needs another one.
    pub fn new(
        config: &RateLimitConfig,
        has_tokens: bool,
        metrics: impl FnOnce() -> RateLimitMetrics,
    ) -> anyhow::Result<Option<Self>> {
        let rates = Rates::new(config, has_tokens)?;
        Ok(rates.map(|rates| Self {
            rates,
            table: Table::new(config.rate_limit_keys_max),
            hasher: RandomState::new(),
            is_enforced: config.rate_limit_mode == RateLimitMode::Enforce,
            began: Instant::now(),
            metrics: metrics(),
        }))
    }

    /// Counts the clients that have used up a part of their limit, until shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        let counting = async {
            loop {
                let mut all = 0;
                for used in self.table.used(self.now()) {
                    all += used;
                    // A large table takes some milliseconds.
                    tokio::task::yield_now().await;
                }
                self.metrics
                    .keys
                    .set(i64::try_from(all).unwrap_or(i64::MAX));
                tokio::time::sleep(COUNT_INTERVAL).await;
            }
        };
        shutdown.run_until_cancelled(counting).await;
    }

    /// The account of a client: of its token's subject, or else of its address.
    pub fn account(&self, identity: Option<&Identity>, client: ClientKey) -> Account {
        let rate = self
            .rates
            .of(identity.map(|it| &*it.scopes).unwrap_or_default());
        let key = match identity {
            // A time at one rate says nothing at another: each has a bucket of its own.
            Some(identity) => {
                let (issuer, subject) = (identity.issuer.as_deref(), identity.subject.as_str());
                self.hasher.hash_one((issuer, subject, rate))
            }
            None => self.hasher.hash_one(client),
        };
        Account {
            key,
            rate,
            is_only_measured: false,
        }
    }

    /// Begins to check the token of a client at this address.
    pub fn attempt(&self, client: ClientKey) -> Attempt<'_> {
        Attempt {
            limits: self,
            client,
            is_charged: true,
        }
    }

    /// Charges 1 for a request that arrives. If that is too much, `known_cost` may say what the operation will cost: then
    /// the client is told when it will have that.
    ///
    /// # Errors
    /// `RATE_LIMITED`; `MAX_COST_EXCEEDED` if the operation can never pass.
    pub fn arrives(
        &self,
        account: &mut Account,
        known_cost: impl FnOnce() -> Option<u64>,
    ) -> Result<(), RequestError> {
        let Err(excess) = self.charge(account, 1, 1) else {
            return Ok(());
        };
        account.is_only_measured = !self.is_enforced;
        self.metrics.exceeded(Reason::Request, self.is_enforced);
        if !self.is_enforced {
            return Ok(());
        }
        let cost = known_cost().unwrap_or(1).max(1);
        let excess = match cost {
            1 => excess,
            // Looks again only: the charge of 1 was not possible just now.
            cost => self.look(account, cost).err().unwrap_or(excess),
        };
        Err(account.refusal(cost, excess))
    }

    /// Charges the rest of an operation's cost, of which 1 was charged on arrival.
    ///
    /// # Errors
    /// `RATE_LIMITED`; `MAX_COST_EXCEEDED` if the operation can never pass.
    pub fn costs(&self, account: &Account, cost: u64) -> Result<(), RequestError> {
        if cost <= 1 || account.is_only_measured {
            return Ok(());
        }
        match self.charge(account, cost - 1, cost) {
            Ok(()) => Ok(()),
            Err(excess) => self.exceeded(account, Reason::Cost, cost, excess),
        }
    }

    /// What charges the events of a subscription, of which one costs so much. The start has been charged on arrival; the
    /// first event is now, because the gateway begins to complete events before the client takes one.
    ///
    /// # Errors
    /// `RATE_LIMITED`; `MAX_COST_EXCEEDED` if the burst cannot have the start and one event.
    pub fn events(
        self: &Arc<Self>,
        account: Account,
        cost: u64,
    ) -> Result<EventMeter, RequestError> {
        let cost = cost.max(1);
        let with_start = cost.saturating_add(1);
        let charged = match account.is_only_measured {
            true => None,
            false => Some(self.charge(&account, cost, with_start)),
        };
        if let Some(Err(excess)) = charged {
            self.exceeded(&account, Reason::Cost, with_start, excess)?;
        }
        Ok(EventMeter {
            limits: Arc::clone(self),
            account,
            cost,
            is_next_paid: charged.is_some_and(|charged| charged.is_ok()).into(),
        })
    }

    /// Charges one event of a subscription if the limit allows it.
    fn try_event(&self, account: &Account, cost: u64) -> bool {
        self.charge(account, cost, cost.saturating_add(1)).is_ok()
    }

    /// Charges one event of a subscription.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the time after which the client can start again and get this event.
    fn event(&self, account: &Account, cost: u64) -> Result<(), RequestError> {
        match self.charge(account, cost, cost.saturating_add(1)) {
            Ok(()) => Ok(()),
            Err(excess) => self.exceeded(account, Reason::Event, cost, excess),
        }
    }

    fn exceeded(
        &self,
        account: &Account,
        reason: Reason,
        cost: u64,
        excess: Excess,
    ) -> Result<(), RequestError> {
        let reason = match excess {
            Excess::For(_) => reason,
            Excess::Ever => Reason::Burst,
        };
        self.metrics.exceeded(reason, self.is_enforced);
        match self.is_enforced {
            true => Err(account.refusal(cost, excess)),
            false => Ok(()),
        }
    }

    fn charge(&self, account: &Account, cost: u64, needed: u64) -> Result<(), Excess> {
        let now = self.now();
        let updated = self.table.update(account.key, now, |full_at| {
            account.rate.charge(full_at, now, cost, needed)
        })?;
        self.metrics.allowed.inc();
        if updated.has_displaced {
            self.metrics.forgotten.inc();
        }
        Ok(())
    }

    /// Whether a charge would be possible, without it.
    fn look(&self, account: &Account, cost: u64) -> Result<(), Excess> {
        let now = self.now();
        let looked = self.table.update(account.key, now, |full_at| {
            Err::<u64, _>(account.rate.charge(full_at, now, cost, cost).map(|_| ()))
        });
        looked.err().unwrap_or(Ok(()))
    }

    /// Nanoseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The check of a token. If the token is refused, or the client does not wait for the decision, 1 is charged to its
/// address. Only charged: the client is told about its token, whatever others at its address have used.
pub struct Attempt<'l> {
    limits: &'l RateLimits,
    client: ClientKey,
    is_charged: bool,
}

impl Attempt<'_> {
    /// The check has ended, and the client is to blame or not.
    pub fn ended(mut self, is_to_blame: bool) {
        self.is_charged = is_to_blame;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_charged {
            let account = self.limits.account(None, self.client);
            // Above the limit, there is nothing to take.
            let _ = self.limits.charge(&account, 1, 1);
        }
    }
}

impl Account {
    fn refusal(&self, cost: u64, excess: Excess) -> RequestError {
        match excess {
            Excess::For(wait) => {
                // Rounded up: a client that comes after it is served.
                let seconds = wait.as_nanos().div_ceil(1_000_000_000);
                let seconds = u64::try_from(seconds).unwrap_or(u64::MAX).max(1);
                let message = format!("the rate limit is reached: try again in {seconds} s");
                RequestError::new(Code::RateLimited, message)
                    .with_number("retryAfter", seconds)
                    .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
            }
            Excess::Ever => {
                let burst = self.rate.burst();
                let message = format!(
                    "this costs {cost}, and the rate limit allows at most {burst} at once: request smaller or fewer pages"
                );
                RequestError::new(Code::MaxCost, message)
                    .with_number("estimatedCost", cost)
                    .with_number("maxCost", burst)
            }
        }
    }
}

/// Whether a request that a transport refuses with this code is charged. Pages of other sites make browsers send
/// requests that are refused for their origin or their host, so the client is not to blame for them; nor is it for what the
/// gateway has no room for.
pub fn is_charged(code: TransportCode) -> bool {
    !matches!(
        code,
        TransportCode::CsrfRefused
            | TransportCode::HostRefused
            | TransportCode::SignatureRefused
            | TransportCode::TooManyRequestBytes
            | TransportCode::TooManyAnswerBytes
            | TransportCode::InternalServerError
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;

    fn limits(arguments: &[&str]) -> Arc<RateLimits> {
        let config = Config::parse_from(["gateway"].iter().chain(arguments));
        let limits = RateLimits::new(&config.rate_limit, true, RateLimitMetrics::default);
        Arc::new(limits.expect("well-formed").expect("a limit"))
    }

    #[test]
    fn a_token_costs_its_address_one_unless_it_is_accepted() {
        let limits = limits(&["--rate-limit=2/1h"]);
        let client = ClientKey::of([127, 0, 0, 1].into());
        let left = || {
            let is_left = |cost: &u64| limits.look(&limits.account(None, client), *cost).is_ok();
            (1..=2).rev().find(is_left).unwrap_or(0)
        };
        limits.attempt(client).ended(false);
        assert_eq!(left(), 2);
        limits.attempt(client).ended(true);
        assert_eq!(left(), 1);
        // The client has left.
        drop(limits.attempt(client));
        assert_eq!(left(), 0);
        drop(limits.attempt(client));
    }
}
