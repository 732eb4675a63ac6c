//! For tests: clients as wrong as a test wants, which panic with what was expected, a gate that holds resolvers, and
//! ports that nobody takes.

#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

mod gate;
mod held_port;
mod socket;
mod wire;

use std::time::Duration;

pub use gate::Gate;
pub use held_port::HeldPort;
pub use socket::Socket;
pub use wire::Wire;

/// Whatever a test waits for comes within this time, or never. Generous, because machines are busy and only a failing test
/// uses it up.
pub const PATIENCE: Duration = Duration::from_secs(60);
