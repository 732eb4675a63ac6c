//! Renames a collection as another program does.

use std::time::Duration;

use mongodb::Database;
use mongodb::bson::doc;
use mongodb::error::{Error, ErrorKind};

/// The server's code while an index of either collection is being built
/// (`BackgroundOperationInProgressForNamespace`).
const INDEX_BUILD_RUNS: i32 = 12587;
/// The server has no call that waits for the end of an index build.
const POLL_PAUSE: Duration = Duration::from_millis(10);

/// Renames the collection `from` of `database` to `to`. A collection of that name is dropped. Waits
/// while an index of either collection is being built, for which the server refuses a rename.
///
/// # Errors
/// Any other refusal of the server.
pub async fn rename_collection(database: &Database, from: &str, to: &str) -> Result<(), Error> {
    let full_name = |collection: &str| format!("{}.{collection}", database.name());
    let admin = database.client().database("admin");
    loop {
        let rename = doc! {
            "renameCollection": full_name(from), "to": full_name(to), "dropTarget": true,
        };
        match admin.run_command(rename).await {
            Ok(_) => return Ok(()),
            Err(error) if is_index_build(&error) => tokio::time::sleep(POLL_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

fn is_index_build(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(refusal) if refusal.code == INDEX_BUILD_RUNS)
}
