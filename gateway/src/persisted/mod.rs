//! Documents that clients may name instead of sending them: automatic persisted queries, and
//! trusted documents as the only ones that are answered.
//!
//! Clients name a document by `extensions.persistedQuery.sha256Hash`, as Apollo Client does; with
//! trusted documents the whole text of a listed document is accepted too.

mod automatic;
mod trusted;

use std::sync::Arc;

use graphql_transport::Code as TransportCode;
use serde::Deserialize;

use crate::{
    config::PersistedConfig,
    error::{Code, RequestError},
    request::GraphqlRequest,
};
use automatic::AutomaticDocuments;
use trusted::TrustedDocuments;

/// What the settings allow.
pub struct PersistedOperations {
    automatic: Option<AutomaticDocuments>,
    trusted: Option<TrustedDocuments>,
}

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
    /// When the file cannot be read, or is not a list of documents.
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

    /// The document that the request means.
    ///
    /// # Errors
    /// With one of the `PERSISTED_QUERY_*` codes, or `BAD_REQUEST` where the request names none.
    pub fn document(&self, request: &GraphqlRequest) -> Result<Arc<str>, RequestError> {
        let query = request.query.as_deref();
        let hash = hash_of(request)?;
        if let Some(trusted) = &self.trusted {
            let found = match (&hash, query) {
                (Some(hash), _) => trusted.by_id(hash),
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
        match (hash, query, &self.automatic) {
            // A client that sends both, though the feature is off, is answered all the same.
            (None, Some(query), _) | (Some(_), Some(query), None) => Ok(query.into()),
            (None, None, _) => Err(no_document()),
            (Some(_), None, None) => Err(RequestError::new(
                Code::PersistedQueryNotSupported,
                "PersistedQueryNotSupported",
            )),
            (Some(hash), Some(query), Some(automatic)) => {
                automatic.keep(&hash.to_ascii_lowercase(), query)
            }
            (Some(hash), None, Some(automatic)) => automatic.find(&hash.to_ascii_lowercase()),
        }
    }
}

fn no_document() -> RequestError {
    RequestError::new(TransportCode::BadRequest, "the request has no `query`")
}

fn hash_of(request: &GraphqlRequest) -> Result<Option<String>, RequestError> {
    let Some(extensions) = &request.extensions else {
        return Ok(None);
    };
    let extensions: Extensions = serde_json::from_slice(extensions).map_err(|error| {
        RequestError::new(
            TransportCode::BadRequest,
            format!("`extensions.persistedQuery` is not {{version, sha256Hash}}: {error}"),
        )
    })?;
    Ok(extensions.persisted_query.map(|query| query.sha256_hash))
}
