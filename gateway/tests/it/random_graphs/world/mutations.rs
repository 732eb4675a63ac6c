//! Mutations of every subgraph that increase one counter: in another order, their results would
//! differ.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use fastrand::Rng;
use serde_json::{Value, json};

use super::World;
use crate::support::data::Resolver;

impl World {
    pub(super) fn mutations(&mut self, rng: &mut Rng) {
        for (index, part) in self.parts.iter_mut().enumerate() {
            part.mutation.push(format!(
                "s{index}count(by: Int = 1, of: Colour = BLUE): Int!"
            ));
            for entity in self.entities.iter().filter(|it| it.homes.contains(&index)) {
                if rng.bool() {
                    let name = &entity.name;
                    let field = format!("s{index}take{name}(by: Int! = 2, id: ID!): {name}");
                    part.mutation.push(field);
                }
            }
        }
    }

    /// All mutations over one count.
    pub(super) fn mutation_resolvers(
        &self,
        count: &Arc<AtomicI64>,
    ) -> Vec<((String, String), Resolver)> {
        let mut all: Vec<((String, String), Resolver)> = Vec::new();
        for sdl in self.parts.iter().flat_map(|part| &part.mutation) {
            let field = sdl.split('(').next().unwrap_or_default().to_owned();
            let target = field.split_once("take").map(|(_, name)| name.to_owned());
            let count = Arc::clone(count);
            let resolver = move |_: &Value, arguments: &Value| {
                let by = arguments["by"].as_i64().unwrap_or(100);
                // Neither is commutative without the other.
                let counted = count.load(Ordering::SeqCst) * 2 % 1_000_003 + by;
                count.store(counted, Ordering::SeqCst);
                let Some(name) = &target else {
                    return Ok(json!(counted));
                };
                let code = counted.unsigned_abs() as usize % (super::INSTANCES + 1);
                Ok(if code == super::INSTANCES {
                    Value::Null
                } else {
                    json!({"__typename": name, "id": format!("{name}-{code}"), "code": code})
                })
            };
            all.push((("Mutation".to_owned(), field), Box::new(resolver)));
        }
        all
    }

    /// Both graphs start counting from 0 again.
    pub fn forget_mutations(&self) {
        for count in [&self.counts.0, &self.counts.1] {
            count.store(0, Ordering::SeqCst);
        }
    }
}
