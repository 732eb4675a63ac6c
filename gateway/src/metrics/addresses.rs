//! Metrics of subgraphs with several addresses, by address. Their series end with the last user of the address.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use service::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAddress {
    subgraph: String,
    address: String,
}

/// Metrics of all addresses. Clones share them; by default they are not registered.
#[derive(Clone, Debug, Default)]
pub struct AddressesMetrics {
    up: Family<ByAddress, Gauge>,
    running: Family<ByAddress, Gauge>,
    subscriptions: Family<ByAddress, Gauge>,
    ejections: Family<ByAddress, Counter>,
    /// How many users each address has: two supergraphs may have it while one replaces the other.
    users: Arc<Mutex<HashMap<ByAddress, usize>>>,
}

impl AddressesMetrics {
    /// Adds the metrics to the process's metrics.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        Self {
            up: metrics.register(
                "gateway_subgraph_address_up",
                "Whether an address of a subgraph with several gets requests: 0 if it is down",
                own.up,
            ),
            running: metrics.register(
                "gateway_subgraph_address_running_requests",
                "Requests that run at an address of a subgraph with several",
                own.running,
            ),
            subscriptions: metrics.register(
                "gateway_subgraph_address_subscriptions",
                "Subscriptions that run at an address of a subgraph with several",
                own.subscriptions,
            ),
            ejections: metrics.register(
                "gateway_subgraph_address_ejections",
                "How often an address of a subgraph with several was found to be down",
                own.ejections,
            ),
            users: own.users,
        }
    }

    /// The metrics of one address, until the last clone of them is dropped.
    pub fn of(&self, subgraph: &str, address: &str) -> AddressMetrics {
        let labels = ByAddress {
            subgraph: subgraph.to_owned(),
            address: address.to_owned(),
        };
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        *users.entry(labels.clone()).or_default() += 1;
        AddressMetrics {
            up: self.up.get_or_create_owned(&labels),
            running: self.running.get_or_create_owned(&labels),
            subscriptions: self.subscriptions.get_or_create_owned(&labels),
            ejections: self.ejections.get_or_create_owned(&labels),
            _use: Use {
                all: self.clone(),
                labels,
            },
        }
    }
}

/// Metrics of one address of a subgraph.
#[derive(Debug)]
pub struct AddressMetrics {
    /// 1 while it gets requests.
    pub up: Gauge,
    /// Requests that run there.
    pub running: Gauge,
    /// Subscriptions that run there.
    pub subscriptions: Gauge,
    /// How often it was found to be down.
    pub ejections: Counter,
    _use: Use,
}

#[derive(Debug)]
struct Use {
    all: AddressesMetrics,
    labels: ByAddress,
}

impl Drop for Use {
    fn drop(&mut self) {
        let users = self.all.users.lock();
        let mut users = users.unwrap_or_else(PoisonError::into_inner);
        let Some(count) = users.get_mut(&self.labels) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            users.remove(&self.labels);
            self.all.up.remove(&self.labels);
            self.all.running.remove(&self.labels);
            self.all.subscriptions.remove(&self.labels);
            self.all.ejections.remove(&self.labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_an_address_end_with_its_last_user() {
        let all = AddressesMetrics::default();
        let old = all.of("posts", "a:4001");
        old.running.inc();
        let new = all.of("posts", "a:4001");
        drop(old);
        assert_eq!(new.running.get(), 1, "shared across a reload");
        drop(new);
        assert!(all.users.lock().expect("not poisoned").is_empty());
        assert_eq!(all.of("posts", "a:4001").running.get(), 0);
    }
}
