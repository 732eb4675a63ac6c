//! The client's variables, checked against the API schema.
//!
//! Values are checked, never changed: subgraphs get the client's own JSON text, so that numbers
//! keep every digit. Defaults and the wrapping of single values into lists are left to the
//! subgraphs, whose declarations carry the same defaults and types.

use std::{fmt::Write as _, ops::Range};

use apollo_compiler::{
    Node,
    ast::VariableDefinition,
    schema::{ExtendedType, InputObjectType, Type},
};
use bytes::Bytes;

use crate::{
    error::{Code, RequestError},
    graph::Graph,
    json::scan::{Cursor, Malformed},
    prepare::{Prepared, plan::Condition},
    settings::Limits,
};

/// Variables that fit their declared types; values keep the client's own JSON text.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    json: Bytes,
    /// In the order declared; none where the client gave no value.
    values: Vec<Option<Range<usize>>>,
    /// The values of Boolean variables, defaults included: what `@skip` and `@include` ask for.
    booleans: Vec<Option<bool>>,
}

impl Variables {
    /// Checks a JSON object's text (or nothing) against the operation's declarations.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` names the variable and the place inside it; `MAX_VARIABLES_EXCEEDED` where
    /// a limit is passed.
    pub fn coerce(
        graph: &Graph,
        prepared: &Prepared,
        json: Option<&Bytes>,
    ) -> Result<Self, RequestError> {
        let declared = &prepared.variables;
        let mut variables = Self {
            json: json.cloned().unwrap_or_default(),
            values: vec![None; declared.len()],
            booleans: Vec::with_capacity(declared.len()),
        };
        if !variables.json.is_empty() {
            check_limits(&variables.json, &graph.settings.limits)?;
            variables.read(graph, declared)?;
        }
        for (definition, value) in declared.iter().zip(&variables.values) {
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
        for index in prepared.conditions.variables() {
            if variables.booleans[*index].is_none() {
                // It may be null as declared, but a condition's argument may not.
                let place = format!("${}", declared[*index].name);
                let message = format!("{place} decides a condition, and must not be null");
                return Err(RequestError::new(Code::BadUserInput, message));
            }
        }
        Ok(variables)
    }

    /// The JSON text of a variable's value, by its place in the declarations.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let range = self.values.get(index)?.clone()?;
        Some(&self.json[range])
    }

    /// The client's whole JSON object.
    pub fn json(&self) -> &[u8] {
        if self.json.is_empty() {
            b"{}"
        } else {
            &self.json
        }
    }

    /// Whether a condition holds.
    pub fn satisfies(&self, condition: Condition) -> bool {
        let value = self.booleans.get(condition.variable).copied().flatten();
        value == Some(condition.expected)
    }

    /// Whether the variable, by its place in the declarations, is `true`.
    pub fn is_true(&self, index: usize) -> bool {
        self.booleans.get(index).copied().flatten() == Some(true)
    }

    /// Appends `"name":value,...` of those of `wanted` that have a value.
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
        let mut cursor = Cursor::new(&json);
        cursor.expect(b'{').map_err(not_json)?;
        if cursor.eat(b'}') {
            return cursor.end().map_err(not_json);
        }
        loop {
            let name = name(cursor.key().map_err(not_json)?);
            let index = declared
                .iter()
                .position(|definition| definition.name == name.as_str());
            cursor.peek();
            let start = cursor.position();
            if let Some(index) = index {
                let definition = &declared[index];
                let mut place = format!("${name}");
                Checker { graph }.check(&definition.ty, &mut cursor, &mut place)?;
                self.values[index] = Some(start..cursor.position());
            } else {
                cursor.value().map_err(not_json)?;
            }
            if let Some(at) = cursor.lone_surrogate(start..cursor.position()) {
                // A subgraph would refuse it at a place in the gateway's request, not in the client's.
                let escape = String::from_utf8_lossy(cursor.slice(at..at + 6));
                let message = format!(
                    "${name} has a lone surrogate ({escape}) at byte {at} of the variables: it is no \
                     character"
                );
                return Err(RequestError::new(Code::BadUserInput, message));
            }
            if !cursor.eat(b',') {
                break;
            }
        }
        cursor
            .expect(b'}')
            .and_then(|()| cursor.end())
            .map_err(not_json)
    }
}

/// An object's key as text. A key that is a GraphQL name needs no escapes but may have them.
fn name(raw: &[u8]) -> String {
    if raw.contains(&b'\\') {
        let quoted = [b"\"", raw, b"\""].concat();
        return serde_json::from_slice(&quoted).unwrap_or_default();
    }
    String::from_utf8_lossy(raw).into_owned()
}

struct Checker<'a> {
    graph: &'a Graph,
}

impl Checker<'_> {
    /// Steps over a value of type `ty`; `place` tells where it is.
    fn check(
        &self,
        ty: &Type,
        cursor: &mut Cursor<'_>,
        place: &mut String,
    ) -> Result<(), RequestError> {
        let first = cursor.peek();
        if first == b'n' {
            self.skip(cursor, place)?;
            return if ty.is_non_null() {
                Err(unfit(place, ty, "null"))
            } else {
                Ok(())
            };
        }
        if ty.is_list() {
            return if first == b'[' {
                self.items(ty.item_type(), cursor, place)
            } else {
                // A single value stands for a list of one.
                self.check(ty.item_type(), cursor, place)
            };
        }
        match self.graph.api().types.get(ty.inner_named_type()) {
            Some(ExtendedType::InputObject(input)) if first == b'{' => {
                self.fields(input, cursor, place)
            }
            Some(ExtendedType::Enum(enumeration)) if first == b'"' => {
                let text = cursor.string().map_err(|error| broken(place, error))?.len();
                let end = cursor.position();
                let value = name(cursor.slice(end - text + 1..end - 1));
                if enumeration.values.contains_key(value.as_str()) {
                    Ok(())
                } else {
                    Err(unfit(place, ty, &format!("\"{value}\"")))
                }
            }
            Some(ExtendedType::Scalar(scalar)) => {
                cursor.peek();
                let start = cursor.position();
                self.skip(cursor, place)?;
                let text = cursor.slice(start..cursor.position());
                if scalar_fits(&scalar.name, text) {
                    Ok(())
                } else {
                    Err(unfit(place, ty, &excerpt(text)))
                }
            }
            _ => Err(unfit(place, ty, kind(first))),
        }
    }

    fn skip(&self, cursor: &mut Cursor<'_>, place: &str) -> Result<(), RequestError> {
        cursor
            .value()
            .map(drop)
            .map_err(|error| broken(place, error))
    }

    fn items(
        &self,
        ty: &Type,
        cursor: &mut Cursor<'_>,
        place: &mut String,
    ) -> Result<(), RequestError> {
        cursor.expect(b'[').map_err(|error| broken(place, error))?;
        if cursor.eat(b']') {
            return Ok(());
        }
        let length = place.len();
        for index in 0.. {
            // Writing to a String cannot fail.
            let _ = write!(place, "[{index}]");
            self.check(ty, cursor, place)?;
            place.truncate(length);
            if !cursor.eat(b',') {
                break;
            }
        }
        cursor.expect(b']').map_err(|error| broken(place, error))
    }

    fn fields(
        &self,
        input: &InputObjectType,
        cursor: &mut Cursor<'_>,
        place: &mut String,
    ) -> Result<(), RequestError> {
        cursor.expect(b'{').map_err(|error| broken(place, error))?;
        let mut given: Vec<(String, bool)> = Vec::new();
        let length = place.len();
        if !cursor.eat(b'}') {
            loop {
                let key = name(cursor.key().map_err(|error| broken(place, error))?);
                let Some(field) = input.fields.get(key.as_str()) else {
                    let message =
                        format!("{place} has no field \"{key}\" in its type {}", input.name);
                    return Err(RequestError::new(Code::BadUserInput, message));
                };
                let is_null = cursor.peek() == b'n';
                place.push('.');
                place.push_str(&key);
                self.check(&field.ty, cursor, place)?;
                place.truncate(length);
                given.push((key, is_null));
                if !cursor.eat(b',') {
                    break;
                }
            }
            cursor.expect(b'}').map_err(|error| broken(place, error))?;
        }
        for (name, field) in &input.fields {
            let is_missing = !given.iter().any(|(key, _)| key == name.as_str());
            if is_missing && field.ty.is_non_null() && field.default_value.is_none() {
                let message = format!("{place} lacks its required field \"{name}\" ({})", field.ty);
                return Err(RequestError::new(Code::BadUserInput, message));
            }
        }
        if input.directives.has("oneOf") && !matches!(&*given, [(_, false)]) {
            let message = format!(
                "{place} must have exactly one field of {}, not null",
                input.name
            );
            return Err(RequestError::new(Code::BadUserInput, message));
        }
        Ok(())
    }
}

fn scalar_fits(name: &str, text: &[u8]) -> bool {
    let is_string = text.first() == Some(&b'"');
    let is_number = matches!(text.first(), Some(b'-' | b'0'..=b'9'));
    let integer = || {
        std::str::from_utf8(text)
            .ok()
            .filter(|text| !text.contains(['.', 'e', 'E']))
    };
    match name {
        "Int" => is_number && integer().is_some_and(|text| text.parse::<i32>().is_ok()),
        "Float" => is_number,
        "String" => is_string,
        "Boolean" => matches!(text, b"true" | b"false"),
        "ID" => is_string || (is_number && integer().is_some()),
        _ => true,
    }
}

fn kind(first: u8) -> &'static str {
    match first {
        b'"' => "a string",
        b'{' => "an object",
        b'[' => "a list",
        b't' | b'f' => "a Boolean",
        b'-' | b'0'..=b'9' => "a number",
        _ => "no value",
    }
}

fn excerpt(text: &[u8]) -> String {
    const CHARS_MAX: usize = 60;
    let text = String::from_utf8_lossy(text);
    if text.chars().count() <= CHARS_MAX {
        return text.into_owned();
    }
    text.chars().take(CHARS_MAX).chain("...".chars()).collect()
}

fn unfit(place: &str, ty: &Type, found: &str) -> RequestError {
    RequestError::new(
        Code::BadUserInput,
        format!("{place} must be {ty}, not {found}"),
    )
}

fn broken(place: &str, malformed: Malformed) -> RequestError {
    RequestError::new(Code::BadUserInput, format!("{place} is {malformed}"))
}

/// Size, nesting and list lengths, before anything follows the nesting.
fn check_limits(json: &[u8], limits: &Limits) -> Result<(), RequestError> {
    let refusal = |what: String| Err(RequestError::new(Code::MaxVariables, what));
    if json.len() > limits.variables_bytes_max {
        return refusal(format!(
            "the variables have more than {} bytes",
            limits.variables_bytes_max
        ));
    }
    // The entries so far of each open bracket.
    let mut open: Vec<usize> = Vec::new();
    let mut cursor = Cursor::new(json);
    loop {
        match cursor.peek() {
            0 => return Ok(()),
            b'"' => {
                if cursor.string().is_err() {
                    // Not JSON; the reader says where.
                    return Ok(());
                }
                continue;
            }
            b'{' | b'[' => open.push(1),
            b'}' | b']' => drop(open.pop()),
            b',' => {
                if let Some(entries) = open.last_mut() {
                    *entries += 1;
                }
            }
            _ => {}
        }
        cursor.skip_byte();
        if open.len() > limits.variables_depth_max {
            return refusal(format!(
                "the variables have more than {} levels",
                limits.variables_depth_max
            ));
        }
        if open
            .last()
            .is_some_and(|entries| *entries > limits.variables_list_max)
        {
            return refusal(format!(
                "a list in the variables has more than {} entries",
                limits.variables_list_max
            ));
        }
    }
}
