//! Fields that a document lacks, or that are null in it.

use serde::{Deserialize, Deserializer};

/// Reads a null as the type's default; together with `#[serde(default)]`, a missing field too. For
/// `#[serde(deserialize_with)]`.
///
/// # Errors
/// When the value is there and of another type.
pub fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
