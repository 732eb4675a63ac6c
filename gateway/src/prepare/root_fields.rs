//! Finds the fields that the gateway answers itself, at an operation's root and wherever the query
//! type is found again.

use apollo_compiler::{ExecutableDocument, executable::Operation};

/// Which of these fields an operation has.
#[derive(Default)]
pub struct RootFields {
    /// Whether it has `__schema` or `__type`.
    pub introspection: bool,
}

impl RootFields {
    /// Searches the operation and its fragments.
    pub fn of(operation: &Operation, document: &ExecutableDocument) -> Self {
        let mut fields = Self::default();
        for field in operation.all_fields(document) {
            fields.introspection |= matches!(field.name.as_str(), "__schema" | "__type");
        }
        fields
    }
}
