//! Which claims of a verified token subgraphs get, and the header that has them.

use std::sync::Arc;

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::config::listed;

/// The header with a verified client's claims: a JSON object in base64url, so that any text passes.
pub use graphql_transport::signature::CLAIMS;

/// The claims that subgraphs get: one set for most, others for those that the setting names.
#[derive(Debug, Default)]
pub(super) struct ClaimRules {
    sets: Vec<ClaimSet>,
}

/// The claims of some subgraphs. In the headers of a client's request they have a name of their own.
#[derive(Debug)]
struct ClaimSet {
    /// `None`: all that no other set names.
    subgraph: Option<String>,
    claims: Vec<String>,
    carrier: HeaderName,
}

/// The headers of one client's claims, one for each set.
#[derive(Debug, Default)]
pub struct ForwardedClaims(Vec<HeaderValue>);

impl ForwardedClaims {
    /// The values, in the order of the sets.
    pub fn values(&self) -> impl Iterator<Item = &HeaderValue> {
        self.0.iter()
    }
}

impl ClaimRules {
    /// Parses `SUBGRAPH_CLAIMS`: `sub, scope, email@accounts`.
    ///
    /// # Errors
    /// If an item names no claim.
    pub(super) fn new(items: &[String]) -> anyhow::Result<Self> {
        let mut for_all = Vec::new();
        let mut named: Vec<(&str, Vec<&str>)> = Vec::new();
        for item in listed(items) {
            // A claim may have an `@`, a subgraph's name may not.
            let (claim, subgraph) = match item.rsplit_once('@') {
                Some((claim, subgraph)) => (claim, Some(subgraph)),
                None => (item, None),
            };
            ensure!(
                !claim.is_empty() && subgraph != Some(""),
                "SUBGRAPH_CLAIMS: {item:?} is not CLAIM or CLAIM@SUBGRAPH"
            );
            match subgraph {
                None => for_all.push(claim),
                Some(subgraph) => match named.iter_mut().find(|(name, _)| *name == subgraph) {
                    Some((_, claims)) => claims.push(claim),
                    None => named.push((subgraph, vec![claim])),
                },
            }
        }
        let mut all = Vec::new();
        if !for_all.is_empty() {
            all.push((None, Vec::new()));
        }
        all.extend(named.into_iter().map(|(name, claims)| (Some(name), claims)));
        let sets = all
            .into_iter()
            .enumerate()
            .map(|(number, (subgraph, own))| {
                let claims = for_all.iter().chain(&own);
                let carrier = format!("{CLAIMS}-{number}");
                Ok(ClaimSet {
                    subgraph: subgraph.map(ToOwned::to_owned),
                    claims: claims.map(|claim| (*claim).to_owned()).collect(),
                    carrier: carrier.parse().context("the name of a header")?,
                })
            });
        let sets = sets.collect::<anyhow::Result<_>>()?;
        Ok(Self { sets })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The name under which a subgraph's claims are in a client's headers, if it gets any.
    pub(super) fn carrier(&self, subgraph: &str) -> Option<&HeaderName> {
        let own = self
            .sets
            .iter()
            .find(|set| set.subgraph.as_deref() == Some(subgraph));
        let set = own.or_else(|| self.sets.iter().find(|set| set.subgraph.is_none()));
        set.map(|set| &set.carrier)
    }

    pub(super) fn carriers(&self) -> impl Iterator<Item = &HeaderName> {
        self.sets.iter().map(|set| &set.carrier)
    }

    /// The values for one token's claims. A claim that it does not have is left out.
    pub(super) fn values(&self, claims: &Map<String, Value>) -> ForwardedClaims {
        let values = self.sets.iter().map(|set| {
            let mut chosen = Map::new();
            for name in &set.claims {
                if let Some(value) = claims.get(name) {
                    chosen.insert(name.clone(), value.clone());
                }
            }
            let json = Value::Object(chosen).to_string();
            let value = HeaderValue::try_from(BASE64_URL_SAFE_NO_PAD.encode(json));
            let mut value = value.unwrap_or(HeaderValue::from_static(""));
            value.set_sensitive(true);
            value
        });
        ForwardedClaims(values.collect())
    }

    /// Puts the claims into a client's headers, in the place of what the client sent under these names.
    pub(super) fn set(&self, headers: &mut Arc<HeaderMap>, claims: Option<&ForwardedClaims>) {
        for (number, set) in self.sets.iter().enumerate() {
            match claims.and_then(|claims| claims.0.get(number)) {
                Some(value) => {
                    Arc::make_mut(headers).insert(&set.carrier, value.clone());
                }
                None if headers.contains_key(&set.carrier) => {
                    Arc::make_mut(headers).remove(&set.carrier);
                }
                None => {}
            }
        }
    }
}

/// The JSON in the value of [`CLAIMS`].
pub(crate) fn json_of(value: &HeaderValue) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(value.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Map<String, Value> {
        let text = r#"{"sub":"1","name":"Zo\u00eb","scope":"a b","email":"z@example","exp":1}"#;
        serde_json::from_str(text).expect("an object")
    }

    fn rules(items: &[&str]) -> ClaimRules {
        let items: Vec<String> = items.iter().map(|item| (*item).to_owned()).collect();
        ClaimRules::new(&items).expect("well-formed")
    }

    fn sent(rules: &ClaimRules, subgraph: &str) -> Option<String> {
        let mut headers = Arc::default();
        rules.set(&mut headers, Some(&rules.values(&claims())));
        let value = headers.get(rules.carrier(subgraph)?)?;
        String::from_utf8(json_of(value)?).ok()
    }

    #[test]
    fn each_subgraph_gets_its_claims_and_no_other() {
        let rules = rules(&["sub", "name", "email@accounts", "missing"]);
        assert_eq!(
            sent(&rules, "posts").as_deref(),
            Some(r#"{"sub":"1","name":"Zoë"}"#)
        );
        assert_eq!(
            sent(&rules, "accounts").as_deref(),
            Some(r#"{"sub":"1","name":"Zoë","email":"z@example"}"#)
        );
        let only = self::rules(&["email@accounts"]);
        assert_eq!(sent(&only, "posts"), None);
    }

    #[test]
    fn what_a_client_sends_as_claims_is_replaced() {
        let rules = rules(&["sub"]);
        let carrier = rules.carrier("posts").expect("a name").clone();
        let mut headers = HeaderMap::new();
        headers.append(carrier.clone(), HeaderValue::from_static("forged"));
        headers.append(carrier.clone(), HeaderValue::from_static("forged too"));
        let mut signed_in = Arc::new(headers.clone());
        rules.set(&mut signed_in, Some(&rules.values(&claims())));
        let values: Vec<_> = signed_in.get_all(&carrier).iter().collect();
        assert_eq!(
            values,
            [BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"1"}"#).as_str()]
        );
        let mut nobody = Arc::new(headers);
        rules.set(&mut nobody, None);
        assert!(nobody.is_empty());
    }

    #[test]
    fn an_item_without_a_claim_is_refused() {
        for item in ["@posts", "sub@"] {
            assert!(ClaimRules::new(&[item.to_owned()]).is_err(), "{item}");
        }
    }
}
