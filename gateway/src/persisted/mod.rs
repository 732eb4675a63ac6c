//! Documents that clients may name instead of sending: automatic persisted queries, and trusted
//! documents, which are the only ones answered if they are configured.
//!
//! Clients name a document by `documentId` (GraphQL over HTTP, appendix A), or by
//! `extensions.persistedQuery.sha256Hash`, as Apollo Client does; with trusted documents the whole text of
//! a listed document is accepted too.

mod automatic;
mod trusted;

use std::{borrow::Cow, sync::Arc};

use graphql_transport::{Code as TransportCode, request::GraphqlRequest};
use serde::Deserialize;

use crate::{
    config::PersistedConfig,
    error::{Code, RequestError},
};
use automatic::AutomaticDocuments;
use trusted::TrustedDocuments;

/// The persisted operations that the settings allow.
pub struct PersistedOperations {
    automatic: Option<AutomaticDocuments>,
    trusted: Option<TrustedDocuments>,
}

/// With more bytes, [`PersistedOperations::known`] does not look for a request's document.
const KNOWN_BYTES_MAX: usize = 8 * 1024;

#[derive(Deserialize)]
struct Extensions {
    #[serde(rename = "persistedQuery")]
    persisted_query: Option<PersistedQuery>,
}

#[derive(Deserialize)]
struct PersistedQuery {
    #[serde(rename = "sha256Hash")]
    sha256_hash: String,
}

impl PersistedOperations {
    /// Reads the file of trusted documents, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a list of documents.
    pub fn new(config: &PersistedConfig) -> anyhow::Result<Self> {
        let trusted = config
            .trusted_documents
            .as_deref()
            .map(TrustedDocuments::read)
            .transpose()?;
        let automatic = config.automatic_persisted_queries.then(|| {
            AutomaticDocuments::new(
                config.automatic_persisted_queries_max,
                config.automatic_persisted_queries_bytes_max,
            )
        });
        Ok(Self { automatic, trusted })
    }

    /// The document of a request.
    ///
    /// # Errors
    /// One of the `PERSISTED_QUERY_*` codes, or `BAD_REQUEST` if the request has no document, or
    /// names two.
    pub fn document(&self, request: &GraphqlRequest) -> Result<Arc<str>, RequestError> {
        let query = request.query.as_deref();
        let identifier = identifier_of(request)?;
        if let Some(trusted) = &self.trusted {
            let found = match (&identifier, query) {
                (Some(identifier), _) => trusted.by_id(identifier),
                (None, Some(query)) => trusted.by_text(query),
                (None, None) => return Err(no_document()),
            };
            return found.ok_or_else(|| {
                RequestError::new(
                    Code::PersistedQueryNotInList,
                    "the operation is not in the list of trusted documents",
                )
            });
        }
        match (identifier, query, &self.automatic) {
            // A client that sends both is answered even if the feature is off.
            (None, Some(query), _) | (Some(_), Some(query), None) => Ok(query.into()),
            (None, None, _) => Err(no_document()),
            (Some(_), None, None) => Err(RequestError::new(
                Code::PersistedQueryNotSupported,
                "PersistedQueryNotSupported",
            )),
            (Some(identifier), Some(query), Some(automatic)) => {
                automatic.keep(&hash_of(&identifier), query)
            }
            (Some(identifier), None, Some(automatic)) => automatic.find(&hash_of(&identifier)),
        }
    }
}

impl PersistedOperations {
    /// The document of a request, as far as it is found at once: nothing is computed from it or kept, and a long one is
    /// not looked at.
    pub fn known(&self, request: &GraphqlRequest) -> Option<Arc<str>> {
        let is_long = |bytes: usize| bytes > KNOWN_BYTES_MAX;
        let query = request.query.as_deref();
        let extensions = request.extensions.as_ref();
        let id = request.document_id.as_deref();
        let lengths = [
            query.map_or(0, str::len),
            id.map_or(0, str::len),
            extensions.map_or(0, |it| it.len()),
        ];
        if lengths.into_iter().any(is_long) {
            return None;
        }
        let identifier = identifier_of(request).ok()?;
        match (&self.trusted, identifier, query) {
            (Some(trusted), Some(identifier), _) => trusted.by_id(&identifier),
            (Some(trusted), None, Some(query)) => trusted.by_text(query),
            (None, _, Some(query)) => Some(query.into()),
            (None, Some(identifier), None) => self.automatic.as_ref()?.look(&hash_of(&identifier)),
            (_, None, None) => None,
        }
    }
}

impl PersistedOperations {
    /// The trusted documents, each once; none if others are answered, too.
    pub(crate) fn trusted_documents(&self) -> Vec<Arc<str>> {
        let trusted = self.trusted.as_ref();
        trusted.map(TrustedDocuments::all).unwrap_or_default()
    }
}

fn no_document() -> RequestError {
    RequestError::new(TransportCode::BadRequest, "the request has no `query`")
}

/// The prefix of a `documentId` that is a hash.
const SHA256: &str = "sha256:";

/// The SHA-256 in an identifier, in lower case. For any other identifier, the result matches no
/// document's hash.
fn hash_of(identifier: &str) -> String {
    let hash = identifier.strip_prefix(SHA256).unwrap_or(identifier);
    hash.to_ascii_lowercase()
}

/// The identifier in `documentId`, or else in the extensions.
fn identifier_of(request: &GraphqlRequest) -> Result<Option<Cow<'_, str>>, RequestError> {
    let extension = match &request.extensions {
        Some(extensions) => persisted_query(extensions)?,
        None => None,
    };
    match (&request.document_id, extension) {
        (None, extension) => Ok(extension.map(Cow::Owned)),
        (Some(id), Some(hash)) if hash_of(id) != hash_of(&hash) => Err(RequestError::new(
            TransportCode::BadRequest,
            "`documentId` and `extensions.persistedQuery` name different documents",
        )),
        (Some(id), _) => Ok(Some(Cow::Borrowed(id))),
    }
}

fn persisted_query(extensions: &[u8]) -> Result<Option<String>, RequestError> {
    let extensions: Extensions = serde_json::from_slice(extensions).map_err(|error| {
        RequestError::new(
            TransportCode::BadRequest,
            format!("`extensions.persistedQuery` is not {{version, sha256Hash}}: {error}"),
        )
    })?;
    Ok(extensions.persisted_query.map(|query| query.sha256_hash))
}
