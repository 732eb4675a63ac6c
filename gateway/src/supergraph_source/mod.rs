//! Where the supergraph comes from: a file, addresses, Hive's CDN, or Apollo's Uplink.
//!
//! | module | gives |
//! |---|---|
//! | `file` | a file, read again when it has changed |
//! | `addresses` | addresses that are asked by GET, with their entity tags; Hive's CDN among them |
//! | `uplink` | Apollo's Uplink, which is asked by GraphQL |
//! | `copy` | the last supergraph that was served, on disk |
//! | `failure` | why a supergraph was not read |
//! | `metrics` | what is counted, and the ages of the served supergraph |
//!
//! `docs/decisions/supergraph-sources.md` says why it is as it is.

mod addresses;
mod copy;
mod failure;
mod file;
mod metrics;
mod uplink;

use std::{path::PathBuf, time::Duration};

use http::HeaderValue;

use crate::{config::SupergraphConfig, subgraphs::Tls};
use addresses::Addresses;
pub(crate) use copy::KeptCopy;
pub(crate) use failure::{Failure, Reason};
use file::Stamp;
pub(crate) use metrics::SourceMetrics;
use uplink::Uplink;

/// The value of `SUPERGRAPH` that stands for Hive's CDN.
const HIVE: &str = "hive";
/// The value of `SUPERGRAPH` that stands for Apollo's Uplink.
const UPLINK: &str = "uplink";

/// A source may ask for a pause, which is obeyed up to this: a mistake there must not stop all updates.
const PAUSE_ASKED_MAX: Duration = Duration::from_secs(60 * 60);

/// A source of supergraphs, as the settings name it.
pub(crate) struct Source {
    place: Place,
    limits: Limits,
    tls: Tls,
    copy: Option<KeptCopy>,
}

enum Place {
    File(PathBuf),
    Addresses(Addresses),
    Uplink(Uplink),
}

/// The bounds of a reading.
#[derive(Clone, Copy)]
struct Limits {
    /// Of the supergraph, in bytes.
    bytes_max: usize,
    /// For each address.
    time: Duration,
}

/// What is remembered of earlier readings, so that an unchanged supergraph is not read again.
#[derive(Default)]
pub(crate) struct Known {
    /// The state of the file when it was read.
    stamp: Option<Stamp>,
    /// The entity tag that came with the last text, and the number of the address that sent it.
    etag: Option<(usize, HeaderValue)>,
    /// Uplink's name of the last text.
    id: Option<String>,
    /// The endpoint of Uplink that answered last.
    endpoint: usize,
}

/// The outcome of a reading.
pub(crate) struct Answer {
    pub outcome: Result<Reading, Failure>,
    /// How long the source wants to be left alone.
    pub pause: Duration,
}

/// What a reading found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The supergraph that was read last.
    Unchanged,
    /// A text, perhaps that which was read last.
    Text(String),
}

impl From<Result<Reading, Failure>> for Answer {
    fn from(outcome: Result<Reading, Failure>) -> Self {
        Self {
            outcome,
            pause: Duration::ZERO,
        }
    }
}

impl Source {
    /// Reads the settings.
    ///
    /// # Errors
    /// All mistakes, each with the name of its setting.
    pub(crate) fn new(config: &SupergraphConfig, tls: &Tls) -> Result<Self, Vec<String>> {
        let place = match config.source.trim() {
            "" => Err(vec![
                "SUPERGRAPH is empty: it has to be a file, an address, `hive` or `uplink`"
                    .to_owned(),
            ]),
            HIVE => Addresses::of_hive(config).map(Place::Addresses),
            UPLINK => Uplink::new(config).map(Place::Uplink),
            text if text.contains("://") => Addresses::new(text, config).map(Place::Addresses),
            path => match config.header.value() {
                None => Ok(Place::File(path.into())),
                Some(_) => Err(vec![
                    "SUPERGRAPH_HEADER needs an address in SUPERGRAPH: a file is sent no header"
                        .to_owned(),
                ]),
            },
        };
        let mut source = Self {
            place: place?,
            limits: Limits {
                bytes_max: config.bytes_max,
                time: config.timeout,
            },
            tls: tls.clone(),
            copy: None,
        };
        let shown = source.shown();
        let copy = |path: &PathBuf| KeptCopy::new(path, &shown, config.bytes_max);
        source.copy = config.copy.as_ref().map(copy);
        Ok(source)
    }

    /// Where the last supergraph that was served is kept, if it is.
    pub(crate) fn copy(&self) -> Option<&KeptCopy> {
        self.copy.as_ref()
    }

    /// Whether it is a file, which is looked at often and costs nobody anything.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// Names it, without anything that is secret.
    pub(crate) fn shown(&self) -> String {
        match &self.place {
            Place::File(path) => path.display().to_string(),
            Place::Addresses(addresses) => addresses.shown(),
            Place::Uplink(uplink) => uplink.shown(),
        }
    }

    /// Reads the supergraph if it has changed since the reading that `known` remembers.
    pub(crate) async fn read(&self, known: &mut Known) -> Answer {
        let mut answer = match &self.place {
            Place::File(path) => file::read(path, self.limits, known).await.into(),
            Place::Addresses(addresses) => addresses.read(self.limits, &self.tls, known).await,
            Place::Uplink(uplink) => uplink.read(self.limits, &self.tls, known).await,
        };
        answer.pause = answer.pause.min(PAUSE_ASKED_MAX);
        answer
    }
}

/// The text of a supergraph.
///
/// # Errors
/// If it is not UTF-8.
fn text_of(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(Reason::NotText, format!("it is not UTF-8 at byte {at}"))
    })
}

/// A number of seconds from elsewhere; 0 if it is none.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or(match number > 0.0 {
        true => PAUSE_ASKED_MAX,
        false => Duration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;

    fn source(arguments: &[&str]) -> Result<Source, Vec<String>> {
        let config = Config::parse_from(["gateway"].iter().chain(arguments));
        Source::new(&config.supergraph, &Tls::default())
    }

    #[test]
    fn a_source_is_named_without_its_secrets() {
        for (arguments, shown) in [
            (&["--supergraph=a,b.graphql"][..], "a,b.graphql"),
            (
                &[
                    "--supergraph=https://me:hunter2@a.example/s, https://b.example/",
                    "--supergraph-header=x-key: hunter2",
                ],
                "https://***@a.example/s, https://b.example/",
            ),
            (
                &[
                    "--supergraph=hive",
                    "--hive-cdn-endpoint=https://cdn.example/artifacts/v1/t/,https://mirror.example/supergraph",
                    "--hive-cdn-key=hunter2",
                ],
                "https://cdn.example/artifacts/v1/t/supergraph, https://mirror.example/supergraph",
            ),
            (
                &[
                    "--supergraph=uplink",
                    "--apollo-graph-ref=shop@current",
                    "--apollo-key=hunter2",
                ],
                "shop@current at https://uplink.api.apollographql.com/, https://aws.uplink.api.apollographql.com/",
            ),
        ] {
            assert_eq!(source(arguments).map(|it| it.shown()), Ok(shown.to_owned()));
        }
    }

    #[test]
    fn all_mistakes_are_reported_by_their_settings_and_without_secrets() {
        for (arguments, names) in [
            (&["--supergraph="][..], &["SUPERGRAPH is empty"][..]),
            (
                &["--supergraph-header=x: hunter2"],
                &["SUPERGRAPH_HEADER needs"],
            ),
            (
                &[
                    "--supergraph=https://hunter2@a_b..c/, http://a.example/,,https://b.example/",
                    "--supergraph-header=hunter2",
                ],
                &[
                    "SUPERGRAPH: ",
                    "SUPERGRAPH: http://a.example/ is not https",
                    "SUPERGRAPH: an address is empty",
                    "SUPERGRAPH_HEADER ",
                ],
            ),
            (
                &["--supergraph=hive", "--supergraph-header=x: hunter2"],
                &[
                    "SUPERGRAPH=hive needs HIVE_CDN_ENDPOINT",
                    "HIVE_CDN_KEY",
                    "SUPERGRAPH_HEADER",
                ],
            ),
            (
                &["--supergraph=uplink", "--apollo-uplink-endpoints=ftp://a/"],
                &[
                    "APOLLO_GRAPH_REF",
                    "APOLLO_KEY",
                    "APOLLO_UPLINK_ENDPOINTS: ",
                ],
            ),
        ] {
            let mistakes = source(arguments).err().expect("mistakes");
            assert_eq!(mistakes.len(), names.len(), "{mistakes:?}");
            for (mistake, name) in mistakes.iter().zip(names) {
                assert!(mistake.contains(name), "{mistake} has no {name}");
                assert!(!mistake.contains("hunter"), "{mistake}");
            }
        }
        assert!(source(&["--supergraph=http://localhost:1/"]).is_ok());
        assert!(source(&["--supergraph=http://a.example/", "--supergraph-http"]).is_ok());
    }

    #[test]
    fn odd_numbers_of_seconds_stop_nothing() {
        for (number, expected) in [
            (1.5, Duration::from_millis(1_500)),
            (-1.0, Duration::ZERO),
            (f64::NAN, Duration::ZERO),
            (1e300, PAUSE_ASKED_MAX),
        ] {
            assert_eq!(seconds(number).min(PAUSE_ASKED_MAX), expected, "{number}");
        }
    }
}
