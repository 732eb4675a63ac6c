//! Response keys that mean several fields.
//!
//! `... on Oven { text: name } ... on Pan { text: city }` is valid, but what has one key at one place
//! of the response is one field for the executor. Neither must a client's alias be the name of a field
//! that plans add on their own (`id: name`, or `id @upper`, where `id` is a key), nor one of the
//! [`crate::internal_names`]. Each further meaning of such a key gets an alias of its own before planning; the projection reads it by that alias and writes the
//! client's.

use std::collections::HashMap;

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{Argument, Directive, Value},
    executable::{Field, Operation, Selection, SelectionSet},
};

use rustc_hash::FxHashMap;

use crate::{Supergraph, internal_names, planned_fields::PlannedFields};

/// A response key with the field that it means, and its directives. Arguments stand in the order of
/// their names: in another order they mean the same.
type Meaning = (Name, Name, Vec<Node<Argument>>, Vec<Node<Directive>>);

/// The aliases given to meanings.
#[derive(Default)]
pub struct ClientAliases {
    by_meaning: HashMap<Meaning, Name>,
}

impl ClientAliases {
    /// Finds what needs an alias.
    pub fn of(
        supergraph: &Supergraph,
        document: &ExecutableDocument,
        operation: &Operation,
    ) -> Self {
        let mut finder = Finder {
            document,
            planned: supergraph.planned_fields(),
            aliases: Self::default(),
            aliases_given: 0,
        };
        finder.place(&[&operation.selection_set]);
        finder.aliases
    }

    /// Whether there are none, as nearly always.
    pub fn is_empty(&self) -> bool {
        self.by_meaning.is_empty()
    }

    /// The key by which the field is asked of subgraphs.
    pub fn key_of<'f>(&'f self, field: &'f Field) -> &'f Name {
        if self.is_empty() {
            return field.response_key();
        }
        self.by_meaning
            .get(&meaning(field))
            .unwrap_or(field.response_key())
    }

    /// Each alias with the client's key.
    pub fn pairs(&self) -> impl Iterator<Item = (&Name, &Name)> {
        self.by_meaning
            .iter()
            .map(|((key, ..), alias)| (alias, key))
    }
}

fn meaning(field: &Field) -> Meaning {
    (
        field.response_key().clone(),
        field.name.clone(),
        in_order(&field.arguments),
        own_directives(field).cloned().collect(),
    )
}

/// Those that may change what the field means.
fn own_directives(field: &Field) -> impl Iterator<Item = &Node<Directive>> {
    let directives = field.directives.iter();
    directives.filter(|it| it.name != "skip" && it.name != "include")
}

fn in_order(arguments: &[Node<Argument>]) -> Vec<Node<Argument>> {
    let mut arguments = arguments.to_vec();
    for argument in &mut arguments {
        if let Some(value) = value_in_order(&argument.value) {
            argument.make_mut().value = value;
        }
    }
    arguments.sort_by(|one, other| one.name.cmp(&other.name));
    arguments
}

/// The value with the members of its objects in the order of their names; none where it has no
/// objects.
fn value_in_order(value: &Node<Value>) -> Option<Node<Value>> {
    match &**value {
        Value::Object(members) => {
            let mut members = members.clone();
            for (_, value) in &mut members {
                if let Some(changed) = value_in_order(value) {
                    *value = changed;
                }
            }
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            Some(Node::new(Value::Object(members)))
        }
        Value::List(items) => {
            let items = items
                .iter()
                .map(|item| value_in_order(item).unwrap_or_else(|| item.clone()));
            Some(Node::new(Value::List(items.collect())))
        }
        _ => None,
    }
}

/// The fields at one place of the response, by their keys.
#[derive(Default)]
struct Fields<'d> {
    /// In the order in which the keys are first met.
    in_order: Vec<(&'d Name, Vec<&'d Field>)>,
    places: FxHashMap<&'d Name, usize>,
}

impl<'d> Fields<'d> {
    fn add(&mut self, field: &'d Field) {
        let key = field.response_key();
        let next = self.in_order.len();
        let place = *self.places.entry(key).or_insert(next);
        match self.in_order.get_mut(place) {
            Some((_, same)) => same.push(field),
            None => self.in_order.push((key, vec![field])),
        }
    }
}

struct Finder<'d> {
    document: &'d ExecutableDocument,
    planned: &'d PlannedFields,
    aliases: ClientAliases,
    aliases_given: usize,
}

impl<'d> Finder<'d> {
    /// Looks at one place of the response, to which all of `sets` contribute.
    fn place(&mut self, sets: &[&'d SelectionSet]) {
        let mut fields = Fields::default();
        for set in sets {
            self.flatten(set, &mut fields);
        }
        for (key, same) in fields.in_order {
            let is_planned = self.planned.contains(key);
            let could_meet = internal_names::could_meet(key);
            let is_other = |field: &&Field| {
                could_meet
                    || (is_planned
                        && (field.name != *key || own_directives(field).next().is_some()))
                    || field.name != same[0].name
                    || (field.arguments != same[0].arguments
                        && in_order(&field.arguments) != in_order(&same[0].arguments))
            };
            for field in same.iter().copied().filter(|field| is_other(field)) {
                let meaning = meaning(field);
                if self.aliases.by_meaning.contains_key(&meaning) {
                    continue;
                }
                if let Some(alias) = self.unused_alias(key) {
                    self.aliases.by_meaning.insert(meaning, alias);
                }
            }
            let below: Vec<&SelectionSet> = same
                .iter()
                .map(|field| &field.selection_set)
                .filter(|set| !set.selections.is_empty())
                .collect();
            if !below.is_empty() {
                self.place(&below);
            }
        }
    }

    /// One that is no field of a key or a requirement either.
    fn unused_alias(&mut self, key: &str) -> Option<Name> {
        loop {
            let alias = internal_names::of_meaning(self.aliases_given, key)?;
            self.aliases_given += 1;
            if !self.planned.contains(&alias) {
                return Some(alias);
            }
        }
    }

    fn flatten(&mut self, set: &'d SelectionSet, fields: &mut Fields<'d>) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => fields.add(field),
                Selection::InlineFragment(fragment) => {
                    self.flatten(&fragment.selection_set, fields)
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = spread.fragment_def(self.document) {
                        self.flatten(&fragment.selection_set, fields);
                    }
                }
            }
        }
    }
}
