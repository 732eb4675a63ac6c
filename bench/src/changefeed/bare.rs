//! The yardstick: a change stream of the comments that only reads its events.

use bson::Timestamp;
use bson::{Document, RawDocumentBuf};
use changefeed::SendAction;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ChangeStreamEvent;
use mongodb::options::{FullDocumentBeforeChangeType, FullDocumentType};
use mongodb::{Collection, Database};

use super::Bench;

/// The event's documents stay bytes: decoding them is no part of the yardstick.
pub type BareStream = ChangeStream<ChangeStreamEvent<RawDocumentBuf>>;

/// Opens the stream at an operation time, or from now.
pub async fn open(bench: &Bench, start: Option<Timestamp>) -> anyhow::Result<BareStream> {
    open_in(&bench.streams.database(bench.database.name()), start).await
}

/// Opens the stream of any database, with the images that the change feed asks for.
pub async fn open_in(database: &Database, start: Option<Timestamp>) -> anyhow::Result<BareStream> {
    let comments: Collection<Document> = database.collection("comments");
    let mut watch = comments
        .watch()
        .batch_size(10_000)
        .full_document(FullDocumentType::WhenAvailable)
        .full_document_before_change(FullDocumentBeforeChangeType::WhenAvailable);
    if let Some(start) = start {
        watch = watch.start_at_operation_time(start);
    }
    Ok(watch.send().await?.with_type())
}

/// The server's operation time of now.
pub async fn operation_time(bench: &Bench) -> anyhow::Result<Timestamp> {
    let answer: Document = bench
        .database
        .run_command(bson::doc! { "hello": 1 })
        .await?;
    Ok(answer.get_timestamp("operationTime")?)
}
