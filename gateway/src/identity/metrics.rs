//! What is counted of tokens and keys.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use service::Metrics;

use super::refused::Refused;

/// Metrics of tokens and keys. Clones share them.
#[derive(Clone, Default)]
pub struct IdentityMetrics {
    verified: Counter,
    refused: Family<ReasonLabels, Counter>,
    readings: Family<ResultLabels, Counter>,
    /// The keys of all sets.
    pub(super) keys: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl IdentityMetrics {
    /// Adds them to the process's metrics.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            verified: metrics.register(
                "gateway_tokens_verified",
                "Signatures of tokens checked and found valid; a known token is not checked again",
                Counter::default(),
            ),
            refused: metrics.register(
                "gateway_tokens_refused",
                "Requests and sockets refused for their token, by reason",
                Family::default(),
            ),
            readings: metrics.register(
                "gateway_jwks_readings",
                "Readings of JWK sets, by result",
                Family::default(),
            ),
            keys: metrics.register(
                "gateway_jwks_keys",
                "Keys that check tokens",
                Gauge::default(),
            ),
        }
    }

    pub(super) fn verified(&self) {
        self.verified.inc();
    }

    pub(super) fn refused(&self, refused: Refused) {
        let reason = refused.label();
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(super) fn read(&self, has_succeeded: bool) {
        let result = if has_succeeded { "read" } else { "failed" };
        self.readings.get_or_create(&ResultLabels { result }).inc();
    }
}
