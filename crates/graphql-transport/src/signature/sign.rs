//! The gateway's side: signs requests for one service.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::Mac;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{
    CONTENT_DIGEST, DIGEST_NAME, IDENTITY, SIGNATURE, SIGNATURE_INPUT,
    base::Request,
    digest_of,
    parameters::{LABEL, key_id},
    seconds,
    secret::Key,
};

/// Signs requests for one service. By default it signs nothing.
#[derive(Clone, Default)]
pub struct Signer(Option<Arc<ServiceKey>>);

struct ServiceKey {
    /// The service's name, as in a signature.
    id: String,
    key: Key,
}

/// Shows nothing of the key.
impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Signer({})", self.key_id().unwrap_or("off"))
    }
}

/// The headers of a signed request.
#[derive(Clone, Debug)]
pub struct SignatureHeaders(Vec<(HeaderName, HeaderValue)>);

impl SignatureHeaders {
    /// The headers, each once.
    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }

    /// Adds them to a request's headers, in the place of others of the same names.
    pub fn add_to(self, headers: &mut HeaderMap) {
        for (name, value) in self.0 {
            headers.insert(name, value);
        }
    }
}

impl Signer {
    pub(super) fn new(name: &str, key: Key) -> Self {
        let id = key_id(name);
        Self(Some(Arc::new(ServiceKey { id, key })))
    }

    /// Whether it signs.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The name of its key; `None` if it signs nothing.
    pub fn key_id(&self) -> Option<&str> {
        self.0.as_ref().map(|key| &*key.id)
    }

    /// Signs a request; `None` without a secret. `path` is the target's path with its query, `body` is absent
    /// for a request that has none, `headers` are those that are sent; of them, it covers those that say who asks.
    ///
    /// A service accepts a signature once, so a request that is sent again needs another one.
    pub fn sign(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        headers: &HeaderMap,
    ) -> Option<SignatureHeaders> {
        self.sign_at(SystemTime::now(), &nonce(), method, path, body, headers)
    }

    pub(super) fn sign_at(
        &self,
        now: SystemTime,
        nonce: &str,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        sent: &HeaderMap,
    ) -> Option<SignatureHeaders> {
        let ServiceKey { id, key } = self.0.as_deref()?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let digest = body.map(digest_of);
        let mut headers = HeaderMap::new();
        let mut components = vec!["@method", "@path", "@query"];
        if let Some(digest) = &digest {
            headers.insert(CONTENT_DIGEST, HeaderValue::try_from(digest).ok()?);
            components.push(DIGEST_NAME);
        }
        for name in &IDENTITY {
            for value in sent.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
            if sent.contains_key(name) {
                components.push(name.as_str());
            }
        }
        let listed: Vec<String> = components
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect();
        let parameters = format!(
            "({});created={};nonce=\"{nonce}\";keyid=\"{id}\";alg=\"hmac-sha256\"",
            listed.join(" "),
            seconds(now)
        );
        let request = Request {
            method,
            path,
            query,
            headers: &headers,
        };
        let base = request.base(&components, &parameters).ok()?;
        let tag = key.clone().chain_update(base).finalize().into_bytes();
        let value = |text: String| HeaderValue::try_from(text).ok();
        let mut signed = Vec::with_capacity(3);
        if let Some(digest) = headers.remove(CONTENT_DIGEST) {
            signed.push((CONTENT_DIGEST, digest));
        }
        signed.push((SIGNATURE_INPUT, value(format!("{LABEL}={parameters}"))?));
        let tag = BASE64_STANDARD.encode(tag);
        signed.push((SIGNATURE, value(format!("{LABEL}=:{tag}:"))?));
        Some(SignatureHeaders(signed))
    }
}

/// A text that no other signature has, of this process or another one. It may be guessed: it only has to differ.
fn nonce() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}-{count:x}", *PROCESS)
}
