//! An operation ready to be executed any number of times.

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
    time::Instant,
};

use apollo_compiler::{Node, ast::VariableDefinition};
use bytes::Bytes;
use federation::{SubgraphIndex, authorization::RequirementId};
use sha2::{Digest, Sha256};

use super::{
    conditions::Conditions,
    cost::{OperationCost, actual::Counted},
    introspection::Introspection,
    plan::Plan,
    projection::Projection,
    resume::Resume,
    sizes::Sizes,
};
use crate::{
    authorization::Decisions,
    coerce::{Declared, Variables},
    error::RequestError,
};

/// The type of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// It reads data once.
    Query,
    /// It changes data; its root fields are executed in order.
    Mutation,
    /// It reads data at each event.
    Subscription,
}

/// When the stages of preparing an operation began and ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stages {
    /// The parsing and the validation.
    pub(crate) began: Instant,
    /// The planning, with the computation of the cost.
    pub(crate) planning: Instant,
    pub(crate) ended: Instant,
}

/// An operation ready to be executed any number of times.
pub struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) projection: Projection,
    pub(crate) variables: Vec<Node<VariableDefinition>>,
    pub(crate) conditions: Conditions,
    /// The requirements of authorisation that its fields have, sorted. If there are any, it has a plan only for
    /// given decisions about them.
    pub(crate) requirements: Arc<[RequirementId]>,
    /// The decisions for which it has its plan.
    pub(crate) decisions: Option<Decisions>,
    pub(crate) introspection: Option<Introspection>,
    pub(crate) sizes: Sizes,
    pub(crate) cost: OperationCost,
    /// The document, if responses report their actual cost.
    pub(crate) counted: Option<Counted>,
    pub(super) kind: OperationKind,
    pub(super) name: Option<String>,
    /// The SHA-256 of its document, once it was wanted.
    pub(super) hash: OnceLock<[u8; 32]>,
    /// When it was prepared.
    pub(crate) stages: Stages,
    pub(super) subscription: Option<UpstreamSubscription>,
    /// Why it is never executed for clients with these decisions, whatever its variables are; then it has no
    /// plan.
    pub(super) refusal: Option<RequestError>,
}

impl Prepared {
    /// Whether it is a query, a mutation or a subscription.
    pub fn kind(&self) -> OperationKind {
        self.kind
    }

    /// The operation's name in the document, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Notes the hash of its document, which [`Self::hash`] then returns.
    pub(crate) fn hash_of(&self, document: &str) {
        self.hash
            .get_or_init(|| Sha256::digest(document.as_bytes()).into());
    }

    /// The SHA-256 of its document in hexadecimal digits, if it was noted.
    pub(crate) fn hash(&self) -> Option<String> {
        let mut hex = String::with_capacity(64);
        for byte in self.hash.get()? {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Some(hex)
    }

    /// The variables that it declares, and which of them decide conditions.
    pub fn declared(&self) -> Declared<'_> {
        Declared {
            definitions: &self.variables,
            deciding: self.conditions.variables(),
        }
    }

    /// For a subscription, the operation at the subgraph that has its events.
    pub fn subscription(&self) -> Option<&UpstreamSubscription> {
        self.subscription.as_ref()
    }
}

/// The part of a subscription that a subgraph executes. [`crate::execute::event`] completes its
/// events.
pub struct UpstreamSubscription {
    /// The subgraph that has the events.
    pub subgraph: SubgraphIndex,
    /// The GraphQL text for the subgraph.
    pub operation: String,
    /// The whole operation in a normal form, which is equal for documents that mean the same.
    /// Together with the variables' bytes it identifies what clients can share.
    pub normal_form: Arc<str>,
    /// Whether its events, once completed, may depend on who asks. If not, clients share them whatever their
    /// claims are.
    pub depends_on_viewer: bool,
    /// How to resume the field after a cursor, if the field supports it.
    pub resume: Option<Resume>,
    pub(super) variables: Vec<(Box<[u8]>, usize)>,
    pub(super) all_variables: Vec<(Box<[u8]>, usize)>,
}

impl UpstreamSubscription {
    /// One without variables.
    #[cfg(test)]
    pub(crate) fn for_tests(operation: &str, resume: Option<Resume>) -> Self {
        Self {
            subgraph: SubgraphIndex(0),
            operation: operation.to_owned(),
            normal_form: operation.into(),
            depends_on_viewer: false,
            resume,
            variables: Vec::new(),
            all_variables: Vec::new(),
        }
    }

    /// The variables that the subgraph's operation uses, as a JSON object.
    pub fn variables(&self, variables: &Variables) -> Bytes {
        object(&self.variables, variables)
    }

    /// All the operation's variables, as a JSON object in the order declared. Equal bytes mean
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
