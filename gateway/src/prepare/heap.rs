//! Estimates how many bytes of the heap a prepared operation holds, for the bounds of the cache.
//!
//! Each allocation is counted with the size that the allocator rounds it up to.
//! `gateway/tests/prepared_heap.rs` compares the estimate with the real allocations.

use std::sync::Arc;

use apollo_compiler::{
    Node,
    ast::VariableDefinition,
    executable::{Selection, SelectionSet},
};
use bytes::Bytes;
use federation::{TypeId, TypeSet, authorization::RequirementId};

use crate::error::{Location, Message, RequestError};

use super::{
    cost::{OperationCost, actual::Counted},
    introspection::Introspection,
    plan::{
        Condition, ContextTemplate, ContextValue, EntityFetch, FetchStep, ListTemplate, Merge,
        PathSegment, Plan, Rename, RequestTemplate, Requirement, ResponseKey, Shape, ShapeField,
        Target,
    },
    prepared::{Prepared, UpstreamSubscription},
    projection::{
        LeafKind, Nullability, ProjectedField, ProjectedValue, Projection,
        Selection as ProjectedSelection,
    },
    resume::{Begin, Resume},
};

/// Allocations are multiples of this.
const GRAIN: usize = 16;
/// A field of a document as the parser keeps it: the node, its names, its place in its list.
const AST_FIELD: usize = 288;
/// An argument or a directive of one, with its value.
const AST_ARGUMENT: usize = 224;
/// The declaration of a variable, without its default.
const AST_VARIABLE: usize = 288;

/// The heap memory of a value.
pub trait Heap {
    /// An estimate in bytes, without the value itself.
    fn heap(&self) -> usize;
}

fn block(bytes: usize) -> usize {
    bytes.next_multiple_of(GRAIN)
}

macro_rules! none {
    ($($type:ty),*) => { $(impl Heap for $type {
        fn heap(&self) -> usize { 0 }
    })* };
}

none!(
    u8,
    u32,
    u64,
    usize,
    bool,
    &'static str,
    ResponseKey,
    Condition,
    TypeId,
    RequirementId,
    Location
);

macro_rules! sum {
    ($($type:ty: $($field:ident),*;)*) => { $(impl Heap for $type {
        fn heap(&self) -> usize { 0 $(+ self.$field.heap())* }
    })* };
}

sum! {
    Prepared: plan, projection, variables, cost, counted, introspection, name, subscription, requirements, refusal;
    RequestError: errors, numbers, texts;
    Message: message, locations;
    Plan: steps, keys, client_keys, shapes;
    FetchStep: conditions, wakes, request, root_keys, merge;
    RequestTemplate: operation, head, constant, variables, by_context;
    ContextTemplate: start, clients, middle, lists;
    ListTemplate: keys, definitions, selection, fragments, variable, contexts;
    ContextValue: variable, selection;
    EntityFetch: variable, targets, requires, typename_overrides, renames;
    Target: path;
    Rename: path;
    Shape: fields;
    ShapeField: token;
    Projection: selections;
    ProjectedSelection: lists_by_type, lists;
    ProjectedField: key_json, conditions, unless, value, nullability, name;
    Nullability: item;
    UpstreamSubscription: operation, normal_form, resume, variables, all_variables;
    Resume: first, resumed, cursor_variable, field_key, cursor_keys, begin;
}

impl<T: Heap> Heap for Vec<T> {
    fn heap(&self) -> usize {
        block(self.capacity() * size_of::<T>()) + self.iter().map(T::heap).sum::<usize>()
    }
}

impl<T: Heap> Heap for Box<[T]> {
    fn heap(&self) -> usize {
        block(size_of_val(&**self)) + self.iter().map(T::heap).sum::<usize>()
    }
}

impl<T: Heap> Heap for Box<T> {
    fn heap(&self) -> usize {
        block(size_of::<T>()) + (**self).heap()
    }
}

impl<T: Heap> Heap for Option<T> {
    fn heap(&self) -> usize {
        self.as_ref().map_or(0, T::heap)
    }
}

impl<A: Heap, B: Heap> Heap for (A, B) {
    fn heap(&self) -> usize {
        self.0.heap() + self.1.heap()
    }
}

impl Heap for Box<str> {
    fn heap(&self) -> usize {
        block(self.len())
    }
}

impl Heap for String {
    fn heap(&self) -> usize {
        block(self.capacity())
    }
}

impl Heap for Arc<str> {
    fn heap(&self) -> usize {
        block(self.len() + 2 * size_of::<usize>())
    }
}

impl Heap for Arc<[RequirementId]> {
    fn heap(&self) -> usize {
        match self.is_empty() {
            true => 0,
            false => block(size_of_val(&**self) + 2 * size_of::<usize>()),
        }
    }
}

impl Heap for Bytes {
    fn heap(&self) -> usize {
        block(self.len())
    }
}

impl Heap for TypeSet {
    fn heap(&self) -> usize {
        block(self.heap_bytes())
    }
}

impl Heap for OperationCost {
    fn heap(&self) -> usize {
        self.heap_bytes()
    }
}

impl Heap for Introspection {
    fn heap(&self) -> usize {
        block(self.text().len())
    }
}

impl Heap for Begin {
    fn heap(&self) -> usize {
        match self {
            Self::Text(text) | Self::Variable(text) => text.heap(),
        }
    }
}

impl Heap for Merge {
    fn heap(&self) -> usize {
        match self {
            Self::Root { renames } => renames.heap(),
            Self::Reentry { path, renames } => path.heap() + renames.heap(),
            Self::Entities(fetches) => fetches.heap(),
        }
    }
}

impl Heap for PathSegment {
    fn heap(&self) -> usize {
        match self {
            Self::Key(_) => 0,
            Self::Type(types) => types.heap(),
        }
    }
}

impl Heap for Requirement {
    fn heap(&self) -> usize {
        match self {
            Self::Field { name, requires, .. } => name.heap() + requires.heap(),
            Self::Fragment {
                types,
                type_name,
                requires,
            } => types.heap() + type_name.heap() + requires.heap(),
        }
    }
}

impl Heap for ProjectedValue {
    fn heap(&self) -> usize {
        match self {
            Self::Leaf(LeafKind::Enum(values)) => values.heap(),
            _ => 0,
        }
    }
}

impl Heap for Node<VariableDefinition> {
    fn heap(&self) -> usize {
        let default = self.default_value.as_ref();
        // A list's entries are nodes, too; they have at least two characters each.
        AST_VARIABLE + default.map_or(0, |value| value.to_string().len() * AST_ARGUMENT / 4)
    }
}

impl Heap for Counted {
    fn heap(&self) -> usize {
        let fragments = self.document().fragments.values();
        let fragments = fragments.map(|it| AST_FIELD + of_selections(&it.selection_set));
        let operations = self.document().operations.iter();
        let operations = operations.map(|it| AST_FIELD + of_selections(&it.selection_set));
        let sources = self.document().sources.values();
        let sources = sources.map(|it| block(it.source_text().len()));
        fragments.sum::<usize>() + operations.sum::<usize>() + sources.sum::<usize>()
    }
}

fn of_selections(set: &SelectionSet) -> usize {
    let each = set.selections.iter().map(|selection| {
        let (arguments, below) = match selection {
            Selection::Field(field) => (field.arguments.len(), of_selections(&field.selection_set)),
            Selection::InlineFragment(it) => (0, of_selections(&it.selection_set)),
            Selection::FragmentSpread(_) => (0, 0),
        };
        let directives = selection.directives().0.len();
        AST_FIELD + (arguments + directives) * AST_ARGUMENT + below
    });
    each.sum()
}
