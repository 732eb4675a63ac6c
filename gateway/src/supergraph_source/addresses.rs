//! A supergraph at addresses, which are asked by GET. Hive's CDN is one of them.
//!
//! Hive: <https://the-guild.dev/graphql/hive/docs/schema-registry/high-availability-cdn>. The endpoint of a target has
//! the supergraph below it, at `/supergraph`; the token is in the header `X-Hive-CDN-Key`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Answer, Failure, Known, Limits, Reading, Reason, seconds, text_of};
use crate::{
    config::SupergraphConfig,
    subgraphs::{Endpoint, HttpResponse, Tls, Wanted, download, listed_addresses, without_user},
};

const HIVE_KEY: HeaderName = HeaderName::from_static("x-hive-cdn-key");
/// What Hive has below the endpoint of a target.
const HIVE_ARTIFACT: &str = "/supergraph";
/// A registry may send to its object store. More redirects are a mistake.
const REDIRECTS_MAX: usize = 3;
const ADDRESSES_MAX: usize = 16;

/// Addresses that are asked in their order, until one answers.
pub(super) struct Addresses {
    all: Vec<Address>,
    /// What shows the server that the gateway may read it.
    credentials: Option<(HeaderName, HeaderValue)>,
    may_be_http: bool,
}

pub(super) struct Address {
    pub endpoint: Endpoint,
    /// Without a user name or password.
    pub shown: String,
}

impl Addresses {
    /// Reads `SUPERGRAPH` and `SUPERGRAPH_HEADER`.
    pub(super) fn new(text: &str, config: &SupergraphConfig) -> Result<Self, Vec<String>> {
        let (all, mut mistakes) = listed("SUPERGRAPH", text, config.http, |url| url.to_owned());
        let header = config.header.value().map(header_line).transpose();
        let credentials = header.unwrap_or_else(|mistake| {
            mistakes.push(format!("SUPERGRAPH_HEADER {mistake}"));
            None
        });
        match mistakes.is_empty() {
            true => Ok(Self {
                all,
                credentials,
                may_be_http: config.http,
            }),
            false => Err(mistakes),
        }
    }

    /// Reads the settings of Hive's CDN.
    pub(super) fn of_hive(config: &SupergraphConfig) -> Result<Self, Vec<String>> {
        let artifact = |url: &str| match url.trim_end_matches('/') {
            whole if whole.ends_with(HIVE_ARTIFACT) => whole.to_owned(),
            target => format!("{target}{HIVE_ARTIFACT}"),
        };
        let text = config.hive_endpoint.as_deref().map_or("", str::trim);
        let (all, mut mistakes) = match text {
            "" => (
                Vec::new(),
                vec![
                    "SUPERGRAPH=hive needs HIVE_CDN_ENDPOINT, the endpoint of a target".to_owned(),
                ],
            ),
            text => listed("HIVE_CDN_ENDPOINT", text, config.http, artifact),
        };
        let key = match config.hive_key.value() {
            Some(key) => secret_value(key)
                .map_err(|()| mistakes.push("HIVE_CDN_KEY cannot be sent in a header".to_owned()))
                .ok(),
            None => {
                mistakes.push("SUPERGRAPH=hive needs HIVE_CDN_KEY, an access token".to_owned());
                None
            }
        };
        if config.header.value().is_some() {
            mistakes.push(
                "SUPERGRAPH_HEADER needs an address in SUPERGRAPH: Hive's key is HIVE_CDN_KEY"
                    .to_owned(),
            );
        }
        match mistakes.is_empty() {
            true => Ok(Self {
                all,
                credentials: key.map(|key| (HIVE_KEY, key)),
                may_be_http: config.http,
            }),
            false => Err(mistakes),
        }
    }

    pub(super) fn shown(&self) -> String {
        shown(&self.all)
    }

    /// Asks the addresses in their order, until one answers.
    pub(super) async fn read(&self, limits: Limits, tls: &Tls, known: &mut Known) -> Answer {
        let (mut failures, mut pause) = (Vec::new(), Duration::ZERO);
        for (number, address) in self.all.iter().enumerate() {
            let etag = known.etag.as_ref();
            let etag = etag.filter(|(of, _)| *of == number).map(|(_, etag)| etag);
            let fetched = self.fetch(&address.endpoint, etag, limits, tls).await;
            let failure = match fetched {
                Ok(response) if response.status == 304 && etag.is_some() => {
                    return Ok(Reading::Unchanged).into();
                }
                Ok(response) if response.status == 200 => match whole_text(response) {
                    Ok((text, etag)) => {
                        known.etag = etag.map(|etag| (number, etag));
                        return Ok(Reading::Text(text)).into();
                    }
                    Err(failure) => failure,
                },
                Ok(response) => {
                    pause = pause.max(retry_after(&response.headers));
                    let message = format!("it answers with HTTP status {}", response.status);
                    Failure::new(Reason::Status, message)
                }
                Err(failure) => failure,
            };
            failures.push(failure.at(&address.shown));
        }
        Answer {
            outcome: Err(Failure::of_all(failures)),
            pause,
        }
    }

    /// The answer of an address, or of that to which it sends.
    async fn fetch(
        &self,
        address: &Endpoint,
        etag: Option<&HeaderValue>,
        limits: Limits,
        tls: &Tls,
    ) -> Result<HttpResponse, Failure> {
        let asking = async {
            let mut endpoint = address.clone();
            for _ in 0..=REDIRECTS_MAX {
                let etag = etag.map(|etag| (header::IF_NONE_MATCH, etag.clone()));
                // Another server gets no key.
                let is_home =
                    endpoint.is_same_place(address) && endpoint.is_tls() == address.is_tls();
                let credentials = self.credentials.clone().filter(|_| is_home);
                let headers: Vec<_> = etag.into_iter().chain(credentials).collect();
                let wanted = Wanted {
                    accept: "text/plain, */*",
                    headers: &headers,
                    with_headers: true,
                    json: None,
                };
                let response =
                    download(&endpoint, wanted, tls, limits.bytes_max, limits.time).await?;
                let Some(location) = redirect(&response) else {
                    return Ok(response);
                };
                endpoint = self.redirected(&endpoint, location)?;
            }
            let message = format!("it redirects more than {REDIRECTS_MAX} times");
            Err(Failure::new(Reason::Status, message))
        };
        let asked = tokio::time::timeout(limits.time, asking).await;
        asked.unwrap_or_else(|_| {
            let message = format!("no answer within {:?}", limits.time);
            Err(Failure::new(Reason::Timeout, message))
        })
    }

    fn redirected(&self, from: &Endpoint, location: &str) -> Result<Endpoint, Failure> {
        // The text may have a signature.
        let refused = |why| Failure::new(Reason::Status, format!("it redirects {why}"));
        let scheme = if from.is_tls() { "https" } else { "http" };
        let url = match location {
            path if path.starts_with("//") => format!("{scheme}:{path}"),
            path if path.starts_with('/') => format!("{scheme}://{}{path}", from.authority()),
            url => url.to_owned(),
        };
        let endpoint = Endpoint::parse(&url).map_err(|_| refused("to what is no HTTP address"))?;
        let is_safe =
            endpoint.is_tls() || !from.is_tls() && (self.may_be_http || endpoint.is_this_machine());
        match is_safe {
            true => Ok(endpoint),
            false => Err(refused("to an address that is not https")),
        }
    }
}

/// The addresses in a setting, each as `completed`, and all mistakes.
pub(super) fn listed(
    setting: &str,
    text: &str,
    may_be_http: bool,
    completed: impl Fn(&str) -> String,
) -> (Vec<Address>, Vec<String>) {
    let (mut all, mut mistakes) = (Vec::new(), Vec::new());
    let urls = listed_addresses(text);
    if urls.len() > ADDRESSES_MAX {
        mistakes.push(format!(
            "{setting}: at most {ADDRESSES_MAX} addresses are possible"
        ));
        return (all, mistakes);
    }
    for url in urls {
        if url.is_empty() {
            mistakes.push(format!("{setting}: an address is empty, remove a comma"));
            continue;
        }
        let url = completed(url);
        let shown = without_user(&url);
        match Endpoint::parse(&url) {
            Err(reason) => mistakes.push(format!("{setting}: {reason}")),
            Ok(endpoint) if endpoint.is_tls() || may_be_http || endpoint.is_this_machine() => {
                all.push(Address { endpoint, shown });
            }
            Ok(_) => mistakes.push(format!(
                "{setting}: {shown} is not https: whoever can change its response can send all requests elsewhere \
                 (SUPERGRAPH_HTTP allows it)"
            )),
        }
    }
    (all, mistakes)
}

pub(super) fn shown(addresses: &[Address]) -> String {
    let all: Vec<&str> = addresses.iter().map(|it| &*it.shown).collect();
    all.join(", ")
}

/// A header from `NAME: VALUE`.
///
/// # Errors
/// In words without the value.
fn header_line(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("is not of the form NAME: VALUE")?;
    let name = HeaderName::try_from(name.trim());
    let name = name.map_err(|_| "has no valid name before its colon")?;
    if [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
    ]
    .contains(&name)
    {
        return Err(format!("cannot be {name}"));
    }
    let value = secret_value(value.trim()).map_err(|()| "has a value that cannot be sent")?;
    Ok((name, value))
}

fn secret_value(text: &str) -> Result<HeaderValue, ()> {
    let mut value = HeaderValue::try_from(text).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}

fn redirect(response: &HttpResponse) -> Option<&str> {
    let location = response.headers.get(header::LOCATION)?.to_str().ok()?;
    matches!(response.status, 301 | 302 | 303 | 307 | 308).then_some(location)
}

/// The text of an answer that is known to be whole, and its entity tag.
fn whole_text(response: HttpResponse) -> Result<(String, Option<HeaderValue>), Failure> {
    let headers = &response.headers;
    // Half a supergraph may be a valid one.
    if !headers.contains_key(header::CONTENT_LENGTH)
        && !headers.contains_key(header::TRANSFER_ENCODING)
    {
        let message = "its answer does not say how long it is: it may be cut short";
        return Err(Failure::new(Reason::Broken, message));
    }
    let etag = headers.get(header::ETAG).cloned();
    Ok((text_of(response.body.to_vec())?, etag))
}

/// How many seconds a server that refuses wants to be left alone.
fn retry_after(headers: &HeaderMap) -> Duration {
    let value = headers.get(header::RETRY_AFTER);
    let number = value.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds(number.unwrap_or(0.0))
}
