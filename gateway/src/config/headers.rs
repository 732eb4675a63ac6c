//! Which headers travel between clients and subgraphs.

/// Which headers travel between clients and subgraphs. None does by default, but for
/// `traceparent`, `tracestate` and `x-request-id`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct HeaderConfig {
    /// Client headers that subgraphs get: `authorization, x-tenant@posts` sends the first to every
    /// subgraph and the second to posts. Over a WebSocket, members of `connection_init`'s payload
    /// stand for headers of the same name.
    #[arg(
        long = "forward-headers",
        env = "FORWARD_HEADERS",
        value_delimiter = ','
    )]
    pub forward: Vec<String>,
    /// Subgraph headers that clients get, in the same notation.
    #[arg(long = "return-headers", env = "RETURN_HEADERS", value_delimiter = ',')]
    pub give_back: Vec<String>,
    /// A client header that sets labels of progressive overrides (`@override(label: "new-checkout")`) for
    /// its request, comma-separated, beside those of `OVERRIDE_LABELS`. Without it, clients set none.
    #[arg(long, env = "OVERRIDE_LABELS_HEADER")]
    pub override_labels_header: Option<String>,
}
