//! `schema compose` writes the schema files; `schema check` tells whether they are up to date.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

use clap::Parser;

/// Exports the subgraphs' schemas and composes the supergraph.
#[derive(Parser)]
enum Command {
    /// Writes posts.graphql, comments.graphql and supergraph.graphql.
    Compose(Directory),
    /// Fails when a file is not what the code says; nothing is written.
    Check(Directory),
}

#[derive(clap::Args)]
struct Directory {
    /// Where the files are.
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
