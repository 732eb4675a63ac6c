//! The steps from a document's text to a [`Prepared`] operation.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

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
    prepared::{OperationKind, Prepared, Stages, UpstreamSubscription},
    projection::{self, Introspected, ProjectedValue, Projection},
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

/// A valid operation, with the values of its condition variables in place where the group has them.
struct Decided {
    document: Valid<ExecutableDocument>,
    operation: Node<Operation>,
    conditions: Conditions,
    /// Whether it can be planned: the plan depends on no condition variable whose value is missing.
    is_complete: bool,
}

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
    let began = Instant::now();
    let graph = &serving.graph;
    let authorization = graph.supergraph.authorization();
    let Decided {
        document,
        operation,
        conditions,
        is_complete,
    } = decide(graph, &parse(graph, query)?, operation_name, group)?;
    check_introspection(graph, &operation, &document)?;
    let asked = AskedOperation {
        serving,
        group,
        aliases: ClientAliases::of(&graph.supergraph, &document, &operation),
        view: FieldView::new(authorization, touched, group.authorization),
        document,
        operation,
    };
    let planning = Instant::now();
    let names = variable_names(&asked.operation);
    let mut keys = ResponseKeys::new(Vec::new());
    let (projection, introspected) = asked.project(&names, &mut keys)?;
    let hides = graph.settings.hides_schema && !introspected.is_empty();
    let requirements = requirements(authorization, &asked.view, group, touched, hides)?;
    let is_authorized = group.authorization.is_some() || requirements.is_empty();
    let mut prepared = Prepared {
        plan: Plan {
            keys: keys.into_names(),
            ..Plan::default()
        },
        projection,
        variables: asked.operation.variables.clone(),
        conditions,
        kind: kind_of(asked.operation.operation_type),
        name: asked.operation.name.as_ref().map(ToString::to_string),
        hash: OnceLock::new(),
        stages: Stages {
            began,
            planning,
            ended: planning,
        },
        subscription: None,
        introspection: None,
        sizes: Sizes::default(),
        refusal: None,
        cost: OperationCost::constant(0.0),
        counted: None,
        requirements,
        decisions: group.authorization,
    };
    prepared.refusal = refusal_of(graph, prepared.kind, &prepared.projection);
    if is_complete && is_authorized {
        asked.complete(&introspected, hides, &mut prepared)?;
    }
    prepared.stages.ended = Instant::now();
    Ok(match is_refused(graph, &prepared) {
        true => without_plan(prepared),
        false => prepared,
    })
}

/// Whether the operation is never executed, whatever its variables are.
pub fn is_refused(graph: &Graph, prepared: &Prepared) -> bool {
    prepared.refusal.is_some() || cost::refuses_always(graph, &prepared.cost)
}

/// A valid operation, and for whom it is prepared.
struct AskedOperation<'a> {
    serving: &'a Serving,
    group: RolloutGroup,
    document: Valid<ExecutableDocument>,
    operation: Node<Operation>,
    aliases: ClientAliases,
    view: FieldView<'a>,
}

impl AskedOperation<'_> {
    /// The projection and its introspection fields. `variables` are the names of those that the operation
    /// declares; `keys` receives the response keys.
    fn project<'s>(
        &'s self,
        variables: &'s [String],
        keys: &mut ResponseKeys,
    ) -> Result<(Projection, Vec<Introspected<'s>>), RequestError> {
        let graph = &self.serving.graph;
        projection::compile(
            graph.api(),
            graph.types(),
            &self.document,
            &self.operation,
            variables,
            &self.aliases,
            keys,
            &self.view,
            fields_max(graph),
        )
    }

    /// Adds what its execution needs: the cost, introspection and the plan, unless it is refused.
    fn complete(
        &self,
        introspected: &[Introspected<'_>],
        hides: bool,
        prepared: &mut Prepared,
    ) -> Result<(), RequestError> {
        let graph = &self.serving.graph;
        let (document, operation) = (&self.document, &self.operation);
        prepared.cost = cost::of(graph, document, operation, &self.view, fields_max(graph))?;
        if cost::refuses_always(graph, &prepared.cost) {
            // The cost is what clients are told.
            prepared.refusal = None;
            return Ok(());
        }
        if prepared.refusal.is_some() {
            return Ok(());
        }
        if graph.settings.report_cost {
            prepared.counted = Some(Counted::new(document.clone(), operation.clone()));
        }
        if !introspected.is_empty() {
            let seen = self.group.authorization.filter(|_| hides);
            let seen = seen.map(|decisions| Seen {
                requirements: Arc::clone(&prepared.requirements),
                decisions,
            });
            let introspection = Introspection::new(graph, document, operation, introspected, seen)?;
            prepared.introspection = Some(introspection);
        }
        if asks_subgraphs(&prepared.projection) {
            self.add_plan(prepared)?;
        }
        if prepared.plan.steps.is_empty() && prepared.projection.cuts > 0 {
            // The errors at what was cut have paths all the same.
            prepared.plan.name_aliases(&self.aliases);
        }
        Ok(())
    }

    /// Adds the fetches, and for a subscription the operation at the subgraph that has its events.
    fn add_plan(&self, prepared: &mut Prepared) -> Result<(), RequestError> {
        let graph = &self.serving.graph;
        let asked = federation::Operation::with_aliases(
            &graph.supergraph,
            &self.document,
            &self.operation,
            &self.aliases,
        );
        let whole = (prepared.kind == OperationKind::Subscription)
            .then(|| compile::normal_form(&graph.supergraph, &asked));
        let asked = match prepared.projection.cuts {
            0 => asked,
            _ => cut(&graph.supergraph, asked, fields_max(graph), &|ty, field| {
                self.view.sees(ty, field)
            })
            .map_err(|_| too_many_types())?,
        };
        let keys = std::mem::take(&mut prepared.plan.keys);
        let mut plan = plan(self.serving, &asked, &self.operation, self.group, keys)?;
        plan.name_aliases(&self.aliases);
        plan.forwards = forward::is_possible(&plan, &prepared.projection);
        if let Some(normal_form) = whole {
            self.add_subscription(&plan, normal_form, prepared)?;
        }
        prepared.plan = plan;
        Ok(())
    }

    /// Adds the operation at the subgraph that has the events. Clients with equal normal forms share them.
    fn add_subscription(
        &self,
        plan: &Plan,
        mut normal_form: String,
        prepared: &mut Prepared,
    ) -> Result<(), RequestError> {
        let graph = &self.serving.graph;
        if let Some(introspection) = &prepared.introspection {
            // Its events also have the introspection fields.
            normal_form.push_str(introspection.text());
        }
        // Clients share events only if they may see the same of them.
        let authorization = graph.supergraph.authorization();
        let decided = decided_text(authorization, self.group, &prepared.requirements);
        normal_form.push_str(&decided);
        // One client may have a plan that asks another subgraph than another client's: of two feeds with the same
        // text, one may depend on who asks.
        if !plan.depends_on_viewer {
            normal_form.push_str("\nfor all");
        }
        let upstream = upstream(graph, plan, normal_form, &variable_names(&self.operation))?;
        let bytes_max = graph.settings.subscription_request_bytes_max;
        if upstream.operation.len() > bytes_max {
            prepared.refusal = Some(subscription_too_large(bytes_max));
        }
        prepared.subscription = Some(upstream);
        Ok(())
    }
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

fn fields_max(graph: &Graph) -> usize {
    let selections_max = graph.settings.limits.selections_max;
    selections_max.saturating_mul(FIELDS_PER_SELECTION)
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
        viewer_fields: &graph.viewer_fields,
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
        depends_on_viewer: plan.depends_on_viewer,
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
