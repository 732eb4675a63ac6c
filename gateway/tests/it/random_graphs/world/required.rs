//! `@requires`: fields that are computed from what other subgraphs resolve.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::World;

impl World {
    pub(super) fn requiring(&mut self, rng: &mut Rng, index: usize) {
        for number in 0..rng.usize(0..3) {
            let entity = &self.entities[index];
            let (name, home) = (
                entity.name.clone(),
                entity.homes[rng.usize(..entity.homes.len())],
            );
            let elsewhere: Vec<String> = entity
                .fields
                .iter()
                .filter(|(field, homes)| {
                    (field.starts_with('f') || field.starts_with('q'))
                        && !homes.contains(&home)
                        && entity.overridden.get(*field) != Some(&home)
                })
                .map(|(field, _)| field.clone())
                .collect();
            if elsewhere.is_empty() {
                continue;
            }
            let mut required: Vec<String> = (0..rng.usize(1..4))
                .map(|_| elsewhere[rng.usize(..elsewhere.len())].clone())
                .collect();
            required.sort_unstable();
            required.dedup();
            let field = format!("q{number}");
            for dependency in &required {
                self.add_external(home, &name, dependency);
            }
            self.add_field(
                home,
                &name,
                format!(
                    "{field}: String @requires(fields: \"{}\")",
                    required.join(" ")
                ),
            );
            for object in self.objects_of(index) {
                let value = summary(object, &required).expect("every field has a value");
                object.insert(field.clone(), value);
            }
            let entity = &mut self.entities[index];
            entity.fields.insert(field.clone(), vec![home]);
            entity.requiring.insert(field, required);
        }
    }

    /// Lets the subgraph know a field that others resolve.
    pub(super) fn add_external(&mut self, part: usize, type_name: &str, field: &str) {
        let external = format!("{} @external", self.declared(type_name, field));
        let fields = self.parts[part].types.entry(type_name.to_owned());
        let fields = fields.or_default();
        if !fields.contains(&external) {
            fields.push(external);
        }
    }

    /// `name: Type` of a field, as its home writes it.
    fn declared(&self, type_name: &str, field: &str) -> String {
        let start = format!("{field}: ");
        let mut all = self
            .parts
            .iter()
            .filter_map(|part| part.types.get(type_name))
            .flatten();
        let sdl = all.find(|sdl| sdl.starts_with(&start) && !sdl.ends_with("@external"));
        let sdl = sdl.expect("some subgraph has the field");
        sdl.split(" @").next().unwrap_or_default().to_owned()
    }
}

/// The value of a field that requires others.
pub(super) fn summary(object: &Map<String, Value>, required: &[String]) -> Option<Value> {
    let values: Option<Vec<String>> = required
        .iter()
        .map(|field| object.get(field).map(Value::to_string))
        .collect();
    Some(json!(values?.join(" ")))
}
