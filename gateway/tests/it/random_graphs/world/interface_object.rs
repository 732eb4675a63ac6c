//! `@interfaceObject`: a subgraph with fields of every `Thing` that knows none of their types.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{INSTANCES, Part, World, entity::Requirement, field_set::Need};

/// The subgraph's schema but for its root fields, and for what it requires.
const SCHEMA: &str = "scalar Json enum Colour { RED GREEN BLUE }
type Thing @key(fields: \"id\") @interfaceObject { id: ID! note: String noted(n: Int = 3): String MORE }
";

impl World {
    /// Lets the first subgraph know every `Thing` by its id, and no other know that there are things.
    pub(super) fn gather_things(&mut self) {
        self.things_are_gathered = true;
        for entity in self.entities.iter_mut().filter(|entity| entity.is_thing) {
            let first = entity.homes.iter().position(|home| *home == 0);
            match first {
                Some(first) => entity.homes.swap(0, first),
                None => entity.homes[0] = 0,
            }
        }
    }

    /// Adds the subgraph that knows nothing but `Thing`.
    pub(super) fn notes(&mut self, rng: &mut Rng) {
        let part = self.parts.len();
        let mut things = Vec::new();
        for index in 0..self.entities.len() {
            if !self.entities[index].is_thing {
                continue;
            }
            let entity = &mut self.entities[index];
            entity.fields.insert("note".to_owned(), vec![part]);
            entity.computed.push("noted".to_owned());
            let requirement = self.label.is_some().then(|| Requirement {
                needs: vec![Need::leaf("label")],
                gives: None,
            });
            if let Some(requirement) = &requirement {
                let entity = &mut self.entities[index];
                entity.fields.insert("told".to_owned(), vec![part]);
                entity
                    .requiring
                    .insert("told".to_owned(), requirement.clone());
            }
            for instance in 0..INSTANCES {
                let object = &mut self.objects_of(index)[instance];
                if let Some(requirement) = &requirement {
                    let known = Value::Object(object.clone());
                    let tell = |object: &Value, need: &Need| object.get(&need.field).cloned();
                    let value = requirement.value(&known, &tell);
                    object.insert("told".to_owned(), value.expect("things have a label"));
                }
                let note = (rng.u8(..4) > 0).then(|| format!("{instance} of {index}"));
                object.insert("note".to_owned(), json!(note));
                let thing =
                    ["__typename", "id", "code"].map(|key| (key.into(), object[key].clone()));
                things.push(Value::Object(Map::from_iter(thing)));
            }
        }
        if things.is_empty() {
            return;
        }
        rng.shuffle(&mut things);
        self.roots.insert(format!("s{part}r0"), things[0].clone());
        let some = things[..rng.usize(..things.len())].to_vec();
        self.roots.insert(format!("s{part}r1"), Value::Array(some));
        self.parts.push(Part {
            query: vec![format!("s{part}r0: Thing"), format!("s{part}r1: [Thing!]!")],
            ..Part::default()
        });
        self.notes_part = Some(part);
    }

    /// The subgraph's schema but for its root fields.
    pub(super) fn notes_schema(&self) -> String {
        let more = match &self.label {
            Some((_, label)) => format!(
                "label: {} @external told: String @requires(fields: \"label\")",
                label.of_interface
            ),
            None => String::new(),
        };
        SCHEMA.replace("MORE", &more)
    }

    /// The objects as the subgraph has them.
    pub(super) fn notes_entities(&self) -> Value {
        let things = self
            .objects
            .iter()
            .filter(|object| object.contains_key("note"));
        things
            .map(|thing| json!({"__typename": "Thing", "id": thing["id"], "note": thing["note"]}))
            .collect()
    }

    /// The root fields as the subgraph has them: it knows no other type.
    pub(super) fn notes_roots(&self) -> Value {
        let mut roots = self.roots.clone();
        for value in roots.values_mut() {
            forget_types(value);
        }
        Value::Object(roots)
    }
}

fn forget_types(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_types),
        Value::Object(object) => {
            object.remove("__typename");
        }
        _ => {}
    }
}
