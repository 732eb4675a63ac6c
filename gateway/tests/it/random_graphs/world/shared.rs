//! Root fields that several subgraphs share.

use fastrand::Rng;
use serde_json::Value;

use super::World;
use crate::random_graphs::types::{LEAVES, Ty, leaf};

impl World {
    /// Adds root fields that some subgraphs answer alike.
    pub(super) fn shared_roots(&mut self, rng: &mut Rng) {
        for number in 0..rng.usize(..4) {
            let field = format!("shared{number}");
            let all: Vec<usize> = (0..self.parts.len()).collect();
            let parts = some_of(rng, &all);
            let (ty, value) = self.shared_value(rng, &parts);
            for part in &parts {
                let ty = ty.or_nullable(rng);
                self.parts[*part]
                    .query
                    .push(format!("{field}: {ty} @shareable"));
            }
            self.roots.insert(field, value);
        }
        for index in 0..self.entities.len() {
            let entity = &self.entities[index];
            let (name, homes) = (entity.name.clone(), entity.homes.clone());
            if rng.u8(..3) == 0 {
                for part in some_of(rng, &homes) {
                    self.parts[part]
                        .query
                        .push(format!("get{name}(id: ID!): {name} @shareable"));
                }
            }
        }
    }

    /// A type and a value of it that all these subgraphs can have.
    fn shared_value(&mut self, rng: &mut Rng, parts: &[usize]) -> (Ty, Value) {
        if rng.u8(..5) == 0 {
            let base = LEAVES[rng.usize(..LEAVES.len())];
            let ty = Ty::random(rng, base);
            let value = ty.value(rng, &mut |rng| leaf(rng, base));
            return (ty, value);
        }
        let (ty, target) = self.target(rng, parts);
        let value = ty.value(rng, &mut |rng| target.one(rng));
        // A null at the root would hide everything below it.
        let value = if value.is_null() {
            ty.value(rng, &mut |rng| target.one(rng))
        } else {
            value
        };
        (ty, value)
    }
}

/// Two or more of them.
pub fn some_of(rng: &mut Rng, all: &[usize]) -> Vec<usize> {
    let mut some = all.to_vec();
    rng.shuffle(&mut some);
    some.truncate(rng.usize(2..=all.len().max(2)));
    some
}
