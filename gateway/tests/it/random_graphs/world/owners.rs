//! Keys that lead through other objects: `owner { id } code`.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{INSTANCES, World};

impl World {
    /// Gives some entities an owner, by which some of their homes know them.
    pub(super) fn owners(&mut self, rng: &mut Rng) {
        for index in 0..self.entities.len() {
            if rng.bool() {
                continue;
            }
            let owner = rng.usize(..self.entities.len());
            // Then keys may lead through the owner's owner.
            let known = self.entities[owner].fields.get("owner");
            let known = known.filter(|_| rng.u8(..4) > 0);
            let entity = &self.entities[index];
            let (mut nested, mut others) = (Vec::new(), vec![entity.homes[0]]);
            for home in &entity.homes[1..] {
                let is_known = known.is_none_or(|known| known.contains(home));
                let homes = if is_known && rng.bool() {
                    &mut nested
                } else {
                    &mut others
                };
                homes.push(*home);
            }
            if nested.is_empty() {
                continue;
            }
            let mut homes = nested.clone();
            homes.push(others[rng.usize(..others.len())]);
            let key = self.key_by_owner(rng, owner, &nested);
            self.add_owner(rng, index, owner, &homes);
            let owner = self.entities[owner].name.clone();
            let entity = &mut self.entities[index];
            for (position, home) in entity.homes.iter().enumerate() {
                if nested.contains(home) {
                    entity.keys[position] = ["owner", "owner", "owner or id"][rng.usize(..3)];
                    if key.contains("{ code") {
                        let codes = &mut self.parts[*home].codes;
                        codes.insert(owner.clone());
                    }
                }
            }
            self.entities[index].key_by_owner = key;
        }
    }

    /// A key that all of these subgraphs can have, and that others can make without them: composition
    /// wants it so.
    fn key_by_owner(&self, rng: &mut Rng, owner: usize, parts: &[usize]) -> String {
        let owner = &self.entities[owner];
        let mut keys = vec!["owner { id } code", "code owner { id }", "owner { id }"];
        if !parts.contains(&owner.homes[0]) {
            keys.extend(["owner { code }", "owner { code id } code"]);
            // The last of these knows it by plain keys.
            if let Some(homes) = owner.fields.get("owner")
                && parts.iter().all(|part| homes.contains(part))
                && homes.last().is_some_and(|home| !parts.contains(home))
            {
                keys.extend(["owner { owner { id } }", "code owner { id owner { id } }"]);
            }
        }
        keys[rng.usize(..keys.len())].to_owned()
    }

    /// Every object has an owner of its own.
    fn add_owner(&mut self, rng: &mut Rng, index: usize, owner: usize, homes: &[usize]) {
        let target = self.entities[owner].name.clone();
        let shift = rng.usize(..INSTANCES);
        for instance in 0..INSTANCES {
            let code = (instance + shift) % INSTANCES;
            let mut value =
                json!({"__typename": target, "id": format!("{target}-{code}"), "code": code});
            // Keys are compared with it.
            if let Some(next) = self.objects_of(owner)[code].get("owner") {
                value["owner"] = without_owner(next);
            }
            self.objects_of(index)[instance].insert("owner".to_owned(), value);
        }
        let name = self.entities[index].name.clone();
        for home in homes {
            self.parts[*home].types.entry(target.clone()).or_default();
            self.add_field(*home, &name, format!("owner: {target}! @shareable"));
        }
        let fields = &mut self.entities[index].fields;
        fields.insert("owner".to_owned(), homes.to_vec());
    }
}

fn without_owner(object: &Value) -> Value {
    let fields = object.as_object().into_iter().flatten();
    let fields = fields.filter(|(field, _)| *field != "owner");
    fields
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect()
}
