//! Checks in one pass whether a subgraph's response can be sent to the client unchanged.

use federation::TypeTable;

use super::leaf::{self, Leaf};
use crate::{
    json::scan::JsonScanner,
    prepare::projection::{
        Nullability, ProjectedField, ProjectedValue, Projection, Selection, SelectionId,
    },
};

/// Whether `body` is `{"data": ...}` with exactly the fields of `projection`, in its order, and
/// every value fits the schema. Anything else, such as errors or a null to propagate, needs a merge
/// and a new rendering.
pub fn is_answer(body: &[u8], projection: &Projection, types: &TypeTable) -> bool {
    std::str::from_utf8(body).is_ok()
        && ForwardChecker {
            projection,
            types,
            scanner: JsonScanner::new(body),
        }
        .envelope()
        .is_some()
}

struct ForwardChecker<'a> {
    projection: &'a Projection,
    types: &'a TypeTable,
    scanner: JsonScanner<'a>,
}

impl<'a> ForwardChecker<'a> {
    fn envelope(&mut self) -> Option<()> {
        self.eat(b'{')?;
        self.scanner.eat_key(b"data").then_some(())?;
        self.object(SelectionId(0))?;
        self.eat(b'}')?;
        self.scanner.end().ok()
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> Option<()> {
        self.scanner.eat(byte).then_some(())
    }

    fn object(&mut self, id: SelectionId) -> Option<()> {
        let projection = self.projection;
        let selection = &projection.selections[id.0 as usize];
        let fields = selection.lists.first()?;
        self.eat(b'{')?;
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                self.eat(b',')?;
            }
            let token = &field.key_json;
            if !self.scanner.eat_token(token) {
                let name = &token[1..token.len() - 2];
                self.scanner.eat_key(name).then_some(())?;
            }
            match &field.value {
                ProjectedValue::Typename => self.typename(selection)?,
                _ => self.value(&field.nullability, field)?,
            }
        }
        self.eat(b'}')
    }

    fn typename(&mut self, selection: &Selection) -> Option<()> {
        self.scanner.peek();
        let range = self.scanner.string().ok()?;
        let name = self.scanner.slice(range.start + 1..range.end - 1);
        let type_id = self.types.id(std::str::from_utf8(name).ok()?)?;
        let is_one = match selection.only_type {
            Some(only) => only == type_id,
            None => selection
                .lists_by_type
                .binary_search_by_key(&type_id, |(id, _)| *id)
                .is_ok(),
        };
        is_one.then_some(())
    }

    fn value(&mut self, nullability: &Nullability, field: &ProjectedField) -> Option<()> {
        if self.scanner.peek() == b'n' {
            self.scanner.value().ok()?;
            return (!nullability.non_null).then_some(());
        }
        if let Some(item) = &nullability.item {
            self.eat(b'[')?;
            if self.scanner.eat(b']') {
                return Some(());
            }
            loop {
                self.value(item, field)?;
                if !self.scanner.eat(b',') {
                    return self.eat(b']');
                }
            }
        }
        match &field.value {
            ProjectedValue::Object(id) => self.object(*id),
            ProjectedValue::Leaf(kind) => {
                let range = self.scanner.value().ok()?;
                (leaf::check(kind, self.scanner.slice(range)) == Leaf::Good).then_some(())
            }
            ProjectedValue::Typename
            | ProjectedValue::Introspection(_)
            | ProjectedValue::Unauthorized(_) => None,
        }
    }
}
