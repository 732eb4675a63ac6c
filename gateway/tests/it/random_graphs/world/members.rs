//! Members of unions and interfaces that only some subgraphs have.

use fastrand::Rng;

use super::{World, entity::Entity, shared::some_of};
use crate::random_graphs::types::{LEAVES, Ty, leaf};

/// A field that `Thing` has in one subgraph.
pub struct Label {
    /// As things have it.
    ty: Ty,
    /// As the interface has it.
    pub of_interface: Ty,
}

impl World {
    /// Chooses what every subgraph's union is of: most of what is at home there, and some of what it
    /// only points at.
    pub(super) fn members(&mut self, rng: &mut Rng) {
        for entity in &self.entities {
            for (index, part) in self.parts.iter_mut().enumerate() {
                let is_at_home = entity.homes.contains(&index);
                if rng.u8(..6) < if is_at_home { 5 } else { 1 } {
                    part.members.insert(entity.name.clone());
                    part.types.entry(entity.name.clone()).or_default();
                }
            }
        }
    }

    /// Whether a field of this type may hold such an entity, in all of these subgraphs.
    pub(super) fn may_hold(&self, type_name: &str, parts: &[usize], entity: &Entity) -> bool {
        parts.iter().all(|part| match type_name {
            "Any" => self.parts[*part].members.contains(&entity.name),
            _ => entity.is_thing && entity.homes.contains(part),
        })
    }

    /// Lets some graph's things have a label, which one subgraph knows of every thing.
    pub(super) fn labels(&mut self, rng: &mut Rng) {
        if rng.bool() {
            return;
        }
        let part = if self.things_are_gathered {
            0
        } else {
            rng.usize(..self.parts.len())
        };
        let base = LEAVES[rng.usize(..LEAVES.len())];
        let ty = Ty::random(rng, base);
        for index in 0..self.entities.len() {
            let entity = &self.entities[index];
            if !entity.is_thing {
                continue;
            }
            let (name, mut homes) = (entity.name.clone(), some_of(rng, &entity.homes));
            homes.truncate(rng.usize(1..3));
            for object in self.objects_of(index) {
                object.insert(
                    "label".to_owned(),
                    ty.value(rng, &mut |rng| leaf(rng, base)),
                );
            }
            for home in &homes {
                self.add_field(*home, &name, format!("label: {ty} @shareable"));
            }
            let fields = &mut self.entities[index].fields;
            fields.insert("label".to_owned(), homes);
        }
        let of_interface = ty.or_nullable(rng);
        self.label = Some((part, Label { ty, of_interface }));
    }

    /// What `Thing` has in a subgraph.
    pub(super) fn thing_fields(&self, part: usize) -> String {
        match &self.label {
            Some((home, label)) if *home == part => {
                format!("id: ID! label: {}", label.of_interface)
            }
            _ => "id: ID!".to_owned(),
        }
    }

    /// What a thing has to have where others resolve its label.
    pub(super) fn foreign_label(&self, part: usize, fields: &str) -> String {
        match &self.label {
            Some((home, label)) if *home == part && !fields.contains("label: ") => {
                format!("\n  label: {} @external", label.ty)
            }
            _ => String::new(),
        }
    }

    /// A field of `Thing` in a subgraph.
    pub(super) fn field_of_things(&self, rng: &mut Rng, part: usize) -> &'static str {
        let home = self.label.as_ref().map(|(home, _)| *home);
        if home == Some(part) && rng.bool() {
            "label"
        } else {
            "id"
        }
    }
}
