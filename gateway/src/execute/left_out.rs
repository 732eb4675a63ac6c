//! Drops the errors of fields that the response does not have: those that the client's `@skip` and `@include` leave
//! out, and those that the client may not see.
//!
//! A plan may fetch more than the conditions select (see `prepare/conditions.rs`), and what the client may not see
//! for keys and requirements. Errors at paths that are not in the response do not concern the client, except where
//! another field depends on what failed: of these it gets neither text nor names that it may not see.

use federation::{TypeId, authorization::Authorization};

use super::{field_error::FieldError, merge::PathItem};
use crate::{
    coerce::Variables,
    prepare::projection::{ProjectedField, ProjectedValue, Projection, Selection, SelectionId},
};

/// What becomes of an error of a subgraph.
enum Fate {
    Shown,
    /// It may be about a field that the client may not see.
    Masked,
    /// The same; the items of its path from this one on are not in the response.
    MaskedBelow(usize),
    Dropped,
}

/// Drops the errors whose paths are not in the response, and masks those that may be about what the client may not
/// see.
pub fn drop_errors(
    errors: &mut Vec<FieldError>,
    projection: &Projection,
    variables: &Variables,
    authorization: &Authorization,
) {
    errors.retain_mut(|error| {
        match fate(&error.path, projection, variables, authorization) {
            Fate::Shown => return true,
            Fate::Masked => {}
            Fate::MaskedBelow(length) => error.path.truncate(length),
            Fate::Dropped => return false,
        }
        error.mask();
        true
    });
}

/// A field on the path may be selected by the client, but only under conditions that do not hold. A field that the
/// client does not select at all was fetched for another field: its error counts. Whether the client may see such a
/// field is not known, so where anything is protected, neither its name nor what the subgraph says of it is shown.
fn fate(
    path: &[PathItem],
    projection: &Projection,
    variables: &Variables,
    authorization: &Authorization,
) -> Fate {
    let mut selections = vec![SelectionId(0)];
    let mut fate = Fate::Shown;
    for (length, item) in path.iter().enumerate() {
        let key = match item {
            PathItem::Key(key) => Some(*key),
            PathItem::Index(_) => continue,
            PathItem::Name(_) => None,
        };
        let selected = selections
            .iter()
            .map(|id| &projection.selections[id.0 as usize]);
        let lists = selected.clone().flat_map(|it| &it.lists);
        let fields: Vec<&ProjectedField> = lists
            .flatten()
            .filter(|field| Some(field.key) == key)
            .collect();
        if fields.is_empty() {
            return match authorization.is_empty() {
                true => fate,
                false => Fate::MaskedBelow(length),
            };
        }
        // Objects of other types may have the field for another one.
        let is_added = |(ty, list): &(TypeId, u32), selection: &Selection| {
            let list = &selection.lists[*list as usize];
            let is_protected =
                |field: &&ProjectedField| !authorization.of_field(*ty, &field.name).is_empty();
            !list.iter().any(|field| Some(field.key) == key) && fields.iter().any(is_protected)
        };
        if !authorization.is_empty()
            && selected.clone().any(|selection| {
                let mut types = selection.lists_by_type.iter();
                types.any(|it| is_added(it, selection))
            })
        {
            fate = Fate::Masked;
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
