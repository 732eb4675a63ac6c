//! The steps from text to [`Prepared`].

use apollo_compiler::{
    ExecutableDocument, Node,
    ast::Document,
    executable::{Operation, OperationType},
    parser::Parser,
    validation::{DiagnosticList, Valid},
};

use super::{
    OperationKind, Prepared, UpstreamSubscription,
    compile::{self, Names, keys::Keys},
    conflicts::Aliases,
    forward, hidden_types,
    introspection::Introspection,
    limits, never,
    plan::Plan,
    planner::Planned,
    projection::{self, ProjectedValue, Projection},
    root_fields::{RootFields, drop_own_fields},
    scan,
    sizes::Sizes,
    unconditional::without_conditions,
};
use crate::{
    error::{Code, Location, Message, RequestError},
    graph::Graph,
};

/// The lists of fields that type conditions can lead to, as a multiple of the selections allowed.
const FIELDS_PER_SELECTION: usize = 8;

/// Reads, checks, plans and projects an operation.
pub fn build(
    graph: &Graph,
    query: &str,
    operation_name: Option<&str>,
) -> Result<Prepared, RequestError> {
    let document = parse(graph, query)?;
    let (executable, operation) = validate(graph, &document, operation_name)?;
    let root = RootFields::of(&operation, &executable);
    if root.introspection && !graph.settings.introspection {
        let message = "introspection is switched off";
        return Err(RequestError::new(Code::IntrospectionDisabled, message));
    }
    let names: Vec<String> = operation
        .variables
        .iter()
        .map(|it| it.name.to_string())
        .collect();
    let aliases = Aliases::of(&executable, &operation, &graph.planned_fields);
    let mut keys = Keys::new(Vec::new());
    let projection = projection::compile(
        &graph.api,
        &graph.types,
        &executable,
        &operation,
        &names,
        &aliases,
        &mut keys,
        graph
            .settings
            .limits
            .selections_max
            .saturating_mul(FIELDS_PER_SELECTION),
    )?;
    let kind = match operation.operation_type {
        OperationType::Query => OperationKind::Query,
        OperationType::Mutation => OperationKind::Mutation,
        OperationType::Subscription => OperationKind::Subscription,
    };
    let mut plan = Plan {
        keys: keys.into_names(),
        ..Plan::default()
    };
    let mut subscription = None;
    if asks_subgraphs(&projection) {
        let text = text_for_planner(graph, query, &executable, &operation, &root, &aliases);
        let name = operation.name.as_ref().map(|name| name.as_str());
        let planned = plan_text(graph, &text, name, &operation)?;
        let meaning = Names {
            types: &graph.types,
            subgraphs: &graph.subgraphs,
            variables: &names,
        };
        plan = compile::compile(&planned.plan, &meaning, plan.keys)?;
        plan.name_aliases(&aliases);
        plan.forwards = forward::is_possible(&plan, &projection);
        if kind == OperationKind::Subscription {
            subscription = Some(upstream(graph, &plan, planned.normal_form, &names)?);
        }
    }
    let introspection = root
        .introspection
        .then(|| Introspection::new(graph, executable, operation.clone()))
        .transpose()?;
    Ok(Prepared {
        plan,
        projection,
        variables: operation.variables.clone(),
        kind,
        name: operation.name.as_ref().map(ToString::to_string),
        subscription,
        introspection,
        sizes: Sizes::default(),
    })
}

/// The planner's tree for an operation, printed.
///
/// # Errors
/// As [`build`], but for what comes after planning.
pub fn explain(
    graph: &Graph,
    query: &str,
    operation_name: Option<&str>,
) -> Result<String, RequestError> {
    let document = parse(graph, query)?;
    let (executable, operation) = validate(graph, &document, operation_name)?;
    let root = RootFields::of(&operation, &executable);
    let aliases = Aliases::of(&executable, &operation, &graph.planned_fields);
    let text = text_for_planner(graph, query, &executable, &operation, &root, &aliases);
    let name = operation.name.as_ref().map(|name| name.as_str());
    let planned = plan_text(graph, &text, name, &operation)?;
    Ok(planned.plan.to_string())
}

/// Plans, and where no plan is found, plans what asks for more than the conditions would.
fn plan_text(
    graph: &Graph,
    text: &str,
    operation_name: Option<&str>,
    operation: &Operation,
) -> Result<Planned, RequestError> {
    let timeout = graph.settings.limits.prepare_timeout;
    let first = graph.planner.plan(text, operation_name, timeout);
    match first {
        Err(refusal) if refusal.code == Code::PlanFailed => {
            // Only a mutation's root has fields that must not be asked without need.
            let root = if operation.is_mutation() {
                operation.object_type().as_str()
            } else {
                ""
            };
            let again = without_conditions(text, root);
            let second = graph.second_planner.as_ref();
            let planned = second
                .and_then(|planner| planner.plan(text, operation_name, timeout).ok())
                .or_else(|| {
                    graph
                        .planner
                        .plan(again.as_deref()?, operation_name, timeout)
                        .ok()
                })
                .or_else(|| {
                    second?
                        .plan(again.as_deref()?, operation_name, timeout)
                        .ok()
                });
            planned.ok_or(refusal)
        }
        planned => planned,
    }
}

/// What the planner gets: the client's own text, unless something in it is not for the planner.
fn text_for_planner(
    graph: &Graph,
    query: &str,
    document: &ExecutableDocument,
    operation: &Operation,
    root: &RootFields,
    aliases: &Aliases,
) -> String {
    let has_own_fields = root.introspection || root.typename;
    let may_be_hidden = hidden_types::are_possible(document, &graph.types);
    let has_never = never::are_written(document);
    if !has_own_fields && aliases.is_empty() && !may_be_hidden && !has_never {
        return query.to_owned();
    }
    let mut document = aliases.apply(document);
    if has_never {
        never::drop_all(&mut document);
    }
    if may_be_hidden {
        hidden_types::ask_for_types(&mut document, &graph.types);
    }
    if has_own_fields {
        drop_own_fields(&mut document, operation.object_type());
    }
    document.to_string()
}

fn parse(graph: &Graph, query: &str) -> Result<Document, RequestError> {
    let limits = &graph.settings.limits;
    scan::check(query, limits)?;
    let document = Parser::new()
        .parse_ast(query, "")
        .map_err(|invalid| refusal(Code::ParseFailed, &invalid.errors))?;
    limits::check(&document, limits)?;
    Ok(document)
}

fn validate(
    graph: &Graph,
    document: &Document,
    operation_name: Option<&str>,
) -> Result<(Valid<ExecutableDocument>, Node<Operation>), RequestError> {
    // In two steps: what does not exist would make the rules complain of what is left without it.
    let executable = document
        .to_executable(&graph.api)
        .map_err(|invalid| refusal(Code::ValidationFailed, &invalid.errors))?
        .validate(&graph.api)
        .map_err(|invalid| refusal(Code::ValidationFailed, &invalid.errors))?;
    let operation = executable
        .operations
        .get(operation_name)
        .map_err(|error| RequestError::new(Code::OperationResolution, error.message().to_string()))?
        .clone();
    Ok((executable, operation))
}

/// Whether any field is left that the gateway cannot answer itself.
fn asks_subgraphs(projection: &Projection) -> bool {
    let root = projection.selections.first().into_iter();
    root.flat_map(|root| root.lists.iter().flatten())
        .any(|field| {
            matches!(
                field.value,
                ProjectedValue::Leaf(_) | ProjectedValue::Object(_)
            )
        })
}

fn upstream(
    graph: &Graph,
    plan: &Plan,
    normal_form: String,
    names: &[String],
) -> Result<UpstreamSubscription, RequestError> {
    let first = plan
        .steps
        .first()
        .ok_or_else(|| RequestError::new(Code::PlanFailed, "the subscription has no subgraph"))?;
    let all = names.iter().enumerate();
    let operation = first.request.operation.to_string();
    let resume = graph.resumable.resume(&operation);
    Ok(UpstreamSubscription {
        subgraph: first.subgraph,
        operation: resume
            .as_ref()
            .map_or(operation, |resume| resume.first.clone()),
        normal_form: normal_form.into(),
        resume,
        variables: first.request.variables.clone(),
        all_variables: all
            .map(|(index, name)| {
                (
                    format!("\"{name}\":").into_bytes().into_boxed_slice(),
                    index,
                )
            })
            .collect(),
    })
}

fn refusal(code: Code, diagnostics: &DiagnosticList) -> RequestError {
    let errors = diagnostics
        .iter()
        .map(|diagnostic| {
            let error = diagnostic.unstable_to_json_compat();
            Message {
                message: error.message,
                locations: error
                    .locations
                    .iter()
                    .map(|at| Location {
                        line: at.line,
                        column: at.column,
                    })
                    .collect(),
            }
        })
        .collect();
    RequestError { code, errors }
}
