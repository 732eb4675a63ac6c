//! Computes the shapes of subgraphs' responses from their selections.

use super::{
    fetch_selection::{FetchSelection, FetchSelectionItem},
    keys::ResponseKeys,
};
use crate::{
    json::scan::key_token,
    prepare::plan::{ResponseKey, Shape, ShapeField, ShapeId},
};

/// The shapes of all objects in a plan's responses.
#[derive(Default)]
pub struct Shapes(Vec<Shape>);

/// The shape of a response's `data`, with its response keys.
pub struct DataShape {
    /// The shape of `data`.
    pub shape: ShapeId,
    /// The response keys directly under `data`.
    pub root_keys: Vec<ResponseKey>,
}

impl Shapes {
    /// Adds the shape of a response's `data`. Returns it with its response keys.
    pub fn add_root(&mut self, asked: &FetchSelection<'_>, keys: &mut ResponseKeys) -> DataShape {
        let root = self.object(&[asked], keys);
        let fields = &self.0[root.0 as usize].fields;
        DataShape {
            shape: root,
            root_keys: fields.iter().map(|field| field.key).collect(),
        }
    }

    /// Adds the shape of a `data` that has lists of entities.
    pub fn add_entities<'p>(
        &mut self,
        lists: impl IntoIterator<Item = (&'p str, &'p FetchSelection<'p>)>,
        keys: &mut ResponseKeys,
    ) -> DataShape {
        let mut fields = Vec::new();
        for (key, asked) in lists {
            fields.push(ShapeField {
                key: keys.intern(key),
                token: key_token(key),
                is_typename: false,
                shape: Some(self.object(&[asked], keys)),
            });
        }
        let root_keys = fields.iter().map(|field| field.key).collect();
        self.0.push(Shape {
            fields,
            intern: false,
        });
        DataShape {
            shape: ShapeId(self.0.len() as u32 - 1),
            root_keys,
        }
    }

    /// The same for lists that may be repeated, each time under another of their keys.
    pub fn add_numbered_entities<'p>(
        &mut self,
        lists: impl IntoIterator<Item = (&'p [String], &'p FetchSelection<'p>)>,
        keys: &mut ResponseKeys,
    ) -> DataShape {
        let mut fields = Vec::new();
        for (names, asked) in lists {
            let shape = self.object(&[asked], keys);
            fields.extend(names.iter().map(|name| ShapeField {
                key: keys.intern(name),
                token: key_token(name),
                is_typename: false,
                shape: Some(shape),
            }));
        }
        let root_keys = fields.iter().map(|field| field.key).collect();
        self.0.push(Shape {
            fields,
            intern: false,
        });
        DataShape {
            shape: ShapeId(self.0.len() as u32 - 1),
            root_keys,
        }
    }

    /// All shapes, by their numbers.
    pub fn into_shapes(self) -> Vec<Shape> {
        self.0
    }

    /// The shape of an object with any of these selections. Fragments on different types share one
    /// shape, because the object's type is known only after it is read.
    fn object(&mut self, sets: &[&FetchSelection<'_>], keys: &mut ResponseKeys) -> ShapeId {
        let mut fields: Vec<Merged<'_>> = Vec::new();
        for set in sets {
            flatten(set, &mut fields);
        }
        let id = ShapeId(self.0.len() as u32);
        self.0.push(Shape::default());
        let fields = fields
            .into_iter()
            .map(|merged| ShapeField {
                key: keys.intern(merged.key),
                token: key_token(merged.key),
                is_typename: merged.is_typename,
                shape: (!merged.sets.is_empty()).then(|| self.object(&merged.sets, keys)),
            })
            .collect();
        self.0[id.0 as usize].fields = fields;
        id
    }
}

/// A response key that is selected once, or in several fragments.
struct Merged<'p> {
    key: &'p str,
    is_typename: bool,
    sets: Vec<&'p FetchSelection<'p>>,
}

fn flatten<'p>(set: &'p FetchSelection<'p>, fields: &mut Vec<Merged<'p>>) {
    for item in set {
        match item {
            FetchSelectionItem::Field {
                field, key, below, ..
            } => {
                let same = fields.iter_mut().find(|other| other.key == key.as_str());
                match same {
                    Some(same) => same.sets.extend(below),
                    None => fields.push(Merged {
                        key,
                        is_typename: field.is_typename(),
                        sets: below.iter().collect(),
                    }),
                }
            }
            FetchSelectionItem::On { below, .. } => flatten(below, fields),
        }
    }
}
