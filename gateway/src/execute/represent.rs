//! Writes entity representations: what a subgraph needs to find an entity.

use federation::{TypeId, TypeTable};

use super::response_store::{ObjectId, ResponseStore, Value};
use crate::prepare::plan::{EntityFetch, Requirement, ResponseKey};

/// Appends the representation of `object`. Returns false if the object lacks a required field,
/// which the subgraph would take for null; then the caller has to remove what was appended.
pub fn write(
    store: &ResponseStore,
    types: &TypeTable,
    fetch: &EntityFetch,
    object: ObjectId,
    out: &mut Vec<u8>,
) -> bool {
    let type_id = store.type_id(object);
    let overridden = fetch
        .typename_overrides
        .iter()
        .find(|(types, _)| types.contains(type_id));
    let typename = match overridden {
        Some((_, name)) => Some(&**name),
        None if type_id != TypeId::UNKNOWN => Some(types.name_json(type_id)),
        // An object of unknown type is represented with the required type.
        None => fetch
            .requires
            .iter()
            .find_map(|requirement| match requirement {
                Requirement::Fragment { type_name, .. } => Some(&**type_name),
                Requirement::Field { .. } => None,
            }),
    };
    let writer = RepresentationWriter { store, types };
    let start = out.len();
    let is_written = writer.object(object, typename, &fetch.requires, out) == Ok(());
    // The type alone identifies an entity only if it is the key.
    let bare = typename.map_or(2, |name| name.len() + r#"{"__typename":}"#.len());
    let is_empty = out.len() - start <= bare;
    is_written && (!is_empty || (typename.is_some() && is_typename_only(&fetch.requires)))
}

/// A required value is missing because an earlier request has failed.
#[derive(PartialEq)]
struct Missing;

struct RepresentationWriter<'a> {
    store: &'a ResponseStore,
    types: &'a TypeTable,
}

impl RepresentationWriter<'_> {
    fn object(
        &self,
        object: ObjectId,
        typename: Option<&[u8]>,
        requires: &[Requirement],
        out: &mut Vec<u8>,
    ) -> Result<(), Missing> {
        out.push(b'{');
        if let Some(typename) = typename {
            out.extend_from_slice(b"\"__typename\":");
            out.extend_from_slice(typename);
        }
        self.fields(object, requires, out)?;
        out.push(b'}');
        Ok(())
    }

    fn fields(
        &self,
        object: ObjectId,
        requires: &[Requirement],
        out: &mut Vec<u8>,
    ) -> Result<(), Missing> {
        let type_id = self.store.type_id(object);
        for (index, requirement) in requires.iter().enumerate() {
            match requirement {
                Requirement::Field {
                    source: ResponseKey::TYPENAME,
                    ..
                } => {}
                Requirement::Field {
                    source,
                    name,
                    requires,
                } => {
                    let value = self.store.get(object, *source, index);
                    let value = value.ok_or(Missing)?;
                    if out.last() != Some(&b'{') {
                        out.push(b',');
                    }
                    out.extend_from_slice(name);
                    self.value(value, requires, out)?;
                }
                Requirement::Fragment {
                    types, requires, ..
                } => {
                    if type_id == TypeId::UNKNOWN || types.contains(type_id) {
                        self.fields(object, requires, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn value(
        &self,
        value: Value,
        requires: &[Requirement],
        out: &mut Vec<u8>,
    ) -> Result<(), Missing> {
        match value {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Disputed => return Err(Missing),
            Value::Leaf(text) => out.extend_from_slice(self.store.bytes(text)),
            Value::Object(object) => {
                let type_id = self.store.type_id(object);
                let typename = (type_id != TypeId::UNKNOWN).then(|| self.types.name_json(type_id));
                self.object(object, typename, requires, out)?;
            }
            Value::List(list) => {
                out.push(b'[');
                for index in 0..self.store.list_len(list) {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.value(self.store.entry(list, index), requires, out)?;
                }
                out.push(b']');
            }
        }
        Ok(())
    }
}

/// `@key(fields: "__typename")`: the type alone is the representation.
fn is_typename_only(requires: &[Requirement]) -> bool {
    !requires.is_empty()
        && requires.iter().all(|requirement| match requirement {
            Requirement::Field { source, .. } => *source == ResponseKey::TYPENAME,
            Requirement::Fragment { requires, .. } => is_typename_only(requires),
        })
}
