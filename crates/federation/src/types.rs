//! The supergraph's composite types as small numbers, with who satisfies which type condition.

use apollo_compiler::{Schema, schema::ExtendedType};
use rustc_hash::FxHashMap;

/// A composite type of the supergraph, seen by clients or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

impl TypeId {
    /// No type, or one that the supergraph does not have.
    pub const UNKNOWN: Self = Self(u32::MAX);
}

/// Some of a [`TypeTable`]'s types.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TypeSet(Vec<u64>);

impl TypeSet {
    /// Adds `id`.
    pub fn insert(&mut self, id: TypeId) {
        let word = id.0 as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (id.0 % 64);
    }

    /// Whether `id` is among them.
    pub fn contains(&self, id: TypeId) -> bool {
        let word = self.0.get(id.0 as usize / 64);
        word.is_some_and(|word| word >> (id.0 % 64) & 1 == 1)
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// Those that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut words: Vec<u64> = self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect();
        // Equal sets have equal words.
        words.truncate(words.len() - words.iter().rev().take_while(|word| **word == 0).count());
        Self(words)
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// From the smallest number up.
    pub fn iter(&self) -> impl Iterator<Item = TypeId> + '_ {
        self.0.iter().enumerate().flat_map(|(index, &word)| {
            (0..64u32)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| TypeId(index as u32 * 64 + bit))
        })
    }
}

/// All composite types of a supergraph.
pub struct TypeTable {
    types: Vec<TypeEntry>,
    by_name: FxHashMap<Box<str>, TypeId>,
}

struct TypeEntry {
    name: Box<str>,
    /// `"Name"`, ready to be written.
    name_json: Box<[u8]>,
    is_object: bool,
    /// An object type that the API schema has too.
    is_visible_object: bool,
    /// The types whose values satisfy a condition on this one; itself is among them.
    satisfied_by: TypeSet,
}

impl TypeTable {
    /// The composite types of `supergraph`; `api` is what clients see of it.
    pub fn new(supergraph: &Schema, api: &Schema) -> Self {
        let composite = |definition: &ExtendedType| {
            definition.is_object() || definition.is_interface() || definition.is_union()
        };
        let mut types = Vec::new();
        let mut by_name = FxHashMap::default();
        for (name, definition) in &supergraph.types {
            if !composite(definition) {
                continue;
            }
            by_name.insert(Box::from(name.as_str()), TypeId(types.len() as u32));
            types.push(TypeEntry {
                name: name.as_str().into(),
                name_json: format!("\"{name}\"").into_bytes().into(),
                is_object: definition.is_object(),
                is_visible_object: definition.is_object() && api.types.contains_key(name),
                satisfied_by: TypeSet::default(),
            });
        }
        let mut table = Self { types, by_name };
        table.connect(supergraph);
        table
    }

    fn connect(&mut self, supergraph: &Schema) {
        for (name, definition) in &supergraph.types {
            let Some(id) = self.id(name) else { continue };
            self.types[id.0 as usize].satisfied_by.insert(id);
            let interfaces = match definition {
                ExtendedType::Object(object) => &object.implements_interfaces,
                ExtendedType::Interface(interface) => &interface.implements_interfaces,
                ExtendedType::Union(union) => {
                    for member in &union.members {
                        if let Some(member) = self.id(member) {
                            self.types[id.0 as usize].satisfied_by.insert(member);
                        }
                    }
                    continue;
                }
                _ => continue,
            };
            for interface in interfaces {
                if let Some(interface) = self.id(interface) {
                    self.types[interface.0 as usize].satisfied_by.insert(id);
                }
            }
        }
    }

    /// The type of that name.
    pub fn id(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// Its name; empty for [`TypeId::UNKNOWN`].
    pub fn name(&self, id: TypeId) -> &str {
        self.types
            .get(id.0 as usize)
            .map_or("", |entry| &entry.name)
    }

    /// Its name as a JSON string.
    pub fn name_json(&self, id: TypeId) -> &[u8] {
        self.types
            .get(id.0 as usize)
            .map_or(b"null", |entry| &entry.name_json)
    }

    /// Whether it is an object type.
    pub fn is_object(&self, id: TypeId) -> bool {
        self.types
            .get(id.0 as usize)
            .is_some_and(|entry| entry.is_object)
    }

    /// The types that satisfy a condition on `id`.
    pub fn satisfied_by(&self, id: TypeId) -> TypeSet {
        self.types
            .get(id.0 as usize)
            .map_or_else(TypeSet::default, |entry| entry.satisfied_by.clone())
    }

    /// The types on which a condition is satisfied by `id`.
    pub fn satisfied_in_reverse(&self, id: TypeId) -> TypeSet {
        let mut conditions = TypeSet::default();
        for (index, entry) in self.types.iter().enumerate() {
            if id != TypeId::UNKNOWN && entry.satisfied_by.contains(id) {
                conditions.insert(TypeId(index as u32));
            }
        }
        conditions
    }

    /// Whether a value of type `id` satisfies a condition on `condition`.
    pub fn satisfies(&self, id: TypeId, condition: TypeId) -> bool {
        self.types
            .get(condition.0 as usize)
            .is_some_and(|entry| entry.satisfied_by.contains(id))
    }

    /// Whether a value declared as `id` may be of an object type that clients must not see.
    pub fn hides_members(&self, id: TypeId) -> bool {
        !self.is_object(id)
            && self.satisfied_by(id).iter().any(|member| {
                let member = &self.types[member.0 as usize];
                member.is_object && !member.is_visible_object
            })
    }

    /// The object types that clients can meet where `id` is declared.
    pub fn visible_objects(&self, id: TypeId) -> TypeSet {
        let mut visible = TypeSet::default();
        for member in self.satisfied_by(id).iter() {
            if self.types[member.0 as usize].is_visible_object {
                visible.insert(member);
            }
        }
        visible
    }
}
