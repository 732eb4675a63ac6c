//! Chooses the address of a subgraph where a subscription runs.
//!
//! Rendezvous hashing (Thaler and Ravishankar 1998, <https://doi.org/10.1109/90.663936>): each address has a score for
//! each subscription, the same in every gateway, and the highest that is up gets it. So equal subscriptions of several
//! gateways meet at one instance, and when an address comes or goes, only its own subscriptions move. Bounded loads
//! (Mirrokni, Thorup and Zadimoghaddam 2018, <https://arxiv.org/abs/1608.01350>) keep an address from getting much more
//! than its share: a subscription whose best address is full goes to its next one.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use sha2::{Digest, Sha256};

use crate::{
    graph::SubgraphAddress,
    metrics::AddressMetrics,
    subgraphs::{Balancer, Endpoint, Instance, Outcome, Turn},
};

use super::UpstreamError;

/// An address may have this share of the mean number of subscriptions, in percent.
const LOAD_PERCENT_MAX: usize = 125;
/// So many addresses are tried for one subscription.
pub(super) const ADDRESSES_TRIED_MAX: usize = 4;

/// The number of subscriptions at each address of each subgraph, whatever supergraph is served.
#[derive(Default)]
pub(super) struct Placements {
    loads: Mutex<HashMap<Arc<str>, Loads>>,
}

/// The loads of one subgraph's addresses, by their labels.
type Loads = HashMap<Arc<str>, usize>;

/// Where a subscription runs. Dropping it gives the place back.
pub(in crate::subscriptions) struct Place {
    pub endpoint: Endpoint,
    /// The one of the addresses that the endpoint's name stands for.
    pub address: Option<SocketAddr>,
    /// Identifies the address among all; safe to show.
    pub label: Arc<str>,
    /// What the outcome of opening is reported to, if it is one of several addresses.
    pub(super) witness: Option<Witness>,
    counted: Option<Counted>,
}

/// Reports what became of one connection to one of several addresses. A subscription outlives the supergraph with which
/// it began: its addresses do not.
#[derive(Clone)]
pub(super) struct Witness {
    instance: Weak<Instance>,
    balancer: Weak<Balancer>,
    began: Turn,
}

impl Witness {
    /// The address, while the subgraph has it.
    pub(super) fn instance(&self) -> Option<Arc<Instance>> {
        self.instance.upgrade()
    }

    pub(super) fn report(&self, opened: Result<(), &UpstreamError>) {
        let outcome = match opened {
            Ok(()) => Outcome::Accepted,
            Err(error) => error.outcome(),
        };
        if let (Some(balancer), Some(instance)) = (self.balancer.upgrade(), self.instance()) {
            balancer.report(&instance, outcome, self.began);
        }
    }

    /// Has the address probed, because it takes long.
    pub(super) fn suspect(&self) {
        if let (Some(balancer), Some(instance)) = (self.balancer.upgrade(), self.instance()) {
            balancer.suspect(&instance);
        }
    }
}

/// A place at one of several addresses, whatever supergraph is served.
struct Counted {
    label: Arc<str>,
    subgraph: Arc<str>,
    placements: Arc<Placements>,
    metrics: Arc<AddressMetrics>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.subscriptions.dec();
        let mut all = self.placements.lock();
        let Some(loads) = all.get_mut(&self.subgraph) else {
            return;
        };
        if let Some(load) = loads.get_mut(&self.label) {
            *load -= 1;
            if *load == 0 {
                loads.remove(&self.label);
            }
        }
        if loads.is_empty() {
            all.remove(&self.subgraph);
        }
    }
}

impl Place {
    /// Whether it was chosen among several.
    pub(super) fn is_chosen(&self) -> bool {
        self.counted.is_some()
    }
}

impl Placements {
    /// A place for the subscription with this key, not at the addresses in `tried`, and not at `avoided` if another one
    /// is as good.
    ///
    /// # Errors
    /// If no address is known, or all have been tried.
    pub(super) async fn choose(
        self: &Arc<Self>,
        address: SubgraphAddress<'_>,
        key: u64,
        tried: &[Arc<Instance>],
        avoided: Option<&Arc<str>>,
    ) -> Result<Place, UpstreamError> {
        let failed = |reason: String| UpstreamError::Connect(reason.into());
        let Some(balancer) = address.subgraph.balancer() else {
            let endpoint = Endpoint::parse(address.full_url).map_err(failed)?;
            return Ok(Place {
                label: endpoint.authority().into(),
                endpoint,
                address: None,
                witness: None,
                counted: None,
            });
        };
        balancer.get_ready().await;
        let (_, mut candidates) = balancer.candidates(tried);
        if candidates.len() > 1 {
            candidates.retain(|it| Some(it.label()) != avoided);
        }
        let mut all = self.lock();
        let loads = all.entry(address.full_url.into()).or_default();
        let labels = candidates.iter().map(|it| &**it.label());
        match best(labels, key, loads, None) {
            Some(best) => Ok(self.place(address, balancer, &candidates[best], loads)),
            None => Err(UpstreamError::Unreachable(balancer.nowhere())),
        }
    }

    /// A place where the subscription belongs, if that is another one than `current`.
    pub(super) fn better(
        self: &Arc<Self>,
        address: SubgraphAddress<'_>,
        key: u64,
        current: &Arc<str>,
    ) -> Option<Place> {
        let balancer = address.subgraph.balancer()?;
        if balancer.is_missing_from_answers(current) {
            return None;
        }
        let (_, candidates) = balancer.candidates(&[]);
        let mut all = self.lock();
        let loads = all.entry(address.full_url.into()).or_default();
        let labels = candidates.iter().map(|it| &**it.label());
        let best = best(labels, key, loads, Some(current))?;
        let instance = &candidates[best];
        (instance.label() != current).then(|| self.place(address, balancer, instance, loads))
    }

    fn place(
        self: &Arc<Self>,
        address: SubgraphAddress<'_>,
        balancer: &Arc<Balancer>,
        instance: &Arc<Instance>,
        loads: &mut Loads,
    ) -> Place {
        *loads.entry(Arc::clone(instance.label())).or_default() += 1;
        let metrics = Arc::clone(instance.metrics());
        metrics.subscriptions.inc();
        Place {
            endpoint: instance.endpoint().clone(),
            address: Some(instance.address()),
            label: Arc::clone(instance.label()),
            witness: Some(Witness {
                instance: Arc::downgrade(instance),
                balancer: Arc::downgrade(balancer),
                began: instance.turn(),
            }),
            counted: Some(Counted {
                label: Arc::clone(instance.label()),
                subgraph: address.full_url.into(),
                placements: Arc::clone(self),
                metrics,
            }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Loads>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place in `labels` of the address for a subscription that runs at `current`, or nowhere yet.
fn best<'l>(
    labels: impl Iterator<Item = &'l str>,
    key: u64,
    loads: &Loads,
    current: Option<&Arc<str>>,
) -> Option<usize> {
    let mut scored: Vec<(u64, usize, usize)> = labels
        .enumerate()
        .map(|(place, label)| {
            let load = loads.get(label).copied().unwrap_or_default();
            let is_own = current.is_some_and(|current| **current == *label);
            (
                score(key, label),
                place,
                load - usize::from(is_own && load > 0),
            )
        })
        .collect();
    let total = scored.iter().map(|(_, _, load)| load).sum::<usize>() + 1;
    let share = total.div_ceil(scored.len().max(1));
    let max = share.max(total * LOAD_PERCENT_MAX / 100 / scored.len().max(1));
    scored.sort_unstable_by(|one, other| other.cmp(one));
    // Not all are full, because `max` is at least the mean.
    let with_room = scored.iter().find(|(_, _, load)| *load < max);
    with_room.map(|(_, place, _)| *place)
}

/// The same in every gateway.
fn score(key: u64, label: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(key.to_be_bytes());
    hash.update(label);
    first_bytes(hash)
}

/// The key of a subscription for [`Placements`]: the same in every gateway.
pub(super) fn key(operation: &str, variables: &[u8]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(operation.len().to_be_bytes());
    hash.update(operation);
    hash.update(variables);
    first_bytes(hash)
}

fn first_bytes(hash: Sha256) -> u64 {
    let digest = hash.finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::SubgraphSettings,
        metrics::SubgraphMetrics,
        subgraphs::{Subgraph, Tls},
    };

    const LABELS: [&str; 3] = ["a:4002", "b:4002", "c:4002"];

    /// Places topics one after another, and returns where each lies.
    fn placed(topics: usize, labels: &[&str], loads: &mut Loads) -> Vec<Arc<str>> {
        let place = |topic: usize| {
            let key = key("subscription", topic.to_string().as_bytes());
            let best = best(labels.iter().copied(), key, loads, None).expect("a place");
            let label: Arc<str> = labels[best].into();
            *loads.entry(Arc::clone(&label)).or_default() += 1;
            label
        };
        (0..topics).map(place).collect()
    }

    /// Lets each topic look for a better place once.
    fn reviewed(places: &mut [Arc<str>], labels: &[&str], loads: &mut Loads) -> usize {
        let mut moved = 0;
        for (topic, place) in places.iter_mut().enumerate() {
            let key = key("subscription", topic.to_string().as_bytes());
            let best = best(labels.iter().copied(), key, loads, Some(place)).expect("a place");
            if *labels[best] != **place {
                *loads.get_mut(place).expect("counted") -= 1;
                *place = labels[best].into();
                *loads.entry(Arc::clone(place)).or_default() += 1;
                moved += 1;
            }
        }
        moved
    }

    fn largest(loads: &Loads) -> usize {
        loads.values().copied().max().unwrap_or_default()
    }

    #[test]
    fn no_address_gets_much_more_than_its_share() {
        for topics in [3, 10, 51, 52, 500] {
            let mut loads = Loads::new();
            placed(topics, &LABELS, &mut loads);
            let max = topics.div_ceil(3).max(topics * 130 / 300);
            assert!(largest(&loads) <= max, "{topics}: {loads:?}");
        }
    }

    #[test]
    fn gateways_that_meet_the_topics_in_any_order_agree_about_most() {
        let alone = |topic: usize| {
            let key = key("subscription", topic.to_string().as_bytes());
            best(LABELS.into_iter(), key, &Loads::new(), None).expect("a place")
        };
        let mut loads = Loads::new();
        let places = placed(300, &LABELS, &mut loads);
        let agree = (0..300).filter(|topic| *places[*topic] == *LABELS[alone(*topic)]);
        assert!(agree.count() > 250);
    }

    #[test]
    fn what_belongs_to_an_address_that_returns_moves_back_and_nothing_else() {
        let mut loads = Loads::new();
        let mut places = placed(51, &LABELS, &mut loads);
        while reviewed(&mut places, &LABELS, &mut loads) > 0 {}
        let before = places.clone();
        while reviewed(&mut places, &LABELS[..2], &mut loads) > 0 {}
        assert!(places.iter().all(|it| **it != *LABELS[2]));
        let gone = |(place, was): (&Arc<str>, &Arc<str>)| place != was && **was != *LABELS[2];
        assert!(places.iter().zip(&before).filter(|it| gone(*it)).count() < 10);
        let mut rounds = 0;
        while reviewed(&mut places, &LABELS, &mut loads) > 0 {
            rounds += 1;
            assert!(rounds < 10, "it ends");
        }
        assert!(largest(&loads) * 10 <= 17 * 13, "{loads:?}");
    }

    #[tokio::test]
    async fn a_place_keeps_no_addresses_of_an_earlier_supergraph() {
        let urls = ["http://127.0.0.1:1/", "http://127.0.0.1:2/"];
        let (settings, metrics) = (SubgraphSettings::default(), SubgraphMetrics::default());
        let subgraph = Subgraph::new("posts", &urls, &settings, &Tls::default(), &metrics);
        let subgraph = subgraph.expect("a subgraph");
        let address = SubgraphAddress {
            name: "posts",
            url: subgraph.url(),
            full_url: subgraph.full_url(),
            signer: subgraph.signer(),
            subgraph: &subgraph,
        };
        let placements = Arc::<Placements>::default();
        let place = placements
            .choose(address, 7, &[], None)
            .await
            .expect("a place");
        let balancer = Arc::downgrade(subgraph.balancer().expect("several addresses"));
        let (first, second) = (
            Arc::clone(&place.label),
            placements.choose(address, 7, &[], Some(&place.label)),
        );
        assert_ne!(second.await.expect("a place").label, first, "it is avoided");
        drop(subgraph);
        assert!(balancer.upgrade().is_none());
        drop(place);
        assert!(placements.lock().is_empty());
    }
}
