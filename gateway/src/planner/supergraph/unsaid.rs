//! Externals that a supergraph does not tell of.
//!
//! Where all subgraphs have a field, and one of them as an `@interfaceObject`, a composer may write no
//! `@join__field` at all, and so leave out that the field is external there. But what a subgraph
//! `@requires` or `@provides` has to be external in it, by the rules of composition.
//! <https://www.apollographql.com/docs/graphos/schema-design/federated-schemas/reference/directives>

use super::{CompositeType, Join};
use crate::{
    graph::{SubgraphIndex, types::TypeId},
    planner::selection::Selection,
};

/// A field of a type in a subgraph.
type Place = (TypeId, SubgraphIndex, String);

/// Marks the fields of interface objects that only requirements and provisions have.
pub fn mark(types: &mut [CompositeType]) {
    let mut found = Vec::new();
    for (index, ty) in types.iter().enumerate() {
        for join in ty.fields.values().flat_map(|field| &field.joins) {
            let holder = TypeId(index as u32);
            find(types, join.subgraph, holder, &join.requires, &mut found);
            if let Some(inner) = join.inner {
                find(types, join.subgraph, inner, &join.provides, &mut found);
            }
        }
    }
    for (ty, subgraph, name) in found {
        let field = types[ty.0 as usize].fields.get_mut(name.as_str());
        let joins = field.into_iter().flat_map(|field| &mut field.joins);
        for join in joins.filter(|join| join.subgraph == subgraph) {
            join.is_external = true;
        }
    }
}

/// Whether something in a field set is external by what is said, or by being in the set.
fn find(
    types: &[CompositeType],
    subgraph: SubgraphIndex,
    ty: TypeId,
    set: &[Selection],
    found: &mut Vec<Place>,
) -> bool {
    let mut has_externals = false;
    for selection in set {
        has_externals |= match selection {
            Selection::On(on) => find(types, subgraph, on.ty, &on.set, found),
            Selection::Field(field) => {
                let Some(join) = unkeyed(types, subgraph, ty, &field.name) else {
                    continue;
                };
                let inner = join.inner;
                let is_below = inner.is_some_and(|ty| find(types, subgraph, ty, &field.set, found));
                if join.is_unsaid && !is_below {
                    found.push((ty, subgraph, field.name.to_string()));
                }
                join.is_unsaid || is_below || join.is_external
            }
        };
    }
    has_externals
}

/// A field as a subgraph has it in this very type, if no key of the type has it.
fn unkeyed<'t>(
    types: &'t [CompositeType],
    subgraph: SubgraphIndex,
    ty: TypeId,
    name: &str,
) -> Option<&'t Join> {
    let ty = types.get(ty.0 as usize)?;
    let view = ty.views.get(usize::from(subgraph.0))?.as_ref()?;
    let is_it =
        |selection: &Selection| matches!(selection, Selection::Field(it) if it.name == name);
    if view.keys.iter().flatten().any(is_it) {
        return None;
    }
    let mut joins = ty.fields.get(name)?.joins.iter();
    joins.find(|join| join.subgraph == subgraph)
}
