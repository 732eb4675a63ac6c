//! A service's side: accepts requests that its gateway has signed, each once.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use hmac::Mac;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::{
    AGE_SECONDS_MAX, AHEAD_SECONDS_MAX, CLAIMS, CONTENT_DIGEST, DIGEST_NAME, IDENTITY, SIGNATURE,
    SIGNATURE_INPUT,
    base::Request,
    digest_of,
    parameters::{Parameters, bytes_of, key_id, member},
    seconds,
    secret::{Key, service_keys},
    used::{Fingerprint, UsedSignatures},
};
use crate::code::{Code, Refusal};

/// Of a repeated one, readers take the first or the last.
static SINGLE: [HeaderName; 2] = [CLAIMS, header::AUTHORIZATION];

/// Accepts requests that a gateway has signed for this service, each once. Clones share what was accepted. By
/// default it accepts every request.
#[derive(Clone, Default)]
pub struct Verifier(Option<Arc<Service>>);

struct Service {
    /// Its name, as in a signature.
    key_id: String,
    keys: Vec<Key>,
    used: Mutex<UsedSignatures>,
}

/// Shows nothing of the keys.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, keys) = match &self.0 {
            None => ("off", 0),
            Some(service) => (&*service.key_id, service.keys.len()),
        };
        write!(formatter, "Verifier({name}, {keys} keys)")
    }
}

/// The head of a request whose signature is valid, and whose body is not checked yet.
#[must_use = "a request is accepted only with its body"]
#[derive(Debug)]
pub struct SignedHead(Option<Unused>);

/// A valid signature that has not been used.
struct Unused {
    service: Arc<Service>,
    created: u64,
    fingerprint: Fingerprint,
    digest: Option<HeaderValue>,
}

impl std::fmt::Debug for Unused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Unused(created {})", self.created)
    }
}

impl Verifier {
    /// Reads the secrets or keys of the service with this name, separated by commas; with an empty text it accepts
    /// every request.
    ///
    /// # Errors
    /// In words without the secrets, if one is missing, short or not a key, or there are too many.
    pub fn new(text: &str, name: &str) -> Result<Self, String> {
        let keys = service_keys(text, name)?;
        if keys.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self(Some(Arc::new(Service {
            key_id: key_id(name),
            keys,
            used: Mutex::default(),
        }))))
    }

    /// Whether it refuses anything.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Checks the signature of a request without a body.
    ///
    /// # Errors
    /// `SIGNATURE_REFUSED`.
    pub fn verify(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let now = SystemTime::now();
        let request = request(method, uri, headers);
        let head = self.head_at(now, &request, false);
        head.and_then(|head| head.use_at(now)).map_err(refused)
    }

    /// Checks the signature of a request's head, which has to have the digest of its body.
    ///
    /// # Errors
    /// `SIGNATURE_REFUSED`.
    pub fn verify_head(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<SignedHead, Refusal> {
        let request = request(method, uri, headers);
        self.head_at(SystemTime::now(), &request, true)
            .map_err(refused)
    }

    pub(super) fn head_at(
        &self,
        now: SystemTime,
        request: &Request<'_>,
        has_body: bool,
    ) -> Result<SignedHead, &'static str> {
        let Some(service) = &self.0 else {
            return Ok(SignedHead(None));
        };
        let (created, fingerprint) = service.check(seconds(now), request, has_body)?;
        let mut digests = request.headers.get_all(CONTENT_DIGEST).iter();
        let digest = match (digests.next(), digests.next()) {
            (digest, None) => digest.cloned(),
            _ => return Err("the request has two digests of its body"),
        };
        Ok(SignedHead(Some(Unused {
            service: Arc::clone(service),
            created,
            fingerprint,
            digest,
        })))
    }
}

impl SignedHead {
    /// Checks that the body is the one whose digest was signed, and that the request was not accepted before.
    ///
    /// # Errors
    /// `SIGNATURE_REFUSED`.
    pub fn verify_body(self, body: &[u8]) -> Result<(), Refusal> {
        let checked = self.verify_body_at(SystemTime::now(), body);
        checked.map_err(refused)
    }

    pub(super) fn verify_body_at(self, now: SystemTime, body: &[u8]) -> Result<(), &'static str> {
        if let Some(unused) = &self.0 {
            let digest = unused.digest.as_ref();
            let digests = digest.and_then(|digest| digest.to_str().ok());
            let mut digests = digests.unwrap_or_default().split(',');
            let expected = digest_of(body);
            if !digests.any(|digest| digest.trim() == expected) {
                return Err("the body is not the one that was signed");
            }
        }
        self.use_at(now)
    }

    /// Only what is wholly verified is remembered: otherwise a part of a recorded request could be sent to have the
    /// rest of it refused.
    pub(super) fn use_at(self, now: SystemTime) -> Result<(), &'static str> {
        let Some(unused) = self.0 else {
            return Ok(());
        };
        let mut used = unused.service.used();
        used.add(seconds(now), unused.created, unused.fingerprint)
    }
}

impl Service {
    fn used(&self) -> MutexGuard<'_, UsedSignatures> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when a signature was created, and its fingerprint.
    fn check(
        &self,
        now: u64,
        request: &Request<'_>,
        has_body: bool,
    ) -> Result<(u64, Fingerprint), &'static str> {
        let input = member(request.headers, &SIGNATURE_INPUT)?;
        let signature = member(request.headers, &SIGNATURE)?;
        let signature = bytes_of(signature).ok_or("the signature is malformed")?;
        let Parameters {
            components,
            created,
            expires,
            key_id,
        } = Parameters::read(input).ok_or("the signature's parameters are malformed")?;
        for required in ["@method", "@path", "@query"] {
            if !components.contains(&required) {
                return Err("the signature does not cover the method, the path and the query");
            }
        }
        if has_body && !components.contains(&DIGEST_NAME) {
            return Err("the signature does not cover the body");
        }
        let is_uncovered = |name: &HeaderName| {
            request.headers.contains_key(name) && !components.contains(&name.as_str())
        };
        if IDENTITY.iter().any(is_uncovered) {
            return Err("the signature does not cover the headers that say who asks");
        }
        let is_repeated = |name: &HeaderName| request.headers.get_all(name).iter().count() > 1;
        if SINGLE.iter().any(is_repeated) {
            return Err("a header that says who asks is there twice");
        }
        if key_id != self.key_id {
            return Err("the signature is for another subgraph (SUBGRAPH_NAME)");
        }
        if created > now.saturating_add(AHEAD_SECONDS_MAX) {
            return Err("the signature is of a time to come: the clocks differ by more than 5 s");
        }
        let ends = created.saturating_add(AGE_SECONDS_MAX);
        if now > expires.map_or(ends, |expires| expires.min(ends)) {
            return Err("the signature has expired: it is valid for 60 s");
        }
        let base = request.base(&components, input)?;
        let is_signed = self.keys.iter().any(|key| {
            let mac = key.clone().chain_update(&base);
            mac.verify_slice(&signature).is_ok()
        });
        let Some(fingerprint) = signature.first_chunk().filter(|_| is_signed) else {
            return Err("the signature is not valid");
        };
        let fingerprint = Fingerprint::from_ne_bytes(*fingerprint);
        // Before the body is read, although only what has its body counts as used.
        self.used().check(created, fingerprint)?;
        Ok((created, fingerprint))
    }
}

fn request<'r>(method: &'r Method, uri: &'r Uri, headers: &'r HeaderMap) -> Request<'r> {
    Request {
        method,
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers,
    }
}

fn refused(reason: &'static str) -> Refusal {
    Refusal::new(
        Code::SignatureRefused,
        format!("requests to this service have to be signed by its gateway: {reason}"),
    )
}
