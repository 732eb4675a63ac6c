//! An operation in the planner's terms.

use std::collections::HashMap;

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{Directive, DirectiveLocation},
    executable::{self, OperationType, SelectionSet},
};

use crate::{
    ClientAliases, PlanError, Supergraph,
    selection::{self, Selection},
};

/// Selections of an operation with its fragments written out: more are refused.
pub const SELECTIONS_MAX: usize = 1_000_000;

/// What an operation asks of subgraphs.
pub struct Operation {
    /// Query, mutation or subscription.
    pub kind: OperationType,
    /// Fragments written out, equal fields merged, introspection left out.
    pub selections: Vec<Selection>,
    /// Those of the subgraphs that stand at the operation itself.
    pub directives: Vec<Node<Directive>>,
}

impl Operation {
    /// Reads an operation of a document that is valid for the supergraph's API schema
    /// ([`Supergraph::api_schema`]).
    ///
    /// # Errors
    /// [`PlanError::TooLarge`] above [`SELECTIONS_MAX`].
    pub fn new(
        supergraph: &Supergraph,
        document: &ExecutableDocument,
        operation: &executable::Operation,
    ) -> Result<Self, PlanError> {
        let mut counter = Counter {
            document,
            by_fragment: HashMap::new(),
        };
        if counter.count(&operation.selection_set) > SELECTIONS_MAX {
            return Err(PlanError::TooLarge);
        }
        let aliases = ClientAliases::of(supergraph, document, operation);
        let operation = Self::with_aliases(supergraph, document, operation, &aliases);
        Ok(operation)
    }

    /// The same where the caller needs the aliases, too (subgraphs answer under them, and the client
    /// wants its own), and has bounded the document already: each fragment is written out as often as
    /// it is spread.
    pub fn with_aliases(
        supergraph: &Supergraph,
        document: &ExecutableDocument,
        operation: &executable::Operation,
        aliases: &ClientAliases,
    ) -> Self {
        let kind = operation.operation_type;
        let at = match kind {
            OperationType::Query => DirectiveLocation::Query,
            OperationType::Mutation => DirectiveLocation::Mutation,
            OperationType::Subscription => DirectiveLocation::Subscription,
        };
        let passes = |it: &&Node<Directive>| supergraph.passes_on(&it.name, at);
        Self {
            kind,
            selections: selection::of_operation(document, operation, supergraph, aliases),
            directives: operation
                .directives
                .iter()
                .filter(passes)
                .cloned()
                .collect(),
        }
    }
}

/// Counts selections without writing fragments out.
struct Counter<'d> {
    document: &'d ExecutableDocument,
    by_fragment: HashMap<&'d Name, usize>,
}

impl<'d> Counter<'d> {
    fn count(&mut self, set: &'d SelectionSet) -> usize {
        let mut count = 0usize;
        for selection in &set.selections {
            let below = match selection {
                executable::Selection::Field(field) => self.count(&field.selection_set),
                executable::Selection::InlineFragment(fragment) => {
                    self.count(&fragment.selection_set)
                }
                executable::Selection::FragmentSpread(spread) => {
                    self.count_fragment(&spread.fragment_name)
                }
            };
            count = count.saturating_add(1).saturating_add(below);
        }
        count
    }

    fn count_fragment(&mut self, name: &'d Name) -> usize {
        if let Some(known) = self.by_fragment.get(name) {
            return *known;
        }
        let fragment = self.document.fragments.get(name);
        let count = fragment.map_or(0, |fragment| self.count(&fragment.selection_set));
        self.by_fragment.insert(name, count);
        count
    }
}
