//! The whole system under test: real processes, a real MongoDB, faults.
//!
//! A test starts a [`System`]: the three services, each a process on a port of its own, on a
//! throwaway database. It talks to the gateway as a client does, by [`Graphql`] and
//! [`Subscription`], and kills, pauses and restarts services in between. What must become true in
//! the end is waited for with [`eventually()`]; nothing sleeps.
//!
//! The tests are one binary, `tests/it`; each of its modules is one subject. To add a fault, copy a
//! test of `tests/it/kills.rs`.

mod balancer;
pub mod chaos;
mod eventually;
mod fail_points;
mod graphql;
pub mod honest_clients;
pub mod hostile_clients;
pub mod leaving_clients;
mod oracle;
mod subscription;
mod system;
mod tokens;

pub use balancer::Balancer;
pub use eventually::eventually;
pub use fail_points::{Armed, arm, fail_commands};
pub use graphql::{Answer, Graphql};
pub use graphql_transport::client::ClientEvent;
pub use oracle::{assert_projected, comments_of, latest_of};
pub use stack::process::{Signal, send_signal};
pub use stack::{Service, ServiceProcess};
pub use subscription::Subscription;
pub use system::{Instance, System};
pub use tokens::Tokens;
