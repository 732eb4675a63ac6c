//! Errors of subgraphs by code. The codes come from subgraphs, so their number is bounded.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use rustc_hash::{FxHashMap, FxHashSet};
use service::Metrics;

use super::operations::OTHER;

/// Codes of one subgraph that are counted on their own.
const CODES_MAX: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySubgraphAndCode {
    subgraph: String,
    code: String,
}

/// Counts the answers of subgraphs with an error, by code. Clones share the counts; by default they are not registered.
#[derive(Clone, Debug, Default)]
pub struct SubgraphErrors {
    counts: Family<BySubgraphAndCode, Counter>,
    known: Arc<Mutex<FxHashMap<String, FxHashSet<String>>>>,
}

impl SubgraphErrors {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let made = Self::default();
        metrics.register(
            "gateway_subgraph_errors",
            "Answers of a subgraph with an error of this code, and requests without an answer; each code once an answer",
            made.counts.clone(),
        );
        made
    }

    /// Counts one answer with an error of this code, which is plain text.
    pub fn count(&self, subgraph: &str, code: &str) {
        let code = match self.admits(subgraph, code) {
            true => code,
            false => OTHER,
        };
        let labels = BySubgraphAndCode {
            subgraph: subgraph.to_owned(),
            code: code.to_owned(),
        };
        self.counts.get_or_create(&labels).inc();
    }

    fn admits(&self, subgraph: &str, code: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // There are as many subgraphs as the supergraphs of this process have.
        let codes = match known.get_mut(subgraph) {
            Some(codes) => codes,
            None => known.entry(subgraph.to_owned()).or_default(),
        };
        codes.contains(code) || (codes.len() < CODES_MAX && codes.insert(code.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_beyond_the_bound_are_counted_together() {
        let errors = SubgraphErrors::default();
        for index in 0..1_000 {
            errors.count("posts", &format!("CODE_{index}"));
        }
        errors.count("comments", "CODE_999");
        let count = |subgraph: &str, code: &str| {
            let labels = BySubgraphAndCode {
                subgraph: subgraph.to_owned(),
                code: code.to_owned(),
            };
            errors.counts.get_or_create(&labels).get()
        };
        assert_eq!(count("posts", OTHER), 950);
        assert_eq!(count("posts", "CODE_49"), 1);
        assert_eq!(count("comments", "CODE_999"), 1);
    }
}
