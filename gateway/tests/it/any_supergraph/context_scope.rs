//! Whether something above sets each context that an operation takes: then a gateway has a plan for it.

use apollo_compiler::{
    ExecutableDocument, Name,
    executable::{Field, Selection, SelectionSet},
};

use super::joins::Joins;

/// Whether each argument that comes from a context has an ancestor all of whose possible objects set it.
pub fn all_are_set(joins: &Joins, operation: &str) -> bool {
    let document = ExecutableDocument::parse_and_validate(&joins.schema, operation, "");
    let document = document.expect("a valid operation");
    let operation = document.operations.get(None).expect("one operation");
    let root = vec![operation.object_type().clone()];
    let scope = Scope {
        joins,
        document: &document,
    };
    scope.covers(&operation.selection_set, &mut vec![root])
}

struct Scope<'d> {
    joins: &'d Joins,
    document: &'d ExecutableDocument,
}

impl Scope<'_> {
    /// `objects` are the possible objects at each place from the root to this one.
    fn covers(&self, set: &SelectionSet, objects: &mut Vec<Vec<Name>>) -> bool {
        set.selections.iter().all(|selection| {
            let below = match selection {
                Selection::Field(field) => return self.covers_field(field, objects),
                Selection::InlineFragment(fragment) => &fragment.selection_set,
                Selection::FragmentSpread(spread) => match spread.fragment_def(self.document) {
                    Some(fragment) => &fragment.selection_set,
                    None => return true,
                },
            };
            let mut here = objects.pop().unwrap_or_default();
            let all = here.clone();
            here.retain(|object| self.is_of(object, &below.ty));
            objects.push(here);
            let covers = self.covers(below, objects);
            objects.pop();
            objects.push(all);
            covers
        })
    }

    fn covers_field(&self, field: &Field, objects: &mut Vec<Vec<Name>>) -> bool {
        let Some((here, above)) = objects.split_last() else {
            return true;
        };
        let joins = here
            .iter()
            .flat_map(|object| self.joins.fields(object, &field.name));
        let mut contexts = joins.flat_map(|join| &join.contexts);
        let is_set = contexts.all(|context| {
            let sets = |object: &Name| {
                let mut types = context.selections.iter();
                types.any(|(ty, _)| self.is_of(object, ty))
            };
            above.iter().any(|place| place.iter().all(sets))
        });
        let inner = field.ty().inner_named_type();
        let types = self.joins.schema.types.iter();
        let inner = types.filter(|(name, ty)| ty.is_object() && self.is_of(name, inner));
        objects.push(inner.map(|(name, _)| name.clone()).collect());
        let covers = is_set && self.covers(&field.selection_set, objects);
        objects.pop();
        covers
    }

    fn is_of(&self, object: &Name, ty: &Name) -> bool {
        object == ty || self.joins.schema.is_subtype(ty, object)
    }
}
