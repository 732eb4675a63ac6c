//! The posts subgraph's projection of comments, run by the benchmark itself.

use std::time::Duration;

use anyhow::ensure;
use bson::{Document, RawDocumentBuf, doc};
use changefeed::{
    ProjectionMetrics, Projector, ProjectorSettings, SendAction, Slot, Source, read_all,
};
use posts::comment_projection::CommentProjection;
use prometheus_client::registry::Registry;

use super::Bench;

/// The posts service's settings, without its auditor.
pub fn settings() -> ProjectorSettings {
    ProjectorSettings::default().audit_interval(Duration::ZERO)
}

/// Starts the projection as the posts service does, with a registry that nobody reads.
pub async fn start(bench: &Bench) -> anyhow::Result<Projector> {
    start_with(bench, settings()).await
}

/// [`start`] with other settings.
pub async fn start_with(bench: &Bench, settings: ProjectorSettings) -> anyhow::Result<Projector> {
    let projector = Projector::start(
        Source::new(bench.streams.clone(), bench.database.clone(), "comments"),
        CommentProjection::new(&bench.database, changefeed::Unreadables::default()),
        settings,
        ProjectionMetrics::register(&mut Registry::default(), "bench"),
    )
    .await?;
    projector.wait_until_serving().await?;
    Ok(projector)
}

/// A fast projection of wrong counts says nothing.
pub async fn ensure_counted(bench: &Bench, slot: &Slot, comments: usize) -> anyhow::Result<()> {
    let posts = bench.database.collection::<Document>("posts");
    let total = doc! { "$group": { "_id": null, "count": { "$sum": slot.value("count") } } };
    let totals = posts.aggregate([total]).with_type::<RawDocumentBuf>();
    let totals = read_all(totals.send().await?).await?;
    let counted = totals.first().and_then(|total| total.get_i32("count").ok());
    ensure!(
        counted.and_then(|count| usize::try_from(count).ok()) == Some(comments),
        "counted {counted:?}"
    );
    Ok(())
}
