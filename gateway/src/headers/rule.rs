//! One rule for the headers between clients and subgraphs.

use anyhow::Context;
use http::{HeaderName, HeaderValue};

use super::header_name;

/// A rule `name`, for all subgraphs, or `name@subgraph`; with `name=other` the header becomes another one on its way.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: HeaderName,
    pub(super) becomes: HeaderName,
    subgraph: Option<String>,
}

impl Rule {
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let (names, subgraph) = of_subgraph(text);
        let (name, becomes) = names.split_once('=').unwrap_or((names, names));
        let named =
            |name: &str| header_name(name).with_context(|| format!("the header rule {text:?}"));
        Ok(Self {
            name: named(name.trim())?,
            becomes: named(becomes.trim())?,
            subgraph,
        })
    }

    pub(super) fn is_renaming(&self) -> bool {
        self.name != self.becomes
    }

    pub(super) fn is_for(&self, subgraph: &str) -> bool {
        self.subgraph.as_deref().is_none_or(|only| only == subgraph)
    }
}

/// A header that subgraphs get whatever the client sends: `name: value` or `name@subgraph: value`.
#[derive(Debug)]
pub(super) struct Inserted {
    pub(super) name: HeaderName,
    /// Sensitive: it may be a key.
    pub(super) value: HeaderValue,
    subgraph: Option<String>,
}

impl Inserted {
    /// The error does not show the value.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let (name, value) = text.split_once(':').context("it is not NAME: VALUE")?;
        let (name, subgraph) = of_subgraph(name.trim());
        let name = header_name(name)?;
        let value: Vec<u8> = percent_encoding::percent_decode_str(value.trim()).collect();
        let mut value = HeaderValue::from_bytes(&value).with_context(|| {
            format!("the value of {name} has characters that a header cannot have")
        })?;
        value.set_sensitive(true);
        Ok(Self {
            name,
            value,
            subgraph,
        })
    }

    pub(super) fn is_for(&self, subgraph: &str) -> bool {
        self.subgraph.as_deref().is_none_or(|only| only == subgraph)
    }
}

fn of_subgraph(text: &str) -> (&str, Option<String>) {
    match text.split_once('@') {
        Some((name, subgraph)) => (name, Some(subgraph.to_owned())),
        None => (text, None),
    }
}
