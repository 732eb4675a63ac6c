//! Documents with many fields that the schema does not have. async-graphql makes an error of each, which
//! takes longer than everything else about a refusal; here the first ones are enough.

use async_graphql::Positioned;
use async_graphql::parser::types::{ExecutableDocument, Field, Selection, SelectionSet};

use super::LimitError;
use super::types::TypeNames;

/// A document with no more such fields gets an error for each.
const UNKNOWN_MAX: usize = 50;

/// Looks for fields of a name that no type of the schema has.
///
/// # Errors
/// With the first one, where there are more than 50.
pub(super) fn check(document: &ExecutableDocument, types: &TypeNames) -> Result<(), LimitError> {
    let operations = document.operations.iter();
    let of_operations = operations.map(|(_, operation)| &operation.node.selection_set.node);
    let of_fragments = document.fragments.values();
    let sets = of_operations.chain(of_fragments.map(|it| &it.node.selection_set.node));
    let mut unknown = Unknown {
        types,
        first: None,
        count: 0,
    };
    sets.into_iter().try_for_each(|set| unknown.add_set(set))
}

struct Unknown<'d> {
    types: &'d TypeNames,
    first: Option<&'d Positioned<Field>>,
    count: usize,
}

impl<'d> Unknown<'d> {
    fn add_set(&mut self, set: &'d SelectionSet) -> Result<(), LimitError> {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    self.add_field(field)?;
                    self.add_set(&field.node.selection_set.node)?;
                }
                Selection::InlineFragment(fragment) => {
                    self.add_set(&fragment.node.selection_set.node)?;
                }
                Selection::FragmentSpread(_) => {}
            }
        }
        Ok(())
    }

    fn add_field(&mut self, field: &'d Positioned<Field>) -> Result<(), LimitError> {
        if self.types.has_field(&field.node.name.node) {
            return Ok(());
        }
        let first = *self.first.get_or_insert(field);
        self.count += 1;
        if self.count <= UNKNOWN_MAX {
            return Ok(());
        }
        Err(LimitError::UnknownFields {
            max: UNKNOWN_MAX,
            name: first.node.name.node.to_string(),
            position: first.pos,
        })
    }
}
