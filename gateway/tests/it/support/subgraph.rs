//! A small real subgraph: a Federation schema over JSON data, served over HTTP.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use apollo_compiler::{
    Schema,
    ast::{Definition, Document},
};
use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use http::StatusCode;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::data::Data;

/// What Federation adds to a subgraph's schema.
const FEDERATION: &str = "
scalar _Any
directive @key(fields: String!, resolvable: Boolean) repeatable on OBJECT | INTERFACE
directive @requires(fields: String!) on FIELD_DEFINITION
directive @provides(fields: String!) on FIELD_DEFINITION
directive @external on OBJECT | FIELD_DEFINITION
directive @shareable repeatable on OBJECT | FIELD_DEFINITION
directive @extends on OBJECT | INTERFACE
directive @interfaceObject on OBJECT
directive @override(from: String!, label: String) on FIELD_DEFINITION
directive @inaccessible on FIELD_DEFINITION | OBJECT | INTERFACE | UNION | ARGUMENT_DEFINITION | SCALAR | ENUM | ENUM_VALUE | INPUT_OBJECT | INPUT_FIELD_DEFINITION
directive @tag(name: String!) repeatable on FIELD_DEFINITION | OBJECT | INTERFACE | UNION | ARGUMENT_DEFINITION | SCALAR | ENUM | ENUM_VALUE | INPUT_OBJECT | INPUT_FIELD_DEFINITION
";

/// The link that makes a schema a Federation 2 one.
pub const LINK: &str = "extend schema @link(url: \"https://specs.apollo.dev/federation/v2.3\", import: [\
    \"@key\", \"@requires\", \"@provides\", \"@external\", \"@shareable\", \"@extends\", \
    \"@interfaceObject\", \"@override\", \"@inaccessible\", \"@tag\"])\n";

/// A subgraph to be started.
pub struct Subgraph {
    name: String,
    sdl: String,
    data: Data,
}

impl Subgraph {
    /// A Federation 2 subgraph.
    pub fn new(name: &str, sdl: &str) -> Self {
        Self::raw(name, &format!("{LINK}{sdl}"))
    }

    /// A subgraph whose schema is taken as it is, as Federation 1 schemas are.
    pub fn raw(name: &str, sdl: &str) -> Self {
        Self {
            name: name.to_owned(),
            sdl: sdl.to_owned(),
            data: Data {
                schema: executable_schema(sdl),
                roots: Value::Object(serde_json::Map::new()),
                entities: Vec::new(),
                resolvers: HashMap::new(),
            },
        }
    }

    /// The fields of `Query`.
    pub fn query(mut self, fields: Value) -> Self {
        self.data.roots["Query"] = fields;
        self
    }

    /// Objects that keys find.
    pub fn entities(mut self, entities: Value) -> Self {
        let Value::Array(entities) = entities else {
            panic!("a list of entities")
        };
        self.data.entities = entities;
        self
    }

    /// A field that is computed from its object and its arguments.
    pub fn field(
        mut self,
        type_name: &str,
        field: &str,
        resolver: impl Fn(&Value, &Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        let key = (type_name.to_owned(), field.to_owned());
        self.data.resolvers.insert(key, Box::new(resolver));
        self
    }

    /// Serves it on a free port until the handle goes away.
    pub async fn start(self) -> Running {
        serve(self.name, self.sdl, Box::new(self.data)).await
    }
}

/// Executes the operations of a test subgraph.
pub trait Answers: Send + Sync {
    /// Returns the GraphQL response as JSON.
    fn execute(&self, query: &str, variables: &Value) -> Value;
}

/// Serves a subgraph on a free port until the handle goes away.
pub async fn serve(name: String, sdl: String, data: Box<dyn Answers>) -> Running {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let url = format!(
        "http://{}/graphql",
        listener.local_addr().expect("an address")
    );
    let served = Arc::new(Served {
        name,
        data,
        log: Mutex::default(),
        fault: Mutex::default(),
        gate: Mutex::default(),
    });
    let app = Router::new()
        .route("/graphql", post(answer))
        .with_state(Arc::clone(&served));
    let task = tokio::spawn(async move {
        axum::serve(listener, app)
            .await
            .expect("serving does not fail");
    });
    Running {
        url,
        sdl,
        served,
        task,
    }
}

/// A subgraph that runs.
pub struct Running {
    url: String,
    sdl: String,
    served: Arc<Served>,
    task: tokio::task::JoinHandle<()>,
}

struct Served {
    name: String,
    data: Box<dyn Answers>,
    log: Mutex<Vec<(u64, String)>>,
    fault: Mutex<Option<Fault>>,
    gate: Mutex<Option<Arc<Semaphore>>>,
}

/// What a subgraph does instead of answering.
#[derive(Clone)]
pub enum Fault {
    /// This status with this body.
    Answer(u16, String),
    /// A success with these bytes.
    Bytes(&'static [u8]),
    /// Accepts the request and never responds.
    Hang,
}

impl Running {
    pub fn name(&self) -> &str {
        &self.served.name
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn sdl(&self) -> &str {
        &self.sdl
    }

    pub fn take_log(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.served.log.lock().expect("not poisoned"))
    }

    /// From now on it fails like this.
    pub fn fail(&self, fault: Fault) {
        *self.served.fault.lock().expect("not poisoned") = Some(fault);
    }

    /// From now on it answers as it should.
    pub fn recover(&self) {
        *self.served.fault.lock().expect("not poisoned") = None;
    }

    /// From now on requests are taken and wait; each permit added lets one be answered.
    pub fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.served.gate.lock().expect("not poisoned") = Some(Arc::clone(&gate));
        gate
    }

    /// How many requests it has taken since the log was read last.
    pub fn requests_taken(&self) -> usize {
        self.served.log.lock().expect("not poisoned").len()
    }

    /// Stops listening: from now on, connections are refused.
    pub async fn stop(&self) {
        self.task.abort();
        // Until its socket is closed, a connection is reset where it should be refused.
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(served): State<Arc<Served>>, Json(request): Json<Value>) -> Response {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let query = request["query"].as_str().unwrap_or_default();
    let mut variables = request["variables"].clone();
    if variables.is_null() {
        variables = serde_json::json!({});
    }
    let entry = format!("{}: {query}", served.name);
    let at = NEXT.fetch_add(1, Ordering::SeqCst);
    let fault = served.fault.lock().expect("not poisoned").clone();
    let gate = served.gate.lock().expect("not poisoned").clone();
    served.log.lock().expect("not poisoned").push((at, entry));
    if let (Some(gate), false) = (gate, matches!(fault, Some(Fault::Hang))) {
        gate.acquire().await.expect("never closed").forget();
    }
    match fault {
        None => Json(served.data.execute(query, &variables)).into_response(),
        Some(Fault::Answer(status, body)) => {
            (StatusCode::from_u16(status).expect("a status"), body).into_response()
        }
        Some(Fault::Bytes(body)) => body.into_response(),
        Some(Fault::Hang) => std::future::pending().await,
    }
}

/// The schema with which a subgraph executes: what it wrote, and Federation's additions.
pub fn executable_schema(sdl: &str) -> apollo_compiler::validation::Valid<Schema> {
    let mut document = Document::parse(sdl, "subgraph").expect("valid SDL");
    document
        .definitions
        .retain(|definition| !matches!(definition, Definition::SchemaExtension(_)));
    let entities: Vec<String> = document
        .definitions
        .iter()
        .filter_map(entity_name)
        .collect();
    let mut text = format!("{FEDERATION}{document}");
    let has_query = document
        .definitions
        .iter()
        .any(|it| it.name().is_some_and(|it| it == "Query"));
    if !has_query {
        text.push_str("type Query { _service: String }\n");
    }
    if !entities.is_empty() {
        text.push_str(&format!("union _Entity = {}\n", entities.join(" | ")));
        text.push_str("extend type Query { _entities(representations: [_Any!]!): [_Entity]! }\n");
    }
    // Federation 1 extends types that other subgraphs define.
    Schema::builder()
        .adopt_orphan_extensions()
        .parse(text, "subgraph")
        .build()
        .and_then(Schema::validate)
        .unwrap_or_else(|invalid| panic!("a subgraph's schema is not valid: {}", invalid.errors))
}

fn entity_name(definition: &Definition) -> Option<String> {
    let (name, directives) = match definition {
        Definition::ObjectTypeDefinition(it) => (&it.name, &it.directives),
        Definition::ObjectTypeExtension(it) => (&it.name, &it.directives),
        _ => return None,
    };
    directives.has("key").then(|| name.to_string())
}
