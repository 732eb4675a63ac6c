//! Which documents can be read: one definition for every view of a collection.
//!
//! Other programs write into the collections too, and MongoDB takes any document. What a [`Shape`] does not
//! accept is as if it were not there, in lists, counts, live events and repairs. A shape is a table of
//! fields; from the same table come the check in Rust ([`Shape::read`]) and the expression by which the
//! server leaves unreadable documents out of a query or a count ([`Shape::filter`]). Where a field occurs twice in a
//! document, the first one counts, for both.

mod elements;
mod kind;
mod read;

use std::borrow::Cow;

use bson::{Bson, Document, RawDocument, doc};
use changefeed::Unreadable;

use elements::elements;
pub use kind::{Kind, Value};
pub use read::{all, one, within_limit};

/// The fields of a document that is read, each with what it may hold. Other fields do not matter.
#[derive(Clone, Copy, Debug)]
pub struct Shape<const N: usize>(pub [(&'static str, Kind); N]);

impl<const N: usize> Shape<N> {
    /// The values of the shape's fields, in its order.
    ///
    /// # Errors
    /// When one of them has an invalid value, or is missing although it is required.
    pub fn read<'d>(&self, document: &'d RawDocument) -> Result<[Value<'d>; N], Unreadable> {
        let mut values = [Value::Absent; N];
        let (mut is_there, mut is_readable) = ([false; N], [true; N]);
        // A service writes the fields in the order of the shape: the next one is looked at first.
        let mut next = 0;
        for element in elements(document) {
            let Some(place) = self.place(element.name, next) else {
                continue;
            };
            next = place + 1;
            if std::mem::replace(&mut is_there[place], true) {
                continue;
            }
            match self.0[place].1.read(&element) {
                Some(value) => values[place] = value,
                None => is_readable[place] = false,
            }
        }
        for (place, (name, kind)) in self.0.iter().enumerate() {
            let reason = match is_there[place] {
                true if is_readable[place] => continue,
                false if !kind.is_required() => continue,
                true => format!("the field {name} has an invalid value: {kind}"),
                false => format!("the field {name} is missing"),
            };
            let field = Cow::Borrowed(*name);
            return Err(Unreadable { field, reason });
        }
        Ok(values)
    }

    /// The place of the field `name`, looked for from the place `first` on.
    fn place(&self, name: &[u8], first: usize) -> Option<usize> {
        let is_it = |place: &usize| self.0[*place].0.as_bytes() == name;
        (first..N).chain(0..first.min(N)).find(is_it)
    }

    /// The aggregation expression that is true for the documents that [`Shape::read`] accepts.
    pub fn expression(&self) -> Document {
        let fields = self.0.iter();
        let fields: Vec<Bson> = fields.map(|(name, kind)| kind.expression(name)).collect();
        doc! { "$and": fields }
    }

    /// The same of the document in the field `path`, for a `path` that holds a document.
    pub fn expression_below(&self, path: &str) -> Document {
        let fields = self.0.iter();
        let below = fields.map(|(name, kind)| kind.expression(&format!("{path}.{name}")));
        doc! { "$and": below.collect::<Vec<Bson>>() }
    }

    /// The aggregation expression of the field to blame in a document that [`Shape::read`] does not accept.
    pub fn blamed(&self) -> Document {
        let branches = self.0.iter().map(|(name, kind)| {
            Bson::from(doc! { "case": { "$not": [kind.expression(name)] }, "then": *name })
        });
        doc! { "$switch": { "branches": branches.collect::<Vec<_>>(), "default": "" } }
    }

    /// The filter that leaves the documents that [`Shape::read`] accepts.
    pub fn filter(&self) -> Document {
        doc! { "$expr": self.expression() }
    }
}
