//! Which objects above give the values of arguments from contexts.
//!
//! The nearest object that sets a context gives its value. Where a path has objects of several types of
//! which only some set it, each type has to be asked for what is below by itself: the value is theirs,
//! or comes from further above.

use super::RouteFinder;
use crate::{
    plan::PathId,
    selection::{Field, Selection},
    supergraph::ContextArgument,
    types::{TypeId, TypeSet},
};

impl<'a> RouteFinder<'_, 'a> {
    /// The path above whose objects set a context for those of a path: the nearest.
    pub fn setter(&self, path: PathId, argument: &ContextArgument) -> Option<PathId> {
        let mut next = self.paths.parent(self.paths.widest(path));
        while let Some((above, _)) = next {
            if self.all_set(self.paths.ty(above), &argument.types) {
                return Some(above);
            }
            next = self.paths.parent(above);
        }
        None
    }

    /// Whether what is selected below a field takes a context that some of a path's objects set, and
    /// others do not.
    pub(super) fn is_set_by_some(&self, path: PathId, field: &'a Field) -> bool {
        let ty = self.paths.ty(path);
        if !self.supergraph.has_contexts() || field.set.is_empty() || self.supergraph.is_object(ty)
        {
            return false;
        }
        let mut taken = Vec::new();
        self.taken_below(ty, field, &mut taken);
        taken.iter().any(|types| {
            let objects = self.supergraph.objects(ty);
            !objects.intersection(types).is_empty() && !self.all_set(ty, types)
        })
    }

    fn all_set(&self, ty: TypeId, types: &TypeSet) -> bool {
        let objects = self.supergraph.objects(ty);
        types.contains(ty) || (!objects.is_empty() && objects.intersection(types) == *objects)
    }

    /// The types that set what is taken below a field, as far as nothing between sets it.
    fn taken_below(&self, ty: TypeId, field: &'a Field, taken: &mut Vec<&'a TypeSet>) {
        // A union has the fields of an interface that all of its members have.
        let mut objects = self.supergraph.objects(ty).iter();
        let of_type = self.supergraph.field(ty, &field.name);
        let info =
            of_type.or_else(|| objects.find_map(|it| self.supergraph.field(it, &field.name)));
        if let Some(inner) = info.and_then(|info| info.inner) {
            self.taken_by(inner, &field.set, taken);
        }
    }

    fn taken_by(&self, ty: TypeId, set: &'a [Selection], taken: &mut Vec<&'a TypeSet>) {
        for selection in set {
            match selection {
                Selection::On(on) => self.taken_by(on.ty, &on.set, taken),
                Selection::Field(field) => {
                    let objects = self.supergraph.objects(ty).iter();
                    let own = objects.filter_map(|it| self.supergraph.field(it, &field.name));
                    let joins = own.flat_map(|info| &info.joins);
                    let mut add = |types: &'a TypeSet| {
                        if !taken.contains(&types) {
                            taken.push(types);
                        }
                    };
                    for argument in joins.flat_map(|join| &join.contexts) {
                        add(&argument.types);
                    }
                    let mut below = Vec::new();
                    self.taken_below(ty, field, &mut below);
                    below.retain(|types| !self.all_set(ty, types));
                    below.into_iter().for_each(add);
                }
            }
        }
    }
}
