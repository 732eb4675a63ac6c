//! Writes JSON text directly, without building a tree of values first.

use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Value};
use async_graphql_value::RAW_VALUE_TOKEN;

use crate::{DateTime, Id};

/// JSON text in the making.
#[derive(Debug, Default)]
pub struct JsonText(Vec<u8>);

impl JsonText {
    /// An empty text with a capacity in bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Its length so far, in bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody asks whether it is empty"
    )]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn null(&mut self) {
        self.0.extend_from_slice(b"null");
    }

    /// Adds a string in quotes, escaped.
    pub fn string(&mut self, text: &str) {
        // Writing to a vector does not fail, and every text is a string of JSON.
        let _ = serde_json::to_writer(&mut self.0, text);
    }

    /// Adds an id as a string of 24 hexadecimal digits.
    pub fn id<T>(&mut self, id: Id<T>) {
        self.0.push(b'"');
        id.write_hex(&mut self.0);
        self.0.push(b'"');
    }

    /// Adds a point in time as a string in the format of RFC 3339.
    pub fn date_time(&mut self, date_time: DateTime) {
        self.0.push(b'"');
        date_time.write_rfc3339(&mut self.0);
        self.0.push(b'"');
    }

    /// Adds a list; `item` adds each item.
    pub fn list<T>(&mut self, items: impl IntoIterator<Item = T>, item: impl FnMut(&mut Self, T)) {
        self.separated((b'[', b']'), items, item);
    }

    /// Adds an object; `member` adds each member's key and value.
    pub fn object<T>(
        &mut self,
        members: impl IntoIterator<Item = T>,
        member: impl FnMut(&mut Self, T),
    ) {
        self.separated((b'{', b'}'), members, member);
    }

    /// Adds a member's key: a name of GraphQL, which needs no escape.
    pub fn key(&mut self, name: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// Adds a value; what [`JsonText::into_value`] made of a text is that text again.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.null(),
            Value::String(text) => self.string(text),
            Value::Enum(name) => self.string(name),
            Value::List(items) => self.list(items, Self::value),
            Value::Object(members) => match raw_text(members) {
                Some(text) => self.0.extend_from_slice(text.as_bytes()),
                None => self.object(members, |json, (name, value)| {
                    json.key(name);
                    json.value(value);
                }),
            },
            Value::Boolean(_) | Value::Number(_) | Value::Binary(_) => {
                // As for strings.
                let _ = serde_json::to_writer(&mut self.0, value);
            }
        }
    }

    /// The text, as a value that is written as this text.
    pub fn into_value(self) -> Value {
        // What is added is UTF-8.
        let text = String::from_utf8(self.0).unwrap_or_default();
        let token = Name::new(RAW_VALUE_TOKEN);
        Value::Object(IndexMap::from_iter([(token, Value::String(text))]))
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn separated<T>(
        &mut self,
        (open, close): (u8, u8),
        parts: impl IntoIterator<Item = T>,
        mut part: impl FnMut(&mut Self, T),
    ) {
        self.0.push(open);
        for (index, each) in parts.into_iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            part(self, each);
        }
        self.0.push(close);
    }
}

fn raw_text(members: &IndexMap<Name, Value>) -> Option<&str> {
    match members.first() {
        Some((name, Value::String(text))) if name == RAW_VALUE_TOKEN => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::value;

    use super::*;

    #[test]
    fn a_value_is_written_as_serde_writes_it() {
        let mut embedded = JsonText::default();
        embedded.list([1, 2], |json, _| json.string("\u{1} \"quoted\" \\ ünï"));
        let value = value!({
            "null": null,
            "numbers": [0, -1, 1.5, 12345678901i64],
            "text": "line\nbreak \u{7f} \u{2028}",
            "flags": [true, false],
            "none": [],
            "empty": {},
            "nested": [{ "a": [[]] }],
            "embedded": (embedded.into_value()),
        });
        let mut json = JsonText::default();
        json.value(&value);
        let expected = serde_json::to_string(&value).expect("JSON");
        assert_eq!(String::from_utf8(json.into_bytes()), Ok(expected));
    }

    #[test]
    fn ids_and_dates_are_strings() {
        let mut json = JsonText::default();
        let id: Id<()> = "65f0c0ffee65f0c0ffee65f0".parse().expect("an id");
        json.object(["id", "at"], |json, key| {
            json.key(key);
            match key {
                "id" => json.id(id),
                _ => json.date_time(DateTime::from_millis(0)),
            }
        });
        assert_eq!(
            json.into_bytes(),
            br#"{"id":"65f0c0ffee65f0c0ffee65f0","at":"1970-01-01T00:00:00.000Z"}"#
        );
    }
}
