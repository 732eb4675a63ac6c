//! Subgraphs that only add to an entity type: its key is marked `@external`, in either version of
//! Federation.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::World;

/// How subgraphs write what others define.
#[derive(Default)]
pub struct Extensions {
    /// By subgraph and entity; the others define the type.
    manners: BTreeMap<(usize, usize), Manner>,
    /// The subgraphs of Federation 1.
    first_version: BTreeSet<usize>,
}

/// How a subgraph writes that a key is not its own.
enum Manner {
    /// `extend type`: the subgraph has the key nevertheless.
    Extended,
    /// `type`: it has the key from whoever asks.
    External,
}

impl Extensions {
    /// Lets a subgraph have an entity's key from whoever asks.
    pub fn mark_external(&mut self, part: usize, index: usize) {
        self.manners.insert((part, index), Manner::External);
    }
}

impl World {
    /// Lets some subgraphs mark the keys that they did not define.
    pub(super) fn extensions(&mut self, rng: &mut Rng) {
        for part in 0..self.parts.len() {
            if rng.u8(..3) == 0 || self.notes_part == Some(part) {
                continue;
            }
            let is_first = rng.bool() && self.may_be_of_first_version(part);
            if is_first {
                self.extensions.first_version.insert(part);
            }
            for index in 0..self.entities.len() {
                let entity = &self.entities[index];
                let home = entity.homes.iter().position(|home| *home == part);
                let keys = home.map_or("id", |home| entity.keys[home]);
                let is_plain = ["id", "code", "compound"].contains(&keys);
                // Who is of the first version has nothing but extensions for it.
                if is_plain && (is_first || rng.bool()) {
                    self.extensions
                        .manners
                        .insert((part, index), Manner::Extended);
                }
            }
        }
    }

    /// Whether a subgraph has nothing that the first version does not know.
    fn may_be_of_first_version(&self, part: usize) -> bool {
        let has_keys_of_interfaces = self.notes_part.is_some() && self.knows_things(part);
        let mut fields = self.parts[part].types.values().flatten();
        !has_keys_of_interfaces && !fields.any(|field| field.contains("@override"))
    }

    /// Whether a subgraph is one of Federation 1.
    pub(super) fn is_of_first_version(&self, part: usize) -> bool {
        self.extensions.first_version.contains(&part)
    }

    /// How an entity's type begins in a subgraph, and the fields of its keys there.
    pub(super) fn extended(&self, part: usize, index: usize, own: &str) -> (&'static str, String) {
        let Some(manner) = self.extensions.manners.get(&(part, index)) else {
            return ("type", own.to_owned());
        };
        let entity = &self.entities[index];
        let home = entity.homes.iter().position(|home| *home == part);
        let mut own = own.to_owned();
        for (key, field) in [("id", "id: ID!"), ("code", "code: Int!")] {
            let keys = home.map_or("id", |home| entity.keys[home]);
            if keys == key || keys == "compound" {
                own = own.replace(field, &format!("{field} @external"));
            }
        }
        match manner {
            Manner::Extended => ("extend type", own),
            Manner::External => ("type", own),
        }
    }
}

/// A schema as Federation 1 has it: all is shareable, and each key can be resolved.
pub fn of_first_version(sdl: &str) -> String {
    let sdl = sdl.replace(" @shareable", "");
    sdl.replace(", resolvable: false", "")
}
