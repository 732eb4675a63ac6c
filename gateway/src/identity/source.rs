//! One JWK set: where it is, and reading it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::{
    algorithm::Algorithm,
    key::{Jwk, Key},
};
use crate::subgraphs::{Endpoint, Tls, Wanted, download, without_user};

/// The largest JWK set, in bytes.
const SET_BYTES_MAX: usize = 256 * 1024;
/// The largest number of keys in a set.
const KEYS_MAX: usize = 100;

/// A JWK set that the settings name.
pub(super) struct Source {
    /// The only issuer whose tokens its keys sign; `None` for all that are accepted.
    pub issuer: Option<String>,
    place: Place,
    /// The place without a user name or password, for the log.
    shown: String,
    algorithms: Vec<Algorithm>,
}

enum Place {
    File(PathBuf),
    Address(Box<Endpoint>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl Source {
    /// Parses an item of `JWT_JWKS`. `may_be_http` allows addresses without TLS.
    ///
    /// # Errors
    /// If it is not an address or a file, or an address without TLS outside this machine.
    pub(super) fn parse(
        text: &str,
        algorithms: &[Algorithm],
        may_be_http: bool,
    ) -> anyhow::Result<Self> {
        let mut words = text.split_whitespace();
        let (issuer, place) = match (words.next(), words.next(), words.next()) {
            (Some(place), None, _) => (None, place),
            (Some(issuer), Some(place), None) => (Some(issuer), place),
            _ => bail!("it has to be ADDRESS, or ISSUER ADDRESS"),
        };
        let shown = without_user(place);
        let place = if !place.contains("://") {
            Place::File(place.into())
        } else {
            let endpoint = Endpoint::parse(place).map_err(anyhow::Error::msg)?;
            ensure!(
                endpoint.is_tls() || may_be_http || endpoint.is_this_machine(),
                "{shown} is not https: whoever can change its response can sign in as anybody \
                 (JWT_JWKS_HTTP allows it)"
            );
            Place::Address(Box::new(endpoint))
        };
        Ok(Self {
            issuer: issuer.map(ToOwned::to_owned),
            place,
            shown,
            algorithms: algorithms.to_vec(),
        })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// Reads the set from a file at the start, when nothing else runs.
    ///
    /// # Errors
    /// If it cannot be read, or has no key that can be used.
    pub(super) fn check_file(&self) -> anyhow::Result<()> {
        if let Place::File(path) = &self.place {
            let text = std::fs::read(path).context("the file cannot be read")?;
            self.keys_of(&text).map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }

    /// Reads the set, within `time_limit`.
    ///
    /// # Errors
    /// In words, if it cannot be read, is not a JWK set, or has no key that can be used: an empty set is what a
    /// proxy or a provider that starts answers, and would sign everybody out.
    pub(super) async fn read(
        &self,
        tls: &Tls,
        time_limit: Duration,
    ) -> Result<Vec<Arc<Key>>, String> {
        let text = match &self.place {
            Place::File(path) => {
                let reading = tokio::time::timeout(time_limit, tokio::fs::read(path)).await;
                let text = reading.map_err(|_| "reading it took too long".to_owned())?;
                text.map_err(|error| error.to_string())?.into()
            }
            Place::Address(endpoint) => {
                let wanted = Wanted {
                    accept: "application/jwk-set+json, application/json",
                    ..Wanted::default()
                };
                let response = download(endpoint, wanted, tls, SET_BYTES_MAX, time_limit).await;
                let response = response.map_err(|error| error.to_string())?;
                // A redirect is not followed: the keys come from where the settings say.
                if response.status != 200 {
                    return Err(format!("it answers with HTTP status {}", response.status));
                }
                response.body
            }
        };
        self.keys_of(&text)
    }

    /// The keys that can be used. Others are skipped: a provider may have keys of new types, or to encrypt.
    fn keys_of(&self, text: &[u8]) -> Result<Vec<Arc<Key>>, String> {
        if text.len() > SET_BYTES_MAX {
            return Err(format!("it has more than {SET_BYTES_MAX} bytes"));
        }
        let set: Set = serde_json::from_slice(text)
            .map_err(|error| format!("it is not a JWK set: {error}"))?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("it has more than {KEYS_MAX} keys"));
        }
        let mut keys = Vec::new();
        for value in set.keys {
            let key = serde_json::from_value::<Jwk>(value)
                .map_err(|error| format!("it is not a key: {error}"))
                .and_then(Key::read)
                .and_then(|key| self.usable(key));
            match key {
                Ok(key) => keys.push(Arc::new(key)),
                Err(reason) => tracing::debug!(set = self.shown, reason, "a key is not used"),
            }
        }
        match keys.is_empty() {
            true => Err("it has no key that can be used".to_owned()),
            false => Ok(keys),
        }
    }

    fn usable(&self, key: Key) -> Result<Key, String> {
        // A secret that everybody can read would let everybody make tokens.
        if key.is_secret() && !self.is_file() {
            return Err("a secret does not belong in a set at an address".to_owned());
        }
        match self.algorithms.iter().any(|algorithm| key.fits(*algorithm)) {
            true => Ok(key),
            false => Err("JWT_ALGORITHMS has none of its algorithms".to_owned()),
        }
    }
}
