//! Clients for tests: as wrong as a test wants, and panicking with what was expected.

#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

mod socket;
mod wire;

use std::time::Duration;

pub use socket::Socket;
pub use wire::Wire;

/// Whatever a test waits for comes within this time, or never.
pub const PATIENCE: Duration = Duration::from_secs(20);
