//! Externals that a supergraph does not tell of.
//!
//! Where all subgraphs have a field, a composer may write no `@join__field` at all, and so leave out
//! that the field is external in one of them: in an `@interfaceObject`, or where the subgraph extends
//! the type and the field is of another's key. But what a subgraph `@requires` or `@provides` has to be
//! external in it, or something below has to be, by the rules of composition.
//! <https://www.apollographql.com/docs/graphos/schema-design/federated-schemas/reference/directives>

use std::collections::HashSet;

use apollo_compiler::Name;

use super::{CompositeType, Join, View};
use crate::{
    graph::{SubgraphIndex, types::TypeId},
    planner::selection::{Field, Selection},
};

/// A field of a type in a subgraph.
type Place = (TypeId, SubgraphIndex, String);

/// Marks the fields that only requirements and provisions have.
pub fn mark(types: &mut [CompositeType]) {
    let mut finder = Finder {
        types,
        of_keys: fields_of_keys(types),
        found: Vec::new(),
    };
    for (index, ty) in types.iter().enumerate() {
        for join in ty.fields.values().flat_map(|field| &field.joins) {
            finder.find(join.subgraph, TypeId(index as u32), &join.requires);
            if let Some(inner) = join.inner {
                finder.find(join.subgraph, inner, &join.provides);
            }
        }
    }
    for (ty, subgraph, name) in finder.found {
        let field = types[ty.0 as usize].fields.get_mut(name.as_str());
        let joins = field.into_iter().flat_map(|field| &mut field.joins);
        for join in joins.filter(|join| join.subgraph == subgraph) {
            join.is_external = true;
        }
    }
}

/// The fields that keys are made of, those below others too.
fn fields_of_keys(types: &[CompositeType]) -> HashSet<(TypeId, Name)> {
    let mut fields = HashSet::new();
    for (index, ty) in types.iter().enumerate() {
        for view in ty.views.iter().flatten() {
            for key in &view.keys {
                add_fields(types, TypeId(index as u32), key, &mut fields);
            }
        }
    }
    fields
}

fn add_fields(
    types: &[CompositeType],
    ty: TypeId,
    set: &[Selection],
    fields: &mut HashSet<(TypeId, Name)>,
) {
    for selection in set {
        match selection {
            Selection::On(on) => add_fields(types, on.ty, &on.set, fields),
            Selection::Field(field) => {
                fields.insert((ty, field.name.clone()));
                let known = types.get(ty.0 as usize).map(|ty| &ty.fields);
                let inner = known.and_then(|fields| fields.get(&field.name)?.inner);
                if let Some(inner) = inner {
                    add_fields(types, inner, &field.set, fields);
                }
            }
        }
    }
}

struct Finder<'t> {
    types: &'t [CompositeType],
    of_keys: HashSet<(TypeId, Name)>,
    found: Vec<Place>,
}

impl<'t> Finder<'t> {
    /// Whether something in a field set is external by what is said, or by being in the set.
    fn find(&mut self, subgraph: SubgraphIndex, ty: TypeId, set: &[Selection]) -> bool {
        let mut has_externals = false;
        for selection in set {
            has_externals |= match selection {
                Selection::On(on) => self.find(subgraph, on.ty, &on.set),
                Selection::Field(field) => self.find_field(subgraph, ty, field),
            };
        }
        has_externals
    }

    fn find_field(&mut self, subgraph: SubgraphIndex, ty: TypeId, field: &Field) -> bool {
        let Some((view, join)) = self.seen(subgraph, ty, &field.name) else {
            return false;
        };
        let inner = join.inner;
        let is_below = inner.is_some_and(|ty| self.find(subgraph, ty, &field.set));
        let is_own_key = view.keys.iter().any(|key| has(key, &field.name));
        let is_found = join.is_unsaid
            && !is_own_key
            && match view.is_interface_object {
                true => !is_below,
                // If it is not external after all, it comes from where others have it too.
                false => {
                    self.of_keys.contains(&(ty, field.name.clone()))
                        && self.is_had_from_others(subgraph, ty, &field.name)
                }
            };
        if is_found {
            self.found.push((ty, subgraph, field.name.to_string()));
        }
        is_found || is_below || (join.is_external && !is_own_key)
    }

    /// Whether another subgraph has the objects with this field by a key without it, which this one
    /// has.
    fn is_had_from_others(&self, subgraph: SubgraphIndex, ty: TypeId, name: &Name) -> bool {
        let here = &self.types[ty.0 as usize];
        let is_here = |selection: &Selection| match selection {
            Selection::Field(it) if it.name != *name => {
                let join = self.seen(subgraph, ty, &it.name);
                it.is_typename() || join.is_some_and(|(_, join)| !join.is_external)
            }
            _ => false,
        };
        let others = here.views.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != usize::from(subgraph.0));
        others.any(|(other, view)| {
            let join = self.seen(SubgraphIndex(other as u16), ty, name);
            let keys = view.iter().flat_map(|view| &view.keys);
            join.is_some_and(|(_, join)| !join.is_external)
                && keys.into_iter().any(|key| key.iter().all(is_here))
        })
    }

    /// A field as a subgraph has it in this very type.
    fn seen(
        &self,
        subgraph: SubgraphIndex,
        ty: TypeId,
        name: &str,
    ) -> Option<(&'t View, &'t Join)> {
        let types: &'t [CompositeType] = self.types;
        let ty = types.get(ty.0 as usize)?;
        let view = ty.views.get(usize::from(subgraph.0))?.as_ref()?;
        let mut joins = ty.fields.get(name)?.joins.iter();
        let join = joins.find(|join| join.subgraph == subgraph)?;
        Some((view, join))
    }
}

/// Whether a field set has a field at its top.
fn has(set: &[Selection], name: &str) -> bool {
    set.iter()
        .any(|selection| matches!(selection, Selection::Field(it) if it.name == name))
}
