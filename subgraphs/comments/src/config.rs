//! The settings of the comments subgraph, from flags or the environment.

use subgraph::database::DatabaseSettings;

/// The comments subgraph of Rejoinder: comments, posts' lists of them, and their live feed.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "comments", version)]
pub struct Config {
    /// Where the data is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// What every binary has.
    #[command(flatten)]
    pub service: service::Settings,
}
