//! The resolvers of computed fields.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{World, field_set::Need};
use crate::support::data::Resolver;

impl World {
    pub(super) fn resolvers(&self, part: Option<usize>) -> Vec<((String, String), Resolver)> {
        let (of_subgraphs, of_whole) = &self.counts;
        let count = if part.is_some() {
            of_subgraphs
        } else {
            of_whole
        };
        let mut all = self.mutation_resolvers(count);
        for entity in &self.entities {
            let owners = entity.computed.iter().flat_map(|field| {
                [&*entity.name, "Thing"].map(|owner| (owner.to_owned(), field.clone()))
            });
            for owner in owners {
                all.push((
                    owner,
                    Box::new(|object, arguments| Ok(with_arguments(&object["id"], arguments))),
                ));
            }
            let ways = (0..self.parts.len()).map(|index| format!("get{}At{index}", entity.name));
            for field in ways.chain([format!("get{}", entity.name)]) {
                let name = entity.name.clone();
                all.push((
                    ("Query".to_owned(), field),
                    Box::new(move |_, arguments| {
                        let id = arguments["id"].as_str().ok_or("no id")?;
                        let code = id
                            .strip_prefix(&format!("{name}-"))
                            .and_then(|it| it.parse::<usize>().ok());
                        Ok(match code {
                            Some(code) => json!({"__typename": name, "id": id, "code": code}),
                            None => Value::Null,
                        })
                    }),
                ));
            }
            // The whole has the values; a subgraph makes them from what it is given.
            for (field, required) in entity.requiring.iter().filter(|_| part.is_some()) {
                // An interface object has it of every type.
                for owner in [&*entity.name, "Thing"] {
                    let required = required.clone();
                    all.push((
                        (owner.to_owned(), field.clone()),
                        Box::new(move |object, _| {
                            let tell =
                                |object: &Value, need: &Need| object.get(&need.field).cloned();
                            let value = required.value(object, &tell);
                            value.ok_or_else(|| format!("no {:?} in {object}", required.needs))
                        }),
                    ));
                }
            }
        }
        all
    }
}

/// The value of a field with arguments.
pub fn with_arguments(id: &Value, arguments: &Value) -> Value {
    // Their order means nothing.
    let arguments: BTreeMap<_, _> = arguments.as_object().into_iter().flatten().collect();
    json!(format!("{id} {arguments:?}"))
}
