//! An operation in the planner's terms.

use std::collections::HashMap;

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{Directive, DirectiveLocation},
    executable::{self, OperationType, SelectionSet},
};

use crate::{
    ClientAliases, PlanError, Supergraph,
    builder::DEPTH_MAX,
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
    /// [`PlanError::TooLarge`] above [`SELECTIONS_MAX`], and for selection sets inside others beyond 400
    /// levels.
    pub fn new(
        supergraph: &Supergraph,
        document: &ExecutableDocument,
        operation: &executable::Operation,
    ) -> Result<Self, PlanError> {
        let mut counter = Counter {
            document,
            by_fragment: HashMap::new(),
        };
        if counter.extent(&operation.selection_set, 0).is_too_large() {
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

/// Counts selections, and how deep they stand, without writing fragments out.
struct Counter<'d> {
    document: &'d ExecutableDocument,
    by_fragment: HashMap<&'d Name, Extent>,
}

/// How large a selection set is with its fragments written out.
#[derive(Clone, Copy, Default)]
struct Extent {
    selections: usize,
    depth: usize,
}

impl Extent {
    /// Of what must not be written out.
    const TOO_LARGE: Self = Self {
        selections: usize::MAX,
        depth: usize::MAX,
    };

    fn is_too_large(self) -> bool {
        self.selections > SELECTIONS_MAX || self.depth > DEPTH_MAX
    }
}

impl<'d> Counter<'d> {
    /// `depth` selection sets lead to this one.
    fn extent(&mut self, set: &'d SelectionSet, depth: usize) -> Extent {
        if depth > DEPTH_MAX {
            return Extent::TOO_LARGE;
        }
        let mut all = Extent::default();
        for selection in &set.selections {
            let below = match selection {
                executable::Selection::Field(field) => self.extent(&field.selection_set, depth + 1),
                executable::Selection::InlineFragment(fragment) => {
                    self.extent(&fragment.selection_set, depth + 1)
                }
                executable::Selection::FragmentSpread(spread) => {
                    self.extent_of_fragment(&spread.fragment_name, depth + 1)
                }
            };
            all.selections = all
                .selections
                .saturating_add(1)
                .saturating_add(below.selections);
            all.depth = all.depth.max(below.depth.saturating_add(1));
        }
        all
    }

    fn extent_of_fragment(&mut self, name: &'d Name, depth: usize) -> Extent {
        if let Some(known) = self.by_fragment.get(name) {
            return *known;
        }
        // Until it is known: a fragment that spreads itself has no end.
        self.by_fragment.insert(name, Extent::TOO_LARGE);
        let fragment = self.document.fragments.get(name);
        let extent = fragment.map_or_else(Extent::default, |fragment| {
            self.extent(&fragment.selection_set, depth)
        });
        self.by_fragment.insert(name, extent);
        extent
    }
}
