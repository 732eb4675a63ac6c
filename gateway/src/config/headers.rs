//! Settings for the headers that pass between clients and subgraphs.

/// The headers that pass between clients and subgraphs. By default only `traceparent`, `tracestate`
/// and `x-request-id` do.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct HeaderConfig {
    /// Forward these client headers to subgraphs: `authorization, x-tenant@posts` sends the first
    /// to every subgraph and the second only to posts; `x-user=x-account@accounts` sends a client's `x-user` there as
    /// `x-account`. On a WebSocket, the members of the `connection_init` payload act as headers of the same names. By
    /// default only `traceparent`, `tracestate` and `x-request-id` are forwarded.
    #[arg(
        long = "forward-headers",
        env = "FORWARD_HEADERS",
        value_delimiter = ','
    )]
    pub forward: Vec<String>,
    /// Return these subgraph headers to clients, in the notation of `FORWARD_HEADERS`. By default
    /// none is returned.
    #[arg(long = "return-headers", env = "RETURN_HEADERS", value_delimiter = ',')]
    pub give_back: Vec<String>,
    /// Send these headers to subgraphs, whatever the client sends: `x-env: prod` to all, `x-api-key@posts: k3y` to posts.
    /// They are separated by commas; in a value, `%2C` is a comma and `%25` a percent sign. By default none is sent.
    #[arg(
        long = "subgraph-headers",
        env = "SUBGRAPH_HEADERS",
        value_delimiter = ',',
        hide_env_values = true,
        value_name = "NAME: VALUE"
    )]
    pub insert: Vec<String>,
    /// Do not send these headers to subgraphs, though they are forwarded otherwise: `authorization@reviews` is left out
    /// for reviews, `tracestate` for all. By default none is left out.
    #[arg(
        long = "withhold-headers",
        env = "WITHHOLD_HEADERS",
        value_delimiter = ','
    )]
    pub withhold: Vec<String>,
    /// Let clients enable labels of progressive overrides for one request by this header, separated
    /// by commas, in addition to `OVERRIDE_LABELS`. By default clients cannot enable any.
    #[arg(long, env = "OVERRIDE_LABELS_HEADER")]
    pub override_labels_header: Option<String>,
    /// Send these claims of a verified token to subgraphs, in the header `rejoinder-claims`: `sub, scope,
    /// email@accounts` sends the first two to every subgraph and the third only to accounts. Needs `JWT_JWKS`. By
    /// default none is sent.
    #[arg(
        long = "subgraph-claims",
        env = "SUBGRAPH_CLAIMS",
        value_delimiter = ',',
        value_name = "CLAIM"
    )]
    pub claims: Vec<String>,
    /// Rely on the tags of these subgraphs: they mark every field whose value depends on who asks with
    /// `@tag(name: "viewer")`. Subscriptions that ask for no such field, and for nothing of other subgraphs, are
    /// shared by all clients, and no claims are sent with them. By default claims are sent with all, and clients
    /// share one only if they have the same.
    #[arg(
        long,
        env = "VIEWER_TAGS",
        value_delimiter = ',',
        value_name = "SUBGRAPH"
    )]
    pub viewer_tags: Vec<String>,
}
