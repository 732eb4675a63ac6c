//! One subscription, against small real servers that keep the contract, do not know it, or break it.

mod contract;
mod limits;
mod odd_servers;
mod old_servers;
mod reader;
mod server;
mod stores;
#[cfg(feature = "tls")]
mod tls;
