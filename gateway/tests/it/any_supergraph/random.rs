//! Random supergraphs with contexts and subgraphs' own directives. The composer does not support
//! these, so they are added to the composed supergraph.

use std::collections::HashSet;

use apollo_compiler::{
    Name, Node,
    ast::{
        Argument, Definition, Directive, DirectiveList, Document, FieldDefinition,
        ObjectTypeDefinition, Value,
    },
};
use fastrand::Rng;
use serde_json::Value as Json;

use super::{is_without_context, simulated::Simulated, start};
use crate::{
    random_graphs::{number_from, operation, shrink, supergraph},
    support::{TestGraph, subgraph::Answers},
};

/// Operations compared over each supergraph.
const OPERATIONS_PER_SUPERGRAPH: u64 = 50;
/// The contexts that objects may set.
const CONTEXTS: usize = 2;
/// What our composer leaves out, with what contexts need.
const DEFINITIONS: &str = "
    directive @context(name: String!) repeatable on OBJECT | INTERFACE | UNION
    directive @mark(with: Int) on FIELD
    directive @join__enumValue(graph: join__Graph!) repeatable on ENUM_VALUE
    directive @join__field(
      graph: join__Graph requires: join__FieldSet provides: join__FieldSet type: String external: Boolean
      override: String usedOverridden: Boolean overrideLabel: String
      contextArguments: [join__ContextArgument!]
    ) repeatable on FIELD_DEFINITION | INPUT_FIELD_DEFINITION
    directive @join__graph(name: String!, url: String!) on ENUM_VALUE
    directive @join__implements(graph: join__Graph!, interface: String!) repeatable on OBJECT | INTERFACE
    directive @join__type(
      graph: join__Graph! key: join__FieldSet extension: Boolean! = false resolvable: Boolean! = true
      isInterfaceObject: Boolean! = false
    ) repeatable on OBJECT | INTERFACE | UNION | ENUM | INPUT_OBJECT | SCALAR
    directive @join__unionMember(graph: join__Graph!, member: String!) repeatable on UNION
    scalar join__FieldSet
    scalar join__FieldValue
    input join__ContextArgument {
      name: String! type: String! context: String! selection: join__FieldValue! }";

/// The longer run, with its count at the end:
/// `DIFFERENTIAL_OPERATIONS=10000 cargo test -p gateway --test it any_supergraph::random -- --nocapture`
#[tokio::test]
async fn random_graphs_with_contexts_and_directives_answer_as_one_graph_would() {
    let wanted = number_from("DIFFERENTIAL_OPERATIONS", 200);
    let mut seed = number_from("DIFFERENTIAL_SEED", 1);
    let (mut compared, mut with_contexts) = (0, 0);
    while compared < wanted {
        let mut rng = Rng::with_seed(seed);
        let sdl = extended(&supergraph(&mut rng), &mut rng);
        let started = start(&sdl, seed).await;
        seed += 1;
        let Ok((graph, whole)) =
            started.map_err(|why| println!("seed {}: left out: {why}", seed - 1))
        else {
            continue;
        };
        let api = graph.inner().api_sdl();
        let api = apollo_compiler::Schema::parse_and_validate(api, "api").expect("an API schema");
        let (mut of_this, mut tries) = (0, 0);
        while of_this < OPERATIONS_PER_SUPERGRAPH.min(wanted) && tries < 1_000 {
            tries += 1;
            let operation = operation::operation(&api, &mut rng);
            match compare(&graph, &whole, &operation).await {
                Outcome::Left => {}
                Outcome::Same(asks_for_contexts) => {
                    of_this += 1;
                    with_contexts += u64::from(asks_for_contexts);
                }
                Outcome::Different => {
                    report(seed - 1, &sdl, &graph, &whole, operation).await;
                }
            }
        }
        compared += of_this;
    }
    println!(
        "{compared} operations compared, {with_contexts} of them with contexts, 0 differences"
    );
    assert!(with_contexts > 0);
}

enum Outcome {
    /// Not valid, or nothing above sets a context.
    Left,
    /// And whether a request had values of contexts.
    Same(bool),
    Different,
}

async fn compare(graph: &TestGraph, whole: &Simulated, operation: &str) -> Outcome {
    let variables = operation::variables();
    let expected = whole.execute(operation, &variables);
    if expected.get("data").is_none() {
        return Outcome::Left;
    }
    let answer: Json = graph.ask(operation, Some(variables)).await;
    let requests = graph.requests();
    if is_without_context(whole, operation, &expected, &answer) {
        return Outcome::Left;
    }
    let has_errors = |response: &Json| response.get("errors").is_some();
    // As text, so that the order of keys counts.
    let text = |response: &Json| response["data"].to_string();
    let is_same = text(&answer) == text(&expected) && has_errors(&answer) == has_errors(&expected);
    if is_same {
        return Outcome::Same(requests.iter().any(|it| it.contains("_from")));
    }
    Outcome::Different
}

async fn report(seed: u64, sdl: &str, graph: &TestGraph, whole: &Simulated, mut operation: String) {
    'smaller: loop {
        for candidate in shrink::smaller(&operation) {
            if matches!(compare(graph, whole, &candidate).await, Outcome::Different) {
                operation = candidate;
                continue 'smaller;
            }
        }
        break;
    }
    let variables = operation::variables();
    let expected = whole.execute(&operation, &variables);
    let answer: Json = graph.ask(&operation, Some(variables)).await;
    let requests = graph.requests().join("\n");
    eprintln!(
        "{sdl}\nseed {seed}: {operation}\nexpected {expected}\ngot      {answer}\n{requests}"
    );
    panic!(
        "two answers to one operation; the gateway's plan:\n{}",
        graph.plan(&operation)
    );
}

/// The supergraph with contexts that some objects set, fields that take them, and a directive.
pub fn extended(sdl: &str, rng: &mut Rng) -> String {
    let mut document = Document::parse(sdl, "supergraph").expect("the supergraph is valid SDL");
    let mut used = words_of_field_sets(&document);
    let of_interfaces: HashSet<Name> = document
        .definitions
        .iter()
        .filter_map(|it| match it {
            Definition::InterfaceTypeDefinition(it) => Some(it),
            _ => None,
        })
        .flat_map(|it| it.fields.iter().map(|field| field.name.clone()))
        .collect();
    let with_json: Vec<String> = document
        .definitions
        .iter()
        .filter(|it| it.name().is_some_and(|name| name == "Json"))
        .flat_map(|it| graphs(it.directives()))
        .collect();
    let mut selections = vec![String::new(); CONTEXTS];
    for object in objects(&mut document) {
        for (number, selection) in selections.iter_mut().enumerate() {
            let leaves = object.fields.iter().filter(|it| is_plain_leaf(it));
            let leaves: Vec<&Name> = leaves.map(|it| &it.name).collect();
            // The root sets all, so that few operations are left out.
            let sets = object.name == "Query" || rng.bool();
            if leaves.is_empty() || !sets {
                continue;
            }
            let leaf = leaves[rng.usize(..leaves.len())].clone();
            *selection += &format!("... on {} {{ {leaf} }} ", object.name);
            used.insert(leaf.to_string());
            let set = format!("s0__c{number}");
            object
                .directives
                .0
                .push(directive("context", vec![("name", text(&set))]));
        }
    }
    let contexts: Vec<usize> = (0..CONTEXTS)
        .filter(|it| !selections[*it].is_empty())
        .collect();
    for object in objects(&mut document) {
        let by_key = keyed(&object.directives);
        for field in &mut object.fields {
            let taken = used.contains(field.name.as_str()) || of_interfaces.contains(&field.name);
            let joins = field.directives.get_all("join__field");
            let joins: Vec<&Node<Directive>> = joins.collect();
            let [only] = *joins else { continue };
            let of_graph = graph_of(only);
            let is_free = ["external", "override", "usedOverridden"]
                .iter()
                .all(|it| only.specified_argument_by_name(it).is_none());
            let may = |graph: &String| by_key.contains(graph) && with_json.contains(graph);
            if taken || !is_free || !of_graph.as_ref().is_some_and(may) || rng.u8(..10) < 2 {
                continue;
            }
            let mut arguments = Vec::new();
            for number in &contexts {
                if arguments.is_empty() || rng.bool() {
                    let fields = [
                        ("name", format!("from{number}")),
                        ("type", "Json".to_owned()),
                        ("context", format!("s0__c{number}")),
                        ("selection", selections[*number].trim().to_owned()),
                    ];
                    let fields = fields
                        .into_iter()
                        .map(|(key, value)| (name(key), text(&value)));
                    arguments.push(Node::new(Value::Object(fields.collect())));
                }
            }
            let list = argument("contextArguments", Node::new(Value::List(arguments)));
            let field = field.make_mut();
            for join in field
                .directives
                .iter_mut()
                .filter(|it| it.name == "join__field")
            {
                join.make_mut().arguments.push(list.clone());
            }
        }
    }
    document.definitions.retain(|it| {
        let is_of_joins = it
            .name()
            .is_some_and(|it| it.starts_with("join__") && it != "join__Graph");
        !is_of_joins
            && !matches!(
                it,
                Definition::DirectiveDefinition(_) | Definition::SchemaDefinition(_)
            )
    });
    format!("{document}{DEFINITIONS}")
}

fn objects(document: &mut Document) -> impl Iterator<Item = &mut ObjectTypeDefinition> {
    document.definitions.iter_mut().filter_map(|it| match it {
        Definition::ObjectTypeDefinition(it) if it.name != "Mutation" => Some(it.make_mut()),
        _ => None,
    })
}

fn is_plain_leaf(field: &FieldDefinition) -> bool {
    let leaf = ["Int", "Float", "String", "Boolean", "ID", "Colour", "Json"];
    field.arguments.is_empty() && leaf.contains(&field.ty.inner_named_type().as_str())
}

/// The subgraphs of a definition.
fn graphs(directives: &DirectiveList) -> Vec<String> {
    let joins = directives.get_all("join__type");
    joins.filter_map(|join| graph_of(join)).collect()
}

/// The subgraphs that find a type by keys.
fn keyed(directives: &DirectiveList) -> Vec<String> {
    let joins = directives.get_all("join__type");
    let is_found = |join: &&Node<Directive>| {
        let resolvable = join.specified_argument_by_name("resolvable");
        join.specified_argument_by_name("key").is_some()
            && resolvable.and_then(|it| it.to_bool()) != Some(false)
    };
    let joins = joins.filter(is_found);
    joins.filter_map(|join| graph_of(join)).collect()
}

fn graph_of(join: &Directive) -> Option<String> {
    let graph = join.specified_argument_by_name("graph")?.as_enum()?;
    Some(graph.to_string())
}

/// What plans may add by themselves: a field of those has no arguments from contexts here.
fn words_of_field_sets(document: &Document) -> HashSet<String> {
    let mut words = HashSet::new();
    let mut add = |directives: &DirectiveList| {
        for argument in directives.iter().flat_map(|it| &it.arguments) {
            let set = ["key", "requires", "provides"].contains(&argument.name.as_str());
            let set = argument.value.as_str().filter(|_| set).unwrap_or_default();
            let found = set.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.extend(found.map(str::to_owned));
        }
    };
    for definition in &document.definitions {
        add(definition.directives());
        let fields = match definition {
            Definition::ObjectTypeDefinition(it) => &it.fields,
            Definition::InterfaceTypeDefinition(it) => &it.fields,
            _ => continue,
        };
        for field in fields {
            add(&field.directives);
        }
    }
    words
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn text(text: &str) -> Node<Value> {
    Node::new(Value::String(text.to_owned()))
}

fn argument(key: &str, value: Node<Value>) -> Node<Argument> {
    Node::new(Argument {
        name: name(key),
        value,
    })
}

fn directive(of: &str, arguments: Vec<(&str, Node<Value>)>) -> Node<Directive> {
    let arguments = arguments.into_iter();
    Node::new(Directive {
        name: name(of),
        arguments: arguments.map(|(key, value)| argument(key, value)).collect(),
    })
}
