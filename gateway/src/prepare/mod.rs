//! Text -> parsed, checked, planned, projected; kept in one cache.

pub mod cache;
mod compile;
mod introspection;
mod limits;
pub mod plan;
pub mod planner;
pub mod projection;
mod scan;

use std::sync::Arc;

use apollo_compiler::{
    Node,
    ast::{self, VariableDefinition},
    executable::OperationType,
    parser::Parser,
    validation::DiagnosticList,
};
use bytes::Bytes;

use crate::{
    error::{Code, Location, Message, RequestError},
    graph::{Graph, SubgraphIndex},
    variables::Variables,
};
use compile::{Names, keys::Keys};
use introspection::Introspection;
use plan::Plan;
use projection::Projection;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Reads.
    Query,
    /// Changes, in the order written.
    Mutation,
    /// Reads again at every event.
    Subscription,
}

/// An operation ready to be executed any number of times.
pub struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) projection: Projection,
    pub(crate) variables: Vec<Node<VariableDefinition>>,
    pub(crate) introspection: Option<Introspection>,
    kind: OperationKind,
    name: Option<String>,
    subscription: Option<UpstreamSubscription>,
}

impl Prepared {
    /// Query, mutation or subscription.
    pub fn kind(&self) -> OperationKind {
        self.kind
    }

    /// The operation's own name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// For a subscription: what to ask of which subgraph.
    pub fn subscription(&self) -> Option<&UpstreamSubscription> {
        self.subscription.as_ref()
    }
}

/// The subgraph's half of a subscription: its events are what [`crate::execute::event`] completes.
pub struct UpstreamSubscription {
    /// Which subgraph has the events.
    pub subgraph: SubgraphIndex,
    /// The operation's text in the subgraph's terms.
    pub operation: String,
    /// The whole operation in one normal form: two documents that mean the same have the same.
    /// With the variables' bytes it identifies what can be shared between clients.
    pub normal_form: Arc<str>,
    /// The argument that resumes the field from a cursor (`after`), where the field has one.
    pub resume: Option<Resume>,
    variables: Vec<(Box<[u8]>, usize)>,
    all_variables: Vec<(Box<[u8]>, usize)>,
}

/// How a subscription field continues where it was.
pub struct Resume {
    /// The operation's text with the cursor as an additional variable, `$_resumeAfter`.
    pub operation: String,
    /// Where each event carries its cursor: response keys from `data` downwards. The plan adds
    /// the field where the client did not ask for it.
    pub cursor_path: Vec<String>,
}

impl UpstreamSubscription {
    /// The JSON object of the variables that the subgraph's operation uses.
    pub fn variables(&self, variables: &Variables) -> Bytes {
        object(&self.variables, variables)
    }

    /// The JSON object of all the operation's variables, in the order declared: equal bytes mean
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

/// Reads, checks and plans an operation, or takes it from the cache. The work itself runs off the
/// event loop, within `limits.prepare_timeout`; a panic in it is an internal error.
///
/// # Errors
/// With the code of the step that refused the operation.
pub async fn operation(
    graph: &Arc<Graph>,
    query: &str,
    operation_name: Option<&str>,
) -> Result<Arc<Prepared>, RequestError> {
    if let Some(prepared) = graph.prepared.get(query, operation_name) {
        return Ok(prepared);
    }
    let timeout = graph.settings.limits.prepare_timeout;
    let too_slow = || {
        RequestError::new(
            Code::PrepareTimeout,
            format!("the operation was not ready within {timeout:?}"),
        )
    };
    let work = async {
        // As many at once as there are processors: more would only be slower each.
        let permit = Arc::clone(&graph.preparing).acquire_owned().await;
        if let Some(prepared) = graph.prepared.get(query, operation_name) {
            return Ok(Ok(prepared));
        }
        let graph = Arc::clone(graph);
        let query = query.to_owned();
        let operation_name = operation_name.map(str::to_owned);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let prepared = Arc::new(build(&graph, &query, operation_name.as_deref())?);
            graph
                .prepared
                .insert(&query, operation_name.as_deref(), Arc::clone(&prepared));
            Ok(prepared)
        })
        .await
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            tracing::error!(%panic, "preparing an operation failed");
            Err(RequestError::new(
                Code::InternalServerError,
                "the operation could not be prepared",
            ))
        }
        Err(_) => Err(too_slow()),
    }
}

/// The steps from text to [`Prepared`].
fn build(
    graph: &Graph,
    query: &str,
    operation_name: Option<&str>,
) -> Result<Prepared, RequestError> {
    let limits = &graph.settings.limits;
    scan::check(query, limits)?;
    let document = Parser::new()
        .parse_ast(query, "")
        .map_err(|invalid| refusal(Code::ParseFailed, &invalid.errors))?;
    limits::check(&document, limits)?;
    let executable = document
        .to_executable_validate(&graph.api)
        .map_err(|invalid| refusal(Code::ValidationFailed, &invalid.errors))?;
    let operation = executable
        .operations
        .get(operation_name)
        .map_err(|error| RequestError::new(Code::OperationResolution, error.message().to_string()))?
        .clone();
    let root = RootFields::of(&operation, &executable);
    if root.introspection && !graph.settings.introspection {
        return Err(RequestError::new(
            Code::IntrospectionDisabled,
            "introspection is switched off",
        ));
    }

    let names: Vec<String> = operation
        .variables
        .iter()
        .map(|v| v.name.to_string())
        .collect();
    let mut keys = Keys::new(Vec::new());
    let projection = projection::compile(
        &graph.api,
        &graph.types,
        &executable,
        &operation,
        &names,
        &mut keys,
        limits.selections_max.saturating_mul(8),
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
    if root.data {
        let text = if root.introspection || root.typename {
            without_meta_fields(&document, &operation)
        } else {
            query.to_owned()
        };
        let name = operation.name.as_ref().map(|name| name.as_str());
        let planned = graph.planner.plan(&text, name, limits.prepare_timeout)?;
        let meaning = Names {
            types: &graph.types,
            subgraphs: &graph.subgraphs,
            variables: &names,
        };
        plan = compile::compile(&planned.plan, &meaning, plan.keys)?;
        if kind == OperationKind::Subscription {
            subscription = Some(upstream(&plan, planned.normal_form, &names)?);
        }
    }
    Ok(Prepared {
        plan,
        projection,
        variables: operation.variables.clone(),
        kind,
        name: operation.name.as_ref().map(ToString::to_string),
        subscription,
        introspection: root
            .introspection
            .then(|| Introspection::new(graph, executable, operation))
            .transpose()?,
    })
}

fn upstream(
    plan: &Plan,
    normal_form: String,
    names: &[String],
) -> Result<UpstreamSubscription, RequestError> {
    let first = plan
        .steps
        .first()
        .ok_or_else(|| RequestError::new(Code::PlanFailed, "the subscription has no subgraph"))?;
    let all = names.iter().enumerate();
    Ok(UpstreamSubscription {
        subgraph: first.subgraph,
        operation: first.request.operation.to_string(),
        normal_form: normal_form.into(),
        resume: None,
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

/// Which kinds of fields an operation has at its root.
#[derive(Default)]
struct RootFields {
    data: bool,
    introspection: bool,
    typename: bool,
}

impl RootFields {
    fn of(
        operation: &apollo_compiler::executable::Operation,
        document: &apollo_compiler::ExecutableDocument,
    ) -> Self {
        let mut fields = Self::default();
        for field in operation.root_fields(document) {
            match field.name.as_str() {
                "__schema" | "__type" => fields.introspection = true,
                "__typename" => fields.typename = true,
                _ => fields.data = true,
            }
        }
        fields
    }
}

/// The document as the planner should see it: the gateway answers introspection itself, and knows
/// the root's type. Such fields are dropped where something else stays, and are a `__typename`
/// where nothing would.
fn without_meta_fields(
    document: &ast::Document,
    operation: &apollo_compiler::executable::Operation,
) -> String {
    let root = operation.object_type();
    let mut document = document.clone();
    for definition in &mut document.definitions {
        match definition {
            ast::Definition::OperationDefinition(operation) => {
                drop_meta_fields(&mut operation.make_mut().selection_set, true);
            }
            ast::Definition::FragmentDefinition(fragment) => {
                let is_root = fragment.type_condition == *root;
                drop_meta_fields(&mut fragment.make_mut().selection_set, is_root);
            }
            _ => {}
        }
    }
    document.to_string()
}

fn drop_meta_fields(selections: &mut Vec<ast::Selection>, is_root: bool) {
    let is_meta = |selection: &ast::Selection| match selection {
        ast::Selection::Field(field) => match field.name.as_str() {
            "__schema" | "__type" => true,
            "__typename" => is_root,
            _ => false,
        },
        _ => false,
    };
    let kept = selections
        .iter()
        .filter(|selection| !is_meta(selection))
        .count();
    if kept > 0 {
        selections.retain(|selection| !is_meta(selection));
    } else if let Some(ast::Selection::Field(field)) = selections.first_mut() {
        let field = field.make_mut();
        field.name = apollo_compiler::name!("__typename");
        field.alias = None;
        field.arguments.clear();
        field.selection_set.clear();
        selections.truncate(1);
    }
    for selection in selections {
        if let ast::Selection::InlineFragment(fragment) = selection {
            drop_meta_fields(&mut fragment.make_mut().selection_set, is_root);
        }
    }
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
