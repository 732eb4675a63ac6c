//! The fields that a field requires, and their values.

use serde_json::{Map, Value};

/// A field of a field set.
#[derive(Clone, Debug)]
pub struct Need {
    /// The only type of objects of which it is needed.
    pub on: Option<String>,
    pub field: String,
    /// As the field set writes them.
    pub arguments: &'static str,
    pub below: Vec<Need>,
    /// How many objects, types of objects and requirements it leads through.
    pub levels: usize,
}

impl Need {
    /// A field of a leaf type.
    pub fn leaf(field: &str) -> Self {
        Self {
            on: None,
            field: field.to_owned(),
            arguments: "",
            below: Vec::new(),
            levels: 0,
        }
    }
}

/// The levels of the deepest.
pub fn levels(needs: &[Need]) -> usize {
    let levels = needs
        .iter()
        .map(|need| need.levels + usize::from(need.on.is_some()));
    levels.max().unwrap_or_default()
}

/// Who tells the value of a field of an object, if there is one.
pub type Tell<'a> = &'a dyn Fn(&Value, &Need) -> Option<Value>;

/// The field set as a schema writes it.
pub fn text(needs: &[Need]) -> String {
    let texts = needs.iter().map(|need| {
        let mut text = format!("{}{}", need.field, need.arguments);
        if !need.below.is_empty() {
            text = format!("{text} {{ {} }}", self::text(&need.below));
        }
        match &need.on {
            Some(on) => format!("... on {on} {{ {text} }}"),
            None => text,
        }
    });
    texts.collect::<Vec<_>>().join(" ")
}

/// What is needed of an object; none where something is missing.
pub fn values(object: &Value, needs: &[Need], tell: Tell<'_>) -> Option<Value> {
    let mut all = Map::new();
    for need in needs {
        let is_of_another = |on: &String| object["__typename"] != **on;
        if need.on.as_ref().is_some_and(is_of_another) {
            continue;
        }
        let value = below(tell(object, need)?, &need.below, tell)?;
        all.insert(need.field.clone(), value);
    }
    Some(Value::Object(all))
}

fn below(value: Value, needs: &[Need], tell: Tell<'_>) -> Option<Value> {
    match value {
        value if needs.is_empty() => Some(value),
        Value::Null => Some(Value::Null),
        Value::Array(items) => {
            let items = items.into_iter().map(|item| below(item, needs, tell));
            items.collect()
        }
        object => values(&object, needs, tell),
    }
}
