//! `__schema` and `__type`, answered as bytes once where no variable takes part.

use apollo_compiler::{
    ExecutableDocument, Node, executable::Operation, introspection, response::JsonMap,
    validation::Valid,
};
use bytes::Bytes;

use super::one_of;
use crate::{
    error::{Code, RequestError},
    graph::Graph,
};

/// The introspection part of an operation.
pub struct Introspection {
    document: Valid<ExecutableDocument>,
    operation: Node<Operation>,
    /// What is executed instead, where `isOneOf` is asked for.
    with_names: Option<(Valid<ExecutableDocument>, Node<Operation>)>,
    /// The answer, where it is always the same.
    constant: Option<Vec<(String, Bytes)>>,
}

impl Introspection {
    /// Answers at once if the operation declares no variables.
    pub fn new(
        graph: &Graph,
        document: Valid<ExecutableDocument>,
        operation: Node<Operation>,
    ) -> Result<Self, RequestError> {
        introspection::check_max_depth(&document, &operation)
            .map_err(|error| RequestError::new(Code::MaxDepth, error.message().to_string()))?;
        let mut this = Self {
            with_names: one_of::names_instead(&graph.api, &document, &operation),
            document,
            operation,
            constant: None,
        };
        if this.operation.variables.is_empty() {
            this.constant = Some(this.execute(graph, &JsonMap::default())?);
        }
        Ok(this)
    }

    /// Each introspection field's response key and its value as JSON.
    pub fn answer(
        &self,
        graph: &Graph,
        variables: &[u8],
    ) -> Result<Vec<(String, Bytes)>, RequestError> {
        if let Some(constant) = &self.constant {
            return Ok(constant.clone());
        }
        let variables: JsonMap = serde_json::from_slice(variables)
            .map_err(|error| RequestError::new(Code::BadUserInput, error.to_string()))?;
        self.execute(graph, &variables)
    }

    fn execute(
        &self,
        graph: &Graph,
        variables: &JsonMap,
    ) -> Result<Vec<(String, Bytes)>, RequestError> {
        let refused = |error: apollo_compiler::request::RequestError| {
            RequestError::new(Code::BadUserInput, error.message().to_string())
        };
        let variables = apollo_compiler::request::coerce_variable_values(
            &graph.api,
            &self.operation,
            variables,
        )
        .map_err(refused)?;
        let (document, operation) = match &self.with_names {
            Some((document, operation)) => (document, operation),
            None => (&self.document, &self.operation),
        };
        let response = introspection::partial_execute(
            &graph.api,
            &graph.implementers,
            document,
            operation,
            &variables,
        )
        .map_err(refused)?;
        let mut data = response.data.unwrap_or_default();
        if self.with_names.is_some() {
            let set = &self.operation.selection_set;
            one_of::answer(&graph.api, &self.document, set, &mut data);
        }
        data.iter()
            .map(|(key, value)| match serde_json::to_vec(value) {
                Ok(json) => Ok((key.as_str().to_owned(), Bytes::from(json))),
                Err(error) => Err(RequestError::new(
                    Code::InternalServerError,
                    error.to_string(),
                )),
            })
            .collect()
    }
}
