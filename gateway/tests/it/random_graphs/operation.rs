//! Random operations over a schema.

use apollo_compiler::{
    Schema,
    executable::OperationType,
    schema::{ExtendedType, FieldDefinition, Type},
};
use fastrand::Rng;
use serde_json::{Value, json};

/// Every variable that an operation may use.
const VARIABLES: [(&str, &str); 6] = [
    ("yes", "Boolean!"),
    ("no", "Boolean = true"),
    ("n", "Int"),
    ("id", "ID!"),
    ("of", "Colour = RED"),
    ("ids", "[ID!]"),
];

/// Their values: of `no`, against its default; none for `of`.
pub fn variables() -> Value {
    json!({"yes": true, "no": false, "n": 4, "id": "E1-2", "ids": ["a", "b"]})
}

/// Writes an operation of a few levels. Not all are valid: fields may meet under one alias.
pub fn operation(schema: &Schema, rng: &mut Rng) -> String {
    let mut writer = Writer {
        schema,
        rng,
        fragments: Vec::new(),
    };
    let is_mutation = writer.chance(25);
    let mutation = schema.root_operation(OperationType::Mutation);
    let query = schema.root_operation(OperationType::Query);
    let (keyword, root) = match mutation {
        Some(mutation) if is_mutation => ("mutation", mutation),
        _ => ("query", query.expect("a root")),
    };
    let selections = writer.selections(root, 4);
    let body = format!("{selections}{}", writer.fragments.concat());
    let mut used: Vec<String> = VARIABLES
        .iter()
        .filter(|(name, _)| body.contains(&format!("${name} ")))
        .map(|(name, ty)| format!("${name}: {ty}"))
        .collect();
    writer.rng.shuffle(&mut used);
    match &*used {
        [] => format!("{keyword} {body}"),
        used => format!("{keyword}({}) {body}", used.join(", ")),
    }
}

struct Writer<'a> {
    schema: &'a Schema,
    rng: &'a mut Rng,
    fragments: Vec<String>,
}

impl Writer<'_> {
    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(..100) < percent
    }

    fn selections(&mut self, type_name: &str, depth: usize) -> String {
        let fields: Vec<FieldDefinition> = match self.schema.types.get(type_name) {
            Some(ExtendedType::Object(it)) => {
                it.fields.values().map(|it| (***it).clone()).collect()
            }
            Some(ExtendedType::Interface(it)) => {
                it.fields.values().map(|it| (***it).clone()).collect()
            }
            _ => Vec::new(),
        };
        let mut parts = Vec::new();
        for _ in 0..self.rng.usize(1..5) {
            if self.chance(10) {
                let alias = ["", "kind: ", "id: "][self.rng.usize(..3)];
                parts.push(format!("{alias}__typename{}", self.condition()));
            } else if depth > 0 && (fields.is_empty() || self.chance(25)) {
                parts.push(self.fragment(type_name, depth - 1));
            } else if !fields.is_empty() {
                let field = &fields[self.rng.usize(..fields.len())];
                parts.extend(self.field(field, &fields, depth));
            }
        }
        if parts.is_empty() {
            parts.push("__typename".to_owned());
        }
        format!("{{ {} }}", parts.join(" "))
    }

    fn field(
        &mut self,
        field: &FieldDefinition,
        all: &[FieldDefinition],
        depth: usize,
    ) -> Option<String> {
        let inner = field.ty.inner_named_type();
        let is_leaf = self.schema.types.get(inner)?.is_leaf();
        if !is_leaf && depth == 0 {
            return None;
        }
        let alias = match self.rng.u8(..12) {
            0 => format!("x{}: ", self.rng.u8(..3)),
            1 => format!("{}_{}: ", field.name, self.rng.u8(..3)),
            // The name of another field, which plans may need for themselves.
            2 => format!("{}: ", all[self.rng.usize(..all.len())].name),
            3 => ["id: ", "code: ", "f0: "][self.rng.usize(..3)].to_owned(),
            _ => String::new(),
        };
        let mut arguments = Vec::new();
        for argument in &field.arguments {
            if argument.ty.is_non_null() || self.chance(50) {
                arguments.push(format!("{}: {} ", argument.name, self.value(&argument.ty)));
            }
        }
        self.rng.shuffle(&mut arguments);
        let arguments = if arguments.is_empty() {
            String::new()
        } else {
            format!("({})", arguments.join(", "))
        };
        let condition = format!("{}{}", self.condition(), self.mark(&alias, &field.name));
        let below = if is_leaf {
            String::new()
        } else {
            self.selections(inner, depth - 1)
        };
        Some(format!(
            "{alias}{}{arguments}{condition} {below}",
            field.name
        ))
    }

    fn value(&mut self, ty: &Type) -> String {
        let name = ty.inner_named_type();
        let choices: &[&str] = match (ty.is_list(), name.as_str()) {
            (true, "ID") => &["[]", "\"one\"", "[1, \"two\"]", "$ids", "null"],
            (false, "Int") => &["1", "-3", "$n", "null"],
            (false, "Colour") => &["GREEN", "$of", "null"],
            (false, "ID" | "String") => &["\"E0-1\"", "\"E2-0\"", "$id", "\"none\""],
            _ => return self.literal(ty, 3),
        };
        choices[self.rng.usize(..choices.len())].to_owned()
    }

    /// A value of any type, without variables; input objects down to a few levels.
    fn literal(&mut self, ty: &Type, depth: usize) -> String {
        if !ty.is_non_null() && (depth == 0 || self.chance(15)) {
            return "null".to_owned();
        }
        if ty.is_list() {
            return format!("[{}]", self.literal(ty.item_type(), depth));
        }
        match (
            self.schema.types.get(ty.inner_named_type()),
            ty.inner_named_type().as_str(),
        ) {
            (Some(ExtendedType::Enum(it)), _) => {
                let value = self.rng.usize(..it.values.len());
                it.values[value].value.to_string()
            }
            (Some(ExtendedType::InputObject(it)), _) => {
                let mut fields = Vec::new();
                for field in it.fields.values() {
                    if field.is_required() || self.chance(40) {
                        let value = self.literal(&field.ty, depth.saturating_sub(1));
                        fields.push(format!("{}: {value}", field.name));
                    }
                }
                format!("{{{}}}", fields.join(", "))
            }
            (_, "Int") => "7".to_owned(),
            (_, "Float") => "1.5".to_owned(),
            (_, "Boolean") => "true".to_owned(),
            _ => "\"text\"".to_owned(),
        }
    }

    /// The subgraphs' own directive, if they have one: always or never at a field with that key, so that
    /// what meets under one key means the same.
    fn mark(&self, alias: &str, name: &str) -> String {
        let of_key = match alias.is_empty() {
            true => name,
            false => alias,
        };
        let sum: u32 = of_key
            .trim_end_matches([':', ' '])
            .bytes()
            .map(u32::from)
            .sum();
        match self.schema.directive_definitions.contains_key("mark") && sum.is_multiple_of(3) {
            true => format!(" @mark(with: {sum})"),
            false => String::new(),
        }
    }

    fn condition(&mut self) -> &'static str {
        match self.rng.u8(..30) {
            0 => " @include(if: $yes )",
            1 => " @include(if: $no )",
            2 => " @skip(if: $yes )",
            3 => " @skip(if: $no )",
            4 => " @skip(if: $no ) @include(if: $yes )",
            5 => " @skip(if: true)",
            6 => " @include(if: true)",
            _ => "",
        }
    }

    /// Whether some object may be of both types.
    fn overlap(&self, one: &str, other: &str) -> bool {
        let is_of = |object: &str, ty: &str| object == ty || self.schema.is_subtype(ty, object);
        let mut types = self.schema.types.iter();
        types.any(|(it, definition)| definition.is_object() && is_of(it, one) && is_of(it, other))
    }

    fn fragment(&mut self, type_name: &str, depth: usize) -> String {
        let mut conditions = vec![type_name.to_owned()];
        for (name, definition) in &self.schema.types {
            let is_composite =
                definition.is_object() || definition.is_interface() || definition.is_union();
            if is_composite && !definition.is_built_in() && self.overlap(name, type_name) {
                conditions.push(name.to_string());
            }
        }
        let condition = conditions[self.rng.usize(..conditions.len())].clone();
        let directive = self.condition();
        let below = self.selections(&condition, depth);
        if self.chance(30) {
            let name = format!("F{}", self.fragments.len());
            self.fragments
                .push(format!(" fragment {name} on {condition} {below}"));
            return format!("...{name}{directive}");
        }
        if condition == type_name && self.chance(50) {
            return format!("...{directive} {below}");
        }
        format!("... on {condition}{directive} {below}")
    }
}
