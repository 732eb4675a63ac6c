//! The steps from a document's text to a [`Prepared`] operation.

use std::time::Instant;

use apollo_compiler::{
    ExecutableDocument, Node,
    ast::Document,
    executable::{Operation, OperationType},
    parser::Parser,
    validation::{DiagnosticList, Valid},
};
use federation::{ClientAliases, PlanError, PlanOptions};

use super::{
    compile::{self, keys::ResponseKeys},
    conditions::Conditions,
    cost::{self, OperationCost, actual::Counted},
    descriptions, forward,
    introspection::{self, Introspection},
    limits,
    plan::Plan,
    prepared::{OperationKind, Prepared, UpstreamSubscription},
    projection::{self, ProjectedValue, Projection},
    resume,
    rollout::RolloutGroup,
    scan,
    serving::Serving,
    sizes::Sizes,
    values,
};
use crate::{
    error::{Code, Location, Message, RequestError},
    graph::Graph,
};

/// The number of fields that type conditions may lead to, as a multiple of the allowed selections.
const FIELDS_PER_SELECTION: usize = 8;

/// A valid operation, with the values of its condition variables in place where the group has them.
struct Decided {
    document: Valid<ExecutableDocument>,
    operation: Node<Operation>,
    conditions: Conditions,
    /// Whether it can be planned: the plan depends on no condition variable whose value is missing.
    is_complete: bool,
}

/// Parses, validates, plans and projects an operation for a group of requests. If the plan depends
/// on condition variables and the group does not have their values, the operation has no plan; nor
/// if it costs too much or is too large whatever its variables are: it is never executed, and is
/// small in the cache.
///
/// # Errors
/// With the code of the check that refused the operation.
pub fn build(
    serving: &Serving,
    query: &str,
    operation_name: Option<&str>,
    group: RolloutGroup,
) -> Result<Prepared, RequestError> {
    let graph = &serving.graph;
    let Decided {
        document,
        operation,
        conditions,
        is_complete,
    } = decide(graph, &parse(graph, query)?, operation_name, group)?;
    check_introspection(graph, &operation, &document)?;
    let aliases = ClientAliases::of(&graph.supergraph, &document, &operation);
    let names = variable_names(&operation);
    let mut keys = ResponseKeys::new(Vec::new());
    let (projection, introspected) = projection::compile(
        graph.api(),
        graph.types(),
        &document,
        &operation,
        &names,
        &aliases,
        &mut keys,
        fields_max(graph),
    )?;
    let mut prepared = Prepared {
        plan: Plan {
            keys: keys.into_names(),
            ..Plan::default()
        },
        projection,
        variables: operation.variables.clone(),
        conditions,
        kind: kind_of(operation.operation_type),
        name: operation.name.as_ref().map(ToString::to_string),
        subscription: None,
        introspection: None,
        sizes: Sizes::default(),
        refusal: None,
        cost: OperationCost::constant(0.0),
        counted: None,
    };
    if is_complete {
        prepared.cost = cost::of(graph, &document, &operation, fields_max(graph))?;
        if cost::refuses_always(graph, &prepared.cost) {
            return Ok(without_plan(prepared));
        }
        if graph.settings.report_cost {
            prepared.counted = Some(Counted::new(document.clone(), operation.clone()));
        }
        if !introspected.is_empty() {
            let introspection = Introspection::new(graph, &document, &operation, &introspected)?;
            prepared.introspection = Some(introspection);
        }
        if asks_subgraphs(&prepared.projection) {
            add_plan(
                serving,
                &document,
                &operation,
                &aliases,
                group,
                &mut prepared,
            )?;
        }
    }
    Ok(match prepared.refusal {
        Some(_) => without_plan(prepared),
        None => prepared,
    })
}

/// What remains in the cache of an operation that is never executed.
fn without_plan(prepared: Prepared) -> Prepared {
    Prepared {
        plan: Plan::default(),
        projection: Projection::default(),
        subscription: None,
        introspection: None,
        sizes: Sizes::default(),
        counted: None,
        ..prepared
    }
}

/// Validates a document and puts the group's values in place of its condition variables.
fn decide(
    graph: &Graph,
    document: &Document,
    operation_name: Option<&str>,
    group: RolloutGroup,
) -> Result<Decided, RequestError> {
    let (mut document, mut operation) = validate(graph, document, operation_name)?;
    let conditions = Conditions::of(&document, &operation)?;
    if let Some(values) = group.conditions {
        document = conditions.decided(&document, &operation, values);
        operation = operation_of(&document, operation_name)?;
    }
    Ok(Decided {
        is_complete: group.conditions.is_some() || !conditions.are_planned_apart(),
        document,
        operation,
        conditions,
    })
}

/// Adds the fetches, and for a subscription the operation at the subgraph that has its events.
fn add_plan(
    serving: &Serving,
    document: &ExecutableDocument,
    operation: &Operation,
    aliases: &ClientAliases,
    group: RolloutGroup,
    prepared: &mut Prepared,
) -> Result<(), RequestError> {
    let graph = &serving.graph;
    let asked =
        federation::Operation::with_aliases(&graph.supergraph, document, operation, aliases);
    let keys = std::mem::take(&mut prepared.plan.keys);
    let mut plan = plan(serving, &asked, operation, group, keys)?;
    plan.name_aliases(aliases);
    plan.forwards = forward::is_possible(&plan, &prepared.projection);
    if prepared.kind == OperationKind::Subscription {
        let mut normal_form = compile::normal_form(&graph.supergraph, &asked);
        if let Some(introspection) = &prepared.introspection {
            // Its events also have the introspection fields.
            normal_form.push_str(introspection.text());
        }
        let upstream = upstream(graph, &plan, normal_form, &variable_names(operation))?;
        let bytes_max = graph.settings.subscription_request_bytes_max;
        if upstream.operation.len() > bytes_max {
            prepared.refusal = Some(subscription_too_large(bytes_max));
        }
        prepared.subscription = Some(upstream);
    }
    prepared.plan = plan;
    Ok(())
}

fn fields_max(graph: &Graph) -> usize {
    let selections_max = graph.settings.limits.selections_max;
    selections_max.saturating_mul(FIELDS_PER_SELECTION)
}

fn check_introspection(
    graph: &Graph,
    operation: &Operation,
    document: &ExecutableDocument,
) -> Result<(), RequestError> {
    if graph.settings.introspection || !introspection::is_selected(operation, document) {
        return Ok(());
    }
    let message = "introspection is switched off";
    Err(RequestError::new(Code::IntrospectionDisabled, message))
}

fn variable_names(operation: &Operation) -> Vec<String> {
    let variables = operation.variables.iter();
    variables.map(|it| it.name.to_string()).collect()
}

fn kind_of(operation_type: OperationType) -> OperationKind {
    match operation_type {
        OperationType::Query => OperationKind::Query,
        OperationType::Mutation => OperationKind::Mutation,
        OperationType::Subscription => OperationKind::Subscription,
    }
}

/// Plans an operation and compiles the plan.
fn plan(
    serving: &Serving,
    asked: &federation::Operation,
    operation: &Operation,
    group: RolloutGroup,
    keys: Vec<Box<str>>,
) -> Result<Plan, RequestError> {
    let graph = &serving.graph;
    let limit = graph.settings.limits.prepare_timeout;
    let options = PlanOptions::default()
        .overrides(serving.rollout.overrides(group))
        .deadline(Instant::now() + limit);
    let planned =
        federation::plan(&graph.supergraph, asked, options).map_err(|none| match none {
            PlanError::OutOfTime => RequestError::new(
                Code::PrepareTimeout,
                format!("no plan was found within {limit:?}"),
            ),
            none => RequestError::new(Code::PlanFailed, none.to_string()),
        })?;
    let input = compile::CompileInput {
        graph: &graph.supergraph,
        kind: asked.kind,
        variables: &operation.variables,
        directives: &asked.directives,
    };
    Ok(compile::compile(&planned, &input, keys))
}

/// The plan of an operation for requests that progressive overrides do not affect.
///
/// # Errors
/// As [`build`].
pub fn plan_of(
    serving: &Serving,
    query: &str,
    operation_name: Option<&str>,
) -> Result<Plan, RequestError> {
    let graph = &serving.graph;
    let document = parse(graph, query)?;
    let (executable, operation) = validate(graph, &document, operation_name)?;
    let aliases = ClientAliases::of(&graph.supergraph, &executable, &operation);
    let asked =
        federation::Operation::with_aliases(&graph.supergraph, &executable, &operation, &aliases);
    plan(
        serving,
        &asked,
        &operation,
        serving.rollout.last(),
        Vec::new(),
    )
}

fn parse(graph: &Graph, query: &str) -> Result<Document, RequestError> {
    let limits = &graph.settings.limits;
    scan::check(query, limits)?;
    let document = Parser::new()
        .parse_ast(descriptions::blanked(query), "")
        .map_err(|invalid| refusal(Code::ParseFailed, &invalid.errors))?;
    limits::check(&document, limits)?;
    Ok(document)
}

fn validate(
    graph: &Graph,
    document: &Document,
    operation_name: Option<&str>,
) -> Result<(Valid<ExecutableDocument>, Node<Operation>), RequestError> {
    // In two steps: after an unknown type or field, the validation rules would report errors that
    // follow from it.
    let executable = document
        .to_executable(graph.api())
        .map_err(|invalid| refusal(Code::ValidationFailed, &invalid.errors))?
        .validate(graph.api())
        .map_err(|invalid| refusal(Code::ValidationFailed, &invalid.errors))?;
    values::check(graph.api(), &executable)?;
    let operation = operation_of(&executable, operation_name)?;
    Ok((executable, operation))
}

fn operation_of(
    document: &ExecutableDocument,
    name: Option<&str>,
) -> Result<Node<Operation>, RequestError> {
    let operation = document.operations.get(name).map_err(|error| {
        RequestError::new(Code::OperationResolution, error.message().to_string())
    })?;
    Ok(operation.clone())
}

/// Whether the operation has a field that needs a subgraph.
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
    let resume = resume::resume(&graph.resumable, first.subgraph, &operation);
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

/// The refusal of a subscription whose request to a subgraph would have more than `bytes_max` bytes.
pub fn subscription_too_large(bytes_max: usize) -> RequestError {
    RequestError::new(
        Code::SubscriptionTooLarge,
        format!(
            "the subscription and its variables would take more than {bytes_max} bytes in a request to \
             a subgraph"
        ),
    )
}

fn refusal(code: Code, diagnostics: &DiagnosticList) -> RequestError {
    let faults = diagnostics.iter().map(|diagnostic| {
        let error = diagnostic.unstable_to_json_compat();
        let locations = error.locations.iter().map(|at| Location {
            line: at.line,
            column: at.column,
        });
        Message {
            message: error.message,
            locations: locations.collect(),
        }
    });
    RequestError::several(code, diagnostics.len(), faults)
}
