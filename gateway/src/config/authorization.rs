//! Settings of authorisation by the supergraph's directives.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use service::duration;

/// What happens to an operation that selects what its client may not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AuthorizationMode {
    /// Execute it without these fields; the response has null and an error for each.
    Cut,
    /// Refuse it with `UNAUTHORIZED_FIELD_OR_TYPE`.
    Reject,
}

/// `@authenticated`, `@requiresScopes` and `@policy`, which are followed where the supergraph has them.
#[derive(Clone, Debug, clap::Args)]
pub struct AuthorizationConfig {
    /// Choose what happens to an operation that selects fields which its client may not see: `cut` executes the
    /// rest, with null and an error in the place of each such field; `reject` refuses the whole operation.
    #[arg(long, env = "AUTHORIZATION_MODE", value_enum, default_value = "cut")]
    pub authorization_mode: AuthorizationMode,
    /// Leave out of introspection what the client may not see. By default it shows the whole schema to everybody.
    #[arg(long, env = "AUTHORIZATION_HIDES_SCHEMA", value_parser = BoolishValueParser::new())]
    pub authorization_hides_schema: bool,
    /// Ask this service by POST which policies (`@policy`) hold for a client, beside those that its token names. By
    /// default no other policy holds.
    #[arg(long, env = "POLICY_URL", value_name = "ADDRESS")]
    pub policy_url: Option<String>,
    /// Refuse an operation with `POLICY_SERVICE_UNAVAILABLE` when the policy service takes longer than this.
    #[arg(long, env = "POLICY_TIMEOUT", default_value = "2s", value_parser = duration)]
    pub policy_timeout: Duration,
    /// Limit the bytes of memory for decisions of the policy service that its `Cache-Control` allows to use again.
    #[arg(long, env = "POLICY_KNOWN_BYTES_MAX", default_value_t = 4 << 20)]
    pub policy_known_bytes_max: usize,
}
