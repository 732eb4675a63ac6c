//! An operation ready to be executed any number of times.

use std::sync::Arc;

use apollo_compiler::{Node, ast::VariableDefinition};
use bytes::Bytes;
use federation::SubgraphIndex;

use super::{
    conditions::Conditions,
    cost::{OperationCost, actual::Counted},
    introspection::Introspection,
    plan::Plan,
    projection::Projection,
    resume::Resume,
    sizes::Sizes,
};
use crate::coerce::{Declared, Variables};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Reads.
    Query,
    /// Changes, in the order written.
    Mutation,
    /// Reads again at every event.
    Subscription,
}

/// An operation ready to be executed any number of times.
pub struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) projection: Projection,
    pub(crate) variables: Vec<Node<VariableDefinition>>,
    pub(crate) conditions: Conditions,
    pub(crate) introspection: Option<Introspection>,
    pub(crate) sizes: Sizes,
    pub(crate) cost: OperationCost,
    /// Where answers report their cost.
    pub(crate) counted: Option<Counted>,
    pub(super) kind: OperationKind,
    pub(super) name: Option<String>,
    pub(super) subscription: Option<UpstreamSubscription>,
}

impl Prepared {
    /// Query, mutation or subscription.
    pub fn kind(&self) -> OperationKind {
        self.kind
    }

    /// The operation's own name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The variables that it declares.
    pub fn declared(&self) -> Declared<'_> {
        Declared {
            definitions: &self.variables,
            deciding: self.conditions.variables(),
        }
    }

    /// For a subscription: what to ask of which subgraph.
    pub fn subscription(&self) -> Option<&UpstreamSubscription> {
        self.subscription.as_ref()
    }
}

/// The subgraph's half of a subscription: its events are what [`crate::execute::event`] completes.
pub struct UpstreamSubscription {
    /// Which subgraph has the events.
    pub subgraph: SubgraphIndex,
    /// The operation's text in the subgraph's terms.
    pub operation: String,
    /// The whole operation in one normal form: two documents that mean the same have the same.
    /// With the variables' bytes it identifies what can be shared between clients.
    pub normal_form: Arc<str>,
    /// The argument that resumes the field from a cursor (`after`), where the field has one.
    pub resume: Option<Resume>,
    pub(super) variables: Vec<(Box<[u8]>, usize)>,
    pub(super) all_variables: Vec<(Box<[u8]>, usize)>,
}

impl UpstreamSubscription {
    /// The JSON object of the variables that the subgraph's operation uses.
    pub fn variables(&self, variables: &Variables) -> Bytes {
        object(&self.variables, variables)
    }

    /// The JSON object of all the operation's variables, in the order declared: equal bytes mean
    /// equal variables, for this subgraph and for those that complete the events.
    pub fn all_variables(&self, variables: &Variables) -> Bytes {
        object(&self.all_variables, variables)
    }
}

fn object(wanted: &[(Box<[u8]>, usize)], variables: &Variables) -> Bytes {
    let mut json = vec![b'{'];
    variables.write(wanted, &mut json);
    json.push(b'}');
    Bytes::from(json)
}
