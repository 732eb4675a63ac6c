//! What an overload says about an operation: nothing was begun, or a read after the write failed.

use async_graphql::parser::types::{OperationDefinition, OperationType, Selection};
use async_graphql::{Response, ServerError, Value};

use crate::Code;

/// The message of [`Code::ReadAfterWriteFailed`].
const READ_AFTER_WRITE: &str = "the mutation's field was executed, but this could not be read: the \
                                service has more to do than it can. Read it by a query; do not send \
                                the mutation again";

/// What must be known of an operation to judge its overloads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) ty: OperationType,
    /// The number of fields at its root. None where a fragment stands there.
    root_fields: Option<usize>,
}

impl Operation {
    pub(crate) fn of(definition: &OperationDefinition) -> Self {
        let items = &definition.selection_set.node.items;
        let are_fields = items
            .iter()
            .all(|item| matches!(item.node, Selection::Field(_)));
        Self {
            ty: definition.ty,
            root_fields: are_fields.then_some(items.len()),
        }
    }

    /// Gives overloads below a mutation's root field a code of their own, and returns whether nothing
    /// of the operation was begun for overload: then the whole request can be sent again.
    ///
    /// Of a mutation, an overload before execution says so, and one at each of its root fields. Where
    /// a fragment stands at the root, the fields are not counted, and the answer is no.
    pub(crate) fn settle(self, response: &mut Response) -> bool {
        let has_no_data = response.data == Value::Null;
        if self.ty != OperationType::Mutation {
            return has_no_data && response.errors.iter().any(is_overload);
        }
        for error in &mut response.errors {
            if is_overload(error) && error.path.len() > 1 {
                error.message = READ_AFTER_WRITE.to_owned();
                let extensions = error.extensions.get_or_insert_default();
                extensions.set("code", Code::ReadAfterWriteFailed.as_str());
            }
        }
        let errors = &response.errors;
        let was_refused = errors.iter().all(|error| error.path.is_empty());
        let is_all = was_refused || self.root_fields == Some(errors.len());
        has_no_data && !errors.is_empty() && errors.iter().all(is_overload) && is_all
    }
}

fn is_overload(error: &ServerError) -> bool {
    let code = error.extensions.as_ref().and_then(|it| it.get("code"));
    matches!(code, Some(Value::String(code)) if code == Code::Overloaded.as_str())
}
