//! Answers `__schema` and `__type`, the part of an operation that needs no subgraph.
//!
//! A prepared operation keeps only the text of that part. The graph keeps the answers, by text.

use std::{borrow::Cow, sync::Arc};

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{Argument, Directive, DirectiveList, Value},
    executable::{Field, InlineFragment, Operation, OperationType, Selection, SelectionSet},
    introspection, name,
    response::JsonMap,
    validation::Valid,
};
use bytes::Bytes;
use federation::authorization::RequirementId;

use super::{
    one_of, plan::Condition, projection::Introspected, resume, visible_schema::VisibleSchema,
};
use crate::{
    authorization::{Decisions, field_view::FieldView},
    error::{Code, RequestError},
    graph::{Graph, introspection_answers::IntrospectionAnswer},
};

/// Whether an operation or one of its fragments selects `__schema` or `__type`, at the root or
/// wherever the query type is found again.
pub fn is_selected(operation: &Operation, document: &ExecutableDocument) -> bool {
    operation
        .all_fields(document)
        .any(|field| matches!(field.name.as_str(), "__schema" | "__type"))
}

/// The introspection part of an operation.
pub struct Introspection {
    /// A query of its own, with fragments expanded.
    text: Box<str>,
    has_variables: bool,
    /// The number of introspection fields.
    fields: usize,
    /// What the client may see; `None` for the whole schema.
    seen: Option<Seen>,
}

/// What a client may see of a schema.
pub struct Seen {
    /// All requirements of the supergraph.
    pub requirements: Arc<[RequirementId]>,
    /// Which of them are met.
    pub decisions: Decisions,
}

impl Seen {
    fn schema(&self, graph: &Graph) -> VisibleSchema {
        let authorization = graph.supergraph.authorization();
        let view = FieldView::new(authorization, &self.requirements, Some(self.decisions));
        VisibleSchema::of(graph, &|ty, field| view.sees(ty, field))
    }
}

impl Introspection {
    /// Extracts the introspection part of an operation as a query of its own. If it uses no
    /// variables, it is answered at once.
    ///
    /// # Errors
    /// `MAX_DEPTH_EXCEEDED` if lists of the schema are nested too often.
    pub fn new(
        graph: &Graph,
        document: &Valid<ExecutableDocument>,
        operation: &Node<Operation>,
        introspected: &[Introspected<'_>],
        seen: Option<Seen>,
    ) -> Result<Self, RequestError> {
        introspection::check_max_depth(document, operation)
            .map_err(|error| RequestError::new(Code::MaxDepth, error.message().to_string()))?;
        let root = graph.api().schema_definition.query.as_ref();
        let root = root.map_or(name!("Query"), |root| root.name.clone());
        let mut selection_set = SelectionSet::new(root);
        for (place, fields) in introspected.iter().enumerate() {
            for (field, conditions) in fields {
                let part = part_of(field, place, document)?;
                selection_set.push(under(conditions, operation, &selection_set.ty, part));
            }
        }
        let text = selection_set.serialize().no_indent().to_string();
        let used = |name: &str| resume::uses(&text, name);
        let variables = operation.variables.iter();
        let variables = variables.filter(|it| used(&it.name)).cloned();
        let part = Operation {
            operation_type: OperationType::Query,
            name: None,
            variables: variables.collect(),
            directives: Default::default(),
            selection_set,
        };
        let this = Self {
            has_variables: !part.variables.is_empty(),
            text: part.serialize().no_indent().to_string().into(),
            fields: introspected.len(),
            seen,
        };
        if !this.has_variables {
            this.answer(graph, b"{}")?;
        }
        Ok(this)
    }

    /// The text that identifies the answer.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The answer; a kept one if it does not depend on variables.
    ///
    /// # Errors
    /// If a variable does not fit its type.
    pub fn answer(
        &self,
        graph: &Graph,
        variables: &[u8],
    ) -> Result<IntrospectionAnswer, RequestError> {
        if self.has_variables {
            let variables: JsonMap = serde_json::from_slice(variables)
                .map_err(|error| RequestError::new(Code::BadUserInput, error.to_string()))?;
            return self.execute(graph, &variables);
        }
        let key = self.key();
        if let Some(answer) = graph.introspections.get(&key) {
            return Ok(answer);
        }
        let answer = self.execute(graph, &JsonMap::default())?;
        graph.introspections.insert(&key, &answer);
        Ok(answer)
    }

    /// What the answer depends on.
    fn key(&self) -> Cow<'_, str> {
        match &self.seen {
            None => Cow::Borrowed(&self.text),
            Some(seen) => format!("{}\n{:?}", self.text, seen.decisions).into(),
        }
    }

    fn execute(
        &self,
        graph: &Graph,
        variables: &JsonMap,
    ) -> Result<IntrospectionAnswer, RequestError> {
        let visible = self.seen.as_ref().map(|seen| seen.schema(graph));
        let (schema, implementers) = match &visible {
            Some(visible) => (&visible.schema, &visible.implementers),
            None => (graph.api(), &graph.implementers),
        };
        let refused = |error: apollo_compiler::request::RequestError| {
            RequestError::new(Code::BadUserInput, error.message().to_string())
        };
        // It was valid as a part of the client's document.
        let document =
            ExecutableDocument::parse_and_validate(schema, &*self.text, "").map_err(|error| {
                RequestError::new(Code::InternalServerError, error.errors.to_string())
            })?;
        let operation = document.operations.get(None).map_err(refused)?.clone();
        let variables =
            apollo_compiler::request::coerce_variable_values(schema, &operation, variables)
                .map_err(refused)?;
        // The query to execute instead, if `isOneOf` is selected.
        let with_names = one_of::names_instead(schema, &document, &operation);
        let (executed, executed_operation) = match &with_names {
            Some((document, operation)) => (document, operation),
            None => (&document, &operation),
        };
        let response = introspection::partial_execute(
            schema,
            implementers,
            executed,
            executed_operation,
            &variables,
        )
        .map_err(refused)?;
        // Variables can still cause an error: null for a non-null argument.
        if let Some(error) = response.errors.first() {
            return Err(RequestError::new(Code::BadUserInput, error.message.clone()));
        }
        let mut data = response.data.unwrap_or_default();
        if with_names.is_some() {
            let set = &operation.selection_set;
            one_of::answer(schema, &document, set, &mut data);
        }
        (0..self.fields)
            .map(|place| match data.get(alias(place).as_str()) {
                // Its conditions do not hold, so the value is not used.
                None => Ok(Bytes::from_static(b"null")),
                Some(value) => serde_json::to_vec(value).map(Bytes::from).map_err(|error| {
                    RequestError::new(Code::InternalServerError, error.to_string())
                }),
            })
            .collect()
    }
}

/// The alias of the field with this number.
fn alias(place: usize) -> String {
    format!("_{place}")
}

/// A field with the alias for its number, and with fragments expanded.
fn part_of(
    field: &Field,
    place: usize,
    document: &ExecutableDocument,
) -> Result<Field, RequestError> {
    let alias = Name::new(&alias(place))
        .map_err(|invalid| RequestError::new(Code::InternalServerError, invalid.to_string()))?;
    let mut part = field.clone();
    part.alias = Some(alias);
    // Its directives are among the conditions.
    part.directives = Default::default();
    part.selection_set = without_spreads(&field.selection_set, document);
    Ok(part)
}

/// Wraps a field in fragments with these conditions.
fn under(conditions: &[Condition], operation: &Operation, ty: &Name, field: Field) -> Selection {
    let mut selection = Selection::Field(Node::new(field));
    for condition in conditions {
        let Some(variable) = operation.variables.get(condition.variable) else {
            continue;
        };
        let argument = Argument {
            name: name!("if"),
            value: Node::new(Value::Variable(variable.name.clone())),
        };
        let directive = Directive {
            name: if condition.expected {
                name!("include")
            } else {
                name!("skip")
            },
            arguments: vec![Node::new(argument)],
        };
        let mut selection_set = SelectionSet::new(ty.clone());
        selection_set.push(selection);
        selection = Selection::InlineFragment(Node::new(InlineFragment {
            type_condition: None,
            directives: DirectiveList(vec![Node::new(directive)]),
            selection_set,
        }));
    }
    selection
}

/// A selection set with its fragments expanded.
fn without_spreads(set: &SelectionSet, document: &ExecutableDocument) -> SelectionSet {
    let mut written = SelectionSet::new(set.ty.clone());
    for selection in &set.selections {
        let (condition, directives, inner) = match selection {
            Selection::Field(field) => {
                let mut field = field.clone();
                let inner = without_spreads(&field.selection_set, document);
                field.make_mut().selection_set = inner;
                written.selections.push(Selection::Field(field));
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
        written.push(InlineFragment {
            type_condition: condition,
            directives: directives.clone(),
            selection_set: without_spreads(inner, document),
        });
    }
    written
}
