//! Settings of identity: which tokens the gateway accepts, and what subgraphs learn from them.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use service::{duration_from, duration_up_to};

/// The algorithms with a public key: nobody who can check a token can make one.
const ASYMMETRIC: &str = "RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA";

/// The longest leeway: a token is good for so much longer than its provider has said.
const LEEWAY_MAX: Duration = Duration::from_secs(5 * 60);
/// The bytes of memory that the largest token may take.
const KNOWN_BYTES_LEAST: usize = 64 << 10;

/// JSON Web Tokens. Off without `JWT_JWKS`: then the gateway looks at no token.
#[derive(Clone, Debug, clap::Args)]
pub struct IdentityConfig {
    /// Verify clients' JSON Web Tokens with the keys of these JWK sets: `https://` addresses or files. `ISSUER
    /// ADDRESS`, with a blank between them, uses the keys for the tokens of that issuer only. By default no token
    /// is looked at.
    #[arg(long, env = "JWT_JWKS", value_delimiter = ',', value_name = "ADDRESS")]
    pub jwt_jwks: Vec<String>,
    /// Accept only tokens of these issuers (claim `iss`). By default the issuer is not checked.
    #[arg(long, env = "JWT_ISSUER", value_delimiter = ',')]
    pub jwt_issuer: Vec<String>,
    /// Accept only tokens for one of these audiences (claim `aud`). By default the audience is not checked.
    #[arg(long, env = "JWT_AUDIENCE", value_delimiter = ',')]
    pub jwt_audience: Vec<String>,
    /// Accept only tokens that are signed with these algorithms. `HS256`, `HS384` and `HS512` need a JWK set in a
    /// file with a key of the type `oct`.
    #[arg(long, env = "JWT_ALGORITHMS", value_delimiter = ',', default_value = ASYMMETRIC)]
    pub jwt_algorithms: Vec<String>,
    /// Take the token from this cookie if the request has no `Authorization` header. By default no cookie is
    /// looked at.
    #[arg(long, env = "JWT_COOKIE", value_name = "NAME")]
    pub jwt_cookie: Option<String>,
    /// Refuse requests without a token. By default they are served as those of a client that is not known.
    #[arg(long, env = "JWT_REQUIRED", value_parser = BoolishValueParser::new())]
    pub jwt_required: bool,
    /// Take the policies that hold for a client (`@policy`) from this claim: a list of names, or a text with blanks
    /// between them.
    #[arg(
        long,
        env = "JWT_POLICIES_CLAIM",
        value_name = "CLAIM",
        default_value = "policies"
    )]
    pub jwt_policies_claim: String,
    /// Accept tokens that have expired, or are not yet valid, by less than this: clocks differ. At most five
    /// minutes.
    #[arg(long, env = "JWT_LEEWAY", default_value = "30s", value_parser = duration_up_to(LEEWAY_MAX))]
    pub jwt_leeway: Duration,
    /// Read the JWK sets again this often.
    #[arg(long, env = "JWT_JWKS_REFRESH", default_value = "5m", value_parser = duration_from(Duration::from_secs(1)))]
    pub jwt_jwks_refresh: Duration,
    /// Read the JWK sets at most once in this time when a token names a key that they do not have.
    #[arg(long, env = "JWT_JWKS_PAUSE", default_value = "10s", value_parser = duration_from(Duration::from_millis(1)))]
    pub jwt_jwks_pause: Duration,
    /// Fail the reading of a JWK set that takes longer than this.
    #[arg(long, env = "JWT_JWKS_TIMEOUT", default_value = "5s", value_parser = duration_from(Duration::from_millis(1)))]
    pub jwt_jwks_timeout: Duration,
    /// Read JWK sets from `http://` addresses outside this machine, too. Whoever can change the response on its
    /// way can then sign in as anybody.
    #[arg(long, env = "JWT_JWKS_HTTP", value_parser = BoolishValueParser::new())]
    pub jwt_jwks_http: bool,
    /// Limit the bytes of memory for tokens that have been verified. Others are verified again when they come
    /// back. At least 65,536: the largest token takes nearly as much.
    #[arg(long, env = "JWT_KNOWN_BYTES_MAX", default_value_t = 16 << 20, value_parser = known_bytes_max)]
    pub jwt_known_bytes_max: usize,
}

impl IdentityConfig {
    /// Whether tokens are looked at.
    pub fn is_on(&self) -> bool {
        listed(&self.jwt_jwks).next().is_some()
    }

    /// The name of the cookie with the token.
    pub fn cookie(&self) -> Option<&str> {
        let name = self.jwt_cookie.as_deref().map(str::trim);
        name.filter(|name| !name.is_empty())
    }
}

fn known_bytes_max(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if bytes >= KNOWN_BYTES_LEAST => Ok(bytes),
        Ok(_) => Err(format!("at least {KNOWN_BYTES_LEAST} is needed")),
        Err(error) => Err(format!("it is not a number: {error}")),
    }
}

/// The items of a list without blanks around them, and without empty ones.
pub(crate) fn listed(items: &[String]) -> impl Iterator<Item = &str> {
    let items = items.iter().map(|item| item.trim());
    items.filter(|item| !item.is_empty())
}
