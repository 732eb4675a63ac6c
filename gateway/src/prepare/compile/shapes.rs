//! What a subgraph's answer looks like, from the operation that asks for it.

use hive_router_query_planner::ast::{
    document::Document, selection_item::SelectionItem, selection_set::SelectionSet,
};

use super::keys::Keys;
use crate::prepare::plan::{Key, Shape, ShapeField, ShapeId};

/// All shapes of a plan.
#[derive(Default)]
pub struct Shapes(Vec<Shape>);

impl Shapes {
    /// Adds the `data` of an operation's answer; its shape and its response keys.
    pub fn add(&mut self, document: &Document, keys: &mut Keys) -> (ShapeId, Vec<Key>) {
        let root = self.object(&[&document.operation.selection_set], document, keys);
        let root_keys = self.0[root.0 as usize]
            .fields
            .iter()
            .map(|field| field.key)
            .collect();
        (root, root_keys)
    }

    /// The shapes by their numbers.
    pub fn into_shapes(self) -> Vec<Shape> {
        self.0
    }

    /// One object that any of `sets` may be asked of: fragments on different types meet in one
    /// shape, because the object's type is known only after it is read.
    fn object(&mut self, sets: &[&SelectionSet], document: &Document, keys: &mut Keys) -> ShapeId {
        let mut fields: Vec<Asked<'_>> = Vec::new();
        for set in sets {
            flatten(&set.items, document, &mut fields);
        }
        let id = ShapeId(self.0.len() as u32);
        self.0.push(Shape::default());
        let fields = fields
            .into_iter()
            .map(|asked| ShapeField {
                key: keys.intern(asked.response_key),
                name: asked.response_key.as_bytes().into(),
                is_typename: asked.name == "__typename",
                shape: (!asked.sets.is_empty()).then(|| self.object(&asked.sets, document, keys)),
            })
            .collect();
        self.0[id.0 as usize].fields = fields;
        id
    }
}

/// A response key that is asked for, once or in several fragments.
struct Asked<'d> {
    response_key: &'d str,
    name: &'d str,
    sets: Vec<&'d SelectionSet>,
}

fn flatten<'d>(items: &'d [SelectionItem], document: &'d Document, fields: &mut Vec<Asked<'d>>) {
    for item in items {
        match item {
            SelectionItem::Field(field) => {
                let response_key = field.selection_identifier();
                let index = fields
                    .iter()
                    .position(|asked| asked.response_key == response_key);
                let index = index.unwrap_or_else(|| {
                    fields.push(Asked {
                        response_key,
                        name: &field.name,
                        sets: Vec::new(),
                    });
                    fields.len() - 1
                });
                if !field.selections.is_empty() {
                    fields[index].sets.push(&field.selections);
                }
            }
            SelectionItem::InlineFragment(fragment) => {
                flatten(&fragment.selections.items, document, fields);
            }
            SelectionItem::FragmentSpread(name) => {
                let fragment = document
                    .fragments
                    .iter()
                    .find(|fragment| fragment.name == *name);
                if let Some(fragment) = fragment {
                    flatten(&fragment.selection_set.items, document, fields);
                }
            }
        }
    }
}
