//! Selections that nothing can meet: fragments on types that the object is not of, conditions that
//! contradict each other, `@skip(if: true)`.
//!
//! All of them are valid, and the planner stumbles over each: it leaves out an object of which
//! nothing is left, asks for what no answer will show, or knows no plan. So they are taken out
//! before it sees the operation, with conditions that hold anyway. An object of which nothing is
//! left is still asked for its `__typename`, since the answer tells whether it is there.

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{Directive, DirectiveList},
    executable::{InlineFragment, Operation, Selection, SelectionSet},
};

use super::hidden_types::typename;
use crate::graph::types::{TypeId, TypeSet, TypeTable};

/// The document with nothing but the operation, its fragments written out, and all in it possible;
/// none if all is possible as it stands.
pub fn narrowed(
    document: &ExecutableDocument,
    operation: &Node<Operation>,
    types: &TypeTable,
) -> Option<ExecutableDocument> {
    let mut narrower = Narrower {
        document,
        types,
        has_changed: false,
    };
    let alone = narrower.document_of(operation);
    narrower.has_changed.then_some(alone)
}

/// The same, whether anything is impossible or not.
pub fn written_out(
    document: &ExecutableDocument,
    operation: &Node<Operation>,
    types: &TypeTable,
) -> ExecutableDocument {
    let mut narrower = Narrower {
        document,
        types,
        has_changed: false,
    };
    narrower.document_of(operation)
}

/// What is known of the objects that a selection is asked of.
struct Context {
    /// The object types that they may be of.
    types: TypeSet,
    /// The variables that must have these values for the selection to count.
    conditions: Vec<(Name, bool)>,
}

struct Narrower<'a> {
    document: &'a ExecutableDocument,
    types: &'a TypeTable,
    /// Whether anything was impossible, or conditional without need.
    has_changed: bool,
}

impl Narrower<'_> {
    fn document_of(&mut self, operation: &Node<Operation>) -> ExecutableDocument {
        let root = &operation.selection_set;
        let context = Context {
            types: self.objects_of(&root.ty),
            conditions: Vec::new(),
        };
        let selections = self.selections(root, &root.ty, &context);
        let mut operation = operation.clone();
        operation.make_mut().selection_set.selections = at_least_the_type(selections);
        let mut alone = ExecutableDocument::new();
        alone.sources = self.document.sources.clone();
        alone.operations.insert(operation);
        alone
    }

    /// The selections of `set` as selections on `parent`, fragments written out.
    fn selections(
        &mut self,
        set: &SelectionSet,
        parent: &Name,
        context: &Context,
    ) -> Vec<Selection> {
        let mut kept = Vec::with_capacity(set.selections.len());
        for selection in &set.selections {
            let Some((directives, conditions)) = self.conditions(selection.directives(), context)
            else {
                self.has_changed = true;
                continue;
            };
            self.has_changed |= directives.len() < selection.directives().len();
            let context = Context {
                types: context.types.clone(),
                conditions,
            };
            match selection {
                Selection::Field(field) => {
                    let mut field = field.clone();
                    let changed = field.make_mut();
                    changed.directives = directives;
                    if !changed.selection_set.selections.is_empty() {
                        let ty = changed.selection_set.ty.clone();
                        let below = Context {
                            types: self.objects_of(&ty),
                            conditions: context.conditions,
                        };
                        let selections = self.selections(&changed.selection_set, &ty, &below);
                        changed.selection_set.selections = at_least_the_type(selections);
                    }
                    kept.push(Selection::Field(field));
                }
                Selection::InlineFragment(it) => {
                    let condition = it.type_condition.as_ref();
                    let set = &it.selection_set;
                    self.fragment(set, condition, parent, directives, context, &mut kept);
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(it) = spread.fragment_def(self.document) {
                        let (set, condition) = (&it.selection_set, Some(it.type_condition()));
                        self.fragment(set, condition, parent, directives, context, &mut kept);
                    }
                }
            }
        }
        kept
    }

    /// Adds what a fragment on `condition` selects of `parent`.
    fn fragment(
        &mut self,
        set: &SelectionSet,
        condition: Option<&Name>,
        parent: &Name,
        directives: DirectiveList,
        mut context: Context,
        kept: &mut Vec<Selection>,
    ) {
        let condition = condition.unwrap_or(parent);
        let wanted = self.objects_of(condition);
        let holds_for_all = context.types.iter().all(|id| wanted.contains(id));
        context.types = context.types.intersection(&wanted);
        if context.types.iter().next().is_none() {
            self.has_changed = true;
            return;
        }
        let is_alone = self
            .type_id(parent)
            .is_some_and(|id| self.types.is_object(id));
        // An object has the fields of its interfaces, and of a union there are only the members'.
        let fits_parent = holds_for_all && (is_alone || self.is_union(condition));
        self.has_changed |= fits_parent && condition != parent;
        if fits_parent || condition == parent {
            let selections = self.selections(set, parent, &context);
            if directives.is_empty() {
                kept.extend(selections);
            } else {
                kept.extend(inline(None, parent, directives, selections));
            }
        } else if self.is_union(condition) {
            self.has_changed = true;
            self.members(set, directives, &context, kept);
        } else {
            let selections = self.selections(set, condition, &context);
            kept.extend(inline(Some(condition), condition, directives, selections));
        }
    }

    /// A fragment on a union, as one for each member that is possible here: not every subgraph that
    /// has the objects has the union.
    fn members(
        &mut self,
        set: &SelectionSet,
        directives: DirectiveList,
        context: &Context,
        kept: &mut Vec<Selection>,
    ) {
        for member in context.types.iter() {
            let Ok(name) = Name::new(self.types.name(member)) else {
                continue;
            };
            let mut types = TypeSet::default();
            types.insert(member);
            let context = Context {
                types,
                conditions: context.conditions.clone(),
            };
            let selections = self.selections(set, &name, &context);
            kept.extend(inline(Some(&name), &name, directives.clone(), selections));
        }
    }

    /// The directives without those that hold anyway, and all the conditions that then hold; none
    /// if they cannot.
    fn conditions(
        &self,
        directives: &DirectiveList,
        context: &Context,
    ) -> Option<(DirectiveList, Vec<(Name, bool)>)> {
        let mut kept = DirectiveList::new();
        let mut conditions = context.conditions.clone();
        for directive in directives.iter() {
            let expected = directive.name == "include";
            if !expected && directive.name != "skip" {
                kept.push(directive.clone());
                continue;
            }
            let value = directive.specified_argument_by_name("if");
            if let Some(constant) = value.and_then(|it| it.to_bool()) {
                if constant != expected {
                    return None;
                }
                continue;
            }
            let Some(variable) = value.and_then(|it| it.as_variable()) else {
                continue;
            };
            match conditions.iter().find(|(name, _)| name == variable) {
                Some((_, known)) if *known != expected => return None,
                Some(_) => {}
                None => {
                    conditions.push((variable.clone(), expected));
                    kept.push(Node::<Directive>::clone(directive));
                }
            }
        }
        Some((kept, conditions))
    }

    fn type_id(&self, name: &Name) -> Option<TypeId> {
        self.types.id(name)
    }

    fn objects_of(&self, name: &Name) -> TypeSet {
        let id = self.type_id(name).unwrap_or(TypeId::UNKNOWN);
        self.types.visible_objects(id)
    }

    fn is_union(&self, name: &Name) -> bool {
        self.type_id(name).is_some_and(|id| self.types.is_union(id))
    }
}

fn inline(
    condition: Option<&Name>,
    ty: &Name,
    directives: DirectiveList,
    selections: Vec<Selection>,
) -> Option<Selection> {
    if selections.is_empty() {
        return None;
    }
    let mut selection_set = SelectionSet::new(ty.clone());
    selection_set.selections = selections;
    Some(Selection::InlineFragment(Node::new(InlineFragment {
        type_condition: condition.cloned(),
        directives,
        selection_set,
    })))
}

fn at_least_the_type(mut selections: Vec<Selection>) -> Vec<Selection> {
    if selections.is_empty() {
        selections.push(typename());
    }
    selections
}
