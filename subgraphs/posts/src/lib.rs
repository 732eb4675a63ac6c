//! The posts subgraph: posts, and in each of them its newest comments and their number.
//!
//! Layout: [`schema`] is what a client may ask, [`store`] every query to MongoDB, [`feed`] the
//! change streams, [`error`] the codes, [`config`] the settings. `post` and `comment` are the
//! nouns; each mutation has a file of its own (`create_post`, ...) with its input and payload.
//!
//! To add a mutation, copy `create_post.rs`, add its type to `Mutation` in [`schema`], and write
//! its query in [`store`]; then `cargo run -p schema -- compose`.

mod comment;
mod create_post;
mod delete_post;
pub mod error;
pub mod feed;
mod post;
mod post_loader;
pub mod schema;
pub mod store;
mod update_post;

pub use error::Error;
pub use feed::Feed;
pub use post::{LATEST_COMMENTS_MAX, Post, PostId};
pub use store::Store;

/// x
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
