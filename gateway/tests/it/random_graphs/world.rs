//! A random graph: entities over several subgraphs, with all the data of each.

mod interface_object;
mod mutations;
mod provided;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, atomic::AtomicI64},
};

use fastrand::Rng;
use serde_json::{Map, Value, json};

use self::provided::Reference;
use super::types::{LEAVES, Ty, leaf};
use crate::support::{
    Subgraph, TestGraph,
    data::{Data, Resolver},
    graph,
    subgraph::executable_schema,
};

/// Objects of each entity type.
const INSTANCES: usize = 4;

/// What every subgraph has.
const SHARED: &str = "scalar Json enum Colour { RED GREEN BLUE }
type Box @shareable { a: Int b: [String!] inner: Box }
interface Thing { id: ID! }
";

/// A graph and its data.
pub struct World {
    parts: Vec<Part>,
    entities: Vec<Entity>,
    objects: Vec<Map<String, Value>>,
    roots: Map<String, Value>,
    references: Vec<Reference>,
    /// Is `Thing` an interface of the first subgraph alone?
    things_are_gathered: bool,
    /// The subgraph that knows `Thing` as an object.
    notes_part: Option<usize>,
    /// What mutations have counted over the subgraphs, and over the whole.
    counts: (Arc<AtomicI64>, Arc<AtomicI64>),
}

/// A subgraph.
#[derive(Default)]
struct Part {
    /// Fields of its entity types, by type: SDL.
    types: BTreeMap<String, Vec<String>>,
    query: Vec<String>,
    mutation: Vec<String>,
}

struct Entity {
    name: String,
    /// Does it implement `Thing`?
    is_thing: bool,
    /// The subgraphs that resolve it, the first by both of its keys.
    homes: Vec<usize>,
    /// The keys in each home.
    keys: Vec<&'static str>,
    /// Fields by name: the subgraphs that resolve them.
    fields: BTreeMap<String, Vec<usize>>,
    /// Fields that have moved: the subgraphs that had them.
    overridden: BTreeMap<String, usize>,
    /// Fields with arguments.
    computed: Vec<String>,
    /// Fields that need others.
    requiring: BTreeMap<String, Vec<String>>,
}

impl World {
    /// A random one.
    pub fn new(rng: &mut Rng) -> Self {
        let part_count = rng.usize(3..5);
        let mut world = Self {
            parts: (0..part_count).map(|_| Part::default()).collect(),
            entities: (0..rng.usize(3..6))
                .map(|index| Entity::new(rng, index, part_count))
                .collect(),
            objects: Vec::new(),
            roots: Map::new(),
            references: Vec::new(),
            things_are_gathered: false,
            notes_part: None,
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
        for entity in 0..world.entities.len() {
            world.leaves(rng, entity);
            world.boxes_and_references(rng, entity);
            world.requiring(rng, entity);
        }
        for part in 0..part_count {
            world.root_fields(rng, part);
        }
        world.provide(rng);
        if has_notes {
            world.notes(rng);
        }
        world.mutations(rng);
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
                self.add_field(former, &name, format!("{field}: {ty}"));
                let moved = format!("{field}: {ty} @override(from: \"s{former}\")");
                self.add_field(*home, &name, moved);
                let overridden = &mut self.entities[index].overridden;
                overridden.insert(field.clone(), former);
            } else {
                for home in &homes {
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
                "args(n: Int = 3, of: Colour, in: [ID!]): String".to_owned(),
            );
            self.entities[index].computed.push("args".to_owned());
            self.entities[index]
                .fields
                .insert("args".to_owned(), vec![home]);
        }
    }

    fn boxes_and_references(&mut self, rng: &mut Rng, index: usize) {
        for number in 0..rng.usize(2..5) {
            let field = format!("r{number}");
            let entity = &self.entities[index];
            let (name, home) = (
                entity.name.clone(),
                entity.homes[rng.usize(..entity.homes.len())],
            );
            let (ty, mut target) = self.target(rng, home);
            for instance in 0..INSTANCES {
                let value = ty.value(rng, &mut |rng| target.one(rng));
                self.objects_of(index)[instance].insert(field.clone(), value);
            }
            self.add_field(home, &name, format!("{field}: {ty}"));
            self.refers(Some(index), home, &field, &ty);
            self.entities[index].fields.insert(field, vec![home]);
        }
    }

    fn knows_things(&self, part: usize) -> bool {
        part == 0 || !self.things_are_gathered
    }

    fn refers(&mut self, holder: Option<usize>, part: usize, field: &str, ty: &Ty) {
        let target = ty.name();
        if self.entities.iter().any(|entity| entity.name == target) {
            self.references.push(Reference {
                holder,
                part,
                field: field.to_owned(),
                target: target.to_owned(),
            });
        }
    }

    /// Something that a field of that subgraph may hold.
    fn target(&mut self, rng: &mut Rng, part: usize) -> (Ty, Target) {
        let known: Vec<usize> = (0..self.entities.len())
            .filter(|index| self.entities[*index].homes.contains(&part))
            .collect();
        let named = |wanted: &dyn Fn(&Entity) -> bool| -> Vec<String> {
            let known = known.iter().map(|index| &self.entities[*index]);
            known
                .filter(|it| wanted(it))
                .map(|it| it.name.clone())
                .collect()
        };
        let (name, target) = match rng.u8(..10) {
            0 | 1 => ("Box".to_owned(), Target::Box),
            2 | 3 if self.knows_things(part) && !named(&|it| it.is_thing).is_empty() => (
                "Thing".to_owned(),
                Target::References(named(&|it| it.is_thing)),
            ),
            4 | 5 if !known.is_empty() => {
                let mut members = named(&|_| true);
                members.push("Box".to_owned());
                ("Any".to_owned(), Target::References(members))
            }
            _ => {
                // A type that the subgraph may only point at.
                let entity = &self.entities[rng.usize(..self.entities.len())];
                let name = entity.name.clone();
                self.parts[part].types.entry(name.clone()).or_default();
                (name.clone(), Target::References(vec![name]))
            }
        };
        (Ty::random(rng, &name), target)
    }

    fn requiring(&mut self, rng: &mut Rng, index: usize) {
        for number in 0..rng.usize(0..3) {
            let entity = &self.entities[index];
            let (name, home) = (
                entity.name.clone(),
                entity.homes[rng.usize(..entity.homes.len())],
            );
            let elsewhere: Vec<String> = entity
                .fields
                .iter()
                .filter(|(field, homes)| {
                    (field.starts_with('f') || field.starts_with('q'))
                        && !homes.contains(&home)
                        && entity.overridden.get(*field) != Some(&home)
                })
                .map(|(field, _)| field.clone())
                .collect();
            if elsewhere.is_empty() {
                continue;
            }
            let mut required: Vec<String> = (0..rng.usize(1..4))
                .map(|_| elsewhere[rng.usize(..elsewhere.len())].clone())
                .collect();
            required.sort_unstable();
            required.dedup();
            let field = format!("q{number}");
            for dependency in &required {
                self.add_external(home, &name, dependency);
            }
            self.add_field(
                home,
                &name,
                format!(
                    "{field}: String @requires(fields: \"{}\")",
                    required.join(" ")
                ),
            );
            for object in self.objects_of(index) {
                let value = summary(object, &required).expect("every field has a value");
                object.insert(field.clone(), value);
            }
            let entity = &mut self.entities[index];
            entity.fields.insert(field.clone(), vec![home]);
            entity.requiring.insert(field, required);
        }
    }

    /// Lets the subgraph know a field that others resolve.
    fn add_external(&mut self, part: usize, type_name: &str, field: &str) {
        let external = format!("{} @external", self.declared(type_name, field));
        let fields = self.parts[part].types.entry(type_name.to_owned());
        let fields = fields.or_default();
        if !fields.contains(&external) {
            fields.push(external);
        }
    }

    /// `name: Type` of a field, as its home writes it.
    fn declared(&self, type_name: &str, field: &str) -> String {
        let start = format!("{field}: ");
        let mut all = self
            .parts
            .iter()
            .filter_map(|part| part.types.get(type_name))
            .flatten();
        let sdl = all.find(|sdl| sdl.starts_with(&start) && !sdl.ends_with("@external"));
        let sdl = sdl.expect("some subgraph has the field");
        sdl.split(" @").next().unwrap_or_default().to_owned()
    }

    fn root_fields(&mut self, rng: &mut Rng, part: usize) {
        for number in 0..rng.usize(2..5) {
            let field = format!("s{part}r{number}");
            let (ty, mut target) = self.target(rng, part);
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

    fn sdl(&self, index: usize) -> String {
        let part = &self.parts[index];
        let roots = format!(
            "type Query {{\n  {}\n}}\ntype Mutation {{\n  {}\n}}\n",
            part.query.join("\n  "),
            part.mutation.join("\n  ")
        );
        if self.notes_part == Some(index) {
            return format!("{}{roots}", interface_object::SCHEMA);
        }
        let mut sdl = SHARED.to_owned();
        if !self.knows_things(index) {
            sdl = sdl.replace("interface Thing { id: ID! }\n", "");
        } else if self.notes_part.is_some() {
            sdl = sdl.replace("interface Thing", "interface Thing @key(fields: \"id\")");
        }
        let mut members = vec!["Box"];
        for entity in &self.entities {
            let home = entity.homes.iter().position(|home| *home == index);
            let fields = part.types.get(&entity.name);
            if home.is_none() && fields.is_none() {
                continue;
            }
            let (keys, own) = match home {
                Some(home) => {
                    members.push(&entity.name);
                    match entity.keys[home] {
                        "both" => (
                            "@key(fields: \"id\") @key(fields: \"code\")",
                            "id: ID! code: Int!",
                        ),
                        "compound" => ("@key(fields: \"code id\")", "id: ID! code: Int!"),
                        "code" => ("@key(fields: \"code\")", "id: ID! @shareable code: Int!"),
                        _ => ("@key(fields: \"id\")", "id: ID!"),
                    }
                }
                None => ("@key(fields: \"id\", resolvable: false)", "id: ID!"),
            };
            let implements = if entity.is_thing && self.knows_things(index) {
                "implements Thing"
            } else {
                ""
            };
            let fields = fields.map(|fields| fields.join("\n  ")).unwrap_or_default();
            let _ = writeln!(
                sdl,
                "type {} {implements} {keys} {{\n  {own}\n  {fields}\n}}",
                entity.name
            );
        }
        let _ = writeln!(sdl, "union Any = {}", members.join(" | "));
        sdl.push_str(&roots);
        sdl
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
            let mut subgraph = Subgraph::new(&format!("s{index}"), &self.sdl(index))
                .query(roots)
                .entities(entities);
            for ((type_name, field), resolver) in self.resolvers(Some(index)) {
                subgraph = subgraph.field(&type_name, &field, resolver);
            }
            subgraphs.push(subgraph);
        }
        graph(subgraphs).await
    }

    /// All the data behind the schema that clients see.
    pub fn whole(&self, graph: &TestGraph) -> Data {
        Data {
            schema: executable_schema(&graph.inner().api_sdl()),
            roots: json!({"Query": self.roots}),
            entities: self.objects.iter().cloned().map(Value::Object).collect(),
            resolvers: self.resolvers(None).into_iter().collect(),
        }
    }

    /// The schemas, for the report of a failure.
    pub fn describe(&self) -> String {
        (0..self.parts.len())
            .map(|index| format!("--- s{index}\n{}", self.sdl(index)))
            .collect()
    }

    fn objects_in(&self, part: usize) -> Value {
        let mut objects = Vec::new();
        for (index, object) in self.objects.iter().enumerate() {
            let entity = &self.entities[index / INSTANCES];
            if !entity.homes.contains(&part) {
                continue;
            }
            let is_here = |field: &str| {
                let homes = entity.fields.get(field);
                homes.is_none_or(|homes| homes.contains(&part))
                    && !entity.requiring.contains_key(field)
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

    fn resolvers(&self, part: Option<usize>) -> Vec<((String, String), Resolver)> {
        let (of_subgraphs, of_whole) = &self.counts;
        let count = if part.is_some() {
            of_subgraphs
        } else {
            of_whole
        };
        let mut all = self.mutation_resolvers(count);
        for entity in &self.entities {
            let owners = entity.computed.iter().flat_map(|field| {
                [&*entity.name, "Thing"].map(|owner| (owner.to_owned(), field.clone()))
            });
            for owner in owners {
                all.push((
                    owner,
                    Box::new(|object, arguments| {
                        // Their order means nothing.
                        let arguments: BTreeMap<_, _> =
                            arguments.as_object().into_iter().flatten().collect();
                        Ok(json!(format!("{} {arguments:?}", object["id"])))
                    }),
                ));
            }
            for index in 0..self.parts.len() {
                let name = entity.name.clone();
                let field = format!("get{name}At{index}");
                all.push((
                    ("Query".to_owned(), field),
                    Box::new(move |_, arguments| {
                        let id = arguments["id"].as_str().ok_or("no id")?;
                        let code = id
                            .strip_prefix(&format!("{name}-"))
                            .and_then(|it| it.parse::<usize>().ok());
                        Ok(match code {
                            Some(code) => json!({"__typename": name, "id": id, "code": code}),
                            None => Value::Null,
                        })
                    }),
                ));
            }
            // The whole has the values; a subgraph makes them from what it is given.
            for (field, required) in entity.requiring.iter().filter(|_| part.is_some()) {
                let required = required.clone();
                all.push((
                    (entity.name.clone(), field.clone()),
                    Box::new(move |object, _| {
                        let object = object.as_object().ok_or("no object")?;
                        summary(object, &required)
                            .ok_or_else(|| format!("no {required:?} in {object:?}"))
                    }),
                ));
            }
        }
        all
    }
}

impl Entity {
    fn new(rng: &mut Rng, index: usize, parts: usize) -> Self {
        let mut homes: Vec<usize> = (0..parts).collect();
        rng.shuffle(&mut homes);
        homes.truncate(rng.usize(2..=parts));
        let mut keys = vec!["both"];
        let others = if rng.bool() {
            ["id", "id"]
        } else {
            ["code", "compound"]
        };
        keys.extend(homes.iter().skip(1).map(|_| others[rng.usize(..2)]));
        Self {
            name: format!("E{index}"),
            is_thing: rng.u8(..10) < 6,
            homes,
            keys,
            fields: BTreeMap::new(),
            overridden: BTreeMap::new(),
            computed: Vec::new(),
            requiring: BTreeMap::new(),
        }
    }
}

/// What a reference leads to.
enum Target {
    Box,
    References(Vec<String>),
}

impl Target {
    fn one(&mut self, rng: &mut Rng) -> Value {
        match self {
            Self::Box => new_box(rng),
            Self::References(names) => {
                let name = &names[rng.usize(..names.len())];
                if name == "Box" {
                    return new_box(rng);
                }
                let instance = rng.usize(..INSTANCES);
                json!({"__typename": name, "id": format!("{name}-{instance}"), "code": instance})
            }
        }
    }
}

fn new_box(rng: &mut Rng) -> Value {
    let inner = if rng.u8(..3) == 0 {
        new_box(rng)
    } else {
        Value::Null
    };
    json!({"__typename": "Box", "a": rng.i8(..), "b": if rng.bool() { json!(["x"]) } else { Value::Null }, "inner": inner})
}

/// The value of a field that requires others.
fn summary(object: &Map<String, Value>, required: &[String]) -> Option<Value> {
    let values: Option<Vec<String>> = required
        .iter()
        .map(|field| object.get(field).map(Value::to_string))
        .collect();
    Some(json!(values?.join(" ")))
}
