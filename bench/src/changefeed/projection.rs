//! The posts subgraph's projection of comments, run by the benchmark itself.

use changefeed::{ProjectionMetrics, Projector, ProjectorSettings, Source};
use posts::comment_projection::CommentProjection;
use prometheus_client::registry::Registry;

use super::Bench;

/// Starts the projection as the posts service does, with a registry that nobody reads.
pub async fn start(bench: &Bench) -> anyhow::Result<Projector> {
    let settings = ProjectorSettings::default().audit_interval(std::time::Duration::ZERO);
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
