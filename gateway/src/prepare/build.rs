//! The steps from a document's text to a [`Prepared`] operation.

use std::{sync::Arc, time::Instant};

use apollo_compiler::{
    ExecutableDocument, Node,
    ast::Document,
    executable::{Operation, OperationType},
    parser::Parser,
    validation::{DiagnosticList, Valid},
};
use federation::{
    ClientAliases, PlanError, PlanOptions,
    authorization::{Authorization, RequirementId, cut},
};

use super::{
    compile::{self, keys::ResponseKeys},
    conditions::Conditions,
    cost::{self, OperationCost, actual::Counted},
    descriptions, forward,
    introspection::{self, Introspection, Seen},
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
    authorization::{TOUCHED_MAX, field_view::FieldView},
    config::AuthorizationMode,
    error::{Code, Location, Message, RequestError},
    graph::Graph,
};

/// The number of fields that type conditions may lead to, as a multiple of the allowed selections.
const FIELDS_PER_SELECTION: usize = 8;

/// Parses, validates, plans and projects an operation for a group of requests. If the plan depends
/// on condition variables or requirements of authorisation and the group does not have their values, the
/// operation has no plan; nor if it costs too much, is too large or is not for these clients whatever its
/// variables are: it is never executed, and is small in the cache. `touched` are the requirements that the
/// group has decisions about.
///
/// # Errors
/// With the code of the check that refused the operation.
pub fn build(
    serving: &Serving,
    query: &str,
    operation_name: Option<&str>,
    group: RolloutGroup,
    touched: &Arc<[RequirementId]>,
) -> Result<Prepared, RequestError> {
    let graph = &serving.graph;
    let document = parse(graph, query)?;
    let (mut executable, mut operation) = validate(graph, &document, operation_name)?;
    let conditions = Conditions::of(&executable, &operation)?;
    if let Some(values) = group.conditions {
        executable = conditions.decided(&executable, &operation, values);
        operation = operation_of(&executable, operation_name)?;
    }
    check_introspection(graph, &operation, &executable)?;
    let names = variable_names(&operation);
    let aliases = ClientAliases::of(&graph.supergraph, &executable, &operation);
    let mut keys = ResponseKeys::new(Vec::new());
    let selections_max = graph.settings.limits.selections_max;
    let fields_max = selections_max.saturating_mul(FIELDS_PER_SELECTION);
    let authorization = graph.supergraph.authorization();
    let view = FieldView::new(authorization, touched, group.authorization);
    let (projection, introspected) = projection::compile(
        graph.api(),
        graph.types(),
        &executable,
        &operation,
        &names,
        &aliases,
        &mut keys,
        &view,
        fields_max,
    )?;
    let hides = graph.settings.hides_schema && !introspected.is_empty();
    let requirements = requirements(authorization, &view, group, touched, hides)?;
    let is_authorized = group.authorization.is_some() || requirements.is_empty();
    let is_decided =
        is_authorized && (group.conditions.is_some() || !conditions.are_planned_apart());
    let kind = kind_of(operation.operation_type);
    let mut plan = Plan {
        keys: keys.into_names(),
        ..Plan::default()
    };
    let cost = match is_decided {
        true => cost::of(graph, &executable, &operation, &view, fields_max)?,
        false => OperationCost::constant(0.0),
    };
    let without_plan = |conditions, cost, refusal| Prepared {
        plan: Plan::default(),
        projection: Projection::default(),
        variables: operation.variables.clone(),
        conditions,
        kind,
        name: operation.name.as_ref().map(ToString::to_string),
        subscription: None,
        introspection: None,
        sizes: Sizes::default(),
        cost,
        counted: None,
        requirements: Arc::clone(&requirements),
        decisions: group.authorization,
        refusal,
    };
    if cost::refuses_always(graph, &cost) {
        return Ok(without_plan(conditions, cost, None));
    }
    if let Some(refusal) = refusal_of(graph, kind, &projection) {
        return Ok(without_plan(conditions, cost, Some(refusal)));
    }
    let counted = (graph.settings.report_cost && is_decided)
        .then(|| Counted::new(executable.clone(), operation.clone()));
    let introspection = (!introspected.is_empty() && is_decided)
        .then(|| {
            let seen = group.authorization.filter(|_| hides).map(|decisions| Seen {
                requirements: Arc::clone(&requirements),
                decisions,
            });
            Introspection::new(graph, &executable, &operation, &introspected, seen)
        })
        .transpose()?;
    let mut subscription = None;
    if is_decided && asks_subgraphs(&projection) {
        let asked = federation::Operation::with_aliases(
            &graph.supergraph,
            &executable,
            &operation,
            &aliases,
        );
        let whole = (kind == OperationKind::Subscription)
            .then(|| compile::normal_form(&graph.supergraph, &asked));
        let asked = match projection.cuts {
            0 => asked,
            _ => cut(&graph.supergraph, asked, fields_max, &|ty, field| {
                view.sees(ty, field)
            })
            .map_err(|_| too_many_types())?,
        };
        plan = self::plan(serving, &asked, &operation, group, plan.keys)?;
        plan.name_aliases(&aliases);
        plan.forwards = forward::is_possible(&plan, &projection);
        if let Some(mut normal_form) = whole {
            if let Some(introspection) = &introspection {
                // Its events also have the introspection fields.
                normal_form.push_str(introspection.text());
            }
            // Clients share events only if they may see the same of them.
            normal_form.push_str(&decided_text(authorization, group, touched));
            let upstream = upstream(graph, &plan, normal_form, &names)?;
            let bytes_max = graph.settings.subscription_request_bytes_max;
            if upstream.operation.len() > bytes_max {
                let refusal = subscription_too_large(bytes_max);
                return Ok(without_plan(conditions, cost, Some(refusal)));
            }
            subscription = Some(upstream);
        }
    }
    if plan.steps.is_empty() && projection.cuts > 0 {
        // The errors at what was cut have paths all the same.
        plan.name_aliases(&aliases);
    }
    Ok(Prepared {
        plan,
        projection,
        variables: operation.variables.clone(),
        conditions,
        requirements,
        decisions: group.authorization,
        kind,
        name: operation.name.as_ref().map(ToString::to_string),
        subscription,
        introspection,
        sizes: Sizes::default(),
        cost,
        counted,
        refusal: None,
    })
}

/// The requirements that the operation's fields have, sorted; all if introspection must hide what the client may not
/// see.
fn requirements(
    authorization: &Authorization,
    view: &FieldView<'_>,
    group: RolloutGroup,
    touched: &Arc<[RequirementId]>,
    are_all: bool,
) -> Result<Arc<[RequirementId]>, RequestError> {
    if group.authorization.is_some() {
        return Ok(Arc::clone(touched));
    }
    let noted = match are_all {
        true => authorization.ids().collect(),
        false => view.noted(),
    };
    if noted.len() > TOUCHED_MAX {
        return Err(RequestError::new(
            Code::MaxSelections,
            format!(
                "the operation's fields have more than {TOUCHED_MAX} different requirements of authorisation: split it"
            ),
        ));
    }
    Ok(noted.into())
}

/// Why an operation that has fields which the client may not see is refused as a whole, if it is.
fn refusal_of(graph: &Graph, kind: OperationKind, projection: &Projection) -> Option<RequestError> {
    if projection.cuts == 0 {
        return None;
    }
    let rejects = graph.settings.authorization_mode == AuthorizationMode::Reject;
    // A subscription has one root field: without it there is no event.
    let lists = match kind {
        OperationKind::Subscription if !rejects => &projection.selections[..1],
        _ if rejects => &projection.selections[..],
        _ => return None,
    };
    let lists = lists.iter().flat_map(|selection| &selection.lists);
    let cut = lists.flatten().filter(|field| field.is_unauthorized());
    let mut names: Vec<&str> = cut.map(|field| &*field.name).collect();
    names.sort_unstable();
    names.dedup();
    let messages = names.iter().map(|name| Message {
        message: format!("not authorised to select the field \"{name}\""),
        locations: Vec::new(),
    });
    let code = Code::UnauthorizedFieldOrType;
    (!names.is_empty()).then(|| RequestError::several(code, names.len(), messages))
}

fn too_many_types() -> RequestError {
    RequestError::new(
        Code::MaxSelections,
        "the operation has too many fields that only some types of objects show to this client",
    )
}

/// The requirements that an operation touches, with what was decided about each.
fn decided_text(
    authorization: &Authorization,
    group: RolloutGroup,
    touched: &[RequirementId],
) -> String {
    let Some(decisions) = group.authorization else {
        return String::new();
    };
    let decided = touched.iter().map(|id| {
        let (requirement, is_met) = (
            authorization.requirement(*id),
            decisions.is_met(touched, *id),
        );
        format!("\n{requirement:?}: {is_met}")
    });
    decided.collect()
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
