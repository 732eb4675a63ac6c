//! The web pages: built with npm, if it is installed and the build is older than its sources.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Instant, SystemTime};

use embedded_mongo::ProcessGroup;
use service::telemetry;

/// What a build makes at addresses that stay, the last one last.
const PAGES: [&str; 4] = ["index.html", "stats.html", "graphiql.html", "embed.js"];
/// What a build reads, relative to the web folder.
const SOURCES: [&str; 11] = [
    "src",
    "public",
    "index.html",
    "stats.html",
    "graphiql.html",
    "package.json",
    "package-lock.json",
    "vite.config.ts",
    "codegen.ts",
    "../client/src",
    "../schema/supergraph.graphql",
];

/// The folder of the built pages, when there is one. A stale build is built again first, which may
/// take a minute; without npm, or when the build fails, the rest of the stack works all the same.
pub(crate) async fn built_folder() -> Option<PathBuf> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("web");
    built_folder_of(&web, Path::new("npm")).await
}

async fn built_folder_of(web: &Path, npm: &Path) -> Option<PathBuf> {
    if !web.is_dir() {
        return None;
    }
    let built = web.join("dist");
    if is_stale(web, &built) {
        telemetry::tell("building the web pages");
        telemetry::tell(build(web, npm).await);
    }
    PAGES
        .iter()
        .all(|page| built.join(page).is_file())
        .then_some(built)
}

/// Builds, and says what it did.
async fn build(web: &Path, npm: &Path) -> String {
    let started = Instant::now();
    match install_and_build(web, npm).await {
        Ok(status) if status.success() => format!(
            "built the web pages in {:.0} s",
            started.elapsed().as_secs_f64()
        ),
        Ok(status) => {
            format!("the web pages could not be built (npm: {status}); everything else works")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            "the web pages are not built because npm is not installed; everything else works"
                .to_owned()
        }
        Err(error) => {
            format!("the web pages could not be built (npm: {error}); everything else works")
        }
    }
}

async fn install_and_build(web: &Path, npm: &Path) -> io::Result<ExitStatus> {
    let installed = modified(&web.join("node_modules/.package-lock.json"));
    if installed.is_none() || installed < modified(&web.join("package-lock.json")) {
        let status = run(npm, web, &["ci", "--no-audit", "--no-fund"]).await?;
        if !status.success() {
            return Ok(status);
        }
    }
    run(npm, web, &["run", "build"]).await
}

/// Dropped before its end, when the stack is stopped, npm ends with all that it started.
async fn run(npm: &Path, web: &Path, arguments: &[&str]) -> io::Result<ExitStatus> {
    let mut command = Command::new(npm);
    command
        .arg("--loglevel=error")
        .args(arguments)
        .current_dir(web)
        .stdin(Stdio::null())
        // npm's progress is for the person; standard output belongs to the stack.
        .stdout(Stdio::from(io::stderr()));
    ProcessGroup::start(&mut command)?.wait().await
}

fn is_stale(web: &Path, built: &Path) -> bool {
    let pages = PAGES.iter().map(|page| modified(&built.join(page)));
    // A page that is missing counts as older than everything.
    let oldest_page = pages.min().flatten();
    let newest_source = SOURCES
        .iter()
        .filter_map(|source| newest(&web.join(source)))
        .max();
    oldest_page < newest_source
}

/// The time of the last change in a file, or in any file below a folder.
fn newest(path: &Path) -> Option<SystemTime> {
    let Ok(entries) = fs::read_dir(path) else {
        return modified(path);
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| newest(&entry.path()))
        .max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    /// Creates a file, and the folders above it, that was changed so many seconds after 1970.
    fn file(path: PathBuf, seconds: u64) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let file = File::create(path).expect("a file");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .expect("a time");
    }

    #[test]
    fn a_build_is_stale_when_a_page_is_missing_or_older_than_a_source() {
        let web = tempfile::tempdir().expect("a folder");
        let (web, built) = (web.path(), web.path().join("dist"));
        file(web.join("src/live/main.tsx"), 10);
        assert!(is_stale(web, &built), "there is no build");

        for page in PAGES {
            assert!(is_stale(web, &built), "{page} is missing");
            file(built.join(page), 20);
        }
        assert!(!is_stale(web, &built));

        file(web.join("src/live/deep/below/style.css"), 30);
        assert!(is_stale(web, &built), "a source is newer");
    }

    /// A program that notes how it was called and, when it is to build, writes the pages.
    fn npm_that(folder: &Path, ends: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let npm = folder.join("npm");
        let pages = PAGES.map(|page| format!("dist/{page}")).join(" ");
        let script = format!(
            "#!/bin/sh\necho \"$2\" >> calls\n{ends}\n\
             [ \"$2\" = run ] && mkdir -p dist && touch {pages}\nexit 0\n"
        );
        fs::write(&npm, script).expect("a script");
        fs::set_permissions(&npm, fs::Permissions::from_mode(0o755)).expect("executable");
        npm
    }

    #[tokio::test]
    async fn a_stale_build_is_made_anew_and_a_fresh_one_is_served_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path();
        file(web.join("package-lock.json"), 10);
        let npm = npm_that(web, "");
        for _ in 0..2 {
            let served = built_folder_of(web, &npm).await;
            assert_eq!(served, Some(web.join("dist")));
        }
        let calls = fs::read_to_string(web.join("calls")).expect("calls");
        assert_eq!(calls, "ci\nrun\n", "installed and built, once");
    }

    #[tokio::test]
    async fn without_npm_or_with_a_failing_one_the_older_build_is_served_if_there_is_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path();
        file(web.join("src/main.ts"), 20);
        let absent = web.join("no/such/npm");
        let said = build(web, &absent).await;
        assert!(
            said.contains("npm is not installed; everything else works"),
            "{said}"
        );
        let failing = npm_that(web, "exit 3");
        let said = build(web, &failing).await;
        assert!(
            said.contains("could not be built") && said.contains('3'),
            "{said}"
        );
        for npm in [&absent, &failing] {
            assert_eq!(built_folder_of(web, npm).await, None);
        }
        for page in PAGES {
            file(web.join("dist").join(page), 10);
        }
        for npm in [&absent, &failing] {
            assert_eq!(built_folder_of(web, npm).await, Some(web.join("dist")));
        }
    }

    #[tokio::test]
    async fn a_build_that_is_given_up_leaves_no_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path();
        file(web.join("src/main.ts"), 20);
        let npm = npm_that(
            web,
            "sleep 100 >/dev/null 2>&1 &\necho $! >started.new && mv started.new started\nwait",
        );
        let started = web.join("started");
        let grandchild = tokio::select! {
            _ = built_folder_of(web, &npm) => panic!("npm ended"),
            grandchild = content(&started) => grandchild,
        };
        eventually("what npm started has ended", || {
            (!is_running(grandchild.trim())).then_some(())
        })
        .await;
    }

    /// Waits for a file, and returns what is in it.
    async fn content(file: &Path) -> String {
        eventually("the file is there", || fs::read_to_string(file).ok()).await
    }

    async fn eventually<T>(what: &str, condition: impl Fn() -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(value) = condition() {
                return value;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "not in time: {what}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn is_running(pid: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie has ended; it only waits for its parent to hear of it.
        stat.rsplit_once(") ")
            .is_some_and(|(_, state)| !state.starts_with('Z'))
    }
}
