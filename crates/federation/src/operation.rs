//! An operation in the planner's terms.

use apollo_compiler::{
    ExecutableDocument, Node,
    ast::{Directive, DirectiveLocation},
    executable::{self, OperationType},
};

use crate::{
    ClientAliases, Supergraph,
    selection::{self, Selection},
};

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
    pub fn new(
        supergraph: &Supergraph,
        document: &ExecutableDocument,
        operation: &executable::Operation,
    ) -> Self {
        let aliases = ClientAliases::of(supergraph, document, operation);
        Self::with_aliases(supergraph, document, operation, &aliases)
    }

    /// The same where the caller needs the aliases, too: subgraphs answer under them, and the client
    /// wants its own.
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
