//! The comments subgraph: comments, posts' lists of them, and their live feed.
//!
//! Layout: [`schema`] is what a client may ask, [`store`] every query to MongoDB, [`feed`] the
//! change streams, [`error`] the codes, [`config`] the settings. `comment`, `post` and
//! `comment_change` are the nouns; each mutation has a file of its own (`create_comment`, ...) with
//! its input and payload.
//!
//! To add a mutation, copy `create_comment.rs`, add its type to `Mutation` in [`schema`], and write
//! its query in [`store`]; then `cargo run -p schema -- compose`.

mod comment;
mod comment_change;
mod create_comment;
mod delete_comment;
pub mod error;
pub mod feed;
mod loaders;
mod post;
pub mod schema;
pub mod store;
mod update_comment;

pub use comment::{Comment, CommentId};
pub use comment_change::CommentChange;
pub use error::Error;
pub use feed::Feed;
pub use post::{Post, PostId};
pub use store::Store;

/// x
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
