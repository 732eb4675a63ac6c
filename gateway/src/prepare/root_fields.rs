//! The fields at an operation's root that the gateway answers itself.

use apollo_compiler::{ExecutableDocument, executable::Operation};

/// Which of them an operation has.
#[derive(Default)]
pub struct RootFields {
    /// `__schema` or `__type`.
    pub introspection: bool,
}

impl RootFields {
    /// Looks through the root's fragments, too.
    pub fn of(operation: &Operation, document: &ExecutableDocument) -> Self {
        let mut fields = Self::default();
        for field in operation.root_fields(document) {
            fields.introspection |= matches!(field.name.as_str(), "__schema" | "__type");
        }
        fields
    }
}
