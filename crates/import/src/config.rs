//! The settings of an import, from flags or the environment.

use std::path::PathBuf;

use crate::index::Pending;

/// Imports the posts and comments of a WordPress export (WXR 1.0 to 1.2), or the threads and comments of a Disqus export,
/// into the database of Rejoinder, which may serve readers meanwhile.
///
/// The kind of the file is found out. It is read twice: a damaged file changes nothing. What was imported before stays as
/// it is, so an import may be run again, also after it was interrupted. Exit codes: 0 done, 1 the database failed (run it
/// again), 2 a bad setting, 3 a file that cannot be imported, 130 interrupted (run it again).
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "import", version)]
pub struct Config {
    /// Import this file. It cannot be a pipe.
    pub file: PathBuf,
    /// Connect to MongoDB by this connection string; its path names the database.
    #[arg(
        long,
        env = "MONGO_URI",
        default_value = "mongodb://127.0.0.1:27017/rejoinder",
        hide_env_values = true
    )]
    pub mongo_uri: String,
    /// Read and convert everything, count it, and write nothing. What was imported before is not known then, because no
    /// database is asked.
    #[arg(long)]
    pub dry_run: bool,
    /// Hold WordPress's comments that are not approved in the moderation queue, or skip them.
    #[arg(long, value_enum, default_value_t = Pending::Hold)]
    pub pending: Pending,
    /// Import items of these types as posts, from WordPress: for example `post,page`.
    #[arg(long, value_delimiter = ',', default_value = "post")]
    pub post_types: Vec<String>,
    /// Take this as the name of the site. Ids are unique within it: with another name, the same file is imported once more.
    /// By default it is the address of the blog in a WordPress export, and `disqus` for Disqus.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub site: Option<String>,
}
