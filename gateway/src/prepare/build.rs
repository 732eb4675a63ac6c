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
    apart::Attempt,
    compile::{self, Names, keys::Keys},
    conditions::Conditions,
    conflicts::Aliases,
    forward, hidden_types,
    introspection::Introspection,
    limits,
    literals::Literals,
    narrow,
    plan::Plan,
    planner::{Deadline, Planned, Planner},
    projection::{self, ProjectedValue, Projection},
    rollout::Group,
    root_fields::{RootFields, drop_own_fields},
    scan,
    sizes::Sizes,
    unconditional::without_conditions,
    variable_names::without_reserved,
};
use crate::{
    error::{Code, Location, Message, RequestError},
    graph::Graph,
};

/// The lists of fields that type conditions can lead to, as a multiple of the selections allowed.
const FIELDS_PER_SELECTION: usize = 8;

/// Reads, checks, plans and projects an operation for a group of requests. Where the plan depends on
/// conditions and the group does not tell how they stand, there is none.
pub fn build(
    graph: &Graph,
    query: &str,
    operation_name: Option<&str>,
    group: Group,
) -> Result<Prepared, RequestError> {
    let deadline = Deadline::after(graph.settings.limits.prepare_timeout);
    let document = parse(graph, query)?;
    let (mut executable, mut operation) = validate(graph, &document, operation_name)?;
    let conditions = Conditions::of(&executable, &operation)?;
    if let Some(values) = group.conditions {
        executable = conditions.decided(&executable, &operation, values);
        operation = operation_of(&executable, operation_name)?;
    }
    let is_decided = group.conditions.is_some() || !conditions.are_planned_apart();
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
    if is_decided && asks_subgraphs(&projection) {
        let text = text_for_planner(graph, query, &executable, &operation, &root, &aliases);
        let (text, literals) = Literals::taken_out_of(text);
        let (text, names) = without_reserved(text, names);
        let name = operation.name.as_ref().map(|name| name.as_str());
        let planned = plan_text(graph, &text, name, &operation, group, deadline)?;
        let meaning = Names {
            types: &graph.types,
            subgraphs: &graph.subgraphs,
            variables: &names,
            literals: &literals,
        };
        plan = compile::compile(&planned.plan, &meaning, plan.keys)?;
        plan.name_aliases(&aliases);
        plan.forwards = forward::is_possible(&plan, &projection);
        if kind == OperationKind::Subscription {
            subscription = Some(upstream(
                graph,
                &plan,
                literals.put_back(&planned.normal_form),
                &names,
            )?);
        }
    }
    let introspection = (root.introspection && is_decided)
        .then(|| Introspection::new(graph, executable, operation.clone()))
        .transpose()?;
    Ok(Prepared {
        plan,
        projection,
        variables: operation.variables.clone(),
        conditions,
        kind,
        name: operation.name.as_ref().map(ToString::to_string),
        subscription,
        introspection,
        sizes: Sizes::default(),
    })
}

/// The planner's tree for an operation, printed; progressive overrides have moved nothing in it.
///
/// # Errors
/// As [`build`], but for what comes after planning.
pub fn explain(
    graph: &Graph,
    query: &str,
    operation_name: Option<&str>,
) -> Result<String, RequestError> {
    let deadline = Deadline::after(graph.settings.limits.prepare_timeout);
    let document = parse(graph, query)?;
    let (executable, operation) = validate(graph, &document, operation_name)?;
    let root = RootFields::of(&operation, &executable);
    let aliases = Aliases::of(&executable, &operation, &graph.planned_fields);
    let text = text_for_planner(graph, query, &executable, &operation, &root, &aliases);
    let (text, literals) = Literals::taken_out_of(text);
    let name = operation.name.as_ref().map(|name| name.as_str());
    let group = graph.rollout.last();
    let planned = plan_text(graph, &text, name, &operation, group, deadline)?;
    Ok(literals.put_back(&planned.plan.to_string()))
}

/// Plans, and where no good plan is found, in other ways: with fewer keys, for more than the
/// conditions would ask, and in parts.
fn plan_text(
    graph: &Graph,
    text: &str,
    operation_name: Option<&str>,
    operation: &Operation,
    group: Group,
    deadline: Deadline,
) -> Result<Planned, RequestError> {
    let place = graph.rollout.place(group);
    let plan = |planner: &Planner, text: &str| planner.plan(text, operation_name, place, deadline);
    let first = plan(&graph.planner, text);
    match &first {
        Ok(planned) if planned.is_accepted => return first,
        Err(refusal) if refusal.code != Code::PlanFailed => return first,
        _ => {}
    }
    // Only a mutation's root has fields that must not be asked without need.
    let root = if operation.is_mutation() {
        operation.object_type().as_str()
    } else {
        ""
    };
    let again = without_conditions(text, root);
    let second = graph.second_planner.as_ref();
    let others: [&dyn Fn() -> Option<Planned>; 4] = [
        &|| plan(second?, text).ok(),
        &|| plan(&graph.planner, again.as_deref()?).ok(),
        &|| plan(second?, again.as_deref()?).ok(),
        &|| {
            let attempt = Attempt {
                planner: &graph.planner,
                operation_name,
                place,
                deadline,
            };
            graph.apart.plan(again.as_deref()?, attempt)
        },
    ];
    best_of(first, &others, deadline)
}

/// The first plan whose requests are accepted, as long as there is time to try; a plan with a request
/// that may be refused is better than none.
fn best_of(
    first: Result<Planned, RequestError>,
    others: &[&dyn Fn() -> Option<Planned>],
    deadline: Deadline,
) -> Result<Planned, RequestError> {
    let mut best = first;
    for other in others {
        if deadline.remaining().is_zero() {
            break;
        }
        match other() {
            Some(planned) if planned.is_accepted => return Ok(planned),
            Some(planned) if best.is_err() => best = Ok(planned),
            _ => {}
        }
    }
    best
}

/// What the planner gets: the client's own text, unless something in it is not for the planner.
fn text_for_planner(
    graph: &Graph,
    query: &str,
    document: &ExecutableDocument,
    operation: &Node<Operation>,
    root: &RootFields,
    aliases: &Aliases,
) -> String {
    let has_own_fields = root.introspection || root.typename;
    let may_be_hidden = hidden_types::are_possible(document, &graph.types);
    let narrowed = narrow::narrowed(document, operation, &graph.types);
    if !has_own_fields && aliases.is_empty() && !may_be_hidden && narrowed.is_none() {
        return query.to_owned();
    }
    let mut document = aliases.apply(narrowed.as_ref().unwrap_or(document));
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

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    #[test]
    fn all_attempts_to_plan_share_one_time_limit() {
        let attempts = Cell::new(0);
        let in_vain = || {
            attempts.set(attempts.get() + 1);
            None
        };
        let tried = |limit: Duration| {
            let first = Err(RequestError::new(Code::PlanFailed, "the first"));
            attempts.set(0);
            let best = best_of(first, &[&in_vain, &in_vain], Deadline::after(limit));
            assert_eq!(best.err().map(|error| error.code), Some(Code::PlanFailed));
            attempts.get()
        };
        assert_eq!(tried(Duration::from_secs(3600)), 2);
        assert_eq!(tried(Duration::ZERO), 0);
    }
}
