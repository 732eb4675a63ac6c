//! What fields hold that are no leaves.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{Entity, INSTANCES, World, provided::Reference};
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

    /// Something that a field of that subgraph may hold.
    pub(super) fn target(&mut self, rng: &mut Rng, part: usize) -> (Ty, Target) {
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
}

/// What a reference leads to.
pub enum Target {
    Box,
    References(Vec<String>),
}

impl Target {
    pub fn one(&mut self, rng: &mut Rng) -> Value {
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
