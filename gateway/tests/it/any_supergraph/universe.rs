//! Data for any supergraph: a value for each field of each object, generated when it is read, and
//! the same for every reader.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use apollo_compiler::{
    Name,
    ast::{self, Type},
    executable::{OperationType, Selection, SelectionSet},
    schema::ExtendedType,
};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::joins::Joins;

/// The number of objects of each type whose key distinguishes them.
const OBJECTS: usize = 3;

/// All the data of a supergraph.
pub struct Universe {
    pub joins: Joins,
    seed: u64,
    /// The fields that keys have, at any level.
    keys: HashSet<(Name, Name)>,
}

/// An object, by its type and a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub ty: Name,
    pub number: usize,
}

/// A field's value in the universe.
pub enum Stored {
    Null,
    Leaf(Value),
    Object(Object),
    List(Vec<Stored>),
}

impl Universe {
    pub fn new(joins: Joins, seed: u64) -> Self {
        let mut keys = HashSet::new();
        for name in joins.schema.types.keys() {
            for graph in 0..joins.graphs.len() {
                for key in joins.keys(name, graph) {
                    mark(&key, &mut keys);
                }
            }
        }
        Self { joins, seed, keys }
    }

    /// Whether each key is another for each object.
    pub fn is_distinct(&self) -> bool {
        let joins = &self.joins;
        joins.schema.types.keys().all(|name| {
            (0..joins.graphs.len()).all(|graph| {
                let objects = joins.objects(name, graph).into_iter();
                let objects: Vec<Object> = objects
                    .flat_map(|ty| {
                        let numbers = 0..self.objects_of(&ty);
                        numbers.map(move |number| Object {
                            ty: ty.clone(),
                            number,
                        })
                    })
                    .collect();
                joins.keys(name, graph).iter().all(|key| {
                    let told = objects.iter().map(|it| self.tell(key, it).to_string());
                    told.collect::<HashSet<_>>().len() == objects.len()
                })
            })
        })
    }

    /// How many objects of a type there are: one where its name alone is a key.
    pub fn objects_of(&self, ty: &str) -> usize {
        let mut graphs = 0..self.joins.graphs.len();
        let is_alone = graphs.any(|graph| {
            let mut keys = self.joins.keys(ty, graph).into_iter();
            keys.any(|key| {
                let mut fields = key.selections.iter();
                fields.all(|it| matches!(it, Selection::Field(it) if it.name == "__typename"))
            })
        });
        if is_alone { 1 } else { OBJECTS }
    }

    /// The value of an object's field.
    pub fn value(&self, object: &Object, field: &str, arguments: &Value) -> Stored {
        let mut hasher = DefaultHasher::new();
        (self.seed, object, field, canonical(arguments)).hash(&mut hasher);
        let mut rng = Rng::with_seed(hasher.finish());
        let Ok(definition) = self.joins.schema.type_field(&object.ty, field) else {
            return Stored::Null;
        };
        let mut types: Vec<(Option<usize>, &Type)> = vec![(None, &definition.ty)];
        for holder in self.holders(&object.ty) {
            for join in self.joins.fields(holder, field) {
                types.push((Some(join.graph), &join.ty));
            }
        }
        self.made(&mut rng, object, &definition.name, &types)
    }

    /// The type itself, and its interfaces.
    fn holders(&self, ty: &Name) -> Vec<&Name> {
        let types = self.joins.schema.types.keys();
        types
            .filter(|it| *it == ty || self.joins.schema.is_subtype(it, ty))
            .collect()
    }

    fn is_key(&self, object: &Object, field: &Name) -> bool {
        let mut holders = self.holders(&object.ty).into_iter();
        holders.any(|holder| self.keys.contains(&(holder.clone(), field.clone())))
    }

    fn made(
        &self,
        rng: &mut Rng,
        object: &Object,
        field: &Name,
        types: &[(Option<usize>, &Type)],
    ) -> Stored {
        let is_key = self.is_key(object, field);
        let is_nullable = !is_key && types.iter().all(|(_, ty)| !ty.is_non_null());
        if is_nullable && rng.u8(..100) < 15 {
            return Stored::Null;
        }
        if types[0].1.is_list() {
            let items: Vec<_> = types
                .iter()
                .map(|(graph, ty)| (*graph, ty.item_type()))
                .collect();
            let count = rng.usize(usize::from(is_key)..3);
            let list = (0..count).map(|_| self.made(rng, object, field, &items));
            return Stored::List(list.collect());
        }
        let name = types[0].1.inner_named_type();
        match self.joins.schema.types.get(name) {
            Some(ExtendedType::Scalar(_)) => Stored::Leaf(scalar(rng, name, object, is_key)),
            Some(ExtendedType::Enum(it)) => {
                let values = it.values.values().filter(|value| {
                    // Known to all, and to clients.
                    let mut joins = value.directives.get_all("join__enumValue");
                    let graphs: HashSet<_> = joins
                        .by_ref()
                        .filter_map(|join| self.joins.graph(join))
                        .collect();
                    let mut asked = types.iter().filter_map(|(graph, _)| *graph);
                    !value.directives.has("inaccessible")
                        && (graphs.is_empty() || asked.all(|graph| graphs.contains(&graph)))
                });
                let values: Vec<_> = values.collect();
                match values.is_empty() {
                    true => Stored::Null,
                    false => Stored::Leaf(json!(values[rng.usize(..values.len())].value.as_str())),
                }
            }
            _ => {
                let objects = self.possible(types);
                match objects.is_empty() {
                    true => Stored::Null,
                    false => {
                        let ty = objects[rng.usize(..objects.len())].clone();
                        let count = self.objects_of(&ty);
                        let number = match is_key {
                            true => object.number.min(count - 1),
                            false => rng.usize(..count),
                        };
                        // There is one query.
                        let query = self.joins.schema.root_operation(OperationType::Query);
                        let is_root = query == Some(&ty);
                        Stored::Object(Object {
                            ty,
                            number: if is_root { 0 } else { number },
                        })
                    }
                }
            }
        }
    }

    /// The objects that everybody who has a field could answer it with, and clients can see.
    fn possible(&self, types: &[(Option<usize>, &Type)]) -> Vec<Name> {
        let joins = &self.joins;
        let mut found: Option<Vec<Name>> = None;
        for (graph, ty) in types {
            let Some(graph) = graph else { continue };
            let here = joins.objects(ty.inner_named_type(), *graph);
            found = Some(match found {
                None => here,
                Some(found) => found.into_iter().filter(|it| here.contains(it)).collect(),
            });
        }
        let mut found = found.unwrap_or_default();
        found.retain(|name| {
            let ty = joins.schema.types.get(name);
            ty.is_some_and(|ty| !ty.directives().has("inaccessible"))
        });
        found
    }

    /// What a selection has of an object, without the types' names.
    pub fn tell(&self, set: &SelectionSet, object: &Object) -> Value {
        let mut told = Map::new();
        self.tell_into(set, object, &mut told);
        Value::Object(told)
    }

    fn tell_into(&self, set: &SelectionSet, object: &Object, told: &mut Map<String, Value>) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) if field.name == "__typename" => {}
                Selection::Field(field) => {
                    let mut arguments = Map::new();
                    for argument in &field.definition.arguments {
                        let own = field.arguments.iter().find(|it| it.name == argument.name);
                        let value = own.map(|it| &it.value).or(argument.default_value.as_ref());
                        if let Some(value) = value {
                            arguments.insert(argument.name.to_string(), literal(value));
                        }
                    }
                    let value = self.value(object, &field.name, &Value::Object(arguments));
                    let value = self.told(&field.selection_set, &value);
                    match (told.get_mut(field.name.as_str()), value) {
                        (Some(Value::Object(known)), Value::Object(value)) => known.extend(value),
                        (_, value) => {
                            told.insert(field.name.to_string(), value);
                        }
                    }
                }
                Selection::InlineFragment(on) => {
                    let schema = &self.joins.schema;
                    let is_meant = on
                        .type_condition
                        .as_ref()
                        .is_none_or(|ty| *ty == object.ty || schema.is_subtype(ty, &object.ty));
                    if is_meant {
                        self.tell_into(&on.selection_set, object, told);
                    }
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn told(&self, set: &SelectionSet, value: &Stored) -> Value {
        match value {
            Stored::Null => Value::Null,
            Stored::Leaf(value) => value.clone(),
            Stored::Object(object) => self.tell(set, object),
            Stored::List(items) => items.iter().map(|item| self.told(set, item)).collect(),
        }
    }
}

fn mark(set: &SelectionSet, keys: &mut HashSet<(Name, Name)>) {
    for selection in &set.selections {
        match selection {
            Selection::Field(field) => {
                keys.insert((set.ty.clone(), field.name.clone()));
                mark(&field.selection_set, keys);
            }
            Selection::InlineFragment(on) => mark(&on.selection_set, keys),
            Selection::FragmentSpread(_) => {}
        }
    }
}

fn scalar(rng: &mut Rng, name: &str, object: &Object, is_key: bool) -> Value {
    let mut hasher = DefaultHasher::new();
    object.hash(&mut hasher);
    let number = (hasher.finish() % 1_000_000_007) as i32;
    match (name, is_key) {
        ("Int", true) => json!(number),
        ("Float", true) => json!(f64::from(number) / 4.0),
        ("Int", false) => json!(rng.i32(..)),
        ("Float", false) => json!(f64::from(rng.i16(..)) / 8.0),
        ("Boolean", _) => json!(rng.bool()),
        (_, true) => json!(format!("{}-{}", object.ty, object.number)),
        _ => json!(format!(
            "{}-{}",
            ["", "\u{e9}\"", "text"][rng.usize(..3)],
            rng.u16(..)
        )),
    }
}

/// Arguments as they are compared.
fn canonical(arguments: &Value) -> String {
    match arguments {
        Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", canonical(value)))
                .collect();
            fields.sort_unstable();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Number(number) => number.as_f64().unwrap_or_default().to_string(),
        leaf => leaf.to_string(),
    }
}

fn literal(value: &ast::Value) -> Value {
    match value {
        ast::Value::Null | ast::Value::Variable(_) => Value::Null,
        ast::Value::Enum(name) => json!(name.as_str()),
        ast::Value::String(text) => json!(text),
        ast::Value::Float(number) => json!(number.try_to_f64().unwrap_or_default()),
        ast::Value::Int(number) => json!(number.try_to_f64().unwrap_or_default()),
        ast::Value::Boolean(value) => json!(value),
        ast::Value::List(items) => items.iter().map(|item| literal(item)).collect(),
        ast::Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, value)| (name.to_string(), literal(value)))
                .collect()
        }
    }
}
