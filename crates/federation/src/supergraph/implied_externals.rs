//! Implied externals: infers `@external` where the composer omits it.
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
    SubgraphIndex,
    selection::{Field, Selection},
    types::TypeId,
};

/// A field of a type in a subgraph.
type SubgraphField = (TypeId, SubgraphIndex, Name);

/// Marks the fields that only requirements and provisions have.
pub fn mark(types: &mut [CompositeType]) {
    let mut finder = Finder {
        types,
        of_keys: fields_of_keys(types),
        found: Vec::new(),
        likely: HashSet::new(),
    };
    for (index, ty) in types.iter().enumerate() {
        for join in ty.fields.values().flat_map(|field| &field.joins) {
            finder.find(join.subgraph, TypeId(index as u32), &join.requires, true);
            if let Some(inner) = join.inner {
                finder.find(join.subgraph, inner, &join.provides, true);
            }
        }
    }
    let likely = finder.likely.iter();
    let certain = likely.filter(|field| finder.is_had_from_others(field));
    finder.found.extend(certain.cloned().collect::<Vec<_>>());
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
        for (_, view) in ty.views.iter() {
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
    found: Vec<SubgraphField>,
    /// The same if others have them.
    likely: HashSet<SubgraphField>,
}

impl<'t> Finder<'t> {
    /// Whether something in a field set is external, by its join or because it is in the set.
    fn find(
        &mut self,
        subgraph: SubgraphIndex,
        ty: TypeId,
        set: &[Selection],
        is_top: bool,
    ) -> bool {
        let mut has_externals = false;
        for selection in set {
            has_externals |= match selection {
                Selection::On(on) => self.find(subgraph, on.ty, &on.set, is_top),
                Selection::Field(field) => self.find_field(subgraph, ty, field, is_top),
            };
        }
        has_externals
    }

    fn find_field(
        &mut self,
        subgraph: SubgraphIndex,
        ty: TypeId,
        field: &Field,
        is_top: bool,
    ) -> bool {
        let Some((view, join)) = self.seen(subgraph, ty, &field.name) else {
            return false;
        };
        let inner = join.inner;
        let is_below = inner.is_some_and(|ty| self.find(subgraph, ty, &field.set, false));
        if view.keys.iter().any(|key| has(key, &field.name)) {
            return is_below;
        }
        let this = || (ty, subgraph, field.name.clone());
        if !join.is_implied {
            return is_below || join.is_external;
        }
        if view.is_interface_object && !is_below {
            self.found.push(this());
            return true;
        }
        let is_of_key = self.of_keys.contains(&(ty, field.name.clone()));
        if !view.is_interface_object && is_of_key && (is_top || view.is_extension) {
            self.likely.insert(this());
            return true;
        }
        is_below
    }

    /// Whether another subgraph has the objects with this field by a key without it, which this one
    /// has. Then it does no harm to take a field for external that is not.
    fn is_had_from_others(&self, (ty, subgraph, name): &SubgraphField) -> bool {
        let has = |subgraph: SubgraphIndex, name: &Name| {
            let join = self.seen(subgraph, *ty, name);
            join.is_some_and(|(_, join)| !join.is_external)
                && !self.likely.contains(&(*ty, subgraph, name.clone()))
        };
        let is_here = |selection: &Selection| match selection {
            Selection::Field(it) => it.is_typename() || has(*subgraph, &it.name),
            Selection::On(_) => false,
        };
        let views = self.types[ty.0 as usize].views.iter();
        let mut others = views.filter(|(other, _)| other != subgraph);
        others.any(|(other, view)| {
            let mut keys = view.keys.iter();
            has(other, name) && keys.any(|key| key.iter().all(is_here))
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
        let view = ty.views.get(subgraph)?;
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
