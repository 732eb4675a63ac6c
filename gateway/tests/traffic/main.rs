//! Tests of how the gateway handles traffic: what it sends again, what it refuses at once, and what it accepts.

mod batches;
mod breaker;
mod compression;
mod retries;
mod rules;
#[path = "../edge/support/mod.rs"]
#[expect(dead_code, reason = "the other tests of the gateway use the rest")]
mod support;
mod tls;
mod uploads;
