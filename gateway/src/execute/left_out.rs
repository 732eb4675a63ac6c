//! Drops the errors of fields that the client's `@skip` and `@include` leave out.
//!
//! A plan may fetch more than the conditions select (see `prepare/conditions.rs`). Errors at paths
//! that are not in the response do not concern the client.

use super::{field_error::FieldError, merge::PathItem};
use crate::{
    coerce::Variables,
    prepare::projection::{ProjectedField, ProjectedValue, Projection, SelectionId},
};

/// Drops the errors whose paths are not in the response.
pub fn drop_errors(errors: &mut Vec<FieldError>, projection: &Projection, variables: &Variables) {
    errors.retain(|error| !is_left_out(&error.path, projection, variables));
}

/// Whether a field on the path is selected by the client, but only under conditions that do not
/// hold. A field that the client does not select at all was fetched for another field: its error
/// counts.
fn is_left_out(path: &[PathItem], projection: &Projection, variables: &Variables) -> bool {
    let mut selections = vec![SelectionId(0)];
    for item in path {
        let key = match item {
            PathItem::Key(key) => *key,
            PathItem::Index(_) => continue,
            PathItem::Name(_) => return false,
        };
        let lists = selections
            .iter()
            .flat_map(|id| &projection.selections[id.0 as usize].lists);
        let fields: Vec<&ProjectedField> =
            lists.flatten().filter(|field| field.key == key).collect();
        if fields.is_empty() {
            return false;
        }
        let mut applies = false;
        let mut below = Vec::new();
        for field in fields.iter().filter(|field| field.applies(variables)) {
            applies = true;
            if let ProjectedValue::Object(id) = field.value
                && !below.contains(&id)
            {
                below.push(id);
            }
        }
        if !applies {
            return true;
        }
        selections = below;
    }
    false
}
