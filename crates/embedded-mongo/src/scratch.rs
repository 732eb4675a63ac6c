//! Where data lives that nobody keeps.
//!
//! A server acknowledges a write that a majority has when its journal is on the disk. Tests wait for that more than for
//! anything else, and gain nothing by it: what a killed server has written is there, whatever the disk has of it. So
//! their data is in memory, where the system has a folder with room for it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

use rustix::fs::statvfs;
use rustix::process::getuid;
use tempfile::TempDir;

use crate::cache_size::available_megabytes;

/// Where Linux has files in memory.
const MEMORY: &str = "/dev/shm";
/// Room for the servers of a test run: some ten at a time with 100 MB of journal each, and the oplog of the one that
/// all share.
const ROOM_MEGABYTES_MIN: u64 = 4096;

/// A new folder, in memory where it may be and there is room.
pub(crate) fn new_folder(in_memory: bool) -> std::io::Result<TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("embedded-mongo-");
        builder
    };
    match in_memory.then(memory).flatten() {
        Some(folder) => builder().tempdir_in(folder),
        None => builder().tempdir(),
    }
}

/// This user's folder in memory, where there is room.
pub(crate) fn memory() -> Option<PathBuf> {
    let file_system = statvfs(MEMORY).ok()?;
    let free = file_system.f_bavail.saturating_mul(file_system.f_frsize) >> 20;
    if free < ROOM_MEGABYTES_MIN || available_megabytes()? < ROOM_MEGABYTES_MIN {
        return None;
    }
    let user = getuid().as_raw();
    let folder = PathBuf::from(format!("{MEMORY}/embedded-mongo-{user}"));
    // It may be there.
    let _ = DirBuilder::new().mode(0o700).create(&folder);
    let found = fs::symlink_metadata(&folder).ok()?;
    (found.is_dir() && found.uid() == user).then_some(folder)
}
