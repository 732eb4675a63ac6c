//! `schema compose` writes the schema files; `schema check` fails if one is stale.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

use clap::Parser;

/// Export the subgraphs' schemas and compose the supergraph.
#[derive(Parser)]
enum Command {
    /// Write posts.graphql, comments.graphql and supergraph.graphql.
    Compose(Directory),
    /// Compare the files with the code, and fail with the names of stale ones. Writes nothing.
    Check(Directory),
}

#[derive(clap::Args)]
struct Directory {
    /// Write or read the files in this folder. The default is the repository's.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR")))]
    directory: PathBuf,
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Compose(Directory { directory }) => {
            for path in schema::files::write(&directory)? {
                print(format_args!("wrote {}", path.display()));
            }
        }
        Command::Check(Directory { directory }) => {
            schema::files::check(&directory)?;
            print("the schema files are up to date");
        }
    }
    Ok(())
}

/// Prints a line; where nobody reads it, that is no reason to fail.
fn print(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
