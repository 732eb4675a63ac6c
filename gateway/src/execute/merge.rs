//! Finds the objects at a path, and merges subgraphs' data into them.

use federation::{TypeId, TypeTable};

use super::response_store::{Field, ObjectId, ResponseStore, Value};
use crate::prepare::plan::{PathSegment, Rename, ResponseKey};

/// The objects at `path` below `from`. Each is listed once, even if it is found in several places.
pub fn objects_at(store: &mut ResponseStore, from: Value, path: &[PathSegment]) -> Vec<ObjectId> {
    let first_mark = store.begin_marks(path.len() + 1);
    let mut found = Vec::new();
    collect(store, from, path, first_mark, &mut found);
    found
}

fn collect(
    store: &mut ResponseStore,
    value: Value,
    path: &[PathSegment],
    mark: u32,
    found: &mut Vec<ObjectId>,
) {
    match value {
        Value::List(list) => {
            for index in 0..store.list_len(list) {
                collect(store, store.entry(list, index), path, mark, found);
            }
        }
        Value::Object(object) => {
            if !store.mark(object, mark) {
                return;
            }
            let Some((segment, rest)) = path.split_first() else {
                found.push(object);
                return;
            };
            if let Some(value) = follow(store, object, segment) {
                collect(store, value, rest, mark + 1, found);
            }
        }
        Value::Null | Value::Leaf(_) | Value::Disputed => {}
    }
}

/// Follows one segment from an object; `None` if it leads nowhere.
pub fn follow(store: &ResponseStore, object: ObjectId, segment: &PathSegment) -> Option<Value> {
    match segment {
        PathSegment::Key(key) => store.get(object, *key, 0),
        PathSegment::Type(types) => {
            let type_id = store.type_id(object);
            let goes_on = type_id == TypeId::UNKNOWN || types.contains(type_id);
            goes_on.then_some(Value::Object(object))
        }
    }
}

/// A segment of a response path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathItem {
    /// A field, by its response key.
    Key(ResponseKey),
    /// A field that only a subgraph's error names.
    Name(String),
    /// An item of a list, by its index.
    Index(usize),
}

/// Visits each object at `path` with each of its response paths, until `visit` returns false.
pub fn places_at(
    store: &ResponseStore,
    from: Value,
    path: &[PathSegment],
    place: &mut Vec<PathItem>,
    visit: &mut impl FnMut(&[PathItem], ObjectId) -> bool,
) -> bool {
    match value_of(from) {
        Some(object) => {
            let Some((segment, rest)) = path.split_first() else {
                return visit(place, object);
            };
            let Some(value) = follow(store, object, segment) else {
                return true;
            };
            let length = place.len();
            if let PathSegment::Key(key) = segment {
                place.push(PathItem::Key(*key));
            }
            let goes_on = places_at(store, value, rest, place, visit);
            place.truncate(length);
            goes_on
        }
        None => {
            let Value::List(list) = from else { return true };
            for index in 0..store.list_len(list) {
                place.push(PathItem::Index(index));
                let goes_on = places_at(store, store.entry(list, index), path, place, visit);
                place.pop();
                if !goes_on {
                    return false;
                }
            }
            true
        }
    }
}

fn value_of(value: Value) -> Option<ObjectId> {
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// Merges the fields of `source` into `target`. Objects that both have are merged; otherwise a
/// value replaces null, and a later value an earlier one. Objects that only `source` has are then
/// shared by both. Lists of equal length are merged item by item. Nothing is merged if the objects
/// have different types.
pub fn merge(store: &mut ResponseStore, types: &TypeTable, target: ObjectId, source: ObjectId) {
    if target == source {
        return;
    }
    let (known, type_id) = (store.type_id(target), store.type_id(source));
    if types.is_object(known) && types.is_object(type_id) && known != type_id {
        return;
    }
    if known == TypeId::UNKNOWN || types.is_object(type_id) {
        // A subgraph that knows only the interface does not overwrite the known type.
        store.set_type_id(target, type_id);
    }
    for index in 0..store.fields(source).len() {
        let Field { key, value } = store.fields(source)[index];
        let merged = match store.get(target, key, index) {
            None => value,
            Some(old) => merged(store, types, old, value),
        };
        store.set(target, key, merged);
    }
}

fn merged(store: &mut ResponseStore, types: &TypeTable, old: Value, new: Value) -> Value {
    match (old, new) {
        (old, Value::Null) => old,
        (Value::Object(target), Value::Object(source)) => {
            merge(store, types, target, source);
            old
        }
        (Value::List(target), Value::List(source))
            if store.list_len(target) == store.list_len(source) =>
        {
            for index in 0..store.list_len(target) {
                let value = merged(
                    store,
                    types,
                    store.entry(target, index),
                    store.entry(source, index),
                );
                store.set_entry(target, index, value);
            }
            old
        }
        // It is not known which items belong together.
        (Value::List(_), Value::List(_)) | (Value::Disputed, _) => Value::Disputed,
        (_, new) => new,
    }
}

/// A copy of the value, with copies of all objects and lists below it. Leaves are shared.
pub fn deep_copy(store: &mut ResponseStore, value: Value) -> Value {
    match value {
        Value::Null | Value::Leaf(_) | Value::Disputed => value,
        _ if store.is_full() => Value::Null,
        Value::Object(object) => {
            let mut fields = store.fields(object).to_vec();
            for field in &mut fields {
                field.value = deep_copy(store, field.value);
            }
            let type_id = store.type_id(object);
            Value::Object(store.add_object(type_id, fields.into_iter()))
        }
        Value::List(list) => {
            let mut entries = Vec::with_capacity(store.list_len(list));
            for index in 0..store.list_len(list) {
                let entry = store.entry(list, index);
                entries.push(deep_copy(store, entry));
            }
            Value::List(store.add_list(entries.into_iter()))
        }
    }
}

/// Gives fields with internal aliases their real names, below `from`.
pub fn rename(store: &mut ResponseStore, types: &TypeTable, from: Value, renames: &[Rename]) {
    for rename in renames {
        for object in objects_at(store, from, &rename.path) {
            if let Some((old, new)) = store.rename(object, rename.from, rename.to) {
                let merged = merged(store, types, old, new);
                store.set(object, rename.to, merged);
            }
        }
    }
}
