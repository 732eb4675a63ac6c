//! Durable MongoDB change streams: exactly-once projections and resumable live topics.
//!
#![doc = include_str!("../README.md")]
//!
//! # Layout of the source
//!
//! - `document`, `change`, `position`, `source`: what both halves read: documents, or what is none, decoded
//!   changes, points in time, the stream itself.
//! - `projection/`: [`Projection`] is what you write, [`Projector`] runs it. `leader` is the loop
//!   that holds the lease; `transaction` the guarded write that every path goes through. `partition` says which
//!   targets are whose, `sets` which partitions there are, `coordinator` and `balance` which instance leads which,
//!   and `board` what readers may read.
//! - [`KeyStream`]: which documents of a collection change, without the documents.
//! - `oversized`: what happens to an event too large to be sent.
//! - `server_clock`: the server's time, with which times that it wrote are compared.
//! - `server_codes`: the server's error codes that decide what happens next.
//! - `log_value`: cuts what other programs chose before it is logged. `with_causes`: an error's text for a log.
//! - `topics/`: [`Hub`], its rings, its cursors, and the readings of the history for those who come back late.
//! - `marker`: points at which a test can stop the process, with the feature `failpoints`.

mod change;
mod document;
mod error;
mod key_stream;
mod log_value;
#[cfg(feature = "failpoints")]
pub mod marker;
#[cfg(not(feature = "failpoints"))]
mod marker;
mod metrics;
mod oversized;
mod position;
mod projection;
mod send_action;
mod server_clock;
mod server_codes;
mod settings;
mod source;
mod stream;
mod topics;
mod with_causes;

pub use bson;
pub use mongodb;

pub use change::{Change, ChangeKind, Operation};
pub use document::{FromDocument, Unreadable, Unreadables, decode};
pub use error::{BarrierError, CursorError, Error, NotReady, TopicError};
pub use key_stream::{KeyChange, KeyStream};
pub use metrics::{HubMetrics, ProjectionMetrics};
pub use position::{OperationTime, OperationTimeError, ResumeToken};
pub use projection::{
    AppliedBatch, Lag, NetChange, Projection, Projector, Replayed, Slot, Unfoldable,
};
#[doc(hidden)]
pub use send_action::{SendAction, for_each, for_each_in_session, read_all};
pub use settings::{HubSettings, ProjectorSettings};
pub use source::{Source, UnknownLag};
pub use topics::{Cursor, Cursors, Follower, Hub, Seen, SeenChange, Subscription, TopicField};
pub use with_causes::WithCauses;
