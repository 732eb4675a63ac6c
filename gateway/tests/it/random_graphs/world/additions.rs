//! A subgraph that nothing leads to but keys: it marks them `@external`, and has them from whoever
//! asks. Then no field there may require others.

use fastrand::Rng;
use serde_json::json;

use super::{Part, World};
use crate::random_graphs::types::{LEAVES, Ty, leaf};

impl World {
    /// Adds it to some graphs.
    pub(super) fn additions(&mut self, rng: &mut Rng) {
        if rng.bool() {
            return;
        }
        let part = self.parts.len();
        self.roots.insert(format!("s{part}r0"), json!(part));
        self.parts.push(Part {
            query: vec![format!("s{part}r0: Int")],
            mutation: vec![format!("s{part}count(by: Int = 1): Int!")],
            ..Part::default()
        });
        for index in 0..self.entities.len() {
            if rng.bool() {
                continue;
            }
            let entity = &mut self.entities[index];
            entity.homes.push(part);
            entity.keys.push(["id", "code", "compound"][rng.usize(..3)]);
            let name = entity.name.clone();
            self.extensions.mark_external(part, index);
            for number in 0..rng.usize(1..3) {
                let field = format!("added{number}");
                let base = LEAVES[rng.usize(..LEAVES.len())];
                let ty = Ty::random(rng, base);
                for object in self.objects_of(index) {
                    object.insert(field.clone(), ty.value(rng, &mut |rng| leaf(rng, base)));
                }
                self.add_field(part, &name, format!("{field}: {ty}"));
                self.entities[index].fields.insert(field, vec![part]);
            }
        }
    }
}
