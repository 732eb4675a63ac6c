//! Writes the client's response: the operation's fields in its order, with nulls propagated as the
//! schema requires.
//!
//! An object that was written before is copied from the output, unless output has been removed
//! since.

use std::borrow::Cow;

use federation::{TypeId, TypeTable};

use super::{
    field_error::{ERRORS_MAX, FieldError},
    leaf::{self, Leaf},
    merge::PathItem,
    response_store::{JsonText, List, ObjectId, Rendered, ResponseStore, Value},
};
use crate::{
    coerce::Variables,
    error::Code,
    json::scan::JsonScanner,
    prepare::projection::{
        LeafKind, Nullability, ProjectedField, ProjectedValue, Projection, Selection, SelectionId,
    },
};

/// Renders one response from the merged data.
pub struct Renderer<'a> {
    /// The merged data of all subgraph responses.
    pub store: &'a mut ResponseStore,
    /// The supergraph's types, by number.
    pub types: &'a TypeTable,
    /// The operation's fields, as clients see them.
    pub projection: &'a Projection,
    /// The client's variables, which decide conditions.
    pub variables: &'a Variables,
    /// The JSON of each introspection field, by its index.
    pub introspection: &'a [bytes::Bytes],
    /// The errors so far. Rendering may add some.
    pub errors: Vec<FieldError>,
    /// The output so far.
    pub out: Vec<u8>,
    /// Increases when output is removed, which invalidates the remembered positions of objects.
    pub epoch: u32,
    /// The largest size of the output, in bytes.
    pub bytes_max: usize,
    /// Whether the output has exceeded it and must not be used.
    pub is_too_large: bool,
    /// How many errors were reported at each place that the client may not see; empty until there is one.
    pub cuts_reported: Vec<u16>,
}

/// The error at a field that the client may not see.
const UNAUTHORIZED: &str = "not authorised to see this field";

/// The paths at which one field that the client may not see is reported at most: it may be in a long list.
const CUTS_REPORTED_MAX: u16 = 100;

/// A null was found where the schema forbids it, so the surrounding value becomes null.
struct Propagated;

/// A response path, linked to its parent so that it is built only for errors.
#[derive(Clone, Copy)]
struct ResponsePath<'p> {
    parent: Option<&'p ResponsePath<'p>>,
    segment: ResponsePathSegment,
}

#[derive(Clone, Copy)]
enum ResponsePathSegment {
    Root,
    Key(crate::prepare::plan::ResponseKey),
    Index(usize),
}

impl ResponsePath<'_> {
    fn items(&self) -> Vec<PathItem> {
        let mut items = self.parent.map_or_else(Vec::new, Self::items);
        match self.segment {
            ResponsePathSegment::Root => {}
            ResponsePathSegment::Key(key) => items.push(PathItem::Key(key)),
            ResponsePathSegment::Index(index) => items.push(PathItem::Index(index)),
        }
        items
    }
}

impl Renderer<'_> {
    /// Writes the value of `data`: the root object, or null.
    pub fn data(&mut self, root: ObjectId) {
        let start = self.out.len();
        let path = ResponsePath {
            parent: None,
            segment: ResponsePathSegment::Root,
        };
        if self.object(root, SelectionId(0), &path).is_err() {
            self.take_back(start);
            self.out.extend_from_slice(b"null");
        }
        self.is_too_large |= self.out.len() > self.bytes_max;
    }

    fn object(
        &mut self,
        object: ObjectId,
        id: SelectionId,
        path: &ResponsePath<'_>,
    ) -> Result<(), Propagated> {
        if self.is_too_large || self.out.len() > self.bytes_max {
            self.is_too_large = true;
            return Err(Propagated);
        }
        let rendered = self.store.rendered(object);
        if rendered.selection == id && rendered.epoch == self.epoch {
            let start = rendered.start as usize;
            self.out
                .extend_from_within(start..start + rendered.length as usize);
            return Ok(());
        }
        let projection = self.projection;
        let selection = &projection.selections[id.0 as usize];
        let (type_id, fields) = self.fields_for(object, selection, path)?;
        let start = self.out.len();
        let errors_before = self.errors.len();
        self.out.push(b'{');
        for (index, field) in fields.iter().enumerate() {
            if !field.applies(self.variables) {
                continue;
            }
            if self.out.len() > start + 1 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&field.key_json);
            let path = ResponsePath {
                parent: Some(path),
                segment: ResponsePathSegment::Key(field.key),
            };
            self.field(object, index, field, type_id, &path)?;
        }
        self.out.push(b'}');
        // An object with an error is rendered again at each path, so that each error has its own
        // path.
        if self.errors.len() == errors_before {
            self.store.set_rendered(
                object,
                Rendered {
                    selection: id,
                    epoch: self.epoch,
                    start: start as u32,
                    length: (self.out.len() - start) as u32,
                },
            );
        }
        Ok(())
    }

    fn fields_for<'s>(
        &mut self,
        object: ObjectId,
        selection: &'s Selection,
        path: &ResponsePath<'_>,
    ) -> Result<(TypeId, &'s [ProjectedField]), Propagated> {
        let type_id = selection
            .only_type
            .unwrap_or_else(|| self.store.type_id(object));
        let found = match &*selection.lists_by_type {
            [(only, list)] if *only == type_id => Some(*list),
            lists => lists
                .binary_search_by_key(&type_id, |(id, _)| *id)
                .ok()
                .map(|index| lists[index].1),
        };
        if let Some(list) = found {
            return Ok((type_id, &selection.lists[list as usize]));
        }
        // An unknown type matters only if the fields depend on it.
        if !self.types.is_object(type_id)
            && let Some(fields) = self.fields_of_untold(selection)
        {
            return Ok((type_id, fields));
        }
        self.error(
            Code::InvalidValue,
            "the subgraph returned an object of a type that is not in the API schema",
            path,
        );
        Err(Propagated)
    }

    /// The fields of an object of unknown type, if they are the same for every type.
    fn fields_of_untold<'s>(&self, selection: &'s Selection) -> Option<&'s [ProjectedField]> {
        if let [only] = &*selection.lists {
            return Some(only);
        }
        let untold = &selection.lists[selection.untold? as usize];
        let keys = |list: &'s [ProjectedField]| {
            list.iter()
                .filter(|field| field.applies(self.variables))
                .map(|field| field.key)
        };
        let is_same = selection
            .lists
            .iter()
            .all(|list| keys(list).eq(keys(untold)));
        is_same.then_some(untold)
    }

    fn field(
        &mut self,
        object: ObjectId,
        index: usize,
        field: &ProjectedField,
        type_id: TypeId,
        path: &ResponsePath<'_>,
    ) -> Result<(), Propagated> {
        match &field.value {
            // The name of an interface comes from an interface object: the subgraph that knows the
            // object's type did not answer.
            ProjectedValue::Typename if !self.types.is_object(type_id) => {
                self.unexplained(
                    "the object's type is unknown: no subgraph returned its __typename",
                    path,
                );
                Err(Propagated)
            }
            ProjectedValue::Typename => {
                self.out.extend_from_slice(self.types.name_json(type_id));
                Ok(())
            }
            ProjectedValue::Introspection(number) => {
                let answer = self.introspection.get(*number);
                self.out
                    .extend_from_slice(answer.map_or(b"null", |json| json));
                Ok(())
            }
            ProjectedValue::Unauthorized(place) => self.unauthorized(*place, field, path),
            ProjectedValue::Leaf(_) | ProjectedValue::Object(_) => {
                let value = self
                    .store
                    .get(object, field.key, index)
                    .unwrap_or(Value::Null);
                self.complete(value, &field.nullability, field, path)
            }
        }
    }

    /// Writes null for a field that the client may not see, as if its resolver had failed.
    fn unauthorized(
        &mut self,
        place: u32,
        field: &ProjectedField,
        path: &ResponsePath<'_>,
    ) -> Result<(), Propagated> {
        match self.cuts_reported_at(place) {
            // Without its first error, a client would take the null for a value: it counts in no bound but that of
            // the places, of which an operation has few.
            1 => self.errors.push(FieldError::new(
                Code::UnauthorizedFieldOrType,
                UNAUTHORIZED,
                path.items(),
            )),
            2..=CUTS_REPORTED_MAX => {
                self.error(Code::UnauthorizedFieldOrType, UNAUTHORIZED, path);
            }
            _ => {}
        }
        if field.nullability.non_null {
            return Err(Propagated);
        }
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    /// How many errors there are at this place with one more; it may be in a long list.
    fn cuts_reported_at(&mut self, place: u32) -> u16 {
        if self.cuts_reported.is_empty() {
            self.cuts_reported = vec![0; self.projection.cuts as usize];
        }
        let reported = self.cuts_reported.get_mut(place as usize);
        reported.map_or(0, |reported| {
            *reported = reported.saturating_add(1);
            *reported
        })
    }

    /// Writes a value, or null if there is none and the type allows it.
    fn complete(
        &mut self,
        value: Value,
        nullability: &Nullability,
        field: &ProjectedField,
        path: &ResponsePath<'_>,
    ) -> Result<(), Propagated> {
        let start = self.out.len();
        let written = match value {
            Value::Null => {
                if nullability.non_null {
                    self.unexplained_null(field, path);
                }
                Err(Propagated)
            }
            Value::Disputed => self.disputed(field, path),
            Value::Leaf(text) => match &field.value {
                ProjectedValue::Leaf(kind) => self.leaf(text, kind, nullability, field, path),
                _ => self.misshapen(field, path),
            },
            Value::Object(object) => match &field.value {
                ProjectedValue::Object(id) if nullability.item.is_none() => {
                    self.object(object, *id, path)
                }
                _ => self.misshapen(field, path),
            },
            Value::List(list) => match &nullability.item {
                Some(item) => self.list(list, item, field, path),
                None => self.misshapen(field, path),
            },
        };
        self.or_null(written, start, nullability)
    }

    fn or_null(
        &mut self,
        written: Result<(), Propagated>,
        start: usize,
        nullability: &Nullability,
    ) -> Result<(), Propagated> {
        if written.is_ok() {
            return Ok(());
        }
        self.take_back(start);
        if nullability.non_null {
            return Err(Propagated);
        }
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn list(
        &mut self,
        list: List,
        item: &Nullability,
        field: &ProjectedField,
        path: &ResponsePath<'_>,
    ) -> Result<(), Propagated> {
        self.out.push(b'[');
        for index in 0..self.store.list_len(list) {
            if index > 0 {
                self.out.push(b',');
            }
            let path = ResponsePath {
                parent: Some(path),
                segment: ResponsePathSegment::Index(index),
            };
            self.complete(self.store.entry(list, index), item, field, &path)?;
        }
        self.out.push(b']');
        Ok(())
    }

    #[inline]
    fn leaf(
        &mut self,
        text: JsonText,
        kind: &LeafKind,
        nullability: &Nullability,
        field: &ProjectedField,
        path: &ResponsePath<'_>,
    ) -> Result<(), Propagated> {
        let bytes = self.store.bytes(text);
        if nullability.item.is_none() {
            match leaf::check(kind, bytes) {
                Leaf::Good => self.out.extend_from_slice(bytes),
                Leaf::Unquoted => {
                    self.out.push(b'"');
                    self.out.extend_from_slice(bytes);
                    self.out.push(b'"');
                }
                Leaf::Bad => return self.misshapen(field, path),
            }
            return Ok(());
        }
        // A list of leaves is kept as one text, which is scanned only here.
        let bytes = bytes.to_vec();
        self.leaves(
            &mut JsonScanner::new(&bytes),
            kind,
            nullability,
            field,
            path,
        )
    }

    /// Writes a leaf, or a list of leaves, from its JSON text.
    fn leaves(
        &mut self,
        scanner: &mut JsonScanner<'_>,
        kind: &LeafKind,
        nullability: &Nullability,
        field: &ProjectedField,
        path: &ResponsePath<'_>,
    ) -> Result<(), Propagated> {
        let Some(item) = &nullability.item else {
            // The text has been read before, so it is valid.
            let range = scanner.value().map_err(|_| Propagated)?;
            return match leaf::check(kind, scanner.slice(range.clone())) {
                Leaf::Good => {
                    self.out.extend_from_slice(scanner.slice(range));
                    Ok(())
                }
                Leaf::Unquoted => {
                    self.out.push(b'"');
                    self.out.extend_from_slice(scanner.slice(range));
                    self.out.push(b'"');
                    Ok(())
                }
                Leaf::Bad => self.misshapen(field, path),
            };
        };
        if !scanner.eat(b'[') {
            return self.misshapen(field, path);
        }
        self.out.push(b'[');
        if !scanner.eat(b']') {
            for index in 0.. {
                let path = ResponsePath {
                    parent: Some(path),
                    segment: ResponsePathSegment::Index(index),
                };
                scanner.peek();
                let before = scanner.position();
                let start = self.out.len();
                let written = if scanner.peek() == b'n' {
                    if item.non_null {
                        self.unexplained_null(field, &path);
                    }
                    Err(Propagated)
                } else {
                    self.leaves(scanner, kind, item, field, &path)
                };
                if written.is_err() {
                    // Continues after the entry, however far it was read.
                    *scanner = scanner.moved_to(before);
                    scanner.value().map_err(|_| Propagated)?;
                }
                self.or_null(written, start, item)?;
                if !scanner.eat(b',') {
                    break;
                }
                self.out.push(b',');
            }
            // After a propagated null, the rest is not read.
            scanner.eat(b']');
        }
        self.out.push(b']');
        Ok(())
    }

    fn misshapen(
        &mut self,
        field: &ProjectedField,
        path: &ResponsePath<'_>,
    ) -> Result<(), Propagated> {
        let message = format!(
            "the subgraph's value for field \"{}\" does not match the field's type",
            field.name
        );
        self.error(Code::InvalidValue, message, path);
        Err(Propagated)
    }

    fn disputed(
        &mut self,
        field: &ProjectedField,
        path: &ResponsePath<'_>,
    ) -> Result<(), Propagated> {
        let message = format!(
            "the subgraphs' lists of field \"{}\" differ in length",
            field.name
        );
        self.error(Code::InvalidValue, message, path);
        Err(Propagated)
    }

    /// A null that the schema forbids needs an error, unless a subgraph's error explains it.
    fn unexplained_null(&mut self, field: &ProjectedField, path: &ResponsePath<'_>) {
        let message = format!("no value for the non-null field \"{}\"", field.name);
        self.unexplained(message, path);
    }

    fn unexplained(&mut self, message: impl Into<Cow<'static, str>>, path: &ResponsePath<'_>) {
        let items = path.items();
        if !self.errors.iter().any(|error| error.explains(&items)) {
            self.error(Code::InvalidValue, message, path);
        }
    }

    fn error(
        &mut self,
        code: Code,
        message: impl Into<Cow<'static, str>>,
        path: &ResponsePath<'_>,
    ) {
        if self.errors.len() < ERRORS_MAX {
            self.errors
                .push(FieldError::new(code, message, path.items()));
        }
    }

    fn take_back(&mut self, start: usize) {
        if self.out.len() > start {
            self.out.truncate(start);
            self.epoch += 1;
        }
    }
}
