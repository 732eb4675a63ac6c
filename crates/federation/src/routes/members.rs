//! Which members an interface or union has below a field that several subgraphs resolve.
//!
//! Whoever resolves a `@shareable` field should answer alike, so that only a type that all of them know
//! can be its value. What is selected of other types is not asked for: else the answer would depend on
//! the subgraph that was chosen. Apollo's composition reports such fields as
//! `INCONSISTENT_RUNTIME_TYPES_FOR_SHAREABLE_RETURN`.
//!
//! The subgraphs that could resolve a field depend on the path alone, not on the plan: those that
//! resolve all fields on the way to it from the root, or from the last entity that none of them had.

use std::rc::Rc;

use apollo_compiler::executable::OperationType;

use super::RouteFinder;
use crate::{
    SubgraphIndex,
    plan::{PathId, PathStep, Provided},
    selection::Field,
    types::{TypeId, TypeSet},
};

/// The subgraphs that could have a path's objects, with the type that they have them as.
pub type Holders<'a> = Rc<[Holder<'a>]>;

#[derive(Clone)]
pub struct Holder<'a> {
    subgraph: SubgraphIndex,
    view: TypeId,
    provided: Provided<'a>,
}

impl<'a> RouteFinder<'_, 'a> {
    /// The object types that all subgraphs can answer with that could resolve the field to a path; none
    /// where that is no limit.
    pub(super) fn common_members(&self, path: PathId) -> Option<Rc<TypeSet>> {
        let path = self.paths.widest(path);
        if let Some(known) = self.memo.common_members.borrow().get(&path) {
            return known.clone();
        }
        let members = self.find_common_members(path).map(Rc::new);
        let mut memo = self.memo.common_members.borrow_mut();
        memo.insert(path, members.clone());
        members
    }

    fn find_common_members(&self, path: PathId) -> Option<TypeSet> {
        if self.supergraph.is_object(self.paths.ty(path)) {
            return None;
        }
        let (_, PathStep::Field(_)) = self.paths.parent(path)? else {
            return None;
        };
        let holders = self.holders(path);
        let views = holders.iter();
        let views = views.filter_map(|it| self.supergraph.view(it.subgraph, it.view));
        let mut views = views.filter(|view| !view.is_interface_object);
        let first = views.next()?.objects.clone();
        let mut is_limit = false;
        let common = views.fold(first, |common, view| {
            is_limit |= common != view.objects;
            common.intersection(&view.objects)
        });
        is_limit.then_some(common)
    }

    fn holders(&self, path: PathId) -> Holders<'a> {
        if let Some(known) = self.memo.holders.borrow().get(&path) {
            return Rc::clone(known);
        }
        let holders: Holders<'a> = self.find_holders(path).into();
        let mut memo = self.memo.holders.borrow_mut();
        memo.insert(path, Rc::clone(&holders));
        holders
    }

    fn find_holders(&self, path: PathId) -> Vec<Holder<'a>> {
        let ty = self.paths.ty(path);
        let is_query = self.supergraph.root(OperationType::Query) == Some(ty);
        match self.paths.parent(path) {
            Some((wider, PathStep::On(_))) => {
                let holders = self.holders(wider);
                let narrow = holders.iter().filter_map(|holder| {
                    let view = self
                        .supergraph
                        .narrow_view(holder.subgraph, holder.view, ty)?;
                    let holder = holder.clone();
                    Some(Holder { view, ..holder })
                });
                narrow.collect()
            }
            Some((above, PathStep::Field(field))) if !is_query => {
                let found = self.below(&self.holders(above), field);
                match found.is_empty() {
                    true => self.below(&self.holders_by_key(self.paths.ty(above)), field),
                    false => found,
                }
            }
            _ => {
                let subgraphs = self.supergraph.subgraphs();
                let with_root = subgraphs.filter(|it| self.supergraph.view(*it, ty).is_some());
                with_root.map(|it| holder(it, ty)).collect()
            }
        }
    }

    /// Those of `holders` that resolve a field, as holders of what it holds.
    fn below(&self, holders: &[Holder<'a>], field: &'a Field) -> Vec<Holder<'a>> {
        let found = holders.iter().filter_map(|holder| {
            let Holder {
                subgraph,
                view,
                provided,
            } = holder;
            let join = self.resolve(*subgraph, *view, &field.name, provided)?;
            Some(Holder {
                subgraph: *subgraph,
                view: join.inner?,
                provided: self.provided_below(provided, *view, join, &field.name),
            })
        });
        found.collect()
    }

    /// The subgraphs that find entities of a type by a key that others have.
    fn holders_by_key(&self, ty: TypeId) -> Vec<Holder<'a>> {
        let mut found = Vec::new();
        for subgraph in self.supergraph.subgraphs() {
            for view in self.supergraph.entity_views(ty) {
                let Some(here) = self.supergraph.view(subgraph, *view) else {
                    continue;
                };
                let mut keys = here.keys.iter();
                let is_meant = *view == ty || here.is_interface_object;
                if is_meant && keys.any(|key| self.is_had_by_others(key, ty, subgraph)) {
                    found.push(holder(subgraph, *view));
                    break;
                }
            }
        }
        found
    }
}

fn holder<'a>(subgraph: SubgraphIndex, view: TypeId) -> Holder<'a> {
    Holder {
        subgraph,
        view,
        provided: Provided::default(),
    }
}
