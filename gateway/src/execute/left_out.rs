//! Drops the errors of fields that the response does not have: those that the client's `@skip` and `@include` leave
//! out, and those that the client may not see.
//!
//! A plan may fetch more than the conditions select (see `prepare/conditions.rs`), and what the client may not see
//! for keys and requirements. Errors at paths that are not in the response do not concern the client.

use super::{field_error::FieldError, merge::PathItem};
use crate::{
    coerce::Variables,
    prepare::projection::{ProjectedField, ProjectedValue, Projection, SelectionId},
};

/// What becomes of an error of a subgraph.
enum Fate {
    Shown,
    /// Some of the objects that may be on its path have a field there that the client may not see.
    Masked,
    Dropped,
}

/// Drops the errors whose paths are not in the response, and masks those that may be about what the client may not
/// see.
pub fn drop_errors(errors: &mut Vec<FieldError>, projection: &Projection, variables: &Variables) {
    errors.retain_mut(|error| match fate(&error.path, projection, variables) {
        Fate::Shown => true,
        Fate::Masked => {
            error.mask();
            true
        }
        Fate::Dropped => false,
    });
}

/// A field on the path may be selected by the client, but only under conditions that do not hold. A field that the
/// client does not select at all was fetched for another field: its error counts.
fn fate(path: &[PathItem], projection: &Projection, variables: &Variables) -> Fate {
    let mut selections = vec![SelectionId(0)];
    let mut fate = Fate::Shown;
    for item in path {
        let key = match item {
            PathItem::Key(key) => *key,
            PathItem::Index(_) => continue,
            PathItem::Name(_) => return fate,
        };
        let lists = selections
            .iter()
            .flat_map(|id| &projection.selections[id.0 as usize].lists);
        let fields: Vec<&ProjectedField> =
            lists.flatten().filter(|field| field.key == key).collect();
        if fields.is_empty() {
            return fate;
        }
        let mut is_shown = false;
        let mut below = Vec::new();
        for field in fields.iter().filter(|field| field.applies(variables)) {
            match field.value {
                ProjectedValue::Unauthorized(_) => {
                    fate = Fate::Masked;
                    continue;
                }
                ProjectedValue::Object(id) if !below.contains(&id) => below.push(id),
                _ => {}
            }
            is_shown = true;
        }
        if !is_shown {
            return Fate::Dropped;
        }
        selections = below;
    }
    fate
}
