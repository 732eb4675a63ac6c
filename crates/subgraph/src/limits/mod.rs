//! Limits of what one request may ask for, checked before async-graphql sees the document.
//!
//! async-graphql's validation follows every fragment each time that it is spread, so a document of 1 KB can
//! keep it busy without end; its parser recurses once per bracket. The checks here are linear in the text. In
//! order:
//!
//! - [`json_size`]: the variables' JSON before it is read;
//! - [`outline`]: the text before it is parsed, by its [`tokens`]: bytes, tokens, nesting of brackets, and the
//!   counts of definitions, selections, aliases, root fields and unknown fields, fragments counted once;
//! - [`selections`]: the parsed document, each fragment counted once: depth, aliases, written-out selections;
//! - [`types`]: the types of the variables;
//! - [`conflicts`]: fields that cannot be merged, of which the first one ends the check;
//! - [`variables`]: what the variables weigh, wherever the document refers to them;
//! - [`cost`]: the objects and leaves of the answer, page sizes and representations multiplied in.
//!
//! What these cannot know, because texts differ in length, [`answer`] bounds while the request runs. To add
//! a list to a subgraph, add its field to the subgraph's table of [`FieldCost`]s.

pub mod answer;
mod conflicts;
mod cost;
mod error;
pub(crate) mod json_size;
mod outline;
mod selections;
mod tokens;
mod types;
mod variables;

use std::sync::Arc;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, OperationType};
use async_graphql::{Request, ServerError, Variables};
use clap::builder::RangedU64ValueParser;

pub use cost::{FieldCost, FieldCosts};
pub use error::LimitError;
pub use types::TypeNames;

use cost::OperationCost;
use variables::References;

/// Operations of a document, and fragments: what validation does for each of them.
const OPERATIONS_MAX: usize = 100;
const FRAGMENTS_MAX: usize = 500;

/// The limits of a subgraph's requests. A gateway in front has limits of its own, most of them lower: a client
/// of the gateway meets those first.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct LimitSettings {
    /// Limit the bytes of a request with its variables: of a POST's body, or of a WebSocket message. The
    /// default is larger than what a gateway accepts from a client (`REQUEST_BYTES_MAX`, 2 MiB), because a
    /// gateway adds representations.
    #[arg(long = "limit-request-bytes-max", env = "SUBGRAPH_LIMIT_REQUEST_BYTES_MAX", default_value_t = 4_194_304, value_parser = at_least_one())]
    pub request_bytes_max: usize,
    /// Limit the bytes of incomplete request bodies of all clients together; one client, such as a gateway, may
    /// use half of it. A request that exceeds it is refused. The last quarter is reserved for bodies of up to
    /// 16 KiB.
    #[arg(long = "limit-bodies-bytes-max", env = "SUBGRAPH_LIMIT_BODIES_BYTES_MAX", default_value_t = 67_108_864, value_parser = at_least_one())]
    pub bodies_bytes_max: usize,
    /// Limit the bytes of a document; longer texts belong in variables. These limits of a subgraph protect it
    /// from clients that ask it directly; all but the tokens leave room for what a gateway with its default
    /// limits sends.
    #[arg(long = "limit-document-bytes-max", env = "SUBGRAPH_LIMIT_DOCUMENT_BYTES_MAX", default_value_t = 131_072, value_parser = at_least_one())]
    pub document_bytes_max: usize,
    /// Limit the lexical tokens of a document. Arguments and values count again wherever their fragment is
    /// spread.
    #[arg(long = "limit-tokens-max", env = "SUBGRAPH_LIMIT_TOKENS_MAX", default_value_t = 10_000, value_parser = at_least_one())]
    pub tokens_max: usize,
    /// Limit the nesting of brackets, of selection sets with fragments expanded, and of lists and objects in
    /// variables. At most 60.
    #[arg(long = "limit-depth-max", env = "SUBGRAPH_LIMIT_DEPTH_MAX", default_value_t = 40, value_parser = depth())]
    pub depth_max: usize,
    /// Limit the aliases of one operation, with fragments expanded.
    #[arg(long = "limit-aliases-max", env = "SUBGRAPH_LIMIT_ALIASES_MAX", default_value_t = 1_000, value_parser = at_least_one())]
    pub aliases_max: usize,
    /// Limit the root fields of all operations of a document, with fragments expanded.
    #[arg(long = "limit-root-fields-max", env = "SUBGRAPH_LIMIT_ROOT_FIELDS_MAX", default_value_t = 200, value_parser = at_least_one())]
    pub root_fields_max: usize,
    /// Limit the directives on one element of a document.
    #[arg(long = "limit-directives-max", env = "SUBGRAPH_LIMIT_DIRECTIVES_MAX", default_value_t = 20, value_parser = at_least_one())]
    pub directives_max: usize,
    /// Limit the selections of a document, with fragments expanded.
    #[arg(long = "limit-selections-max", env = "SUBGRAPH_LIMIT_SELECTIONS_MAX", default_value_t = 6_000, value_parser = at_least_one())]
    pub selections_max: usize,
    /// Limit the entity representations in one request.
    #[arg(long = "limit-representations-max", env = "SUBGRAPH_LIMIT_REPRESENTATIONS_MAX", default_value_t = 10_000, value_parser = at_least_one())]
    pub representations_max: usize,
    /// Limit the cost of one request. Every field and every item of a list costs 1, large fields cost more, and
    /// a list multiplies the cost of its selection set. A page of 100 comments with id, text and author costs
    /// about 1,000.
    #[arg(long = "limit-cost-max", env = "SUBGRAPH_LIMIT_COST_MAX", default_value_t = 250_000, value_parser = at_least_one())]
    pub cost_max: usize,
    /// Limit the cost of a subscription's selection set, which is executed for every event.
    #[arg(long = "limit-event-cost-max", env = "SUBGRAPH_LIMIT_EVENT_COST_MAX", default_value_t = 5_000, value_parser = at_least_one())]
    pub event_cost_max: usize,
    /// Limit the total cost of large requests (above 5,000) that run at the same time; further large requests
    /// wait.
    #[arg(long = "limit-running-cost-max", env = "SUBGRAPH_LIMIT_RUNNING_COST_MAX", default_value_t = 250_000, value_parser = at_least_one())]
    pub running_cost_max: usize,
    /// Limit the bytes of responses that clients have not read, of all clients together; one client may use
    /// half of it. Responses of up to 64 KiB do not count. A response that exceeds it is discarded.
    #[arg(long = "limit-answers-bytes-max", env = "SUBGRAPH_LIMIT_ANSWERS_BYTES_MAX", default_value_t = 268_435_456, value_parser = at_least_one())]
    pub answers_bytes_max: usize,
    /// Limit the bytes of the long texts in one response.
    #[arg(long = "limit-answer-bytes-max", env = "SUBGRAPH_LIMIT_ANSWER_BYTES_MAX", default_value_t = 33_554_432, value_parser = at_least_one())]
    pub answer_bytes_max: usize,
    /// Keep at most this many parsed documents of up to 8 KiB. A gateway sends the same few again and again;
    /// those that are used least are dropped.
    #[arg(long = "limit-documents-max", env = "SUBGRAPH_LIMIT_DOCUMENTS_MAX", default_value_t = 128, value_parser = at_least_one())]
    pub documents_max: usize,
    /// Limit the bytes of memory that these parsed documents take together.
    #[arg(long = "limit-documents-bytes-max", env = "SUBGRAPH_LIMIT_DOCUMENTS_BYTES_MAX", default_value_t = 16_777_216, value_parser = at_least_one())]
    pub documents_bytes_max: usize,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// The parser gives up at 64.
fn depth() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=60)
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            request_bytes_max: 4_194_304,
            bodies_bytes_max: 67_108_864,
            document_bytes_max: 131_072,
            tokens_max: 10_000,
            depth_max: 40,
            aliases_max: 1_000,
            root_fields_max: 200,
            directives_max: 20,
            selections_max: 6_000,
            representations_max: 10_000,
            cost_max: 250_000,
            event_cost_max: 5_000,
            running_cost_max: 250_000,
            answers_bytes_max: 268_435_456,
            answer_bytes_max: 33_554_432,
            documents_max: 128,
            documents_bytes_max: 16_777_216,
        }
    }
}

/// The limits of one subgraph: its settings, and what its fields cost.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub settings: LimitSettings,
    /// The subgraph's lists and large leaves.
    pub fields: FieldCosts,
    /// The schema's types. Without them, validation alone says which types are unknown.
    pub types: Option<TypeNames>,
}

/// A document within the limits that do not depend on variables.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) document: ExecutableDocument,
    operations: Vec<OperationCost>,
    references: References,
    /// Its tokens, which its size in memory follows.
    pub(crate) tokens: usize,
}

impl Limits {
    /// Parses a document that keeps to the limits.
    ///
    /// # Errors
    /// When it does not, or is not GraphQL.
    pub(crate) fn admit(&self, text: &str) -> Result<Arc<Admitted>, LimitError> {
        let tokens = outline::check(text, &self.settings, self.types.as_ref())?;
        let document =
            parse_query(text).map_err(|error| LimitError::Syntax(ServerError::from(error)))?;
        selections::check(&document, &self.settings, self.types.as_ref())?;
        conflicts::check(&document)?;
        Ok(Arc::new(Admitted {
            operations: cost::of_operations(&document, self.fields)?,
            references: References::of(&document),
            document,
            tokens,
        }))
    }

    /// The cost of the operation that a request runs; 0 when its document has no such operation.
    ///
    /// # Errors
    /// When the cost, the variables or the representations are beyond their limit.
    pub(crate) fn cost(&self, admitted: &Admitted, request: &Request) -> Result<u64, LimitError> {
        let Limits { settings, .. } = self;
        admitted
            .references
            .check(&request.variables, settings.depth_max)?;
        let name = request.operation_name.as_deref();
        match operation(&admitted.operations, name) {
            Some(operation) => operation_cost(operation, &request.variables, settings),
            None => Ok(0),
        }
    }
}

fn operation<'o>(operations: &'o [OperationCost], name: Option<&str>) -> Option<&'o OperationCost> {
    match name {
        None => operations.first(),
        Some(_) => operations.iter().find(|operation| operation.name() == name),
    }
}

fn operation_cost(
    operation: &OperationCost,
    variables: &Variables,
    settings: &LimitSettings,
) -> Result<u64, LimitError> {
    let total = operation.total(variables);
    if total.representations > settings.representations_max as u64 {
        return Err(LimitError::Representations {
            max: settings.representations_max,
        });
    }
    let max = match operation.operation_type() {
        OperationType::Subscription => settings.event_cost_max.min(settings.cost_max),
        OperationType::Query | OperationType::Mutation => settings.cost_max,
    };
    if total.cost > max as u64 {
        return Err(LimitError::Cost {
            cost: total.cost,
            max,
        });
    }
    Ok(total.cost)
}

#[cfg(test)]
mod tests;
