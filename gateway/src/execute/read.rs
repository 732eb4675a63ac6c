//! Reads a subgraph's response in one pass over its bytes, guided by the requested fields.

use std::hash::Hasher;

use bytes::Bytes;
use federation::{TypeId, TypeTable};
use rustc_hash::FxHasher;

use super::response_store::{Field, ObjectId, ResponseStore, Value};
use crate::{
    json::scan::{JsonScanner, Malformed},
    prepare::plan::{Plan, ShapeField, ShapeId},
};

/// The deepest nesting of lists directly inside each other, as in `[[[T]]]`.
const NESTED_LISTS_MAX: usize = 16;

/// A subgraph's GraphQL response, read into the response store.
pub struct SubgraphResponse {
    /// The value of `data`: an object, or null.
    pub data: Value,
    /// Whether the response has a member `data`.
    pub has_data: bool,
    /// The JSON text of `errors`; `None` if there are none.
    pub errors: Option<Bytes>,
}

/// Reads `body` into the store. `shape` is the expected shape of its `data`.
///
/// # Errors
/// If it is not UTF-8, not JSON, or not a GraphQL response, or if the store is full.
pub fn read(
    body: Bytes,
    shape: ShapeId,
    plan: &Plan,
    types: &TypeTable,
    store: &mut ResponseStore,
) -> Result<SubgraphResponse, Malformed> {
    if let Err(error) = std::str::from_utf8(&body) {
        return Err(Malformed(error.valid_up_to()));
    }
    let source = store.add_source(body.clone());
    let mut reader = ResponseReader {
        plan,
        types,
        store,
        source,
        fields: Vec::new(),
        values: Vec::new(),
        last_type: TypeId::UNKNOWN,
    };
    reader.envelope(&body, shape)
}

struct ResponseReader<'a> {
    plan: &'a Plan,
    types: &'a TypeTable,
    store: &'a mut ResponseStore,
    source: u16,
    /// Fields of the objects being read, the innermost last.
    fields: Vec<Field>,
    /// Entries of the lists being read, the innermost last.
    values: Vec<Value>,
    /// The type found last, because the next one is often the same.
    last_type: TypeId,
}

impl ResponseReader<'_> {
    fn envelope(&mut self, body: &Bytes, shape: ShapeId) -> Result<SubgraphResponse, Malformed> {
        let mut response = SubgraphResponse {
            data: Value::Null,
            has_data: false,
            errors: None,
        };
        let mut scanner = JsonScanner::new(body);
        scanner.expect(b'{')?;
        if !scanner.eat(b'}') {
            loop {
                if scanner.eat_key(b"data") {
                    response.has_data = true;
                    response.data = self.value(&mut scanner, shape, 0)?;
                    if matches!(response.data, Value::Leaf(_) | Value::List(_)) {
                        return Err(scanner.malformed());
                    }
                } else if scanner.eat_key(b"errors") {
                    let range = scanner.value()?;
                    let text = body.slice(range);
                    response.errors = (!matches!(&*text, b"null" | b"[]")).then_some(text);
                } else {
                    scanner.key()?;
                    scanner.value()?;
                }
                if !scanner.eat(b',') {
                    break;
                }
            }
            scanner.expect(b'}')?;
        }
        scanner.end()?;
        Ok(response)
    }

    /// Reads a value that should hold objects of `shape`. `lists` counts the lists around it.
    fn value(
        &mut self,
        scanner: &mut JsonScanner<'_>,
        shape: ShapeId,
        lists: usize,
    ) -> Result<Value, Malformed> {
        match scanner.peek() {
            b'{' => self.object(scanner, shape).map(Value::Object),
            b'[' if lists < NESTED_LISTS_MAX => self.list(scanner, shape, lists + 1),
            b'[' => Err(scanner.malformed()),
            _ => self.leaf(scanner),
        }
    }

    #[inline]
    fn leaf(&mut self, scanner: &mut JsonScanner<'_>) -> Result<Value, Malformed> {
        let is_null = scanner.peek() == b'n';
        let range = scanner.value()?;
        Ok(if is_null {
            Value::Null
        } else {
            Value::Leaf(ResponseStore::text(self.source, range))
        })
    }

    fn list(
        &mut self,
        scanner: &mut JsonScanner<'_>,
        shape: ShapeId,
        lists: usize,
    ) -> Result<Value, Malformed> {
        scanner.expect(b'[')?;
        let base = self.values.len();
        if !scanner.eat(b']') {
            loop {
                let value = self.value(scanner, shape, lists)?;
                self.values.push(value);
                if !scanner.eat(b',') {
                    break;
                }
            }
            scanner.expect(b']')?;
        }
        let list = self.store.add_list(self.values.drain(base..));
        Ok(Value::List(list))
    }

    fn object(
        &mut self,
        scanner: &mut JsonScanner<'_>,
        shape_id: ShapeId,
    ) -> Result<ObjectId, Malformed> {
        let plan = self.plan;
        let shape = &plan.shapes[shape_id.0 as usize];
        scanner.peek();
        let start = scanner.position();
        scanner.expect(b'{')?;
        if self.store.is_full() {
            return Err(scanner.malformed());
        }
        let base = self.fields.len();
        let mut type_id = TypeId::UNKNOWN;
        let mut expected = 0;
        if !scanner.eat(b'}') {
            loop {
                match next_field(scanner, &shape.fields, &mut expected)? {
                    None => {
                        scanner.value()?;
                    }
                    Some(field) if field.is_typename => type_id = self.typename(scanner)?,
                    Some(field) => {
                        let value = match field.shape {
                            Some(shape) => self.value(scanner, shape, 0)?,
                            None => self.leaf(scanner)?,
                        };
                        self.fields.push(Field {
                            key: field.key,
                            value,
                        });
                    }
                }
                if !scanner.eat(b',') {
                    break;
                }
            }
            scanner.expect(b'}')?;
        }
        if !shape.intern {
            return Ok(self.store.add_object(type_id, self.fields.drain(base..)));
        }
        let text = ResponseStore::text(self.source, start..scanner.position());
        let mut hasher = FxHasher::default();
        hasher.write_u32(shape_id.0);
        hasher.write(self.store.bytes(text));
        let hash = hasher.finish();
        if let Some(object) = self.store.interned(hash, shape_id, text) {
            self.fields.truncate(base);
            return Ok(object);
        }
        let object = self.store.add_object(type_id, self.fields.drain(base..));
        self.store.intern(hash, shape_id, text, object);
        Ok(object)
    }

    fn typename(&mut self, scanner: &mut JsonScanner<'_>) -> Result<TypeId, Malformed> {
        if scanner.peek() != b'"' {
            scanner.value()?;
            return Ok(TypeId::UNKNOWN);
        }
        let range = scanner.string()?;
        let name = scanner.slice(range.start + 1..range.end - 1);
        if self.types.name(self.last_type).as_bytes() != name {
            let name = std::str::from_utf8(name).unwrap_or_default();
            self.last_type = self.types.id(name).unwrap_or(TypeId::UNKNOWN);
        }
        Ok(self.last_type)
    }
}

/// Steps over the next key. Returns its field, or `None` if it was not requested. Responses have
/// the requested order, so the field after the last one is tried first.
#[inline]
fn next_field<'s>(
    scanner: &mut JsonScanner<'_>,
    fields: &'s [ShapeField],
    expected: &mut usize,
) -> Result<Option<&'s ShapeField>, Malformed> {
    if let Some(field) = fields.get(*expected)
        && (scanner.eat_token(&field.token) || scanner.eat_key(field.name()))
    {
        *expected += 1;
        return Ok(Some(field));
    }
    let key = scanner.key()?;
    let found = fields.iter().position(|field| field.name() == key);
    if let Some(index) = found {
        *expected = index + 1;
    }
    Ok(found.map(|index| &fields[index]))
}
