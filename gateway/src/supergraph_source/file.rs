//! A supergraph in a file, read again when the file has changed.
//!
//! Looking at it at intervals works on every file system: mounted config maps, network shares, files replaced by a
//! rename.

use std::{fs::Metadata, path::Path, time::SystemTime};

use tokio::io::AsyncReadExt;

use super::{Failure, Known, Limits, Reading, Reason, text_of};

/// The file's state when it was last read, to decide whether to read it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The file itself, by device and number: behind a link there may be another one of the same age and size.
    file: (u64, u64),
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let file = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let file = (0, 0);
        Self {
            file,
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
        }
    }
}

pub(super) async fn read(
    path: &Path,
    limits: Limits,
    known: &mut Known,
) -> Result<Reading, Failure> {
    let unreadable = |error: std::io::Error| Failure::new(Reason::Unreadable, error.to_string());
    let bytes_max = limits.bytes_max;
    let reading = async {
        let stamp = Stamp::of(&tokio::fs::metadata(path).await.map_err(unreadable)?);
        if known.stamp == Some(stamp) {
            return Ok(Reading::Unchanged);
        }
        let too_large = || {
            let message = format!("it is larger than {bytes_max} bytes (SUPERGRAPH_BYTES_MAX)");
            Failure::new(Reason::TooLarge, message)
        };
        if stamp.bytes > bytes_max as u64 {
            return Err(too_large());
        }
        let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let mut bytes = Vec::new();
        let mut file = file.take((bytes_max as u64).saturating_add(1));
        file.read_to_end(&mut bytes).await.map_err(unreadable)?;
        if bytes.len() > bytes_max {
            return Err(too_large());
        }
        let text = text_of(bytes)?;
        // If it has changed since its stamp was taken, it is read once more.
        known.stamp = Some(stamp);
        Ok(Reading::Text(text))
    };
    // A network share may hang.
    let reading = tokio::time::timeout(limits.time, reading).await;
    reading.unwrap_or_else(|_| {
        let message = format!("it was not read within {:?}", limits.time);
        Err(Failure::new(Reason::Timeout, message))
    })
}
