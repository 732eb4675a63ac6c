//! Live topics: one stream a process, a ring a topic, subscribers as offsets into the rings.

mod cursor;
mod hub;
mod subscription;

pub use cursor::Cursor;
pub use hub::Hub;
pub use subscription::Subscription;
