//! The data of one response while it is merged: objects, lists, and leaves as ranges of the
//! subgraphs' bytes.
//!
//! Everything is kept in a few long vectors and referred to by its index, so that an entity in many
//! places is not copied, and everything is freed at once.

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

/// A JSON text in one of the subgraphs' responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonText {
    source: u16,
    start: u32,
    length: u32,
}

/// A list: a range of [`ResponseStore::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    start: u32,
    length: u32,
}

/// The value of a field or of a list's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Null, or a value that a subgraph left out.
    Null,
    /// A leaf, or a list of leaves: JSON to be copied unchanged.
    Leaf(JsonText),
    /// An object, by its index.
    Object(ObjectId),
    /// A list of objects, or of lists.
    List(List),
    /// Subgraphs returned lists of different lengths, so there is no usable value.
    Disputed,
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its response key, as subgraphs know it.
    pub key: ResponseKey,
    /// Its value, or null.
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

/// Where an object was written in the output.
#[derive(Clone, Copy)]
pub struct Rendered {
    /// The selection by which it was written.
    pub selection: SelectionId,
    /// Valid only in this epoch of the output.
    pub epoch: u32,
    /// The first byte in the output.
    pub start: u32,
    /// The number of bytes.
    pub length: u32,
}

const NOT_RENDERED: Rendered = Rendered {
    selection: SelectionId(u32::MAX),
    epoch: 0,
    start: 0,
    length: 0,
};

/// The merged data of one response.
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
    /// An empty store with room for the expected sizes. It is full above `objects_max` objects.
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

    /// Whether it has more objects than allowed. Callers that add many check it regularly.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.objects.len() > self.objects_max
    }

    /// Records how much it holds, for the next execution.
    pub fn tell(&self, sizes: &Sizes) {
        sizes.objects.was(self.objects.len());
        sizes.fields.was(self.fields.len());
        sizes.values.was(self.values.len());
        sizes.interned.was(self.interned.len());
    }

    /// Keeps a subgraph's response. Returns its number, for [`ResponseStore::text`].
    pub fn add_source(&mut self, body: Bytes) -> u16 {
        self.sources.push(body);
        (self.sources.len() - 1) as u16
    }

    /// A range of a response. Responses are far below 4 GiB (`body_bytes_max`).
    pub fn text(source: u16, range: std::ops::Range<usize>) -> JsonText {
        JsonText {
            source,
            start: range.start as u32,
            length: (range.end - range.start) as u32,
        }
    }

    /// The bytes of a JSON text.
    #[inline]
    pub fn bytes(&self, text: JsonText) -> &[u8] {
        let start = text.start as usize;
        &self.sources[usize::from(text.source)][start..start + text.length as usize]
    }

    /// Adds an object with these fields.
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

    /// Adds a list with these items.
    pub fn add_list(&mut self, entries: impl Iterator<Item = Value>) -> List {
        let start = self.values.len() as u32;
        self.values.extend(entries);
        List {
            start,
            length: self.values.len() as u32 - start,
        }
    }

    /// The number of items in a list.
    pub fn list_len(&self, list: List) -> usize {
        list.length as usize
    }

    /// An item of a list; null beyond its end.
    #[inline]
    pub fn entry(&self, list: List, index: usize) -> Value {
        if index >= list.length as usize {
            return Value::Null;
        }
        self.values[list.start as usize + index]
    }

    /// Replaces an item of a list.
    pub fn set_entry(&mut self, list: List, index: usize, value: Value) {
        self.values[list.start as usize + index] = value;
    }

    /// The fields of an object, in the order received.
    #[inline]
    pub fn fields(&self, object: ObjectId) -> &[Field] {
        let object = &self.objects[object.0 as usize];
        &self.fields[object.start as usize..(object.start + object.length) as usize]
    }

    fn fields_mut(&mut self, object: ObjectId) -> &mut [Field] {
        let object = &self.objects[object.0 as usize];
        &mut self.fields[object.start as usize..(object.start + object.length) as usize]
    }

    /// The value of a field. `hint` is its index if the object has exactly the requested fields.
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

    /// Replaces a field's value, or adds the field.
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

    /// Renames the field `from` to `to`. If `to` exists already, `from` is removed instead, and the
    /// values of both are returned.
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

    /// Makes room for one more field of an object.
    fn make_room(&mut self, object: ObjectId) {
        const NOTHING: Field = Field {
            key: ResponseKey::TYPENAME,
            value: Value::Null,
        };
        /// The smallest number of fields by which an object grows: an entity usually adds several.
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

    /// Sets an object's type.
    pub fn set_type_id(&mut self, object: ObjectId, type_id: TypeId) {
        self.objects[object.0 as usize].type_id = type_id;
    }

    /// Starts a walk through `levels` levels of the data. Returns the mark of the first level.
    pub fn begin_marks(&mut self, levels: usize) -> u32 {
        let first = self.marks + 1;
        self.marks += levels as u32;
        first
    }

    /// Marks an object. Returns false if it has that mark already.
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

    /// An object of the same shape that was read from the same bytes, if there is one.
    pub fn interned(&self, hash: u64, shape: ShapeId, text: JsonText) -> Option<ObjectId> {
        let (other_shape, other_text, object) = self.interned.get(&hash)?;
        let is_same = *other_shape == shape && self.bytes(*other_text) == self.bytes(text);
        is_same.then_some(*object)
    }

    /// Remembers `object` for [`ResponseStore::interned`].
    pub fn intern(&mut self, hash: u64, shape: ShapeId, text: JsonText, object: ObjectId) {
        self.interned.insert(hash, (shape, text, object));
    }
}
