//! What both subgraphs share: typed ids, dates, text checks, Relay pages, errors, the endpoint.
//!
//! A subgraph is an async-graphql schema over MongoDB. This crate holds what is the same for each of them:
//!
//! - [`Subgraph`]: the process, from its [`SubgraphSettings`] to its end;
//! - [`id`], [`date_time`], [`text`] and [`author`]: the values that go in and out, checked at the border;
//! - [`unchanged`]: edits that do not overwrite another edit;
//! - [`viewer`] and [`owner`]: who asks, whom a document belongs to, and so who may write what; `claims` reads who
//!   asks from what the gateway sends; [`blocks`]: who may write nothing; [`moderation_acts`]: the lines that
//!   moderators' acts leave;
//! - [`page`] and [`connection`]: Relay pages over a list ordered by creation time; [`ranked_page`]: over one
//!   ordered by a count;
//! - [`readable`], [`stored_comment`], [`reference`](mod@reference) and [`undated`]: which documents can be read,
//!   how they refer to each other, and documents without a date;
//! - [`list_size`] and [`tag`]: how long lists are, and what depends on who asks, in the schema itself;
//! - [`flat_list`] and [`json`]: lists of embedded objects, and answers, written in one go;
//! - [`error`]: stable codes for clients, and the one place where an error becomes GraphQL;
//! - [`endpoint`]: `/graphql` as a service of `graphql_transport`, which has the protocols; `answer` writes
//!   responses, `documents` spares it to parse the same twice, `overload` says whether a request can be sent
//!   again;
//! - [`limits`]: what one request may ask for, checked before the document is validated;
//! - [`database`]: the MongoDB settings and clients; [`database_calls`]: the only way of requests to it,
//!   with a bounded queue; `database_spans` traces its commands; [`turns`]: how many slow ones run; [`transaction`]: what is read and written at one moment; [`written`]: the time of a write; [`written_in`]: its trace;
//!   [`database_clock`]: which time it is there; [`database_error`]: what failures mean; [`collections`] keeps the indexes;
//! - `testing` and `hostile`, with the feature `testing`: a client for the subgraphs' own tests, and
//!   requests that are meant to stop them.
//!
//! To add a subgraph, copy the smaller one of `subgraphs/` and name its own nouns.

mod answer;
pub mod author;
pub mod blocks;
mod claims;
pub mod collections;
pub mod connection;
pub mod database;
pub mod database_calls;
pub mod database_clock;
pub mod database_error;
mod database_spans;
pub mod date_time;
pub mod delivery;
pub mod doctor;
mod documents;
pub mod endpoint;
pub mod error;
pub mod flat_list;
#[cfg(feature = "testing")]
pub mod hostile;
pub mod id;
pub mod json;
pub mod limits;
pub mod list_size;
pub mod moderation_acts;
mod overload;
pub mod owner;
pub mod page;
pub mod ranked_page;
pub mod readable;
pub mod reference;
pub mod stored_comment;
mod subgraph;
pub mod tag;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
pub mod transaction;
pub mod turns;
pub mod unchanged;
pub mod undated;
pub mod viewer;
pub mod written;
pub mod written_in;

pub use blocks::Blocks;
pub use connection::{Connection, Edge, PageInfo};
pub use database_calls::{CallGate, DatabaseCalls, Overloaded};
pub use date_time::DateTime;
pub use delivery::Delivery;
pub use endpoint::AccessSettings;
pub use error::{Code, CodedError, InputError};
pub use flat_list::{FlatList, FlatObject};
pub use id::Id;
pub use json::JsonText;
pub use limits::{FieldCost, FieldCosts, LimitSettings, Limits, TypeNames};
pub use moderation_acts::{ModerationActs, Moderator};
pub use owner::Owner;
pub use page::{BeyondCursors, ListPosition, Order, Page, PageArguments, PageRequest};
pub use ranked_page::RankedPosition;
pub use stored_comment::StoredComment;
pub use subgraph::{Subgraph, SubgraphSettings};
pub use viewer::{AccessError, AnonymousWrites, Person, Viewer};
pub use written::Written;
pub use written_in::WrittenIn;

/// Spawns a task that works for the same span as this one: a data loader reads in a task of its own. The trace of a batch is
/// that of its first key.
pub fn spawn_in_trace<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(traces::in_current(task))
}
