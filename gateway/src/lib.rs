//! A general Federation v2 gateway.
//!
//! A request takes the same way whatever brought it here (POST, GET, WebSocket, SSE, multipart):
//! read -> prepare -> coerce variables -> execute -> respond; [`pipeline`] is that way, one short
//! function.

pub mod pipeline;
pub mod request;
pub mod response;
