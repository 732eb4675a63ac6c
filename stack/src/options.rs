//! The options of the stack, from flags or the environment.

use std::path::PathBuf;
use std::time::Duration;

/// Starts Rejoinder on this machine: MongoDB, the posts and comments services, the gateway, the page
/// service, and sample posts on an empty database. Ctrl-C stops everything.
///
/// The services take their other settings from the environment: see .env.sample.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "stack", version)]
pub struct Options {
    /// Use this running replica set instead of starting a mongod. The URI's path names the database (default:
    /// rejoinder).
    #[arg(long, env = "MONGO_URI", value_name = "URI")]
    pub mongo_uri: Option<String>,
    /// Serve the gateway on this port; posts, comments, the development issuer and the page service take the four after
    /// it. 0 takes free ones.
    #[arg(long, env = "PORT", default_value_t = 4000, value_parser = clap::value_parser!(u16).range(..=65531))]
    pub port: u16,
    /// Serve the gateway's metrics on this port; posts, comments and the page service take the three after it. 0 takes
    /// free ones. Without it metrics are on each service's own port.
    #[arg(long, env = "OPERATIONS_PORT", value_parser = clap::value_parser!(u16).range(..=65532))]
    pub operations_port: Option<u16>,
    /// Keep MongoDB's data in this folder; the next start continues with it.
    #[arg(long, env = "DATA_DIR", default_value = "data", value_name = "FOLDER")]
    pub data_dir: PathBuf,
    /// Leave an empty database empty, without sample posts.
    #[arg(long)]
    pub no_sample: bool,
    /// Serve the web pages as they are, or none, and do not build them with npm.
    #[arg(long)]
    pub no_web: bool,
    /// Start no development issuer: nobody can sign in. It does not start either if `JWT_JWKS` or another setting of
    /// identity is set.
    #[arg(long)]
    pub no_issuer: bool,
    /// Let the development issuer's tokens end after this time.
    #[arg(
        long,
        env = "ISSUER_TOKEN_LIFETIME",
        default_value = "15m",
        value_name = "TIME",
        value_parser = service::duration_from(Duration::from_secs(1))
    )]
    pub issuer_token_lifetime: Duration,
}

/// Settings of identity that somebody has made: the development issuer would not fit them.
const IDENTITY: [&str; 4] = ["JWT_JWKS", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_ALGORITHMS"];

impl Options {
    /// Whether the development issuer starts.
    pub(crate) fn starts_issuer(&self) -> bool {
        !self.no_issuer && !IDENTITY.iter().any(|name| service::is_set(name))
    }
}
