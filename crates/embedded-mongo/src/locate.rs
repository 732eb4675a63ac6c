//! Finds a mongod: `MONGOD`, then PATH, then the cache, and last fetches one into the cache.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::Error;
use crate::download;

/// The path of a mongod that can be run. The first call on a machine may take a minute, because it
/// fetches one; it tells so on standard error.
///
/// # Errors
/// [`Error::NoMongod`] names the ways out.
pub async fn locate() -> Result<PathBuf, Error> {
    let (named, path) = (std::env::var_os("MONGOD"), std::env::var_os("PATH"));
    match installed(named.as_deref(), path.as_deref())? {
        Some(mongod) => Ok(mongod),
        None => download::cached_or_fetched(&cache_folder()).await,
    }
}

/// The mongod that this machine has: the one that `MONGOD` names, or else the first on `PATH`.
fn installed(named: Option<&OsStr>, path: Option<&OsStr>) -> Result<Option<PathBuf>, Error> {
    let Some(named) = named.map(PathBuf::from) else {
        return Ok(path.and_then(|path| first_in(path, "mongod")));
    };
    if named.is_file() {
        return Ok(Some(named));
    }
    Err(Error::NoMongod {
        reason: format!("MONGOD={} is not a file", named.display()),
    })
}

/// Whether there is a program of this name in a folder of PATH.
pub(crate) fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| first_in(&path, program).is_some())
}

fn first_in(path: &OsStr, program: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
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
        .join("embedded-mongo")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_named_mongod_comes_before_the_first_one_on_the_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let mongod = |name: &str| {
            let folder = folder.path().join(name);
            std::fs::create_dir(&folder).expect("a folder");
            std::fs::write(folder.join("mongod"), "").expect("a file");
            folder.join("mongod")
        };
        let (named, first, second) = (mongod("named"), mongod("first"), mongod("second"));
        let folders = [Path::new("/nowhere"), &first, &second].map(|mongod| {
            let folder = mongod.parent().unwrap_or(mongod);
            folder.to_owned()
        });
        let path = std::env::join_paths(folders).expect("a PATH");
        let found = |named: Option<&OsStr>, path: Option<&OsStr>| {
            installed(named, path).expect("no broken setting")
        };
        assert_eq!(
            found(Some(named.as_os_str()), Some(&path)),
            Some(named.clone())
        );
        assert_eq!(found(None, Some(&path)), Some(first));
        assert_eq!(found(None, Some(OsStr::new("/nowhere"))), None);
        assert_eq!(found(None, None), None);
    }

    #[test]
    fn a_mongod_that_is_not_there_is_an_error_that_names_the_ways_out() {
        let error = installed(Some(OsStr::new("/nowhere/mongod")), None)
            .expect_err("no such file")
            .to_string();
        for words in ["/nowhere/mongod", "PATH", "MONGOD", "MONGO_URI"] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
