//! `@requires`: fields that are computed from what other subgraphs resolve.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{
    INSTANCES, World,
    entity::Requirement,
    field_set::{self, Need},
    resolvers::with_arguments,
};
use crate::random_graphs::types::LEAVES;

/// Arguments of `args` as field sets write them, and as the field gets them.
const ARGUMENTS: [(&str, &str); 5] = [
    ("", r#"{"n": 3}"#),
    ("(n: 5)", r#"{"n": 5}"#),
    ("(n: 7, of: RED)", r#"{"n": 7, "of": "RED"}"#),
    ("(in: [], n: 3)", r#"{"n": 3, "in": []}"#),
    (r#"(say: \"a b\")"#, r#"{"n": 3, "say": "a b"}"#),
];

/// Levels of what a field requires: of objects, types of objects, and requirements.
const LEVELS: usize = 4;

impl World {
    /// Adds fields to an entity that need what others resolve, of it and of what it leads to.
    pub(super) fn requiring(&mut self, rng: &mut Rng, index: usize) {
        for number in 0..rng.usize(0..4) {
            let entity = &self.entities[index];
            let (name, home) = (
                entity.name.clone(),
                entity.homes[rng.usize(..entity.homes.len())],
            );
            let needs = self.needs_of_entity(rng, home, index, LEVELS, true);
            if needs.is_empty() {
                continue;
            }
            let gives = (rng.u8(..4) == 0).then(|| {
                let target = &self.entities[rng.usize(..self.entities.len())];
                target.name.clone()
            });
            if let Some(target) = &gives {
                self.parts[home].types.entry(target.clone()).or_default();
            }
            let field = format!("q{number}");
            let ty = gives.as_deref().unwrap_or("String");
            let set = field_set::text(&needs);
            let sdl = format!("{field}: {ty} @requires(fields: \"{set}\")");
            self.add_field(home, &name, sdl);
            let requirement = Requirement { needs, gives };
            for instance in 0..INSTANCES {
                let object = Value::Object(self.objects_of(index)[instance].clone());
                let tell = |object: &Value, need: &Need| self.value_of(object, need);
                let value = requirement.value(&object, &tell);
                let value = value.expect("every field has a value");
                self.objects_of(index)[instance].insert(field.clone(), value);
            }
            let entity = &mut self.entities[index];
            entity.fields.insert(field.clone(), vec![home]);
            entity.requiring.insert(field, requirement);
        }
    }

    /// Some fields of an entity, at the top of a field set those that the subgraph does not resolve.
    fn needs_of_entity(
        &mut self,
        rng: &mut Rng,
        part: usize,
        index: usize,
        depth: usize,
        is_top: bool,
    ) -> Vec<Need> {
        let entity = &self.entities[index];
        let is_shallow = |field: &String| {
            let requirement = entity.requiring.get(field);
            requirement.is_none_or(|it| field_set::levels(&it.needs) < depth)
        };
        let is_possible = |(field, homes): &(&String, &Vec<usize>)| {
            let is_resolved = is_top && homes.contains(&part);
            entity.overridden.get(*field) != Some(&part) && !is_resolved && is_shallow(field)
        };
        let possible = entity.fields.iter().filter(is_possible);
        let mut fields: Vec<String> = possible.map(|(field, _)| field.clone()).collect();
        rng.shuffle(&mut fields);
        fields.truncate(rng.usize(1..4));
        let name = entity.name.clone();
        let needs = fields
            .iter()
            .filter_map(|field| self.need(rng, part, &name, field, depth));
        needs.collect()
    }

    /// A field with something below it; none where the subgraph cannot write it.
    fn need(
        &mut self,
        rng: &mut Rng,
        part: usize,
        type_name: &str,
        field: &str,
        depth: usize,
    ) -> Option<Need> {
        let declared = self.declared(type_name, field);
        let inner = declared.rsplit(": ").next()?;
        let inner = inner.trim_matches(['[', ']', '!']).to_owned();
        let is_leaf = LEAVES.contains(&&*inner);
        let is_possible = depth > 0 && (inner != "Thing" || self.knows_things(part));
        if !is_leaf && !is_possible {
            return None;
        }
        let below = if is_leaf {
            Vec::new()
        } else {
            let mut parts = self.resolvers_of(type_name, field);
            parts.push(part);
            self.needs_below(rng, &parts, &inner, depth - 1)
        };
        if !is_leaf && below.is_empty() {
            return None;
        }
        self.add_external(part, type_name, field);
        let arguments = if field == "args" {
            ARGUMENTS[rng.usize(..ARGUMENTS.len())].0
        } else {
            ""
        };
        let entity = self.entities.iter().find(|it| it.name == type_name);
        let requirement = entity.and_then(|it| it.requiring.get(field));
        let required = requirement.map_or(0, |it| field_set::levels(&it.needs) + 1);
        let levels = usize::from(!below.is_empty()) + field_set::levels(&below);
        Some(Need {
            on: None,
            field: field.to_owned(),
            arguments,
            below,
            levels: levels.max(required),
        })
    }

    /// Some of what a field holds that `parts` have: who resolves it, and last who requires it.
    fn needs_below(
        &mut self,
        rng: &mut Rng,
        parts: &[usize],
        type_name: &str,
        depth: usize,
    ) -> Vec<Need> {
        let part = parts[parts.len() - 1];
        if type_name == "Box" {
            let inner = Need {
                below: vec![Need::leaf("a")],
                ..Need::leaf("inner")
            };
            let mut all = vec![Need::leaf("a"), Need::leaf("b"), inner];
            rng.shuffle(&mut all);
            all.truncate(rng.usize(1..3));
            return all;
        }
        if let Some(about) = self.abouts.iter().find(|it| it.name == type_name) {
            let mut fields: Vec<String> = about.fields.keys().cloned().collect();
            rng.shuffle(&mut fields);
            fields.truncate(rng.usize(1..3));
            let needs = fields
                .iter()
                .filter_map(|field| self.need(rng, part, type_name, field, depth));
            return needs.collect();
        }
        if let Some(index) = self.entities.iter().position(|it| it.name == type_name) {
            self.parts[part]
                .types
                .entry(type_name.to_owned())
                .or_default();
            let mut needs = self.needs_of_entity(rng, part, index, depth, false);
            if needs.is_empty() || rng.u8(..4) == 0 {
                needs.push(Need::leaf("id"));
            }
            return needs;
        }
        let mut needs = match type_name {
            "Any" => self.needs_below(rng, parts, "Box", depth),
            _ => vec![Need::leaf(self.field_of_things(rng, part))],
        };
        for need in &mut needs {
            need.on = (type_name == "Any").then(|| "Box".to_owned());
        }
        for index in 0..self.entities.len() {
            let entity = &self.entities[index];
            let name = entity.name.clone();
            if depth > 0 && self.may_hold(type_name, parts, entity) && rng.bool() {
                let below = self.needs_of_entity(rng, part, index, depth - 1, false);
                needs.extend(below.into_iter().map(|need| Need {
                    on: Some(name.clone()),
                    ..need
                }));
            }
        }
        needs
    }

    /// The value of a field of an object, arguments and all.
    fn value_of(&self, object: &Value, need: &Need) -> Option<Value> {
        let is_it = |it: &&serde_json::Map<String, Value>| it.get("id") == object.get("id");
        let entity = self.objects.iter().find(is_it);
        if need.field == "args" {
            let mut known = ARGUMENTS.iter();
            let (_, arguments) = known.find(|(text, _)| *text == need.arguments)?;
            let arguments = serde_json::from_str(arguments).ok()?;
            return Some(with_arguments(&object["id"], &arguments));
        }
        let own = object.get(&need.field);
        own.or_else(|| entity?.get(&need.field)).cloned()
    }

    /// Lets the subgraph know a field that others resolve.
    pub(super) fn add_external(&mut self, part: usize, type_name: &str, field: &str) {
        let external = format!("{} @external", self.declared(type_name, field));
        let fields = self.parts[part].types.entry(type_name.to_owned());
        let fields = fields.or_default();
        let starts = [format!("{field}: "), format!("{field}(")];
        let is_known = |sdl: &String| starts.iter().any(|start| sdl.starts_with(start));
        if !fields.iter().any(is_known) {
            fields.push(external);
        }
    }

    /// The subgraphs that have a field, and not as external.
    fn resolvers_of(&self, type_name: &str, field: &str) -> Vec<usize> {
        let starts = [format!("{field}: "), format!("{field}(")];
        let is_own = |sdl: &String| {
            starts.iter().any(|start| sdl.starts_with(start)) && !sdl.ends_with("@external")
        };
        let parts = self.parts.iter().enumerate().filter(|(_, part)| {
            let fields = part.types.get(type_name);
            fields.is_some_and(|fields| fields.iter().any(is_own))
        });
        parts.map(|(part, _)| part).collect()
    }

    /// `name: Type` of a field, as clients see it: nullable where it is so in one of its homes.
    fn declared(&self, type_name: &str, field: &str) -> String {
        let starts = [format!("{field}: "), format!("{field}(")];
        let homes = self.resolvers_of(type_name, field).into_iter();
        let declared = homes.filter_map(|home| {
            let mut all = self.parts[home].types[type_name].iter();
            let sdl = all.find(|sdl| starts.iter().any(|start| sdl.starts_with(start)))?;
            sdl.split(" @").next()
        });
        let widest = declared.min_by_key(|sdl| sdl.ends_with('!'));
        widest.expect("some subgraph has the field").to_owned()
    }
}

impl Requirement {
    /// The value of the field that requires it.
    pub fn value(&self, object: &Value, tell: field_set::Tell<'_>) -> Option<Value> {
        let text = field_set::values(object, &self.needs, tell)?.to_string();
        let Some(target) = &self.gives else {
            return Some(json!(text));
        };
        let number: usize = text.bytes().map(usize::from).sum();
        let code = number % INSTANCES;
        Some(json!({"__typename": target, "id": format!("{target}-{code}"), "code": code}))
    }
}
