//! Signed requests: a gateway signs what it sends to its services, which refuse everything else.
//!
//! By HTTP Message Signatures ([RFC 9421](https://www.rfc-editor.org/rfc/rfc9421), `hmac-sha256`) with a shared
//! secret, and [`Content-Digest`](https://www.rfc-editor.org/rfc/rfc9530). The signature covers the method, the
//! path and the query, but not the host, which proxies rewrite; the body by its digest; and the headers that say
//! who asks: [`CLAIMS`], `Authorization` and `Cookie`. A signature is accepted for 60 s, and from a clock that is
//! at most 5 s ahead. Within that time, a request that somebody has recorded can be sent again.

use std::{
    convert::Infallible,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use sha2::{Digest, Sha256};

use crate::code::{Code, Refusal};

/// The header in which a gateway sends the claims of a verified client to its services. A signature covers it
/// wherever it is.
pub const CLAIMS: HeaderName = HeaderName::from_static(CLAIMS_NAME);

const CLAIMS_NAME: &str = "rejoinder-claims";
const DIGEST_NAME: &str = "content-digest";
const CONTENT_DIGEST: HeaderName = HeaderName::from_static(DIGEST_NAME);
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");

/// For how long a signature is accepted, in seconds.
const AGE_SECONDS_MAX: u64 = 60;
/// How far ahead the clock of the gateway may be, in seconds.
const AHEAD_SECONDS_MAX: u64 = 5;
/// The headers that say who asks: a signature covers them wherever they are.
static IDENTITY: [HeaderName; 3] = [CLAIMS, header::AUTHORIZATION, header::COOKIE];
/// The shortest secret, in bytes.
const SECRET_BYTES_MIN: usize = 32;
/// The largest number of secrets: the one that signs, and older ones.
const SECRETS_MAX: usize = 4;
/// The name of the signature among those that a request may have.
const LABEL: &str = "gateway";
/// The key's name in the parameters of a signature.
const KEY_ID: &str = "\"gateway\"";
/// The largest number of components of a signature.
const COMPONENTS_MAX: usize = 16;

/// The secrets of a gateway and its services. The first one signs; all of them verify, so that a new one can
/// be added before an old one is removed. Without any, nothing is signed and nothing is verified.
#[derive(Clone, Default)]
pub struct Signer(Arc<[Hmac<Sha256>]>);

/// Shows nothing of the secrets.
impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Signer({} secrets)", self.0.len())
    }
}

/// The text of a setting with secrets, before it is checked. It takes any text, so that no parser of settings
/// shows a malformed secret in its error.
#[derive(Clone, Default)]
pub struct SecretSetting(Box<str>);

/// Shows nothing of the secrets.
impl std::fmt::Debug for SecretSetting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SecretSetting")
    }
}

impl FromStr for SecretSetting {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

impl SecretSetting {
    /// Reads the secrets, separated by commas; of an empty text, none.
    ///
    /// # Errors
    /// In words without the secrets, if one is missing or short, or there are too many.
    pub fn signer(&self) -> Result<Signer, String> {
        Signer::new(&self.0)
    }
}

impl Signer {
    /// Reads secrets that are separated by commas; of an empty text, none.
    ///
    /// # Errors
    /// In words without the secrets, if one is missing or short, or there are too many.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let secrets: Vec<&str> = text.split(',').map(str::trim).collect();
        if secrets.len() > SECRETS_MAX {
            return Err(format!("at most {SECRETS_MAX} secrets can be set"));
        }
        let keys = secrets.into_iter().map(|secret| {
            // Skipped, a lone comma would turn the signatures off.
            if secret.is_empty() {
                return Err("there is a comma without a secret beside it".to_owned());
            }
            if secret.len() < SECRET_BYTES_MIN {
                return Err(format!(
                    "a secret needs at least {SECRET_BYTES_MIN} characters: \
                     `openssl rand -base64 32` makes one"
                ));
            }
            Hmac::new_from_slice(secret.as_bytes()).map_err(|error| error.to_string())
        });
        Ok(Self(keys.collect::<Result<_, String>>()?))
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
    /// Whether there is a secret.
    pub fn is_on(&self) -> bool {
        !self.0.is_empty()
    }

    /// Signs a request; `None` without a secret. `path` is the target's path with its query, `body` is absent
    /// for a request that has none, `headers` are those that are sent; of them, it covers those that say who asks.
    pub fn sign(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        headers: &HeaderMap,
    ) -> Option<SignatureHeaders> {
        self.sign_at(SystemTime::now(), method, path, body, headers)
    }

    fn sign_at(
        &self,
        now: SystemTime,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        sent: &HeaderMap,
    ) -> Option<SignatureHeaders> {
        let key = self.0.first()?;
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
            "({});created={};keyid={KEY_ID};alg=\"hmac-sha256\"",
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

    /// Checks the signature of a request's head. With `has_body`, the head has to have the body's digest,
    /// which [`Signer::verify_body`] then checks. Without a secret, everything is accepted.
    ///
    /// # Errors
    /// `SIGNATURE_REFUSED`.
    pub fn verify(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        has_body: bool,
    ) -> Result<(), Refusal> {
        let request = Request {
            method,
            path: uri.path(),
            query: uri.query().unwrap_or_default(),
            headers,
        };
        self.verify_at(SystemTime::now(), &request, has_body)
            .map_err(refused)
    }

    fn verify_at(
        &self,
        now: SystemTime,
        request: &Request<'_>,
        has_body: bool,
    ) -> Result<(), &'static str> {
        if !self.is_on() {
            return Ok(());
        }
        let input = member(request.headers, &SIGNATURE_INPUT)?;
        let signature = member(request.headers, &SIGNATURE)?;
        let signature = bytes_of(signature).ok_or("the signature is malformed")?;
        let Parameters {
            components,
            created,
            expires,
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
        let now = seconds(now);
        if created > now.saturating_add(AHEAD_SECONDS_MAX) {
            return Err("the signature is of a time to come: the clocks differ by more than 5 s");
        }
        let ends = created.saturating_add(AGE_SECONDS_MAX);
        if now > expires.map_or(ends, |expires| expires.min(ends)) {
            return Err("the signature has expired: it is valid for 60 s");
        }
        let base = request.base(&components, input)?;
        let is_signed = self.0.iter().any(|key| {
            let mac = key.clone().chain_update(&base);
            mac.verify_slice(&signature).is_ok()
        });
        match is_signed {
            true => Ok(()),
            false => Err("the signature is not valid"),
        }
    }

    /// Checks that a body is the one whose digest was signed.
    ///
    /// # Errors
    /// `SIGNATURE_REFUSED`.
    pub fn verify_body(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
        if !self.is_on() {
            return Ok(());
        }
        let mut values = headers.get_all(CONTENT_DIGEST).iter();
        let is_it = match (values.next(), values.next()) {
            (Some(value), None) => {
                let digests = value.to_str().unwrap_or_default();
                let expected = digest_of(body);
                digests.split(',').any(|digest| digest.trim() == expected)
            }
            _ => false,
        };
        match is_it {
            true => Ok(()),
            false => Err(refused("the body is not the one that was signed")),
        }
    }
}

fn refused(reason: &'static str) -> Refusal {
    Refusal::new(
        Code::SignatureRefused,
        format!("requests to this service have to be signed by its gateway: {reason}"),
    )
}

/// The parts of a request that a signature may cover.
struct Request<'r> {
    method: &'r Method,
    path: &'r str,
    /// Without the question mark.
    query: &'r str,
    headers: &'r HeaderMap,
}

impl Request<'_> {
    /// The signature base (RFC 9421, section 2.5).
    fn base(&self, components: &[&str], parameters: &str) -> Result<Vec<u8>, &'static str> {
        let mut base = Vec::with_capacity(512);
        let mut line = |name: &str, values: &[&[u8]]| {
            base.extend_from_slice(b"\"");
            base.extend_from_slice(name.as_bytes());
            base.extend_from_slice(b"\": ");
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    base.extend_from_slice(b", ");
                }
                base.extend_from_slice(value);
            }
            base.extend_from_slice(b"\n");
        };
        for component in components {
            match *component {
                "@method" => line(component, &[self.method.as_str().as_bytes()]),
                "@path" if self.path.is_empty() => line(component, &[b"/"]),
                "@path" => line(component, &[self.path.as_bytes()]),
                "@query" => line(component, &[format!("?{}", self.query).as_bytes()]),
                name => {
                    let values = self.headers.get_all(name).iter();
                    let values: Vec<&[u8]> =
                        values.map(|value| value.as_bytes().trim_ascii()).collect();
                    if values.is_empty() {
                        return Err(
                            "the signature covers something that the request does not have",
                        );
                    }
                    line(name, &values);
                }
            }
        }
        base.extend_from_slice(b"\"@signature-params\": ");
        base.extend_from_slice(parameters.as_bytes());
        Ok(base)
    }
}

/// What `Signature-Input` says of a signature.
struct Parameters<'t> {
    components: Vec<&'t str>,
    /// When the signer made it, in seconds since 1970 on the signer's clock.
    created: u64,
    /// The same, if it ends before the verifier would have it end.
    expires: Option<u64>,
}

impl<'t> Parameters<'t> {
    /// Reads `("@method" "@path");created=1;alg="hmac-sha256"`. Components with parameters of their own are
    /// not understood, and neither are other algorithms, or other keys than the gateway's.
    fn read(text: &'t str) -> Option<Self> {
        let (components, parameters) = text.strip_prefix('(')?.split_once(')')?;
        let mut listed = Vec::new();
        for component in components.split(' ').filter(|text| !text.is_empty()) {
            let name = component.strip_prefix('"')?.strip_suffix('"')?;
            let is_name = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_@".contains(&byte)
            };
            if name.is_empty() || !name.bytes().all(is_name) || listed.contains(&name) {
                return None;
            }
            listed.push(name);
        }
        if listed.len() > COMPONENTS_MAX {
            return None;
        }
        let (mut created, mut expires) = (None, None);
        for parameter in parameters.split(';').skip(1) {
            match parameter.trim().split_once('=')? {
                ("created", value) if created.is_none() => created = Some(value.parse().ok()?),
                ("expires", value) if expires.is_none() => expires = Some(value.parse().ok()?),
                ("alg", "\"hmac-sha256\"") | ("keyid", KEY_ID) => {}
                ("created" | "expires" | "alg" | "keyid", _) => return None,
                _ => {}
            }
        }
        Some(Self {
            components: listed,
            created: created?,
            expires,
        })
    }
}

/// The gateway's member of a dictionary (RFC 9651, section 3.2). Proxies may have added others.
fn member<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, &'static str> {
    let mut found = None;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| "the signature is malformed")?;
        for member in members(text) {
            let Some((LABEL, value)) = member.trim().split_once('=') else {
                continue;
            };
            if found.replace(value).is_some() {
                return Err("the request has two signatures of its gateway");
            }
        }
    }
    found.ok_or("the request is not signed")
}

/// The members of a dictionary, at the commas outside quotes.
fn members(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |character| {
        is_quoted ^= character == '"';
        character == ',' && !is_quoted
    })
}

/// The bytes of `:base64:`.
fn bytes_of(value: &str) -> Option<Vec<u8>> {
    let text = value.trim().strip_prefix(':')?.strip_suffix(':')?;
    BASE64_STANDARD.decode(text).ok()
}

fn digest_of(body: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)))
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"{\"query\":\"{ a }\"}";

    fn signer(secrets: &str) -> Signer {
        Signer::new(secrets).expect("long secrets")
    }

    fn secret(character: char) -> String {
        String::from(character).repeat(SECRET_BYTES_MIN)
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn signed(claims: Option<&'static str>) -> HeaderMap {
        let claims = claims.map(|claims| (CLAIMS, HeaderValue::from_static(claims)));
        let mut headers: HeaderMap = claims.into_iter().collect();
        let path = "/graphql?a=1";
        let signature = signer(&secret('a'));
        let signature = signature.sign_at(at(1000), &Method::POST, path, Some(BODY), &headers);
        signature.expect("a secret").add_to(&mut headers);
        headers
    }

    fn verified(
        secrets: &str,
        now: u64,
        method: &Method,
        (path, query): (&str, &str),
        headers: &HeaderMap,
    ) -> Result<(), &'static str> {
        let request = Request {
            method,
            path,
            query,
            headers,
        };
        signer(secrets).verify_at(at(now), &request, true)
    }

    #[test]
    fn the_base_is_that_of_the_specification() {
        // RFC 9421, section 2.5, without the components that are not used here.
        let headers = HeaderMap::from_iter([(
            CONTENT_DIGEST,
            HeaderValue::from_static(
                "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
            ),
        )]);
        let request = Request {
            method: &Method::POST,
            path: "/foo",
            query: "",
            headers: &headers,
        };
        let parameters =
            "(\"@method\" \"@path\" \"content-digest\");created=1618884473;keyid=\"test-key\"";
        let base = request.base(&["@method", "@path", "content-digest"], parameters);
        let expected = format!(
            "\"@method\": POST\n\"@path\": /foo\n\"content-digest\": {}\n\"@signature-params\": {parameters}",
            headers[CONTENT_DIGEST].to_str().expect("text")
        );
        assert_eq!(base.expect("a base"), expected.as_bytes());
        // RFC 9530, appendix D.
        assert_eq!(
            digest_of(b"{\"hello\": \"world\"}\n"),
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
        );
    }

    #[test]
    fn another_implementation_signs_alike() {
        // The example of docs/gateway.md, signed with Python's `hmac`.
        let claims = HeaderValue::from_static("eyJzdWIiOiIxIn0");
        let signed = signer("0123456789abcdef0123456789abcdef").sign_at(
            at(1_764_446_400),
            &Method::POST,
            "/graphql",
            Some(b"{\"query\":\"{ posts }\"}"),
            &HeaderMap::from_iter([(CLAIMS, claims)]),
        );
        let mut headers = HeaderMap::new();
        signed.expect("a secret").add_to(&mut headers);
        assert_eq!(
            headers[CONTENT_DIGEST],
            "sha-256=:oQhnnlk+VtuBXMYtmqY5uVuuKHcmlVkdT0dnsYgaWIc=:"
        );
        assert_eq!(
            headers[SIGNATURE_INPUT],
            "gateway=(\"@method\" \"@path\" \"@query\" \"content-digest\" \"rejoinder-claims\");\
             created=1764446400;keyid=\"gateway\";alg=\"hmac-sha256\""
        );
        assert_eq!(
            headers[SIGNATURE],
            "gateway=:6/CD1QTy0JRYSM0ltwUbcyGbkhPnqKHv0xMj9M917PA=:"
        );
    }

    #[test]
    fn a_signed_request_is_verified_and_a_changed_one_is_not() {
        let (a, target) = (secret('a'), ("/graphql", "a=1"));
        for claims in [None, Some("eyJ9")] {
            let headers = signed(claims);
            assert_eq!(verified(&a, 1000, &Method::POST, target, &headers), Ok(()));
            assert!(signer(&a).verify_body(&headers, BODY).is_ok());
            assert!(signer(&a).verify_body(&headers, b"{}").is_err());
        }
        let headers = signed(Some("eyJ9"));
        let invalid = Err("the signature is not valid");
        for (method, target) in [
            (Method::GET, ("/graphql", "a=1")),
            (Method::POST, ("/other", "a=1")),
            (Method::POST, ("/graphql", "a=2")),
        ] {
            assert_eq!(verified(&a, 1000, &method, target, &headers), invalid);
        }
        assert_eq!(
            verified(&secret('b'), 1000, &Method::POST, target, &headers),
            invalid
        );
        let mut forged = headers.clone();
        forged.insert(CLAIMS, HeaderValue::from_static("eyJ8"));
        assert_eq!(verified(&a, 1000, &Method::POST, target, &forged), invalid);
        forged.insert(CLAIMS, HeaderValue::from_static("eyJ9"));
        forged.append(CLAIMS, HeaderValue::from_static("eyJ9"));
        assert_eq!(verified(&a, 1000, &Method::POST, target, &forged), invalid);
        forged.remove(CLAIMS);
        assert!(verified(&a, 1000, &Method::POST, target, &forged).is_err());
        let mut added = signed(None);
        added.insert(CLAIMS, HeaderValue::from_static("eyJ9"));
        let refused = verified(&a, 1000, &Method::POST, target, &added);
        let uncovered = Err("the signature does not cover the headers that say who asks");
        assert_eq!(refused, uncovered);
        for name in [header::AUTHORIZATION, header::COOKIE] {
            let mut added = signed(None);
            added.insert(name, HeaderValue::from_static("of somebody else"));
            let refused = verified(&a, 1000, &Method::POST, target, &added);
            assert_eq!(refused, uncovered);
        }
        let mut replaced = headers.clone();
        replaced.insert(
            CONTENT_DIGEST,
            HeaderValue::try_from(digest_of(b"{}")).expect("a value"),
        );
        assert_eq!(
            verified(&a, 1000, &Method::POST, target, &replaced),
            invalid
        );
    }

    #[test]
    fn a_signature_is_of_its_time() {
        let headers = signed(None);
        let verified = |now| {
            verified(
                &secret('a'),
                now,
                &Method::POST,
                ("/graphql", "a=1"),
                &headers,
            )
        };
        for now in [995, 1000, 1060] {
            assert_eq!(verified(now), Ok(()), "{now}");
        }
        for now in [0, 994, 1061, u64::from(u32::MAX)] {
            assert!(verified(now).is_err(), "{now}");
        }
    }

    #[test]
    fn a_signature_may_end_sooner() {
        let expires = |text| Some(Parameters::read(text)?.expires);
        assert_eq!(expires("();created=1"), Some(None));
        assert_eq!(expires("();created=1;expires=2"), Some(Some(2)));
        assert_eq!(expires("();created=1;expires=2;expires=3"), None);
        assert_eq!(expires("();created=1;expires=soon"), None);
        let parameters = "(\"@method\" \"@path\" \"@query\");created=1000;expires=1010";
        let headers = HeaderMap::new();
        let mut request = Request {
            method: &Method::GET,
            path: "/graphql",
            query: "",
            headers: &headers,
        };
        let base = request.base(&["@method", "@path", "@query"], parameters);
        let signer = signer(&secret('a'));
        let tag = signer.0[0].clone().chain_update(base.expect("a base"));
        let tag = BASE64_STANDARD.encode(tag.finalize().into_bytes());
        let value = |text: String| HeaderValue::try_from(text).expect("a value");
        let headers = HeaderMap::from_iter([
            (SIGNATURE_INPUT, value(format!("gateway={parameters}"))),
            (SIGNATURE, value(format!("gateway=:{tag}:"))),
        ]);
        request.headers = &headers;
        assert_eq!(signer.verify_at(at(1010), &request, false), Ok(()));
        assert!(signer.verify_at(at(1011), &request, false).is_err());
    }

    #[test]
    fn a_new_secret_is_added_before_the_old_one_is_removed() {
        let headers = signed(None);
        let target = ("/graphql", "a=1");
        let both = format!("{}, {}", secret('b'), secret('a'));
        assert_eq!(
            verified(&both, 1000, &Method::POST, target, &headers),
            Ok(())
        );
    }

    #[test]
    fn what_is_not_signed_is_refused() {
        let target = ("/graphql", "a=1");
        let check = |name: HeaderName, value: &str| {
            let mut headers = signed(None);
            match value {
                "" => headers.remove(name),
                value => headers.insert(name, HeaderValue::try_from(value).expect("a value")),
            };
            verified(&secret('a'), 1000, &Method::POST, target, &headers)
        };
        assert!(check(SIGNATURE, "").is_err());
        assert!(check(SIGNATURE_INPUT, "").is_err());
        let good = signed(None)[SIGNATURE_INPUT]
            .to_str()
            .expect("text")
            .to_owned();
        assert_eq!(
            check(
                SIGNATURE_INPUT,
                &format!("proxy=(\"a,b\");created=1, {good}")
            ),
            Ok(())
        );
        for input in [
            format!("{good}, {good}"),
            good.replace("gateway", "other"),
            good.replace("created=1000;", ""),
            good.replace("created=1000", "created=1000;created=1"),
            good.replace("hmac-sha256", "rsa-v1_5-sha256"),
            good.replace("keyid=\"gateway\"", "keyid=\"other\""),
            good.replace("\"@query\" ", ""),
            good.replace(" \"content-digest\"", ""),
            good.replace("\"@query\"", "\"@query\";req"),
            good.replace("\"@query\"", "\"@query\" \"@authority\""),
            good.replace("\"@query\"", "\"@query\" \"@query\""),
            "gateway".to_owned(),
            "gateway=".to_owned(),
            "gateway=(".to_owned(),
            "gateway=()".to_owned(),
        ] {
            assert!(check(SIGNATURE_INPUT, &input).is_err(), "{input}");
        }
        for signature in [
            "gateway=::",
            "gateway=:AAAA:",
            "gateway=AAAA",
            "gateway=:!:",
        ] {
            assert!(check(SIGNATURE, signature).is_err(), "{signature}");
        }
    }

    #[test]
    fn secrets_are_long_and_never_shown() {
        let too_many = vec![secret('a'); 5].join(",");
        // A comma alone would turn the signatures off, which nobody would notice.
        for malformed in ["short", &too_many, ",", &format!("{},", secret('a'))] {
            let setting: SecretSetting = malformed.parse().expect("any text");
            let error = setting.signer().expect_err("refused");
            assert!(!error.contains(malformed) || malformed == ",", "{error}");
            assert_eq!(format!("{setting:?}"), "SecretSetting");
        }
        assert!(!signer(" ").is_on());
        assert_eq!(format!("{:?}", signer(&secret('a'))), "Signer(1 secrets)");
    }
}
