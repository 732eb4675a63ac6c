//! Chooses one of a subgraph's addresses for each request.
//!
//! Of two random addresses that are up, the one with fewer requests in flight gets the request ("power of two choices",
//! Mitzenmacher 2001, <https://doi.org/10.1109/71.963420>). `docs/decisions/several-addresses.md` says why, and when an
//! address counts as down.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use super::{
    FetchError, Tls,
    address_list::ADDRESSES_MAX,
    instance::{Instance, Outcome, Rank, Turn, Verdict},
    names::Names,
    origin::Origin,
    pool::Pool,
    probe,
};
use crate::{config::SubgraphSettings, metrics::SubgraphMetrics};

/// An address that is missing from the answers for its name is forgotten after so many intervals of resolving.
const ABSENCES_MAX: u32 = 6;

/// The addresses of one subgraph.
pub(crate) struct Balancer {
    pub(super) subgraph: String,
    pub(super) origins: Vec<Arc<Origin>>,
    known: RwLock<Arc<[Arc<Instance>]>>,
    /// Held while `known` is replaced, and while it is decided whether enough addresses are up.
    changing: Mutex<()>,
    pub(super) names: Names,
    pub(super) settings: SubgraphSettings,
    tls: Tls,
    pub(super) metrics: SubgraphMetrics,
}

impl Balancer {
    pub(super) fn new(
        subgraph: &str,
        origins: Vec<Origin>,
        settings: &SubgraphSettings,
        tls: &Tls,
        metrics: &SubgraphMetrics,
    ) -> Arc<Self> {
        let balancer = Self {
            subgraph: subgraph.to_owned(),
            names: Names::new(&origins, settings),
            origins: origins.into_iter().map(Arc::new).collect(),
            known: RwLock::new(Arc::new([])),
            changing: Mutex::default(),
            settings: settings.clone(),
            tls: tls.clone(),
            metrics: metrics.clone(),
        };
        for (index, origin) in balancer.origins.iter().enumerate() {
            if let Some(address) = origin.endpoint.ip() {
                balancer.set_addresses(index, &[address]);
            }
        }
        Arc::new(balancer)
    }

    /// The addresses as they are known now.
    pub(crate) fn known(&self) -> Arc<[Arc<Instance>]> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&known)
    }

    /// The best of the addresses that are not among `tried`.
    pub(crate) fn candidates(&self, tried: &[Arc<Instance>]) -> (Rank, Vec<Arc<Instance>>) {
        let known = self.known();
        let open = || known.iter().filter(|it| !is_among(tried, it));
        let best = open().map(|it| it.rank()).min().unwrap_or(Rank::Down);
        let candidates = open().filter(|it| it.rank() <= best).cloned().collect();
        (best, candidates)
    }

    /// One of the best addresses that are not among `tried`, with few requests in flight.
    pub(super) fn pick(&self, tried: &[Arc<Instance>]) -> Option<(Rank, Arc<Instance>)> {
        let known = self.known();
        if let (Some(one), Some(other)) = two_of(&known)
            && [one, other]
                .iter()
                .all(|it| it.rank() == Rank::Up && !is_among(tried, it))
        {
            return Some((Rank::Up, Arc::clone(lesser(one, other))));
        }
        let (rank, candidates) = self.candidates(tried);
        let chosen = match two_of(&candidates) {
            (Some(one), Some(other)) => Some(lesser(one, other)),
            _ => candidates.first(),
        };
        chosen.map(|it| (rank, Arc::clone(it)))
    }

    /// Takes the outcome of an attempt at an address into account.
    pub(crate) fn report(
        self: &Arc<Self>,
        instance: &Arc<Instance>,
        outcome: Outcome,
        began: Turn,
    ) {
        match instance.heed(outcome, began) {
            Verdict::Stay => {}
            Verdict::Restore => self.restore(instance, began),
            Verdict::Eject => self.eject(instance, outcome, began),
            Verdict::EjectIfOthers => {
                let _changing = self.lock();
                let known = self.known();
                let down = known.iter().filter(|it| it.is_down()).count();
                // The same request may fail everywhere: half of all stay.
                if down < known.len() / 2 {
                    self.eject(instance, outcome, began);
                }
            }
        }
    }

    /// Probes an address that has not answered for some time, and ejects it if it hangs.
    pub(crate) fn suspect(self: &Arc<Self>, instance: &Arc<Instance>) {
        if self.known().len() > 1 && instance.begin_suspicion() {
            let (balancer, instance) = (Arc::downgrade(self), Arc::downgrade(instance));
            tokio::spawn(probe::once(balancer, instance));
        }
    }

    fn eject(self: &Arc<Self>, instance: &Arc<Instance>, outcome: Outcome, began: Turn) {
        if self.known().len() < 2 || !instance.eject(began) {
            return;
        }
        share_idle(&self.known());
        tracing::warn!(
            subgraph = self.subgraph,
            address = &**instance.label(),
            reason = match outcome {
                Outcome::Unreachable => "it cannot be connected to",
                Outcome::Hung => "it does not answer",
                _ => "its answers fail",
            },
            "an address of a subgraph is down, others get its requests until it answers a probe"
        );
        if !instance.begin_probes() {
            return;
        }
        tokio::spawn(probe::run(Arc::downgrade(self), Arc::downgrade(instance)));
    }

    pub(super) fn restore(&self, instance: &Instance, began: Turn) {
        if instance.restore(began) {
            share_idle(&self.known());
            tracing::info!(
                subgraph = self.subgraph,
                address = &**instance.label(),
                "an address of a subgraph is up again"
            );
        }
    }

    /// The addresses that are down, and how many there are.
    pub(crate) fn down(&self) -> (Vec<Arc<str>>, usize) {
        let known = self.known();
        let down = known.iter().filter(|it| it.is_down());
        (down.map(|it| Arc::clone(it.label())).collect(), known.len())
    }

    /// Replaces the addresses that one origin stands for. Those that stay keep their connections. An answer may have only
    /// some of the addresses, other ones each time: those that it lacks stay for a while, and others are preferred.
    pub(super) fn set_addresses(&self, origin: usize, addresses: &[SocketAddr]) {
        let _changing = self.lock();
        let known = self.known();
        let own = &self.origins[origin];
        let mut next: Vec<Arc<Instance>> = Vec::with_capacity(known.len() + addresses.len());
        let others = known.iter().filter(|it| !Arc::ptr_eq(&it.origin, own));
        next.extend(others.cloned());
        for address in addresses {
            // Two names may stand for one address.
            if next.len() >= ADDRESSES_MAX || next.iter().any(|it| it.address == *address) {
                continue;
            }
            let kept = known
                .iter()
                .find(|it| it.address == *address && Arc::ptr_eq(&it.origin, own));
            let instance = match kept {
                Some(kept) => Arc::clone(kept),
                None => Arc::new(self.instance(own, *address)),
            };
            // The resolver sorts by preference: the first one's family can be reached.
            let is_reserve = address.is_ipv4() != addresses[0].is_ipv4();
            instance.set_reserve(is_reserve);
            instance.set_absent(false);
            next.push(instance);
        }
        let absent_max = self.settings.resolve_interval * ABSENCES_MAX;
        for absent in known.iter().filter(|it| Arc::ptr_eq(&it.origin, own)) {
            if !addresses.contains(&absent.address)
                && next.len() < ADDRESSES_MAX
                && absent.set_absent(true) < absent_max
            {
                next.push(Arc::clone(absent));
            }
        }
        share_idle(&next);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *known, next.into());
        drop(known);
        // Connections are closed outside the lock.
        drop(old);
    }

    fn instance(&self, origin: &Arc<Origin>, address: SocketAddr) -> Instance {
        let authority = origin.endpoint.authority();
        let label = match origin.endpoint.ip() {
            Some(_) => authority.to_owned(),
            None => format!("{authority} {}", address.ip()),
        };
        let pool = Pool::new(
            origin.endpoint.clone(),
            Some(address),
            &self.settings,
            &self.tls,
        );
        let metrics = Arc::new(self.metrics.address(&self.subgraph, &label));
        Instance::new(Arc::clone(origin), address, &label, pool, metrics)
    }

    /// Whether the answers for its name lack an address that is up: what runs there may stay.
    pub(crate) fn is_missing_from_answers(&self, label: &Arc<str>) -> bool {
        let known = self.known();
        let own = known.iter().find(|it| it.label() == label);
        own.is_some_and(|it| it.is_absent() && !it.is_down())
    }

    /// Whether it still is one of the subgraph's addresses.
    pub(super) fn is_known(&self, instance: &Arc<Instance>) -> bool {
        self.known().iter().any(|it| Arc::ptr_eq(it, instance))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why there is no address to connect to.
    pub(crate) fn nowhere(&self) -> FetchError {
        FetchError::connect(self.names.failure())
    }
}

/// Those that are up share the largest number of idle connections.
fn share_idle(known: &[Arc<Instance>]) {
    let up = known.iter().filter(|it| !it.is_down()).count();
    for instance in known {
        instance.pool.is_one_of(up);
    }
}

fn is_among(tried: &[Arc<Instance>], instance: &Arc<Instance>) -> bool {
    tried.iter().any(|it| Arc::ptr_eq(it, instance))
}

fn lesser<'i>(one: &'i Arc<Instance>, other: &'i Arc<Instance>) -> &'i Arc<Instance> {
    if other.load() < one.load() {
        other
    } else {
        one
    }
}

/// Two different ones at random.
fn two_of(all: &[Arc<Instance>]) -> (Option<&Arc<Instance>>, Option<&Arc<Instance>>) {
    if all.len() < 2 {
        return (all.first(), None);
    }
    let one = fastrand::usize(..all.len());
    let other = (one + fastrand::usize(1..all.len())) % all.len();
    (all.get(one), all.get(other))
}
