//! Asks a service which policies hold for a client (`POLICY_URL`).
//!
//! One POST for all policies of an operation that nothing has decided yet:
//! `{"policies": ["read_profile", ...], "claims": {...}}`, with `null` for the claims of a client without a token.
//! The response is `{"policies": {"read_profile": true, ...}}`; a policy that it does not name does not hold. With
//! `Cache-Control: max-age` it is remembered for the token.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use graphql_transport::ClientKey;
use http::{HeaderMap, header};
use quick_cache::{Weighter, sync::Cache};
use serde::Deserialize;

use crate::{
    config::{AuthorizationConfig, SubgraphSettings},
    error::{Code, RequestError},
    identity::Identity,
    metrics::SubgraphMetrics,
    subgraphs::{Caller, Subgraph, Tls},
};

/// The service's name in metrics.
const NAME: &str = "policy service";
/// The largest response, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// The longest time for which a decision is remembered.
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of an entry beside its policies' names.
const ENTRY_BYTES: usize = 128;

/// The service, and its decisions that are still valid.
pub struct PolicyService {
    service: Subgraph,
    known: Cache<u64, Arc<[Decided]>, Weight>,
}

/// A client for which the service is asked.
#[derive(Clone, Copy)]
pub struct PolicyAsker<'a> {
    service: &'a PolicyService,
    identity: Option<&'a Identity>,
    /// Who takes turns with others at the service.
    client: ClientKey,
}

/// What the service has decided about a policy.
#[derive(Clone)]
struct Decided {
    policy: Box<str>,
    holds: bool,
    until: Instant,
}

#[derive(Clone)]
struct Weight;

impl Weighter<u64, Arc<[Decided]>> for Weight {
    fn weight(&self, _: &u64, decided: &Arc<[Decided]>) -> u64 {
        let names = decided
            .iter()
            .map(|it| size_of::<Decided>() + it.policy.len());
        (ENTRY_BYTES + names.sum::<usize>()) as u64
    }
}

/// The service's response: whether the client fulfils each policy that the request named.
#[derive(Deserialize)]
struct Answer {
    policies: HashMap<String, bool>,
}

impl PolicyService {
    /// Reads the settings; `None` if `POLICY_URL` is not set.
    ///
    /// # Errors
    /// If it is not an address.
    pub fn new(
        config: &AuthorizationConfig,
        subgraphs: &SubgraphSettings,
        tls: &Tls,
        metrics: &SubgraphMetrics,
    ) -> anyhow::Result<Option<Self>> {
        let url = config.policy_url.as_deref().map(str::trim);
        let Some(url) = url.filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let settings = SubgraphSettings {
            timeout: config.policy_timeout,
            body_bytes_max: BODY_BYTES_MAX,
            ..subgraphs.clone()
        };
        let service = Subgraph::new(NAME, &[url], &settings, tls, metrics);
        let bytes_max = config.policy_known_bytes_max;
        Ok(Some(Self {
            service: service
                .map_err(|reason| anyhow!(reason))
                .context("POLICY_URL")?,
            known: Cache::with_weighter((bytes_max / 512).max(1), bytes_max as u64, Weight),
        }))
    }

    /// Asks for a client with this token, if it has one.
    pub fn asked_for<'a>(
        &'a self,
        identity: Option<&'a Identity>,
        client: ClientKey,
    ) -> PolicyAsker<'a> {
        PolicyAsker {
            service: self,
            identity,
            client,
        }
    }
}

impl PolicyAsker<'_> {
    /// Those of `policies` that hold for the client, sorted.
    ///
    /// # Errors
    /// `POLICY_SERVICE_UNAVAILABLE` if there is no usable response: nothing is decided by default.
    pub async fn holding(&self, policies: Vec<&str>) -> Result<Vec<String>, RequestError> {
        // Clients without a token are all alike.
        let client = self.identity.map_or(0, Identity::number);
        let now = Instant::now();
        let known = self.service.known.get(&client);
        let valid = known.iter().flat_map(|known| known.iter());
        let mut decided: Vec<Decided> = valid.filter(|it| it.until > now).cloned().collect();
        let is_open = |policy: &&str| !decided.iter().any(|it| *it.policy == **policy);
        let open: Vec<&str> = policies.iter().copied().filter(is_open).collect();
        if !open.is_empty() {
            let (answer, age) = self.ask(&open).await?;
            let fresh = open.iter().map(|policy| Decided {
                policy: Box::from(*policy),
                holds: answer.policies.get(*policy) == Some(&true),
                until: now + age,
            });
            decided.extend(fresh);
            if !age.is_zero() {
                let kept = decided.iter().filter(|it| it.until > now).cloned();
                self.service.known.insert(client, kept.collect());
            }
        }
        let holding = decided
            .iter()
            .filter(|it| it.holds && policies.contains(&&*it.policy));
        let mut holding: Vec<String> = holding.map(|it| it.policy.to_string()).collect();
        holding.sort_unstable();
        Ok(holding)
    }

    /// The decisions, and for how long they are valid.
    async fn ask(&self, policies: &[&str]) -> Result<(Answer, Duration), RequestError> {
        let claims = self.identity.map(|identity| &identity.claims);
        let body = serde_json::json!({"policies": policies, "claims": claims}).to_string();
        let service = &self.service.service;
        let caller = Caller {
            client: self.client,
            answer_bytes: 0,
        };
        let reason = match service
            .send(caller, body.as_bytes(), b"", false, true)
            .await
        {
            Ok(response) if response.status == 200 => {
                match serde_json::from_slice::<Answer>(&response.body) {
                    Ok(answer) => return Ok((answer, max_age(&response.headers))),
                    Err(error) => format!("its response cannot be read: {error}"),
                }
            }
            Ok(response) => format!("HTTP status {}", response.status),
            Err(error) => error.to_string(),
        };
        tracing::warn!(
            url = service.url(),
            reason,
            "the policy service did not decide, its operation is refused"
        );
        Err(RequestError::new(
            Code::PolicyServiceUnavailable,
            "it cannot be decided now what this client may see: try again later",
        ))
    }
}

/// For how long a response may be used again.
fn max_age(headers: &HeaderMap) -> Duration {
    let lines = headers.get_all(header::CACHE_CONTROL).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let mut age = Duration::ZERO;
    for directive in lines.flat_map(|line| line.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        if ["no-store", "no-cache"].contains(&directive.as_str()) {
            return Duration::ZERO;
        }
        let seconds = directive.strip_prefix("max-age=");
        let seconds = seconds.and_then(|text| text.trim_matches('"').parse().ok());
        if let Some(seconds) = seconds {
            age = Duration::from_secs(seconds).min(AGE_MAX);
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_valid_for_its_max_age() {
        let age = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                let value = http::HeaderValue::from_static(line);
                headers.append(header::CACHE_CONTROL, value);
            }
            max_age(&headers).as_secs()
        };
        assert_eq!(age(&[]), 0);
        assert_eq!(age(&["private, Max-Age=60"]), 60);
        assert_eq!(age(&["max-age=\"5\""]), 5);
        assert_eq!(age(&["max-age=-1"]), 0);
        assert_eq!(age(&["max-age=60, no-store"]), 0);
        assert_eq!(age(&["max-age=60", "no-cache"]), 0);
        assert_eq!(age(&["max-age=99999999999"]), AGE_MAX.as_secs());
    }
}
