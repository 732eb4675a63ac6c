//! For tests: clients as wrong as a test wants, which panic with what was expected, and a gate that
//! holds resolvers.

#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

mod gate;
mod socket;
mod wire;

use std::time::Duration;

pub use gate::Gate;
pub use socket::Socket;
pub use wire::Wire;

/// Whatever a test waits for comes within this time, or never.
pub const PATIENCE: Duration = Duration::from_secs(20);
