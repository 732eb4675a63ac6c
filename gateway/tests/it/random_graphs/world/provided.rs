//! `@provides`: fields of an entity that a reference includes, and that other subgraphs resolve.

use fastrand::Rng;
use serde_json::{Map, Value};

use super::World;

/// A field that holds entities of one type, in lists or not.
pub struct Reference {
    /// Which type has the field; none for a root field.
    pub holder: Option<usize>,
    pub part: usize,
    pub field: String,
    /// The type of the entities that it refers to.
    pub target: String,
}

impl World {
    /// Lets some references provide some leaves that their subgraph does not resolve.
    pub(super) fn provide(&mut self, rng: &mut Rng) {
        for reference in std::mem::take(&mut self.references) {
            let named = |entity: &&super::Entity| entity.name == reference.target;
            let entity = self.entities.iter().find(named);
            let entity = entity.expect("a reference leads to an entity");
            let foreign = entity.fields.iter().filter(|(field, homes)| {
                field.starts_with('f')
                    && !homes.contains(&reference.part)
                    && entity.overridden.get(*field) != Some(&reference.part)
            });
            let mut provided: Vec<String> = foreign.map(|(field, _)| field.clone()).collect();
            rng.shuffle(&mut provided);
            provided.truncate(rng.usize(0..3));
            if provided.is_empty() || rng.bool() {
                continue;
            }
            for field in &provided {
                self.add_external(reference.part, &reference.target, field);
            }
            let directive = format!(" @provides(fields: \"{}\")", provided.join(" "));
            self.field_sdl(&reference).push_str(&directive);
            let known = self.objects.clone();
            match reference.holder {
                None => fill(&mut self.roots[&reference.field], &provided, &known),
                Some(holder) => {
                    for object in self.objects_of(holder) {
                        fill(&mut object[&reference.field], &provided, &known);
                    }
                }
            }
        }
    }

    fn field_sdl(&mut self, reference: &Reference) -> &mut String {
        let part = &mut self.parts[reference.part];
        let fields = match reference.holder {
            None => &mut part.query,
            Some(holder) => {
                let fields = part.types.get_mut(&self.entities[holder].name);
                fields.expect("the type has a field")
            }
        };
        let start = format!("{}: ", reference.field);
        let field = fields.iter_mut().find(|sdl| sdl.starts_with(&start));
        field.expect("the field was written")
    }
}

/// Adds the values of these fields to every object in `value`.
fn fill(value: &mut Value, fields: &[String], known: &[Map<String, Value>]) {
    match value {
        Value::Array(items) => {
            for item in items {
                fill(item, fields, known);
            }
        }
        Value::Object(object) => {
            let entity = known.iter().find(|it| it["id"] == object["id"]);
            for field in fields {
                let value = entity.map_or(Value::Null, |entity| entity[field].clone());
                object.insert(field.clone(), value);
            }
        }
        _ => {}
    }
}
