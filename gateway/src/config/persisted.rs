//! Settings of operations that clients name instead of sending their text.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;

/// Settings of automatic persisted queries and trusted documents.
#[derive(Clone, Debug, clap::Args)]
pub struct PersistedConfig {
    /// Enable automatic persisted queries: a client may send the SHA-256 of a document instead of
    /// the document. Off by default.
    #[arg(long, env = "AUTOMATIC_PERSISTED_QUERIES", value_parser = BoolishValueParser::new())]
    pub automatic_persisted_queries: bool,
    /// Limit the number of automatically persisted documents.
    #[arg(long, env = "AUTOMATIC_PERSISTED_QUERIES_MAX", default_value_t = 5_000)]
    pub automatic_persisted_queries_max: usize,
    /// Limit the bytes of all automatically persisted documents together.
    #[arg(long, env = "AUTOMATIC_PERSISTED_QUERIES_BYTES_MAX", default_value_t = 64 << 20)]
    pub automatic_persisted_queries_bytes_max: usize,
    /// Answer only the operations in this file: a JSON object from identifier to document, or an
    /// Apollo persisted query manifest. By default every operation is answered.
    #[arg(long, env = "TRUSTED_DOCUMENTS")]
    pub trusted_documents: Option<PathBuf>,
}
