//! Random types and values of them.

use std::fmt;

use fastrand::Rng;
use serde_json::{Value, json};

/// A type: its name in lists or not, each level nullable or not.
#[derive(Clone)]
pub struct Ty {
    name: String,
    non_null: bool,
    item: Option<Box<Ty>>,
}

impl Ty {
    /// `name` with up to two levels of lists around it.
    pub fn random(rng: &mut Rng, name: &str) -> Self {
        let mut ty = Self {
            name: name.to_owned(),
            non_null: rng.u8(..10) < 4,
            item: None,
        };
        // A list would be a value of the scalar itself.
        while name != "Json" && rng.u8(..10) < 3 {
            ty = Self {
                name: name.to_owned(),
                non_null: rng.u8(..10) < 4,
                item: Some(Box::new(ty)),
            };
        }
        ty
    }

    /// The same or its nullable one, as another subgraph may declare it.
    pub fn or_nullable(&self, rng: &mut Rng) -> Self {
        Self {
            non_null: self.non_null && rng.u8(..3) > 0,
            ..self.clone()
        }
    }

    /// Its name, without lists.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A value with nulls where they may be; `one` makes what stands inside the lists.
    pub fn value(&self, rng: &mut Rng, one: &mut dyn FnMut(&mut Rng) -> Value) -> Value {
        if !self.non_null && rng.u8(..10) < 2 {
            return Value::Null;
        }
        match &self.item {
            None => one(rng),
            Some(item) => (0..rng.u8(..3)).map(|_| item.value(rng, one)).collect(),
        }
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.item {
            None => f.write_str(&self.name)?,
            Some(item) => write!(f, "[{item}]")?,
        }
        f.write_str(if self.non_null { "!" } else { "" })
    }
}

/// The leaf types of every random graph.
pub const LEAVES: [&str; 7] = ["Int", "Float", "String", "Boolean", "ID", "Colour", "Json"];

/// A value of a leaf type.
pub fn leaf(rng: &mut Rng, name: &str) -> Value {
    match name {
        "Int" => json!(rng.i32(..)),
        "Float" => json!(f64::from(rng.i16(..)) / 8.0),
        "Boolean" => json!(rng.bool()),
        "ID" => json!(format!("id-{}", rng.u8(..))),
        "Colour" => json!(["RED", "GREEN", "BLUE"][rng.usize(..3)]),
        "Json" => json!({"z": [rng.i64(..), {"a": null}], "b": "\u{e9}\n\"", "a": rng.u8(..)}),
        _ => json!(["", "text", "with \"quotes\" and \\", "\u{1f600} \u{e9}\n"][rng.usize(..4)]),
    }
}
