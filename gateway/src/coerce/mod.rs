//! Checks the client's variables against the API schema.
//!
//! Values are checked, but never changed: subgraphs receive the client's own JSON text, so that
//! numbers keep every digit. Subgraphs apply defaults and wrap single values into lists, because
//! their requests declare the same defaults and types.

mod limits;
mod values;

use std::{ops::Range, sync::Arc};

use apollo_compiler::{Node, ast::VariableDefinition};
use bytes::Bytes;
use graphql_transport::uploads::Uploads;

use crate::{
    error::{Code, RequestError},
    graph::Graph,
    json::scan::{JsonScanner, Malformed},
};
use values::VariableChecker;

/// The variables that an operation declares.
#[derive(Clone, Copy, Debug)]
pub struct Declared<'p> {
    /// The definitions in the order declared.
    pub definitions: &'p [Node<VariableDefinition>],
    /// The indexes of those that decide conditions, which must not be null.
    pub deciding: &'p [usize],
}

/// Checks the variables against the operation's declarations. `json` is the text of a JSON object,
/// or absent.
///
/// # Errors
/// `BAD_USER_INPUT`, which names the variable and the path inside it; `MAX_VARIABLES_EXCEEDED` if a
/// limit is exceeded.
pub fn variables(
    graph: &Graph,
    declared: Declared<'_>,
    json: Option<&Bytes>,
) -> Result<Variables, RequestError> {
    let definitions = declared.definitions;
    let mut variables = Variables {
        json: json.cloned().unwrap_or_default(),
        values: vec![None; definitions.len()],
        booleans: Vec::with_capacity(definitions.len()),
        uploads: None,
    };
    if !variables.json.is_empty() {
        limits::check(&variables.json, &graph.settings.limits)?;
        variables.read(graph, definitions)?;
    }
    for (definition, value) in definitions.iter().zip(&variables.values) {
        let default = definition.default_value.as_ref();
        if value.is_none() && default.is_none() && definition.ty.is_non_null() {
            let message = format!(
                "variable ${} of required type {} was not provided",
                definition.name, definition.ty
            );
            return Err(RequestError::new(Code::BadUserInput, message));
        }
        let boolean = match value.clone().map(|range| &variables.json[range]) {
            Some(b"true") => Some(true),
            Some(b"false") => Some(false),
            Some(_) => None,
            None => default.and_then(|value| value.to_bool()),
        };
        variables.booleans.push(boolean);
    }
    for index in declared.deciding {
        if variables.booleans[*index].is_none() {
            // Its type may allow null, but the argument of a condition does not.
            let place = format!("${}", definitions[*index].name);
            let message = format!("{place} is used in @skip or @include and must not be null");
            return Err(RequestError::new(Code::BadUserInput, message));
        }
    }
    Ok(variables)
}

/// Variables that fit their declared types; values keep the client's own JSON text.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    json: Bytes,
    /// The range of each value, in the order declared; `None` if the client gave no value.
    values: Vec<Option<Range<usize>>>,
    /// The values of Boolean variables, defaults included, for `@skip` and `@include`.
    booleans: Vec<Option<bool>>,
    /// The files that values stand for.
    uploads: Option<Arc<Uploads>>,
}

impl Variables {
    /// The same with the files that came with them.
    #[must_use]
    pub fn with_uploads(mut self, uploads: Option<&Arc<Uploads>>) -> Self {
        self.uploads = uploads.cloned();
        self
    }

    /// The files that values stand for.
    pub fn uploads(&self) -> Option<&Uploads> {
        self.uploads.as_deref()
    }

    /// The JSON text of a variable's value, by its index in the declarations.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let range = self.values.get(index)?.clone()?;
        Some(&self.json[range])
    }

    /// The client's whole JSON object, `{}` if there is none.
    pub fn json(&self) -> &[u8] {
        if self.json.is_empty() {
            b"{}"
        } else {
            &self.json
        }
    }

    /// Whether the variable with this index has this Boolean value.
    pub fn is(&self, index: usize, expected: bool) -> bool {
        self.booleans.get(index).copied().flatten() == Some(expected)
    }

    /// Appends `"name":value,...` for those of `wanted` that have a value.
    pub fn write(&self, wanted: &[(Box<[u8]>, usize)], out: &mut Vec<u8>) {
        let mut is_first = true;
        for (name, index) in wanted {
            let Some(value) = self.get(*index) else {
                continue;
            };
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(name);
            out.extend_from_slice(value);
        }
    }

    fn read(
        &mut self,
        graph: &Graph,
        declared: &[Node<VariableDefinition>],
    ) -> Result<(), RequestError> {
        let not_json = |malformed: Malformed| {
            RequestError::new(Code::BadUserInput, format!("the variables are {malformed}"))
        };
        if std::str::from_utf8(&self.json).is_err() {
            return Err(RequestError::new(
                Code::BadUserInput,
                "the variables are not valid UTF-8",
            ));
        }
        let json = self.json.clone();
        let mut scanner = JsonScanner::new(&json);
        scanner.expect(b'{').map_err(not_json)?;
        if scanner.eat(b'}') {
            return scanner.end().map_err(not_json);
        }
        loop {
            let name = values::name(scanner.key().map_err(not_json)?);
            let index = declared
                .iter()
                .position(|definition| definition.name == name.as_str());
            scanner.peek();
            let start = scanner.position();
            if let Some(index) = index {
                let definition = &declared[index];
                let mut place = format!("${name}");
                VariableChecker { graph }.check(&definition.ty, &mut scanner, &mut place)?;
                self.values[index] = Some(start..scanner.position());
            } else {
                scanner.value().map_err(not_json)?;
            }
            if let Some(at) = scanner.lone_surrogate(start..scanner.position()) {
                // A subgraph would report it with a position in the gateway's request, not in the
                // client's.
                let escape = String::from_utf8_lossy(scanner.slice(at..at + 6));
                let message = format!(
                    "${name} has a lone surrogate ({escape}) at byte {at} of the variables: it is \
                     not a valid character"
                );
                return Err(RequestError::new(Code::BadUserInput, message));
            }
            if !scanner.eat(b',') {
                break;
            }
        }
        scanner
            .expect(b'}')
            .and_then(|()| scanner.end())
            .map_err(not_json)
    }
}
