//! Live topics: one stream a process, a ring a topic, subscribers as offsets into the rings.

mod catch_up;
mod cursor;
mod cursor_keys;
mod cursors;
mod floors;
mod follower;
mod hub;
mod level;
pub(crate) mod look_back;
mod ring;
mod rings;
mod subscription;
mod topic_of;

pub use cursor::Cursor;
pub use cursors::Cursors;
pub use follower::{Follower, Seen, SeenChange};
pub use hub::Hub;
pub use subscription::Subscription;
pub use topic_of::TopicField;
