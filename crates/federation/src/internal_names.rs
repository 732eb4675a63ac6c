//! Response keys that plans give on their own, and how they are kept apart from a client's.
//!
//! A subgraph's answer can need a key that no client wrote: for a requirement with arguments, for a key
//! that means two fields, for two types that do not go together under one key. Each begins with one of
//! these prefixes, and a client's key that begins so is replaced like one that means two fields: what
//! subgraphs see under these names is always the plan's.

use apollo_compiler::Name;

const REQUIRED: &str = "_required";
const MEANING: &str = "_meaning";
const OTHER: &str = "_other";
/// Of a subscription's cursor.
pub const RESUME_CURSOR: &str = "_resumeCursor";

/// Whether a client's key could meet one of a plan.
pub fn could_meet(key: &str) -> bool {
    let mut prefixes = [REQUIRED, MEANING, OTHER, RESUME_CURSOR].iter();
    prefixes.any(|prefix| key.starts_with(prefix))
}

/// For a required field with arguments.
pub fn of_requirement(number: usize, field: &str) -> Option<Name> {
    numbered(REQUIRED, number, field)
}

/// For one of the meanings of a client's key.
pub fn of_meaning(number: usize, key: &str) -> Option<Name> {
    numbered(MEANING, number, key)
}

/// For a field whose type does not go with another one's under the same key.
pub fn of_other_type(number: usize, key: &str) -> Option<Name> {
    numbered(OTHER, number, key)
}

fn numbered(prefix: &str, number: usize, name: &str) -> Option<Name> {
    Name::new(&format!("{prefix}{number}_{name}")).ok()
}
