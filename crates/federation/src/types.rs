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
///
/// Its size is that of the range that its numbers lie in: most sets of a large supergraph have one type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TypeSet {
    /// 64 times as many numbers come before the first word. It is 0 for the empty set.
    before: u32,
    /// A bit for each number. Neither the first word nor the last is 0, so that equal sets have equal words.
    words: Vec<u64>,
}

impl TypeSet {
    pub fn insert(&mut self, id: TypeId) {
        let word = id.0 / 64;
        self.make_room(word, word + 1);
        self.words[(word - self.before) as usize] |= 1 << (id.0 % 64);
    }

    /// Whether `id` is among them.
    pub fn contains(&self, id: TypeId) -> bool {
        let word = (id.0 / 64).checked_sub(self.before);
        let word = word.and_then(|word| self.words.get(word as usize));
        word.is_some_and(|word| word >> (id.0 % 64) & 1 == 1)
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        self.make_room(other.before, other.end());
        let words = &mut self.words[(other.before - self.before) as usize..];
        for (word, more) in words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// Those that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let begin = self.before.max(other.before);
        let end = self.end().min(other.end());
        let word = |set: &Self, index: u32| set.words[(index - set.before) as usize];
        let common = |index: u32| word(self, index) & word(other, index);
        let mut indices = begin..end.max(begin);
        let Some(first) = indices.find(|index| common(*index) != 0) else {
            return Self::default();
        };
        let last = indices.rfind(|index| common(*index) != 0).unwrap_or(first);
        Self {
            before: first,
            words: (first..=last).map(common).collect(),
        }
    }

    /// Makes the set have the words from `begin` to before `end`. The caller sets bits in the first of them
    /// and in the last.
    fn make_room(&mut self, begin: u32, end: u32) {
        if self.words.is_empty() {
            self.before = begin;
        }
        if begin < self.before {
            let missing = (self.before - begin) as usize;
            self.words.splice(..0, std::iter::repeat_n(0, missing));
            self.before = begin;
        }
        let count = (end - self.before) as usize;
        if self.words.len() < count {
            self.words.resize(count, 0);
        }
    }

    /// The place after the last word.
    fn end(&self) -> u32 {
        self.before + self.words.len() as u32
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// From the smallest number up.
    pub fn iter(&self) -> impl Iterator<Item = TypeId> + '_ {
        (self.before..).zip(&self.words).flat_map(|(index, &word)| {
            (0..64u32)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| TypeId(index * 64 + bit))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u32]) -> TypeSet {
        let mut set = TypeSet::default();
        for id in ids {
            set.insert(TypeId(*id));
        }
        set
    }

    #[test]
    fn sets_are_equal_whatever_made_them() {
        let all = set(&[3, 70, 1_000]);
        assert_eq!(set(&[1_000, 3, 70]), all);
        let mut extended = set(&[1_000]);
        extended.extend(&set(&[70, 3]));
        extended.extend(&TypeSet::default());
        assert_eq!(extended, all);
        assert_eq!(all.iter().collect::<Vec<_>>(), [3, 70, 1_000].map(TypeId));
        assert_eq!(all.intersection(&set(&[5, 70, 900])), set(&[70]));
        assert_eq!(all.intersection(&set(&[3, 1_000])), set(&[3, 1_000]));
        for other in [set(&[]), set(&[4]), set(&[500]), set(&[5_000])] {
            assert_eq!(all.intersection(&other), TypeSet::default());
            assert_eq!(other.intersection(&all), TypeSet::default());
        }
        assert!(all.contains(TypeId(70)) && !all.contains(TypeId(71)));
        assert!(!all.contains(TypeId(1)) && !all.contains(TypeId::UNKNOWN));
    }

    #[test]
    fn a_set_is_as_large_as_the_range_of_its_numbers() {
        assert!(set(&[100_000]).heap_bytes() <= 64);
    }
}
