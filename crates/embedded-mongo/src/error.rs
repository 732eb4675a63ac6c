//! What can go wrong between here and a mongod that answers.

use std::path::PathBuf;

/// Why there is no mongod to use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// None was found and none could be fetched.
    #[error(
        "no mongod to run: {reason}. Ways out: install MongoDB 6.0 or later so that `mongod` is on PATH; \
         set MONGOD to the path of one; or set MONGO_URI to the connection string of a running replica set"
    )]
    NoMongod {
        /// What was tried last, and how it failed.
        reason: String,
    },
    /// mongod ended before it answered.
    #[error("mongod ended before it was ready ({status}); its last words: {last_words}")]
    Ended {
        /// Its exit status, or the signal that ended it.
        status: String,
        /// The end of its log.
        last_words: String,
    },
    /// Another process works on the same data folder.
    #[error("the data folder {} is in use by another process", .0.display())]
    DataFolderInUse(PathBuf),
    /// Something that should take a moment did not happen in time.
    #[error("{what} did not happen within {seconds} s")]
    TooSlow {
        /// What was waited for.
        what: &'static str,
        /// How long, in seconds.
        seconds: u64,
    },
    /// A file or a process could not be handled.
    #[error("{doing} failed")]
    Io {
        /// What was being done, and with which file.
        doing: String,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// mongod answered with an error.
    #[error("mongod refused a command")]
    Command(#[from] mongodb::error::Error),
}

/// Turns an I/O error into ours, with the words that say what was being done.
pub(crate) fn while_doing(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        doing: doing.into(),
        source,
    }
}
