//! The values of fields that are not leaves.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{INSTANCES, World, provided::Reference};
use crate::random_graphs::types::Ty;

impl World {
    pub(super) fn boxes_and_references(&mut self, rng: &mut Rng, index: usize) {
        for number in 0..rng.usize(2..5) {
            let field = format!("r{number}");
            let entity = &self.entities[index];
            let (name, home) = (
                entity.name.clone(),
                entity.homes[rng.usize(..entity.homes.len())],
            );
            let (ty, target) = self.target(rng, &[home]);
            for instance in 0..INSTANCES {
                let value = ty.value(rng, &mut |rng| target.one(rng));
                self.objects_of(index)[instance].insert(field.clone(), value);
            }
            self.add_field(home, &name, format!("{field}: {ty}"));
            self.refers(Some(index), home, &field, &ty);
            self.entities[index].fields.insert(field, vec![home]);
        }
    }

    pub(super) fn knows_things(&self, part: usize) -> bool {
        part == 0 || !self.things_are_gathered
    }

    pub(super) fn refers(&mut self, holder: Option<usize>, part: usize, field: &str, ty: &Ty) {
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

    /// Something that a field of each of these subgraphs may hold.
    pub(super) fn target(&mut self, rng: &mut Rng, parts: &[usize]) -> (Ty, Target) {
        let held_by = |type_name| -> Vec<String> {
            let all = self.entities.iter();
            let held = all.filter(|it| self.may_hold(type_name, parts, it));
            held.map(|it| it.name.clone()).collect()
        };
        let (members, things) = (held_by("Any"), held_by("Thing"));
        let know_things = parts.iter().all(|part| self.knows_things(*part));
        let (name, target) = match rng.u8(..10) {
            0 | 1 => ("Box".to_owned(), Target::Box),
            2 | 3 if know_things && !things.is_empty() => {
                ("Thing".to_owned(), Target::References(things))
            }
            4 | 5 if !members.is_empty() => {
                let members = members.into_iter().chain(["Box".to_owned()]);
                ("Any".to_owned(), Target::References(members.collect()))
            }
            _ => {
                // A type that the subgraphs may only point at.
                let entity = &self.entities[rng.usize(..self.entities.len())];
                let name = entity.name.clone();
                for part in parts {
                    self.parts[*part].types.entry(name.clone()).or_default();
                }
                (name.clone(), Target::References(vec![name]))
            }
        };
        (Ty::random(rng, &name), target)
    }
}

/// What a reference leads to.
#[derive(Clone)]
pub enum Target {
    Box,
    References(Vec<String>),
}

impl Target {
    pub fn one(&self, rng: &mut Rng) -> Value {
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
