//! A resumable live topic: the messages of one room, from a cursor on and then live.
//!
//! ```sh
//! cargo run -p changefeed --example live_feed -- 'mongodb://localhost:27017/?replicaSet=rs0' lobby
//! ```
//!
//! `cargo run -p embedded-mongo --example run` starts a replica set and prints its connection string.
//!
//! Then write into the room with `mongosh`: `db.messages.insertOne({ room: "lobby", text: "hello" })` in the
//! database `changefeed_live_feed`. Stop the example, write more, and start it again with the last cursor that
//! it printed as a third argument: it shows what came in between.

use std::error::Error;

use changefeed::bson::RawDocument;
use changefeed::mongodb::{Client, Database};
use changefeed::{Change, ChangeKind, FromDocument, Hub, Source, TopicError, Unreadable};
use futures_util::StreamExt;

/// A document of the collection `messages`.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Message {
    /// The text that others read.
    pub text: String,
}

impl FromDocument for Message {
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        changefeed::decode(document)
    }
}

/// Starts the hub of a process: one change stream, however many subscribers there are. The stream needs a
/// client of its own: it keeps one connection busy all the time.
pub async fn hub(database: &Database, stream: Client) -> Result<Hub<Message>, Box<dyn Error>> {
    let source = Source::new(stream, database.clone(), "messages");
    Ok(Hub::start(source, "room", Default::default(), Default::default()).await?)
}

/// The line that a client shows for a change.
pub fn line(change: &Change<Message>) -> String {
    match &change.kind {
        ChangeKind::Inserted(message) => format!("new: {}", message.text),
        ChangeKind::Updated { .. } | ChangeKind::Replaced { .. } => match change.after() {
            Some(message) => format!("edited: {}", message.text),
            None => "edited".to_owned(),
        },
        ChangeKind::Deleted { .. } => "deleted".to_owned(),
    }
}

/// Prints the changes of a room until the subscription ends.
async fn follow(hub: &Hub<Message>, room: &str, after: Option<&str>) -> Result<(), Box<dyn Error>> {
    // An error here means that the text is no cursor of this room, or one from the future.
    let mut changes = hub.subscribe(room, after).await?;
    println!("resume after {}", changes.start());
    while let Some(change) = changes.next().await {
        match change {
            Ok((cursor, change)) => println!("{} (resume after {cursor})", line(&change)),
            // Nothing is skipped silently: the error says where to resume, or that it is too late for that.
            Err(TopicError::ResyncRequired) => {
                // In this order no change falls between the two.
                println!("subscribe without a cursor, and then read the room's messages again");
            }
            Err(error) => println!("{}: {error}", error.code()),
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [uri, room, after @ ..] = arguments.as_slice() else {
        return Err("usage: live_feed <connection string of a replica set> <room> [cursor]".into());
    };
    let database = Client::with_uri_str(uri)
        .await?
        .database("changefeed_live_feed");
    let hub = hub(&database, Client::with_uri_str(uri).await?).await?;
    follow(&hub, room, after.first().map(String::as_str)).await
}
