//! Finds the length of a list: by its slicing arguments, or the assumed length.

use std::mem::size_of;

use apollo_compiler::{
    Node,
    ast::{Value, VariableDefinition},
    executable::Field,
    schema::FieldDefinition,
};

use super::formula::SlicingFault;
use crate::{coerce::Variables, graph::costs::ListSize};

/// The length of a list, which variables may decide.
#[derive(Debug)]
pub struct VariableListSize {
    field: Box<str>,
    given: Box<[SlicingArgument]>,
    assumed: f64,
    requires_one: bool,
}

/// An argument that gives the length of a list.
#[derive(Debug)]
struct SlicingArgument {
    value: SlicingValue,
    name: Box<str>,
}

#[derive(Debug)]
enum SlicingValue {
    /// A number in the document.
    Number(f64),
    /// A variable, or the field at a path inside it.
    Variable {
        index: usize,
        path: Box<[String]>,
        /// The length if the client gives no value.
        default: Option<f64>,
    },
    /// The argument is not given.
    Nothing,
}

/// The lengths that variables give, by the variable and the path inside it. They are kept because a
/// variable's text may be long, and many fields may refer to it.
#[derive(Default)]
pub struct Lengths<'a>(Vec<(usize, &'a [String], Option<f64>)>);

impl<'a> Lengths<'a> {
    /// The number of known lengths.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn of(&mut self, index: usize, path: &'a [String], json: &[u8]) -> Option<f64> {
        let is_it = |(other, other_path, _): &&(usize, &[String], Option<f64>)| {
            *other == index && *other_path == path
        };
        if let Some((_, _, length)) = self.0.iter().find(is_it) {
            return *length;
        }
        let length = in_json(json, path);
        self.0.push((index, path, length));
        length
    }
}

impl VariableListSize {
    /// The length of a field's list, by its arguments. `assumed` is the length if nothing else is
    /// known.
    pub fn of(
        said: &ListSize,
        field: &Field,
        definition: &FieldDefinition,
        variables: &[Node<VariableDefinition>],
        assumed: f64,
    ) -> Self {
        let given = said.slicing.iter().filter_map(|path| {
            let (argument, path) = path.split_first()?;
            let defined = definition.argument_by_name(argument)?;
            let default = defined.default_value.as_deref();
            let written = field
                .arguments
                .iter()
                .find(|it| it.name == argument.as_str());
            let value = written.map(|it| &*it.value).or(default);
            Some(SlicingArgument {
                value: slice(value, path, default, variables),
                name: argument.as_str().into(),
            })
        });
        Self {
            field: field.name.as_str().into(),
            given: given.collect(),
            assumed: said.assumed.unwrap_or(assumed),
            requires_one: said.requires_one,
        }
    }

    /// Whether it does not depend on variables.
    pub fn is_constant(&self) -> bool {
        let mut given = self.given.iter();
        !given.any(|given| matches!(given.value, SlicingValue::Variable { .. }))
    }

    /// The largest of the slicing arguments, at least 0, or the assumed length without any. With a fault if exactly one
    /// is required, and there is none or there are several.
    pub fn length<'a>(
        &'a self,
        variables: &Variables,
        lengths: &mut Lengths<'a>,
    ) -> (f64, Option<SlicingFault>) {
        let (mut count, mut largest) = (0, 0.0_f64);
        for length in self
            .given
            .iter()
            .filter_map(|it| it.length(variables, lengths))
        {
            count += 1;
            largest = largest.max(length);
        }
        let fault = (self.requires_one && count != 1).then(|| {
            let names: Vec<&str> = self.given.iter().map(|it| &*it.name).collect();
            SlicingFault {
                field: self.field.clone(),
                arguments: names.join(", ").into(),
                given: count,
            }
        });
        (if count == 0 { self.assumed } else { largest }, fault)
    }

    /// An estimate of its bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let of = |given: &SlicingArgument| match &given.value {
            SlicingValue::Variable { path, .. } => path.iter().map(|it| 24 + it.len()).sum(),
            _ => 0,
        };
        self.given.len() * size_of::<SlicingArgument>() + self.given.iter().map(of).sum::<usize>()
    }
}

impl SlicingArgument {
    fn length<'a>(&'a self, variables: &Variables, lengths: &mut Lengths<'a>) -> Option<f64> {
        match &self.value {
            SlicingValue::Number(number) => Some(*number),
            SlicingValue::Nothing => None,
            SlicingValue::Variable {
                index,
                path,
                default,
            } => match variables.get(*index) {
                Some(json) => lengths.of(*index, path, json),
                None => *default,
            },
        }
    }
}

fn slice(
    value: Option<&Value>,
    path: &[String],
    argument_default: Option<&Value>,
    variables: &[Node<VariableDefinition>],
) -> SlicingValue {
    let Some(value) = value else {
        return SlicingValue::Nothing;
    };
    if let Value::Variable(name) = value {
        let Some(index) = variables.iter().position(|it| it.name == *name) else {
            return SlicingValue::Nothing;
        };
        let default = variables[index].default_value.as_deref();
        return SlicingValue::Variable {
            index,
            path: path.into(),
            default: literal(default.or(argument_default), path),
        };
    }
    match (value, path) {
        (Value::Object(members), [name, path @ ..]) => {
            let mut members = members.iter();
            let member = members.find(|(key, _)| key == name.as_str());
            slice(member.map(|it| &*it.1), path, None, variables)
        }
        _ => literal(Some(value), path).map_or(SlicingValue::Nothing, SlicingValue::Number),
    }
}

/// A length in a document: a number, or the number of items in a list.
fn literal(value: Option<&Value>, path: &[String]) -> Option<f64> {
    match (value?, path) {
        (Value::Object(members), [name, path @ ..]) => {
            let mut members = members.iter();
            literal(
                Some(&members.find(|(key, _)| key == name.as_str())?.1),
                path,
            )
        }
        (Value::List(items), []) => Some(items.len() as f64),
        (value, []) => value.to_f64(),
        _ => None,
    }
}

fn in_json(json: &[u8], path: &[String]) -> Option<f64> {
    if let ([], Ok(text)) = (path, std::str::from_utf8(json))
        && let Ok(number) = text.parse::<i32>()
    {
        return Some(number.into());
    }
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    let mut value = &json;
    for name in path {
        value = value.get(name)?;
    }
    match value {
        serde_json::Value::Array(items) => Some(items.len() as f64),
        value => value.as_f64(),
    }
}
