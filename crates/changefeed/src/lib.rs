//! Durable MongoDB change streams: exactly-once projections and resumable live topics.
//!
//! A **projection** folds a source collection into the documents of a target collection and keeps
//! them equal to that fold through crashes, failovers and any number of running instances. A
//! **topic** is the part of the same collection's changes that one subscriber cares about; the
//! [`Hub`] hands them out live and from a cursor, and says so when something was missed.
//!
//! ```no_run
//! use bson::{Bson, Document, doc};
//! use changefeed::{FromDocument, Hub, NetChange, Projection, Projector, Slot, Source, Unfoldable, Unreadable};
//! use futures_util::{StreamExt, TryStreamExt};
//! use mongodb::{ClientSession, Collection, error::Result};
//! #[derive(serde::Deserialize)]
//! struct Vote { poll: String }
//! impl FromDocument for Vote {
//!     fn from_document(document: &bson::RawDocument) -> std::result::Result<Self, Unreadable> { changefeed::decode(document) }
//! }
//! struct Tally { votes: Collection<Vote> }
//! impl Projection for Tally {
//!     type Source = Vote;
//!     fn name(&self) -> &str { "tally" }
//!     fn target(&self) -> &str { "polls" }
//!     fn field(&self) -> &str { "tally" }
//!     fn target_of(&self, vote: &Vote) -> Bson { Bson::from(&vote.poll) }
//!     fn empty(&self) -> Document { doc! { "votes": 0 } }
//!     fn fold(&self, slot: &Slot, changes: &[NetChange<'_, Vote>]) -> std::result::Result<Vec<Document>, Unfoldable> {
//!         let delta: i32 = changes.iter().map(NetChange::count).sum();
//!         Ok(vec![doc! { "votes": { "$add": [slot.value("votes"), delta] } }])
//!     }
//!     async fn compute(&self, polls: &[Bson], session: &mut ClientSession) -> Result<Vec<(Bson, Document)>> {
//!         let stages = [doc! { "$match": { "poll": { "$in": polls } } }, doc! { "$sortByCount": "$poll" }];
//!         let mut groups = self.votes.aggregate(stages).session(&mut *session).await?;
//!         let groups: Vec<Document> = groups.stream(session).try_collect().await?;
//!         Ok(groups.iter().map(|group| (group["_id"].clone(), doc! { "votes": &group["count"] })).collect())
//!     }
//! }
//! # async fn run(client: mongodb::Client, stream: mongodb::Client, registry: &mut prometheus_client::registry::Registry)
//! # -> std::result::Result<(), Box<dyn std::error::Error>> {
//! # let (projection_metrics, hub_metrics) =
//! #     (changefeed::ProjectionMetrics::register(registry, "tally"), changefeed::HubMetrics::register(registry));
//! # let source = Source::new(stream, client.database("app"), "votes");
//! # let tally = Tally { votes: client.database("app").collection("votes") };
//! let projector = Projector::start(source.clone(), tally, Default::default(), projection_metrics).await?;
//! let hub = Hub::<Vote>::start(source, "poll", Default::default(), hub_metrics).await?;
//! let mut changes = hub.subscribe("lunch", None).await?;
//! while let Some(Ok((cursor, change))) = changes.next().await { println!("{:?}; resume after {cursor}", change.key); }
//! # Ok(()) }
//! ```
//!
//! # Layout
//! - `document`, `change`, `position`, `source`: what both halves read: documents, or what is none, decoded
//!   changes, points in time, the stream itself.
//! - `projection/`: [`Projection`] is what you write, [`Projector`] runs it. `leader` is the loop
//!   that holds the lease; `transaction` the guarded write that every path goes through.
//! - [`KeyStream`]: which documents of a collection change, without the documents.
//! - `oversized`: what happens to an event too large to be sent.
//! - `log_value`: cuts what other programs chose before it is logged.
//! - `topics/`: [`Hub`], its rings, its cursors, and the readings of the history for those who come back late.
//! - [`marker`]: points at which a test can stop the process.

mod change;
mod document;
mod error;
mod key_stream;
mod log_value;
pub mod marker;
mod metrics;
mod oversized;
mod position;
mod projection;
mod settings;
mod source;
mod stream;
mod topics;

pub use change::{Change, ChangeKind, Operation};
pub use document::{FromDocument, Unreadable, Unreadables, decode};
pub use error::{BarrierError, CursorError, Error, TopicError};
pub use key_stream::{KeyChange, KeyStream};
pub use metrics::{HubMetrics, ProjectionMetrics};
pub use position::{OperationTime, OperationTimeError, ResumeToken};
pub use projection::{Lag, NetChange, Projection, Projector, Replayed, Slot, Unfoldable};
pub use settings::{HubSettings, ProjectorSettings};
pub use source::Source;
pub use topics::{Cursor, Hub, Subscription, TopicField};
