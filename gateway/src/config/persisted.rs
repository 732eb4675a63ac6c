//! Persisted operations.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;

/// Persisted operations.
#[derive(Clone, Debug, clap::Args)]
pub struct PersistedConfig {
    /// Automatic persisted queries: clients may send a document's SHA-256 instead of the document.
    #[arg(long, env = "AUTOMATIC_PERSISTED_QUERIES", value_parser = BoolishValueParser::new())]
    pub automatic_persisted_queries: bool,
    /// How many automatically persisted documents are kept.
    #[arg(long, env = "AUTOMATIC_PERSISTED_QUERIES_MAX", default_value_t = 5_000)]
    pub automatic_persisted_queries_max: usize,
    /// Bytes of them.
    #[arg(long, env = "AUTOMATIC_PERSISTED_QUERIES_BYTES_MAX", default_value_t = 64 << 20)]
    pub automatic_persisted_queries_bytes_max: usize,
    /// A file of the only operations to answer: a JSON object from identifier to document, or an
    /// Apollo persisted query manifest.
    #[arg(long, env = "TRUSTED_DOCUMENTS")]
    pub trusted_documents: Option<PathBuf>,
}
