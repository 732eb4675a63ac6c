//! Value types, whose fields are spread over the subgraphs that have them. Where one can be had, all
//! of these subgraphs have it: nothing but a shared field leads from one to another.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};

use super::{World, shared::some_of, targets::Target};
use crate::random_graphs::types::{LEAVES, Ty, leaf};

/// A type without keys.
pub struct About {
    pub name: String,
    /// The subgraphs that have it.
    pub parts: Vec<usize>,
    pub fields: BTreeMap<String, (Ty, Holds)>,
}

/// What a field holds.
#[derive(Clone)]
pub enum Holds {
    Leaf(&'static str),
    Target(Target),
    /// A value of another such type.
    About(usize),
}

impl World {
    /// Adds some value types, each to subgraphs that have one of the entities.
    pub(super) fn abouts(&mut self, rng: &mut Rng) {
        for number in 0..rng.usize(..4) {
            let entity = &self.entities[rng.usize(..self.entities.len())];
            let homes = entity.homes.clone();
            let mut about = About {
                name: format!("About{number}"),
                parts: some_of(rng, &homes),
                fields: BTreeMap::new(),
            };
            let version = (Ty::random(rng, "Int"), Holds::Leaf("Int"));
            let all = about.parts.clone();
            self.add_to_about(rng, &mut about, "version", version, &all);
            for field in 0..rng.usize(1..5) {
                let mut parts = about.parts.clone();
                rng.shuffle(&mut parts);
                parts.truncate(rng.usize(1..3));
                let (mut holds, mut parts) = (self.leaf_or_target(rng, &parts), parts);
                let inner = rng.usize(..self.abouts.len().max(1));
                if let Some(it) = self.abouts.get(inner)
                    && it.parts.iter().all(|part| about.parts.contains(part))
                    && rng.bool()
                {
                    holds = (Ty::random(rng, &it.name), Holds::About(inner));
                    parts = it.parts.clone();
                }
                self.add_to_about(rng, &mut about, &format!("v{field}"), holds, &parts);
            }
            self.abouts.push(about);
            if rng.bool() {
                let ty = Ty::random(rng, &format!("About{number}"));
                for part in all {
                    let ty = ty.or_nullable(rng);
                    let field = format!("about{number}: {ty} @shareable");
                    self.parts[part].query.push(field);
                }
                let value = ty.value(rng, &mut |rng| self.about(rng, number));
                self.roots.insert(format!("about{number}"), value);
            }
        }
    }

    /// Lets an entity have values of the types that its subgraphs have.
    pub(super) fn about_entity(&mut self, rng: &mut Rng, index: usize) {
        for number in 0..self.abouts.len() {
            let (entity, about) = (&self.entities[index], &self.abouts[number]);
            let name = entity.name.clone();
            let has_all = about.parts.iter().all(|part| entity.homes.contains(part));
            if !has_all || rng.u8(..3) == 0 {
                continue;
            }
            let (ty, parts) = (Ty::random(rng, &about.name), about.parts.clone());
            let field = format!("about{number}");
            for instance in 0..super::INSTANCES {
                let value = ty.value(rng, &mut |rng| self.about(rng, number));
                self.objects_of(index)[instance].insert(field.clone(), value);
            }
            for part in &parts {
                let ty = ty.or_nullable(rng);
                self.add_field(*part, &name, format!("{field}: {ty} @shareable"));
            }
            self.entities[index].fields.insert(field, parts);
        }
    }

    fn leaf_or_target(&mut self, rng: &mut Rng, parts: &[usize]) -> (Ty, Holds) {
        if rng.u8(..3) == 0 {
            let (ty, target) = self.target(rng, parts);
            return (ty, Holds::Target(target));
        }
        let base = LEAVES[rng.usize(..LEAVES.len())];
        (Ty::random(rng, base), Holds::Leaf(base))
    }

    fn add_to_about(
        &mut self,
        rng: &mut Rng,
        about: &mut About,
        field: &str,
        holds: (Ty, Holds),
        parts: &[usize],
    ) {
        for part in parts {
            let sdl = format!("{field}: {} @shareable", holds.0.or_nullable(rng));
            self.add_field(*part, &about.name, sdl);
        }
        about.fields.insert(field.to_owned(), holds);
    }

    /// A value of such a type.
    fn about(&self, rng: &mut Rng, number: usize) -> Value {
        let about = &self.abouts[number];
        let mut value = json!({"__typename": about.name});
        for (field, (ty, holds)) in &about.fields {
            value[field] = ty.value(rng, &mut |rng| match holds {
                Holds::Leaf(base) => leaf(rng, base),
                Holds::Target(target) => target.one(rng),
                Holds::About(inner) => self.about(rng, *inner),
            });
        }
        value
    }
}
