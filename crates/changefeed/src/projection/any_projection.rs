//! A projection behind functions that do not depend on its type, so that the machinery around it is compiled once,
//! in this crate, and not in each crate that has a projection.

use std::any::Any;

use bson::{Bson, Document, RawDocument};
use futures_util::future::BoxFuture;
use mongodb::ClientSession;
use mongodb::error::Result;

use crate::{FromDocument, Unreadable};

use super::{AppliedBatch, NetChange, Projection, Slot, Unfoldable};

/// A document of the source, as the projection reads it.
pub(crate) struct SourceDocument(Box<dyn Any + Send + Sync>);

/// A [`Projection`] of any type. Only documents that it has read itself are given to it.
pub(crate) trait AnyProjection: Send + Sync {
    fn name(&self) -> &str;
    fn target(&self) -> &str;
    fn targets(&self) -> Document;
    fn field(&self) -> &str;
    fn read(&self, document: &RawDocument) -> std::result::Result<SourceDocument, Unreadable>;
    fn target_of(&self, source: &SourceDocument) -> Bson;
    fn is_same(&self, before: &SourceDocument, after: &SourceDocument) -> bool;
    fn empty(&self) -> Document;
    fn fold(
        &self,
        slot: &Slot,
        changes: &[NetChange<'_, SourceDocument>],
    ) -> std::result::Result<Vec<Document>, Unfoldable>;
    fn modify(&self, slot: &Slot, changes: &[NetChange<'_, SourceDocument>]) -> Option<Document>;
    fn applied(&self, batch: &AppliedBatch<'_>);
    fn compute<'a>(
        &'a self,
        targets: &'a [Bson],
        session: &'a mut ClientSession,
    ) -> BoxFuture<'a, Result<Vec<(Bson, Document)>>>;
    fn locate<'a>(&'a self, slot: &'a Slot, key: &'a Bson) -> BoxFuture<'a, Result<Option<Bson>>>;
}

impl<P: Projection> AnyProjection for P {
    fn name(&self) -> &str {
        Projection::name(self)
    }

    fn target(&self) -> &str {
        Projection::target(self)
    }

    fn targets(&self) -> Document {
        Projection::targets(self)
    }

    fn field(&self) -> &str {
        Projection::field(self)
    }

    fn read(&self, document: &RawDocument) -> std::result::Result<SourceDocument, Unreadable> {
        let document = P::SourceDocument::from_document(document)?;
        Ok(SourceDocument(Box::new(document)))
    }

    fn target_of(&self, source: &SourceDocument) -> Bson {
        Projection::target_of(self, typed::<P>(source))
    }

    fn is_same(&self, before: &SourceDocument, after: &SourceDocument) -> bool {
        Projection::is_same(self, typed::<P>(before), typed::<P>(after))
    }

    fn empty(&self) -> Document {
        Projection::empty(self)
    }

    fn fold(
        &self,
        slot: &Slot,
        changes: &[NetChange<'_, SourceDocument>],
    ) -> std::result::Result<Vec<Document>, Unfoldable> {
        Projection::fold(self, slot, &all_typed::<P>(changes))
    }

    fn modify(&self, slot: &Slot, changes: &[NetChange<'_, SourceDocument>]) -> Option<Document> {
        Projection::modify(self, slot, &all_typed::<P>(changes))
    }

    fn applied(&self, batch: &AppliedBatch<'_>) {
        Projection::applied(self, batch);
    }

    fn compute<'a>(
        &'a self,
        targets: &'a [Bson],
        session: &'a mut ClientSession,
    ) -> BoxFuture<'a, Result<Vec<(Bson, Document)>>> {
        Box::pin(Projection::compute(self, targets, session))
    }

    fn locate<'a>(&'a self, slot: &'a Slot, key: &'a Bson) -> BoxFuture<'a, Result<Option<Bson>>> {
        Box::pin(Projection::locate(self, slot, key))
    }
}

fn all_typed<'a, P: Projection>(
    changes: &[NetChange<'a, SourceDocument>],
) -> Vec<NetChange<'a, P::SourceDocument>> {
    let typed = changes.iter().map(|change| NetChange {
        key: change.key,
        existed: change.existed,
        after: change.after.map(typed::<P>),
    });
    typed.collect()
}

fn typed<P: Projection>(document: &SourceDocument) -> &P::SourceDocument {
    let typed = document.0.downcast_ref();
    typed.expect("the projection has read the document itself")
}
