//! Decides whether a subgraph's response may be forwarded to the client byte for byte.

use super::{
    plan::{Merge, Plan, ShapeId},
    projection::{ProjectedValue, Projection, SelectionId},
};

/// Whether the plan is a single fetch of exactly the client's fields, in the same order and with
/// the same keys. Then only the values of the response have to be checked.
pub fn is_possible(plan: &Plan, projection: &Projection) -> bool {
    let [step] = &*plan.steps else { return false };
    let is_plain = matches!(&step.merge, Merge::Root { renames } if renames.is_empty());
    is_plain && step.conditions.is_empty() && agrees(plan, step.shape, projection, SelectionId(0))
}

fn agrees(plan: &Plan, shape: ShapeId, projection: &Projection, id: SelectionId) -> bool {
    let selection = &projection.selections[id.0 as usize];
    let [list] = &*selection.lists else {
        return false;
    };
    let shape = &plan.shapes[shape.0 as usize];
    list.len() == shape.fields.len()
        && list.iter().zip(&shape.fields).all(|(field, asked)| {
            let below = match (&field.value, asked.shape) {
                (ProjectedValue::Typename, None) => asked.is_typename,
                (ProjectedValue::Leaf(_), None) => !asked.is_typename,
                (ProjectedValue::Object(id), Some(shape)) => agrees(plan, shape, projection, *id),
                _ => false,
            };
            let has_same_key = field.key_json == asked.token;
            below && has_same_key && field.conditions.is_empty()
        })
}
