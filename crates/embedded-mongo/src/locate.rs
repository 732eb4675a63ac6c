//! Finds a mongod: `MONGOD`, then PATH, then the cache, and last fetches one into the cache.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::download;

/// The path of a mongod that can be run. The first call on a machine may take a minute, because it
/// fetches one; it tells so on standard error.
///
/// # Errors
/// [`Error::NoMongod`] names the ways out.
pub fn locate() -> Result<PathBuf, Error> {
    if let Some(path) = std::env::var_os("MONGOD") {
        return named(path.into());
    }
    if let Some(path) = on_path("mongod") {
        return Ok(path);
    }
    download::cached_or_fetched(&cache_folder())
}

fn named(path: PathBuf) -> Result<PathBuf, Error> {
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::NoMongod {
        reason: format!("MONGOD={} is not a file", path.display()),
    })
}

/// The first file of this name in a folder of PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Where fetched programs and the shared test server live, as the XDG base directory
/// specification says.
pub(crate) fn cache_folder() -> PathBuf {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join(Path::new("rejoinder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mongod_that_is_not_there_is_an_error_that_names_the_ways_out() {
        let error = named("/nowhere/mongod".into())
            .expect_err("no such file")
            .to_string();
        for words in [
            "/nowhere/mongod",
            "PATH",
            "MONGOD",
            "MONGO_URI",
            "docker compose",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
