//! `__schema` and `__type`: the part of an operation that the gateway answers itself.
//!
//! An operation keeps no more of it than its text. The answers are kept by that text, with the graph.

use apollo_compiler::{
    ExecutableDocument, Node,
    executable::{InlineFragment, Operation, Selection, SelectionSet},
    introspection,
    response::JsonMap,
    validation::Valid,
};
use bytes::Bytes;

use super::{one_of, resume};
use crate::{
    error::{Code, RequestError},
    graph::{Graph, introspection_answers::Answer},
};

/// The introspection part of an operation.
pub struct Introspection {
    /// An operation of its own, without fragments.
    text: Box<str>,
    has_variables: bool,
}

impl Introspection {
    /// Takes the part out of an operation. It is answered once if no variable takes part.
    ///
    /// # Errors
    /// `MAX_DEPTH_EXCEEDED` where lists of the schema stand too often in each other.
    pub fn new(
        graph: &Graph,
        document: &Valid<ExecutableDocument>,
        operation: &Node<Operation>,
    ) -> Result<Self, RequestError> {
        introspection::check_max_depth(document, operation)
            .map_err(|error| RequestError::new(Code::MaxDepth, error.message().to_string()))?;
        let selection_set = part_of(&operation.selection_set, document, true);
        let text = selection_set.serialize().no_indent().to_string();
        let used = |name: &str| resume::uses(&text, name);
        let variables = operation.variables.iter();
        let variables = variables.filter(|it| used(&it.name)).cloned();
        let part = Operation {
            operation_type: operation.operation_type,
            name: None,
            variables: variables.collect(),
            directives: Default::default(),
            selection_set,
        };
        let this = Self {
            has_variables: !part.variables.is_empty(),
            text: part.serialize().no_indent().to_string().into(),
        };
        if !this.has_variables {
            this.answer(graph, b"{}")?;
        }
        Ok(this)
    }

    /// What identifies the answer.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The answer, from those that are kept if it is the same for all variables.
    ///
    /// # Errors
    /// When the variables do not fit.
    pub fn answer(&self, graph: &Graph, variables: &[u8]) -> Result<Answer, RequestError> {
        if self.has_variables {
            let variables: JsonMap = serde_json::from_slice(variables)
                .map_err(|error| RequestError::new(Code::BadUserInput, error.to_string()))?;
            return self.execute(graph, &variables);
        }
        if let Some(answer) = graph.introspections.get(&self.text) {
            return Ok(answer);
        }
        let answer = self.execute(graph, &JsonMap::default())?;
        graph.introspections.insert(&self.text, &answer);
        Ok(answer)
    }

    fn execute(&self, graph: &Graph, variables: &JsonMap) -> Result<Answer, RequestError> {
        let refused = |error: apollo_compiler::request::RequestError| {
            RequestError::new(Code::BadUserInput, error.message().to_string())
        };
        // It has been found valid as a part of the client's document.
        let document = ExecutableDocument::parse_and_validate(graph.api(), &*self.text, "")
            .map_err(|error| {
                RequestError::new(Code::InternalServerError, error.errors.to_string())
            })?;
        let operation = document.operations.get(None).map_err(refused)?.clone();
        let variables =
            apollo_compiler::request::coerce_variable_values(graph.api(), &operation, variables)
                .map_err(refused)?;
        // What is executed instead, where `isOneOf` is asked for.
        let with_names = one_of::names_instead(graph.api(), &document, &operation);
        let (executed, executed_operation) = match &with_names {
            Some((document, operation)) => (document, operation),
            None => (&document, &operation),
        };
        let response = introspection::partial_execute(
            graph.api(),
            &graph.implementers,
            executed,
            executed_operation,
            &variables,
        )
        .map_err(refused)?;
        // What the values of variables can still get wrong: a null for what may not be null.
        if let Some(error) = response.errors.first() {
            return Err(RequestError::new(Code::BadUserInput, error.message.clone()));
        }
        let mut data = response.data.unwrap_or_default();
        if with_names.is_some() {
            let set = &operation.selection_set;
            one_of::answer(graph.api(), &document, set, &mut data);
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

/// A selection set with its fragments written out; at the root, only what introspection answers.
fn part_of(set: &SelectionSet, document: &ExecutableDocument, is_root: bool) -> SelectionSet {
    let mut part = SelectionSet::new(set.ty.clone());
    for selection in &set.selections {
        let (condition, directives, inner) = match selection {
            Selection::Field(field) => {
                let is_wanted = matches!(field.name.as_str(), "__schema" | "__type");
                if is_wanted || !is_root {
                    let mut field = field.clone();
                    let inner = part_of(&field.selection_set, document, false);
                    field.make_mut().selection_set = inner;
                    part.selections.push(Selection::Field(field));
                }
                continue;
            }
            Selection::InlineFragment(fragment) => (
                fragment.type_condition.clone(),
                &fragment.directives,
                &fragment.selection_set,
            ),
            Selection::FragmentSpread(spread) => {
                let Some(fragment) = spread.fragment_def(document) else {
                    continue;
                };
                let condition = fragment.type_condition().clone();
                (Some(condition), &spread.directives, &fragment.selection_set)
            }
        };
        let selection_set = part_of(inner, document, is_root);
        if !selection_set.is_empty() {
            let fragment = InlineFragment {
                type_condition: condition,
                directives: directives.clone(),
                selection_set,
            };
            part.push(fragment);
        }
    }
    part
}
