//! Takes out of an operation what a client may not see.

use crate::{
    Operation, PlanError, Supergraph,
    selection::{Field, On, Selection},
    types::{TypeId, TypeSet, TypeTable},
};

/// The operation without the fields that `sees` refuses, by the type of their object and their name.
///
/// `sees` is asked about object types, and about an interface where that has no implementation that clients can meet.
/// A field of an interface or union that may be seen of some object types only is selected for these alone. Where
/// something was taken out, `__typename` is added to an object that has nothing else left, and to one that may be
/// of several types: its reader has to know that it is there, and what it may show of it.
///
/// # Errors
/// [`PlanError::TooLarge`] if more than `selections_max` would be looked at or left, as fields of interfaces are repeated
/// for object types.
pub fn cut(
    supergraph: &Supergraph,
    operation: Operation,
    selections_max: usize,
    sees: &dyn Fn(TypeId, &str) -> bool,
) -> Result<Operation, PlanError> {
    let root = supergraph.root(operation.kind).unwrap_or(TypeId::UNKNOWN);
    let mut cutter = Cutter {
        supergraph,
        types: supergraph.types(),
        sees,
        selections_left: selections_max,
    };
    let objects = cutter.types.visible_objects(root);
    let kept = cutter.set(operation.selections, root, &objects)?;
    Ok(Operation {
        selections: kept.set,
        ..operation
    })
}

struct Cutter<'s> {
    supergraph: &'s Supergraph,
    types: &'s TypeTable,
    sees: &'s dyn Fn(TypeId, &str) -> bool,
    selections_left: usize,
}

/// What is left of a selection set.
struct Kept {
    set: Vec<Selection>,
    /// Whether something was taken out for some objects, below fields excepted.
    is_cut: bool,
}

impl Cutter<'_> {
    /// `objects` are the types that objects of type `ty` can have here.
    fn set(
        &mut self,
        set: Vec<Selection>,
        ty: TypeId,
        objects: &TypeSet,
    ) -> Result<Kept, PlanError> {
        let mut kept = Kept {
            set: Vec::with_capacity(set.len()),
            is_cut: false,
        };
        for selection in set {
            self.selections_left = self
                .selections_left
                .checked_sub(1)
                .ok_or(PlanError::TooLarge)?;
            match selection {
                Selection::Field(field) => self.field(field, ty, objects, &mut kept)?,
                Selection::On(on) => {
                    let narrowed = objects.intersection(&self.types.visible_objects(on.ty));
                    let inner = self.set(on.set, on.ty, &narrowed)?;
                    kept.is_cut |= inner.is_cut;
                    if !inner.set.is_empty() {
                        let set = inner.set;
                        kept.set.push(Selection::On(On { set, ..on }));
                    }
                }
            }
        }
        Ok(kept)
    }

    fn field(
        &mut self,
        field: Field,
        ty: TypeId,
        objects: &TypeSet,
        kept: &mut Kept,
    ) -> Result<(), PlanError> {
        if field.name.starts_with("__") {
            kept.set.push(Selection::Field(field));
            return Ok(());
        }
        let sees = |object: &TypeId| (self.sees)(*object, &field.name);
        let seen: Vec<TypeId> = objects.iter().filter(sees).collect();
        let is_whole = match objects.is_empty() {
            true => sees(&ty),
            false => seen.len() == objects.iter().count(),
        };
        kept.is_cut |= !is_whole;
        if !is_whole && seen.is_empty() {
            return Ok(());
        }
        let field = self.below(field, ty)?;
        if is_whole {
            kept.set.push(Selection::Field(field));
            return Ok(());
        }
        let size = size(std::slice::from_ref(&Selection::Field(field.clone())));
        let all = size.saturating_mul(seen.len());
        let left = self.selections_left.checked_sub(all);
        self.selections_left = left.ok_or(PlanError::TooLarge)?;
        for ty in seen {
            kept.set.push(Selection::On(On {
                ty,
                when: Vec::new(),
                set: vec![Selection::Field(field.clone())],
            }));
        }
        Ok(())
    }

    /// The field with what is left of its selection set.
    fn below(&mut self, mut field: Field, ty: TypeId) -> Result<Field, PlanError> {
        if field.set.is_empty() {
            return Ok(field);
        }
        let known = self.supergraph.field(ty, &field.name);
        let inner = known.and_then(|known| known.inner);
        let inner = inner.unwrap_or(TypeId::UNKNOWN);
        let objects = self.types.visible_objects(inner);
        let kept = self.set(std::mem::take(&mut field.set), inner, &objects)?;
        field.set = kept.set;
        let may_be_several = !self.types.is_object(inner);
        if kept.is_cut && (may_be_several || field.set.is_empty()) {
            let typename = Selection::Field(Field::typename());
            field.set.insert(0, typename);
        }
        Ok(field)
    }
}

fn size(set: &[Selection]) -> usize {
    let sizes = set.iter().map(|selection| match selection {
        Selection::Field(field) => 1 + size(&field.set),
        Selection::On(on) => 1 + size(&on.set),
    });
    sizes.sum()
}
