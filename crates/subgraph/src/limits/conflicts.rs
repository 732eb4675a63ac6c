//! Fields with one response key that cannot be merged. async-graphql reports each pair, and each argument of
//! each pair: the reports of a document of 15,000 tokens would fill gigabytes. Here the first one ends the
//! check.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{Name, Positioned};

use super::LimitError;

/// Looks for fields that conflict, as the rule `OverlappingFieldsCanBeMerged` of async-graphql does.
///
/// # Errors
/// With the first conflict.
pub(super) fn check(document: &ExecutableDocument) -> Result<(), LimitError> {
    let operations = document.operations.iter();
    let of_operations = operations.map(|(_, operation)| &operation.node.selection_set.node);
    let of_fragments = document.fragments.values();
    let sets = of_operations.chain(of_fragments.map(|it| &it.node.selection_set.node));
    sets.into_iter()
        .try_for_each(|set| check_set(document, set))
}

/// Checks a set and those in it; a fragment that is spread is checked where it is defined.
fn check_set(document: &ExecutableDocument, set: &SelectionSet) -> Result<(), LimitError> {
    // The loop is most of what a plain document costs here.
    if set.items.len() > 1 || !matches!(only(set), Some(Selection::Field(_))) {
        let mut merged = Merged {
            document,
            fields: HashMap::new(),
            visited: HashSet::new(),
        };
        merged.add_set(None, set)?;
    }
    set.items
        .iter()
        .try_for_each(|selection| match &selection.node {
            Selection::Field(field) => check_set(document, &field.node.selection_set.node),
            Selection::InlineFragment(fragment) => {
                check_set(document, &fragment.node.selection_set.node)
            }
            Selection::FragmentSpread(_) => Ok(()),
        })
}

fn only(set: &SelectionSet) -> Option<&Selection> {
    set.items.first().map(|selection| &selection.node)
}

/// The fields of one set with those of its fragments.
struct Merged<'d> {
    document: &'d ExecutableDocument,
    /// By type condition and response key.
    fields: HashMap<(Option<&'d str>, &'d str), &'d Positioned<Field>>,
    visited: HashSet<&'d Name>,
}

impl<'d> Merged<'d> {
    fn add_set(
        &mut self,
        on_type: Option<&'d str>,
        set: &'d SelectionSet,
    ) -> Result<(), LimitError> {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => self.add_field(on_type, field)?,
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    let on_type = condition.map(|condition| condition.node.on.node.as_str());
                    self.add_set(on_type, &fragment.node.selection_set.node)?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let Some(fragment) = self.document.fragments.get(name) else {
                        continue;
                    };
                    if self.visited.insert(name) {
                        let on_type = fragment.node.type_condition.node.on.node.as_str();
                        self.add_set(Some(on_type), &fragment.node.selection_set.node)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn add_field(
        &mut self,
        on_type: Option<&'d str>,
        field: &'d Positioned<Field>,
    ) -> Result<(), LimitError> {
        let key = field.node.response_key().node.as_str();
        let first = *self.fields.entry((on_type, key)).or_insert(field);
        if is_same(&first.node, &field.node) {
            return Ok(());
        }
        Err(LimitError::Conflict {
            key: key.to_owned(),
            positions: [first.pos, field.pos],
        })
    }
}

fn is_same(first: &Field, field: &Field) -> bool {
    std::ptr::eq(first, field)
        || first.name.node == field.name.node
            && first.arguments.len() == field.arguments.len()
            && first.arguments.iter().all(|(name, value)| {
                let other = field.get_argument(&name.node);
                other.is_some_and(|other| other.node == value.node)
            })
}
