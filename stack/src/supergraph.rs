//! The supergraph that the gateway of the stack serves.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// Part of the program, as the services are: so they fit each other, and the stack runs from any
/// folder.
const SUPERGRAPH: &str = include_str!("../../schema/supergraph.graphql");

/// Writes the supergraph into a folder and returns the file's path. `SUPERGRAPH`, when set, names
/// another file, which is left as it is.
pub(crate) fn file(folder: &Path) -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("SUPERGRAPH") {
        return Ok(path.into());
    }
    let path = folder.join("supergraph.graphql");
    std::fs::write(&path, SUPERGRAPH)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
