//! A random graph: entities over several subgraphs, with all the data of each.

mod about;
mod additions;
mod entity;
mod extensions;
mod field_set;
mod interface_object;
mod members;
mod mutations;
mod owners;
mod provided;
mod required;
mod resolvers;
mod schema;
mod shared;
mod targets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicI64},
};

use fastrand::Rng;
use serde_json::{Map, Value, json};

use self::{
    about::About, entity::Entity, extensions::Extensions, members::Label, provided::Reference,
};
use super::types::{LEAVES, Ty, leaf};
use crate::support::{
    Subgraph, TestGraph, any_cost, compose,
    data::Data,
    graph_with,
    subgraph::{LINK, executable_schema},
};

/// Objects of each entity type.
const INSTANCES: usize = 4;

/// A graph and its data.
pub struct World {
    parts: Vec<Part>,
    entities: Vec<Entity>,
    abouts: Vec<About>,
    objects: Vec<Map<String, Value>>,
    roots: Map<String, Value>,
    references: Vec<Reference>,
    /// Is `Thing` an interface of the first subgraph alone?
    things_are_gathered: bool,
    /// The subgraph that knows `Thing` as an object.
    notes_part: Option<usize>,
    /// The subgraph whose `Thing` has a label, and that field.
    label: Option<(usize, Label)>,
    extensions: Extensions,
    /// What mutations have counted over the subgraphs, and over the whole.
    counts: (Arc<AtomicI64>, Arc<AtomicI64>),
}

/// A subgraph of the random world.
#[derive(Default)]
struct Part {
    /// Fields of its entity types, by type: SDL.
    types: BTreeMap<String, Vec<String>>,
    /// Entity types of which it knows the code, though they may not be at home there.
    codes: BTreeSet<String>,
    /// The entity types in its union.
    members: BTreeSet<String>,
    query: Vec<String>,
    mutation: Vec<String>,
}

impl World {
    /// A random world, decided by `rng` alone.
    pub fn new(rng: &mut Rng) -> Self {
        let part_count = rng.usize(3..5);
        let mut world = Self {
            parts: (0..part_count).map(|_| Part::default()).collect(),
            entities: (0..rng.usize(3..6))
                .map(|index| Entity::new(rng, index, part_count))
                .collect(),
            abouts: Vec::new(),
            objects: Vec::new(),
            roots: Map::new(),
            references: Vec::new(),
            things_are_gathered: false,
            notes_part: None,
            label: None,
            extensions: Extensions::default(),
            counts: Default::default(),
        };
        let has_notes = rng.bool();
        if has_notes {
            world.gather_things();
        }
        for entity in 0..world.entities.len() {
            for instance in 0..INSTANCES {
                let name = &world.entities[entity].name;
                let object = json!({"__typename": name, "id": format!("{name}-{instance}"), "code": instance});
                world
                    .objects
                    .push(object.as_object().cloned().expect("an object"));
            }
        }
        world.members(rng);
        world.labels(rng);
        world.owners(rng);
        world.abouts(rng);
        for entity in 0..world.entities.len() {
            world.leaves(rng, entity);
            world.boxes_and_references(rng, entity);
            world.about_entity(rng, entity);
        }
        for entity in 0..world.entities.len() {
            world.requiring(rng, entity);
        }
        for part in 0..part_count {
            world.root_fields(rng, part);
        }
        world.shared_roots(rng);
        world.provide(rng);
        if has_notes {
            world.notes(rng);
        }
        world.mutations(rng);
        world.extensions(rng);
        world.additions(rng);
        world
    }

    fn objects_of(&mut self, entity: usize) -> &mut [Map<String, Value>] {
        &mut self.objects[entity * INSTANCES..(entity + 1) * INSTANCES]
    }

    fn add_field(&mut self, part: usize, type_name: &str, field: String) {
        self.parts[part]
            .types
            .entry(type_name.to_owned())
            .or_default()
            .push(field);
    }

    fn leaves(&mut self, rng: &mut Rng, index: usize) {
        for number in 0..rng.usize(3..8) {
            let field = format!("f{number}");
            let base = LEAVES[rng.usize(..LEAVES.len())];
            let ty = Ty::random(rng, base);
            for object in self.objects_of(index) {
                object.insert(field.clone(), ty.value(rng, &mut |rng| leaf(rng, base)));
            }
            let entity = &self.entities[index];
            let (name, mut homes) = (entity.name.clone(), entity.homes.clone());
            rng.shuffle(&mut homes);
            homes.truncate(if rng.u8(..10) < 2 { 2 } else { 1 });
            let former = self.entities[index].homes.iter().copied();
            let former = former.filter(|home| !homes.contains(home)).max();
            if let (Some(former), [home], true) = (former, &*homes, rng.u8(..10) < 3) {
                self.add_field(former, &name, format!("{field}: {ty} @shareable"));
                let moved = format!("{field}: {ty} @shareable @override(from: \"s{former}\")");
                self.add_field(*home, &name, moved);
                let overridden = &mut self.entities[index].overridden;
                overridden.insert(field.clone(), former);
            } else {
                for home in &homes {
                    let ty = ty.or_nullable(rng);
                    self.add_field(*home, &name, format!("{field}: {ty} @shareable"));
                }
            }
            self.entities[index].fields.insert(field, homes);
        }
        if rng.bool() {
            let entity = &self.entities[index];
            let home = entity.homes[rng.usize(..entity.homes.len())];
            let name = entity.name.clone();
            self.add_field(
                home,
                &name,
                "args(n: Int = 3, of: Colour, in: [ID!], say: String): String".to_owned(),
            );
            self.entities[index].computed.push("args".to_owned());
            self.entities[index]
                .fields
                .insert("args".to_owned(), vec![home]);
        }
    }

    fn root_fields(&mut self, rng: &mut Rng, part: usize) {
        for number in 0..rng.usize(2..5) {
            let field = format!("s{part}r{number}");
            let (ty, target) = self.target(rng, &[part]);
            let value = ty.value(rng, &mut |rng| target.one(rng));
            self.parts[part].query.push(format!("{field}: {ty}"));
            self.refers(None, part, &field, &ty);
            // A null at the root would hide everything below it.
            let value = if value.is_null() {
                ty.value(rng, &mut |rng| target.one(rng))
            } else {
                value
            };
            self.roots.insert(field, value);
        }
        let homes = self
            .entities
            .iter()
            .filter(|entity| entity.homes.contains(&part));
        let names: Vec<String> = homes.map(|entity| entity.name.clone()).collect();
        for name in names {
            if rng.bool() {
                self.parts[part]
                    .query
                    .push(format!("get{name}At{part}(id: ID!): {name}"));
            }
        }
    }

    /// The graph, each subgraph with nothing but its own fields.
    pub async fn federated(&self) -> TestGraph {
        let mut subgraphs = Vec::new();
        for index in 0..self.parts.len() {
            let (roots, entities) = if self.notes_part == Some(index) {
                (self.notes_roots(), self.notes_entities())
            } else {
                (Value::Object(self.roots.clone()), self.objects_in(index))
            };
            let (name, sdl) = (format!("s{index}"), self.sdl(index));
            let subgraph = match self.is_of_first_version(index) {
                true => Subgraph::raw(&name, &sdl),
                false => Subgraph::new(&name, &sdl),
            };
            let mut subgraph = subgraph.query(roots).entities(entities);
            for ((type_name, field), resolver) in self.resolvers(Some(index)) {
                subgraph = subgraph.field(&type_name, &field, resolver);
            }
            subgraphs.push(subgraph);
        }
        graph_with(any_cost(), subgraphs).await
    }

    /// The supergraph, with addresses at which no server listens.
    pub fn supergraph(&self) -> String {
        let parts = (0..self.parts.len()).map(|index| {
            let sdl = match self.is_of_first_version(index) {
                true => self.sdl(index),
                false => format!("{LINK}{}", self.sdl(index)),
            };
            (
                format!("s{index}"),
                format!("http://s{index}.test/graphql"),
                sdl,
            )
        });
        let parts: Vec<_> = parts.collect();
        let parts: Vec<_> = parts
            .iter()
            .map(|(name, url, sdl)| (&**name, &**url, &**sdl))
            .collect();
        compose::supergraph(&parts)
    }

    /// All the data of the schema that clients see.
    pub fn whole(&self, graph: &TestGraph) -> Data {
        Data {
            schema: executable_schema(&graph.inner().api_sdl()),
            roots: json!({"Query": self.roots}),
            entities: self.objects.iter().cloned().map(Value::Object).collect(),
            resolvers: self.resolvers(None).into_iter().collect(),
        }
    }

    fn objects_in(&self, part: usize) -> Value {
        let mut objects = Vec::new();
        for (index, object) in self.objects.iter().enumerate() {
            let entity = &self.entities[index / INSTANCES];
            if !entity.homes.contains(&part) && !self.is_of_first_version(part) {
                continue;
            }
            let is_here = |field: &str| {
                let homes = entity.fields.get(field);
                homes.is_none_or(|homes| homes.contains(&part))
                    && !entity.requiring.contains_key(field)
                    && !(field == "code" && entity.is_told_its_code(part))
            };
            let fields = object.iter().filter(|(field, _)| is_here(field));
            objects.push(
                fields
                    .map(|(field, value)| (field.clone(), value.clone()))
                    .collect(),
            );
        }
        Value::Array(objects)
    }
}
