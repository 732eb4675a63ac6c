//! The secret by which the stack's subgraphs know its gateway.

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::{SecureRandom, SystemRandom};

const BYTES: usize = 32;

/// A new secret, as `openssl rand -base64 32` makes it.
///
/// # Errors
/// When the system gives no random numbers.
pub(crate) fn generate() -> anyhow::Result<String> {
    let mut bytes = [0; BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.ok().context("the system gives no random numbers")?;
    Ok(BASE64_STANDARD.encode(bytes))
}
