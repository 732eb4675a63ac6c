//! Writes spans as OTLP has them, in the binary format of protocol buffers.
//!
//! Source: `opentelemetry/proto/trace/v1/trace.proto` and `common/v1/common.proto` of OTLP 1.x. The numbers are those of
//! their fields. A message is written with its fields in any order, so a span's attributes are written as they are set.

use crate::TraceContext;

/// Appends a field that has a length: a text, bytes or a message.
pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    length(out, field, value.len());
    out.extend_from_slice(value);
}

/// Appends the beginning of a field of so many bytes, which follow.
pub(crate) fn length(out: &mut Vec<u8>, field: u32, length: usize) {
    varint(out, u64::from(field << 3 | 2));
    varint(out, length as u64);
}

/// Appends a number of variable length.
pub(crate) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    varint(out, u64::from(field << 3));
    varint(out, value);
}

/// Appends a number of eight bytes.
pub(crate) fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    varint(out, u64::from(field << 3 | 1));
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a number of four bytes.
fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    varint(out, u64::from(field << 3 | 5));
    out.extend_from_slice(&value.to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// The bytes of a field that has so many.
pub(crate) fn field_length(field: u32, length: usize) -> usize {
    varint_length(u64::from(field << 3 | 2)) + varint_length(length as u64) + length
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug)]
pub enum Value<'v> {
    /// A text.
    Text(&'v str),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(text)
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(text: &'v String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl From<$type> for Value<'_> {
            fn from(number: $type) -> Self {
                Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }
    )*};
}
integers!(i32, i64, u16, u32, u64, usize);

/// Appends an attribute as the field of this number.
pub(crate) fn attribute(out: &mut Vec<u8>, field: u32, name: &str, value: Value<'_>) {
    let mut any = Vec::with_capacity(16);
    match value {
        Value::Text(text) => bytes(&mut any, 1, text.as_bytes()),
        Value::Boolean(value) => number(&mut any, 2, u64::from(value)),
        // Negative numbers have ten bytes.
        Value::Integer(value) => number(&mut any, 3, value.cast_unsigned()),
    }
    let key = field_length(1, name.len());
    length(out, field, key + field_length(2, any.len()));
    bytes(out, 1, name.as_bytes());
    bytes(out, 2, &any);
}

/// Appends a link to another span, as the field of a span.
pub(crate) fn link(out: &mut Vec<u8>, context: &TraceContext) {
    let mut link = Vec::with_capacity(40);
    bytes(&mut link, 1, &context.trace_id);
    bytes(&mut link, 2, &context.span_id);
    fixed32(&mut link, 6, u32::from(context.is_sampled));
    bytes(out, 13, &link);
}

/// Appends the status of a span that failed.
pub(crate) fn error_status(out: &mut Vec<u8>, message: &str) {
    let mut status = Vec::with_capacity(message.len() + 8);
    if !message.is_empty() {
        bytes(&mut status, 2, message.as_bytes());
    }
    number(&mut status, 3, 2);
    bytes(out, 15, &status);
}

/// What a span is beside its attributes.
pub(crate) struct Head<'s> {
    pub(crate) context: TraceContext,
    pub(crate) parent: Option<[u8; 8]>,
    /// Whether the parent is in another process.
    pub(crate) is_parent_remote: bool,
    pub(crate) state: &'s str,
    pub(crate) name: &'s str,
    pub(crate) kind: u64,
    /// In nanoseconds since 1970.
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

/// A span, as an element of `ScopeSpans.spans`. `rest` are its other fields, already written.
pub(crate) fn span(head: &Head<'_>, rest: &[u8]) -> Vec<u8> {
    let mut span = Vec::with_capacity(128 + head.name.len() + head.state.len() + rest.len());
    bytes(&mut span, 1, &head.context.trace_id);
    bytes(&mut span, 2, &head.context.span_id);
    if !head.state.is_empty() {
        bytes(&mut span, 3, head.state.as_bytes());
    }
    if let Some(parent) = &head.parent {
        bytes(&mut span, 4, parent);
    }
    bytes(&mut span, 5, head.name.as_bytes());
    number(&mut span, 6, head.kind);
    fixed64(&mut span, 7, head.began);
    fixed64(&mut span, 8, head.ended);
    span.extend_from_slice(rest);
    // Bits 8 and 9: it is known whether the parent is remote, and whether it is.
    let remote = u32::from(head.is_parent_remote) << 9;
    let flags = u32::from(head.context.is_sampled) | 1 << 8 | remote;
    fixed32(&mut span, 16, flags);
    let mut element = Vec::with_capacity(span.len() + 6);
    bytes(&mut element, 2, &span);
    element
}

/// The beginning of an `ExportTraceServiceRequest` with so many bytes of spans, which follow.
pub(crate) fn request_head(resource: &[u8], scope: &[u8], spans: usize) -> Vec<u8> {
    let scope_spans = field_length(1, scope.len()) + spans;
    let resource_spans = field_length(1, resource.len()) + field_length(2, scope_spans);
    let mut head = Vec::with_capacity(resource.len() + scope.len() + 32);
    length(&mut head, 1, resource_spans);
    bytes(&mut head, 1, resource);
    length(&mut head, 2, scope_spans);
    bytes(&mut head, 1, scope);
    head
}

/// The number of spans that a receiver says it has refused, of an `ExportTraceServiceResponse`.
pub(crate) fn rejected(response: &[u8]) -> u64 {
    let partial = field_of(response, 1);
    let Some(Field::Bytes(partial)) = partial else {
        return 0;
    };
    match field_of(partial, 1) {
        Some(Field::Number(rejected)) => rejected,
        _ => 0,
    }
}

enum Field<'f> {
    Number(u64),
    Bytes(&'f [u8]),
}

/// A field of a message, if it can be read up to there.
fn field_of(mut message: &[u8], wanted: u64) -> Option<Field<'_>> {
    while !message.is_empty() {
        let tag = read_varint(&mut message)?;
        let field = match tag & 7 {
            0 => Field::Number(read_varint(&mut message)?),
            2 => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                let (value, rest) = message.split_at_checked(length)?;
                message = rest;
                Field::Bytes(value)
            }
            _ => return None,
        };
        if tag >> 3 == wanted {
            return Some(field);
        }
    }
    None
}

fn read_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_known_before_they_are_written() {
        for value in [
            0,
            1,
            0x7f,
            0x80,
            0x3fff,
            0x4000,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(out.len(), varint_length(value), "{value}");
            assert_eq!(read_varint(&mut &out[..]), Some(value));
        }
    }

    #[test]
    fn what_a_receiver_refused_is_read() {
        let mut partial = Vec::new();
        number(&mut partial, 1, 300);
        bytes(&mut partial, 2, b"too old");
        let mut response = Vec::new();
        bytes(&mut response, 1, &partial);
        assert_eq!(rejected(&response), 300);
        for odd in [
            &b""[..],
            b"\x0a\xff",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"{}",
        ] {
            assert_eq!(rejected(odd), 0, "{odd:?}");
        }
    }
}
