//! The data of one response while it is put together: objects with small fields, leaves as ranges
//! of the subgraphs' own bytes.
//!
//! Everything lies in a few long vectors and is named by its place in them, so that an entity can
//! stand in many places without being copied, and all of it goes away at once.

use bytes::Bytes;
use federation::TypeId;
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::prepare::{
    plan::{ResponseKey, ShapeId},
    projection::SelectionId,
    sizes::Sizes,
};

/// An object of a [`ResponseStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId(u32);

/// A JSON text in one of the subgraphs' answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonText {
    source: u16,
    start: u32,
    length: u32,
}

/// A part of [`ResponseStore::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    start: u32,
    length: u32,
}

/// What a field or a list's entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// null, or something that a subgraph left out.
    Null,
    /// A leaf, however deep it is: JSON to be copied as it is.
    Leaf(JsonText),
    /// An object.
    Object(ObjectId),
    /// Objects, or lists of them.
    List(List),
    /// A list of which subgraphs do not have the same: no value at all.
    Disputed,
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its response key.
    pub key: ResponseKey,
    /// What it holds.
    pub value: Value,
}

struct Object {
    start: u32,
    length: u32,
    capacity: u32,
    type_id: TypeId,
    mark: u32,
    rendered: Rendered,
}

/// Where an object's bytes are in the output, once it was written.
#[derive(Clone, Copy)]
pub struct Rendered {
    /// By which selection.
    pub selection: SelectionId,
    /// Valid in this epoch of the output only.
    pub epoch: u32,
    /// From here.
    pub start: u32,
    /// So many.
    pub length: u32,
}

const NOT_RENDERED: Rendered = Rendered {
    selection: SelectionId(u32::MAX),
    epoch: 0,
    start: 0,
    length: 0,
};

/// The data of one response.
#[derive(Default)]
pub struct ResponseStore {
    sources: Vec<Bytes>,
    objects: Vec<Object>,
    fields: Vec<Field>,
    values: Vec<Value>,
    interned: FxHashMap<u64, (ShapeId, JsonText, ObjectId)>,
    marks: u32,
    objects_max: usize,
}

impl ResponseStore {
    /// An empty one with room for as much as these. Above `objects_max` objects it is full.
    pub fn for_about(sizes: &Sizes, objects_max: usize) -> Self {
        Self {
            objects_max,
            objects: Vec::with_capacity(sizes.objects.expected()),
            fields: Vec::with_capacity(sizes.fields.expected()),
            values: Vec::with_capacity(sizes.values.expected()),
            interned: FxHashMap::with_capacity_and_hasher(sizes.interned.expected(), FxBuildHasher),
            ..Self::default()
        }
    }

    /// Whether it holds more objects than it may. Who adds many asks from time to time.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.objects.len() > self.objects_max
    }

    /// Tells how much it holds.
    pub fn tell(&self, sizes: &Sizes) {
        sizes.objects.was(self.objects.len());
        sizes.fields.was(self.fields.len());
        sizes.values.was(self.values.len());
        sizes.interned.was(self.interned.len());
    }

    /// Keeps a subgraph's answer; its number, for [`ResponseStore::text`].
    pub fn add_source(&mut self, body: Bytes) -> u16 {
        self.sources.push(body);
        (self.sources.len() - 1) as u16
    }

    /// A range of an answer. Answers are far below 4 GiB (`body_bytes_max`).
    pub fn text(source: u16, range: std::ops::Range<usize>) -> JsonText {
        JsonText {
            source,
            start: range.start as u32,
            length: (range.end - range.start) as u32,
        }
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(&self, text: JsonText) -> &[u8] {
        let start = text.start as usize;
        &self.sources[usize::from(text.source)][start..start + text.length as usize]
    }

    /// A new object with these fields.
    pub fn add_object(&mut self, type_id: TypeId, fields: impl Iterator<Item = Field>) -> ObjectId {
        let start = self.fields.len() as u32;
        self.fields.extend(fields);
        let length = self.fields.len() as u32 - start;
        self.objects.push(Object {
            start,
            length,
            capacity: length,
            type_id,
            mark: 0,
            rendered: NOT_RENDERED,
        });
        ObjectId(self.objects.len() as u32 - 1)
    }

    /// A new list with these entries.
    pub fn add_list(&mut self, entries: impl Iterator<Item = Value>) -> List {
        let start = self.values.len() as u32;
        self.values.extend(entries);
        List {
            start,
            length: self.values.len() as u32 - start,
        }
    }

    /// How many entries a list has.
    pub fn list_len(&self, list: List) -> usize {
        list.length as usize
    }

    /// An entry of a list; null beyond its end.
    #[inline]
    pub fn entry(&self, list: List, index: usize) -> Value {
        if index >= list.length as usize {
            return Value::Null;
        }
        self.values[list.start as usize + index]
    }

    /// Puts another entry in the place of one.
    pub fn set_entry(&mut self, list: List, index: usize, value: Value) {
        self.values[list.start as usize + index] = value;
    }

    /// An object's fields.
    #[inline]
    pub fn fields(&self, object: ObjectId) -> &[Field] {
        let object = &self.objects[object.0 as usize];
        &self.fields[object.start as usize..(object.start + object.length) as usize]
    }

    fn fields_mut(&mut self, object: ObjectId) -> &mut [Field] {
        let object = &self.objects[object.0 as usize];
        &mut self.fields[object.start as usize..(object.start + object.length) as usize]
    }

    /// A field's value. `hint` is where it would be if the object had just the fields asked for.
    #[inline]
    pub fn get(&self, object: ObjectId, key: ResponseKey, hint: usize) -> Option<Value> {
        let fields = self.fields(object);
        match fields.get(hint) {
            Some(field) if field.key == key => Some(field.value),
            _ => fields
                .iter()
                .find(|field| field.key == key)
                .map(|field| field.value),
        }
    }

    /// Puts a value in the place of a field's, or adds the field.
    pub fn set(&mut self, object: ObjectId, key: ResponseKey, value: Value) {
        if let Some(field) = self
            .fields_mut(object)
            .iter_mut()
            .find(|field| field.key == key)
        {
            field.value = value;
            return;
        }
        self.make_room(object);
        let object = &mut self.objects[object.0 as usize];
        self.fields[(object.start + object.length) as usize] = Field { key, value };
        object.length += 1;
    }

    /// Lets the field `from` be called `to`. Where there is one of that name, it is taken away instead:
    /// both values then.
    pub fn rename(
        &mut self,
        object: ObjectId,
        from: ResponseKey,
        to: ResponseKey,
    ) -> Option<(Value, Value)> {
        let fields = self.fields_mut(object);
        let index = fields.iter().position(|field| field.key == from)?;
        let Some(known) = fields.iter().find(|field| field.key == to) else {
            fields[index].key = to;
            return None;
        };
        let both = (known.value, fields[index].value);
        fields[index..].rotate_left(1);
        self.objects[object.0 as usize].length -= 1;
        Some(both)
    }

    /// Lets an object have one field more than it has.
    fn make_room(&mut self, object: ObjectId) {
        const NOTHING: Field = Field {
            key: ResponseKey::TYPENAME,
            value: Value::Null,
        };
        /// What an object gets at least when it grows: an entity usually brings several fields.
        const GROWTH: u32 = 4;
        let object = &mut self.objects[object.0 as usize];
        if object.length < object.capacity {
            return;
        }
        let end = (object.start + object.capacity) as usize;
        if end != self.fields.len() {
            let start = self.fields.len() as u32;
            self.fields.extend_from_within(object.start as usize..end);
            object.start = start;
        }
        let growth = object.capacity.max(GROWTH);
        self.fields
            .extend(std::iter::repeat_n(NOTHING, growth as usize));
        object.capacity += growth;
    }

    /// The object's type, if it is known.
    pub fn type_id(&self, object: ObjectId) -> TypeId {
        self.objects[object.0 as usize].type_id
    }

    /// Tells an object's type.
    pub fn set_type_id(&mut self, object: ObjectId, type_id: TypeId) {
        self.objects[object.0 as usize].type_id = type_id;
    }

    /// Begins a walk through the data with `levels` levels: the mark of its first level.
    pub fn begin_marks(&mut self, levels: usize) -> u32 {
        let first = self.marks + 1;
        self.marks += levels as u32;
        first
    }

    /// Marks an object; false if it has that mark already.
    pub fn mark(&mut self, object: ObjectId, mark: u32) -> bool {
        let object = &mut self.objects[object.0 as usize];
        let is_new = object.mark != mark;
        object.mark = mark;
        is_new
    }

    /// Where the object was written.
    pub fn rendered(&self, object: ObjectId) -> Rendered {
        self.objects[object.0 as usize].rendered
    }

    /// Remembers where the object was written.
    pub fn set_rendered(&mut self, object: ObjectId, rendered: Rendered) {
        self.objects[object.0 as usize].rendered = rendered;
    }

    /// An object that was read from the same bytes at the same place of the operation, if any.
    pub fn interned(&self, hash: u64, shape: ShapeId, text: JsonText) -> Option<ObjectId> {
        let (other_shape, other_text, object) = self.interned.get(&hash)?;
        let is_same = *other_shape == shape && self.bytes(*other_text) == self.bytes(text);
        is_same.then_some(*object)
    }

    /// Lets [`ResponseStore::interned`] find `object`.
    pub fn intern(&mut self, hash: u64, shape: ShapeId, text: JsonText, object: ObjectId) {
        self.interned.insert(hash, (shape, text, object));
    }
}
