//! Which fields a subgraph resolves of the objects that it has.

use super::RouteFinder;
use crate::{SubgraphIndex, plan::Provided, selection::Selection, supergraph::Join, types::TypeId};

impl<'a> RouteFinder<'_, 'a> {
    /// The field of a subgraph's type, if the subgraph resolves it for all objects that can be there.
    pub fn resolve(
        &self,
        subgraph: SubgraphIndex,
        view: TypeId,
        name: &str,
        provided: &Provided<'a>,
    ) -> Option<&'a Join> {
        let join = self.resolve_in(subgraph, view, name, provided)?;
        let here = self.supergraph.view(subgraph, view)?;
        if !self.supergraph.is_object(view) && !here.is_interface_object {
            let mut objects = here.objects.iter();
            let is_plain = objects.all(|object| {
                let join = self.resolve_in(subgraph, object, name, provided);
                join.is_some_and(Join::is_plain)
            });
            if !is_plain {
                return None;
            }
        }
        Some(join)
    }

    fn resolve_in(
        &self,
        subgraph: SubgraphIndex,
        view: TypeId,
        name: &str,
        provided: &Provided<'a>,
    ) -> Option<&'a Join> {
        let join = self.supergraph.join(subgraph, view, name)?;
        let is_there = !join.is_external || !self.provided_of(provided, view, name).is_empty();
        (is_there && join.is_available(self.request.overrides)).then_some(join)
    }

    /// What `provided` has below a field; nothing where it does not have the field.
    fn provided_of(
        &self,
        provided: &[&'a [Selection]],
        ty: TypeId,
        name: &str,
    ) -> Vec<&'a [Selection]> {
        let mut found = Vec::new();
        for selection in provided.iter().copied().flatten() {
            match selection {
                Selection::Field(field) if field.name == name => found.push(&*field.set),
                Selection::Field(_) => {}
                Selection::On(on) if self.supergraph.types().satisfies(ty, on.ty) => {
                    found.extend(self.provided_of(&[&on.set], ty, name));
                }
                Selection::On(_) => {}
            }
        }
        found
    }

    /// What is provided of the objects that a field holds.
    pub fn provided_below(
        &self,
        provided: &[&'a [Selection]],
        view: TypeId,
        join: &'a Join,
        name: &str,
    ) -> Provided<'a> {
        let mut below = self.provided_of(provided, view, name);
        below.retain(|set| !set.is_empty());
        if !join.provides.is_empty() {
            below.push(&join.provides);
        }
        below.into()
    }
}
