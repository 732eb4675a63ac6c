//! The generated files: writes them, and finds the stale ones.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::compose::compose;
use crate::subgraphs;

const HEADER: &str = "# Made by `cargo run -p schema -- compose`; do not edit.\n\n";

/// Writes all files into a directory and returns their paths.
///
/// # Errors
/// When the subgraphs do not compose or a file cannot be written.
pub fn write(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (name, text) in expected()? {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// Compares the files of a directory with what the code says.
///
/// # Errors
/// Names each stale or missing file and its first line that differs.
pub fn check(directory: &Path) -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for (name, text) in expected()? {
        let found = fs::read_to_string(directory.join(&name)).unwrap_or_default();
        if let Some(line) = first_difference(&found, &text) {
            stale.push(format!("  {name}: differs from line {line} on"));
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    anyhow::bail!(
        "these schema files are not what the code says:\n{}\nrun: cargo run -p schema -- compose",
        stale.join("\n")
    )
}

/// The files' names and texts.
fn expected() -> anyhow::Result<Vec<(String, String)>> {
    let subgraphs = subgraphs();
    let supergraph = compose(&subgraphs)?;
    let mut files: Vec<_> = subgraphs
        .iter()
        .map(|subgraph| {
            (
                format!("{}.graphql", subgraph.name),
                format!("{HEADER}{}", subgraph.sdl),
            )
        })
        .collect();
    files.push((
        "supergraph.graphql".to_owned(),
        format!("{HEADER}{supergraph}"),
    ));
    Ok(files)
}

/// The number of the first line that differs, from 1.
fn first_difference(found: &str, expected: &str) -> Option<usize> {
    if found == expected {
        return None;
    }
    let same = found
        .lines()
        .zip(expected.lines())
        .take_while(|(a, b)| a == b)
        .count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_files_are_up_to_date() {
        check(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("up to date");
    }

    #[test]
    fn a_stale_file_is_named_with_the_way_out() {
        let directory = tempfile::tempdir().expect("a directory");
        write(directory.path()).expect("written");
        let posts = directory.path().join("posts.graphql");
        let text = fs::read_to_string(&posts)
            .expect("written")
            .replace("title: String!", "title: Int");
        fs::write(&posts, text).expect("changed");

        let error = check(directory.path()).expect_err("stale").to_string();
        assert!(
            error.contains("posts.graphql: differs from line"),
            "{error}"
        );
        assert!(!error.contains("comments.graphql"), "{error}");
        assert!(error.contains("cargo run -p schema -- compose"), "{error}");
    }
}
