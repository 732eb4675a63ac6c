//! The last supergraph that was served, on disk, for a start while its source cannot be read.
//!
//! Its first line has the hash of the text and of the source's name, so that half a file, a changed one, or that of
//! another graph is not served. The rest is the supergraph as it was read. A new one is written beside it and renamed, so
//! that at every moment there is a whole one.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// The start of the first line, which is a comment in SDL.
const HEAD: &str = "# rejoinder-gateway supergraph copy v1";
/// More than the first line has.
const HEAD_BYTES_MAX: usize = 1_024;

/// The file of `SUPERGRAPH_COPY`.
#[derive(Clone, Debug)]
pub(crate) struct KeptCopy {
    path: PathBuf,
    /// The name of the source that it is from, hashed.
    source: String,
    bytes_max: usize,
}

impl KeptCopy {
    /// `source` names where the supergraph is from, without secrets.
    pub(crate) fn new(path: &Path, source: &str, bytes_max: usize) -> Self {
        Self {
            path: path.to_owned(),
            source: hex(source.as_bytes()),
            bytes_max,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the copy. Blocks until it is on the disk.
    ///
    /// # Errors
    /// If it cannot be written; then the one before stays.
    pub(crate) fn write(&self, text: &str) -> std::io::Result<()> {
        let draft = self.draft();
        // Left over from a write that did not end.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // Addresses may have user information.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&draft).and_then(|mut file| {
            writeln!(file, "{}", self.head(text))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        let replaced = written.and_then(|()| fs::rename(&draft, &self.path));
        if replaced.is_err() {
            // A full disk must not stay full for it.
            let _ = fs::remove_file(&draft);
        }
        replaced?;
        // The name, too, is on the disk only then.
        File::open(self.folder())?.sync_all()
    }

    /// The copy, if it is whole and of this source; `None` if there is none.
    ///
    /// # Errors
    /// In words, if it cannot be read or is not what was written.
    pub(crate) fn read(&self) -> Result<Option<String>, String> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let bytes_max = self.bytes_max.saturating_add(HEAD_BYTES_MAX);
        let mut content = Vec::new();
        file.take((bytes_max as u64).saturating_add(1))
            .read_to_end(&mut content)
            .map_err(|error| error.to_string())?;
        if content.len() > bytes_max {
            return Err(format!("it is larger than {} bytes", self.bytes_max));
        }
        let content = String::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned())?;
        let (head, text) = content
            .split_once('\n')
            .filter(|(head, _)| head.starts_with(HEAD))
            .ok_or("it is not a copy that a gateway has written")?;
        if head == self.head(text) {
            return Ok(Some(text.to_owned()));
        }
        let hash = hex(text.as_bytes());
        let is_whole = head.contains(&format!(" sha256={hash} "));
        Err(match is_whole {
            true => "it is from another source than SUPERGRAPH names".to_owned(),
            false => "it was changed or cut short: its hash is another one".to_owned(),
        })
    }

    /// Whether a copy can be written.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.path.is_dir() {
            return Err(format!("{} is a folder", self.path.display()));
        }
        match self.folder() {
            folder if folder.is_dir() => Ok(()),
            folder => Err(format!("there is no folder {}", folder.display())),
        }
    }

    fn head(&self, text: &str) -> String {
        let hash = hex(text.as_bytes());
        format!("{HEAD} sha256={hash} source={}", self.source)
    }

    fn draft(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        self.path.with_file_name(name)
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent();
        folder
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written_by_the_same_source() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("copy.graphql");
        let copy = KeptCopy::new(&path, "here", 100);
        assert_eq!(copy.read(), Ok(None));
        for text in ["type Query { a: Int }\n", "# two\nlines"] {
            copy.write(text).expect("written");
            assert_eq!(copy.read(), Ok(Some(text.to_owned())));
        }
        assert!(!copy.draft().exists());
        let other = KeptCopy::new(&path, "elsewhere", 100);
        assert!(
            other
                .read()
                .expect_err("refused")
                .contains("another source")
        );
        let whole = fs::read_to_string(&path).expect("a file");
        for (content, reason) in [
            (whole.replace("two", "ten"), "changed or cut short"),
            (whole[..whole.len() - 1].to_owned(), "changed or cut short"),
            ("type Query { a: Int }".to_owned(), "not a copy"),
            (String::new(), "not a copy"),
            (format!("{whole}{}", "#".repeat(2_000)), "larger than 100"),
        ] {
            fs::write(&path, content).expect("written");
            let refused = copy.read().expect_err("refused");
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_write_that_fails_leaves_the_copy_before() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().expect("a folder");
        let copy = KeptCopy::new(&folder.path().join("copy"), "here", 100);
        copy.write("first").expect("written");
        let mode = fs::metadata(copy.path())
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // A folder in the place of the draft cannot be removed as a file.
        fs::create_dir(copy.draft()).expect("a folder");
        assert!(copy.write("second").is_err());
        assert_eq!(copy.read(), Ok(Some("first".to_owned())));
        // What a crash has left does not stop the next one.
        fs::remove_dir(copy.draft()).expect("removed");
        fs::write(copy.draft(), "half").expect("written");
        copy.write("third").expect("written");
        assert_eq!(copy.read(), Ok(Some("third".to_owned())));
    }
}
