//! Checks whether a JSON value fits an input type.

use std::fmt::Write as _;

use apollo_compiler::schema::{ExtendedType, InputObjectType, Type};

use crate::{
    error::{Code, RequestError},
    graph::Graph,
    json::scan::{JsonScanner, Malformed},
};

/// An object's key as text. A GraphQL name needs no escapes, but may have them.
pub fn name(raw: &[u8]) -> String {
    if raw.contains(&b'\\') {
        let quoted = [b"\"", raw, b"\""].concat();
        return serde_json::from_slice(&quoted).unwrap_or_default();
    }
    String::from_utf8_lossy(raw).into_owned()
}

/// Checks the values of variables against the graph's API schema.
pub struct VariableChecker<'a> {
    pub graph: &'a Graph,
}

impl VariableChecker<'_> {
    /// Steps over a value, which must be of type `ty`. `place` is its path, for errors.
    pub fn check(
        &self,
        ty: &Type,
        scanner: &mut JsonScanner<'_>,
        place: &mut String,
    ) -> Result<(), RequestError> {
        let first = scanner.peek();
        if first == b'n' {
            self.skip(scanner, place)?;
            return if ty.is_non_null() {
                Err(unfit(place, ty, "null"))
            } else {
                Ok(())
            };
        }
        if ty.is_list() {
            return if first == b'[' {
                self.items(ty.item_type(), scanner, place)
            } else {
                // A single value means a list of one item.
                self.check(ty.item_type(), scanner, place)
            };
        }
        match self.graph.api().types.get(ty.inner_named_type()) {
            Some(ExtendedType::InputObject(input)) if first == b'{' => {
                self.fields(input, scanner, place)
            }
            Some(ExtendedType::Enum(enumeration)) if first == b'"' => {
                let text = scanner
                    .string()
                    .map_err(|error| broken(place, error))?
                    .len();
                let end = scanner.position();
                let value = name(scanner.slice(end - text + 1..end - 1));
                if enumeration.values.contains_key(value.as_str()) {
                    Ok(())
                } else {
                    Err(unfit(place, ty, &format!("\"{value}\"")))
                }
            }
            Some(ExtendedType::Scalar(scalar)) => {
                scanner.peek();
                let start = scanner.position();
                self.skip(scanner, place)?;
                let text = scanner.slice(start..scanner.position());
                if scalar_fits(&scalar.name, text) {
                    Ok(())
                } else {
                    Err(unfit(place, ty, &excerpt(text)))
                }
            }
            _ => Err(unfit(place, ty, kind(first))),
        }
    }

    fn skip(&self, scanner: &mut JsonScanner<'_>, place: &str) -> Result<(), RequestError> {
        scanner
            .value()
            .map(drop)
            .map_err(|error| broken(place, error))
    }

    fn items(
        &self,
        ty: &Type,
        scanner: &mut JsonScanner<'_>,
        place: &mut String,
    ) -> Result<(), RequestError> {
        scanner.expect(b'[').map_err(|error| broken(place, error))?;
        if scanner.eat(b']') {
            return Ok(());
        }
        let length = place.len();
        for index in 0.. {
            // Writing to a String cannot fail.
            let _ = write!(place, "[{index}]");
            self.check(ty, scanner, place)?;
            place.truncate(length);
            if !scanner.eat(b',') {
                break;
            }
        }
        scanner.expect(b']').map_err(|error| broken(place, error))
    }

    fn fields(
        &self,
        input: &InputObjectType,
        scanner: &mut JsonScanner<'_>,
        place: &mut String,
    ) -> Result<(), RequestError> {
        scanner.expect(b'{').map_err(|error| broken(place, error))?;
        let mut given: Vec<(String, bool)> = Vec::new();
        let length = place.len();
        if !scanner.eat(b'}') {
            loop {
                let key = name(scanner.key().map_err(|error| broken(place, error))?);
                let Some(field) = input.fields.get(key.as_str()) else {
                    let message =
                        format!("{place}: the type {} has no field \"{key}\"", input.name);
                    return Err(RequestError::new(Code::BadUserInput, message));
                };
                let is_null = scanner.peek() == b'n';
                place.push('.');
                place.push_str(&key);
                self.check(&field.ty, scanner, place)?;
                place.truncate(length);
                given.push((key, is_null));
                if !scanner.eat(b',') {
                    break;
                }
            }
            scanner.expect(b'}').map_err(|error| broken(place, error))?;
        }
        for (name, field) in &input.fields {
            let is_missing = !given.iter().any(|(key, _)| key == name.as_str());
            if is_missing && field.ty.is_non_null() && field.default_value.is_none() {
                let message = format!(
                    "{place}: the required field \"{name}\" of type {} is missing",
                    field.ty
                );
                return Err(RequestError::new(Code::BadUserInput, message));
            }
        }
        if input.directives.has("oneOf") && !matches!(&*given, [(_, false)]) {
            let message = format!(
                "{place} must have exactly one field of the @oneOf input object {}, and it must not be null",
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
