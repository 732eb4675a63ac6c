//! Random supergraphs with directives of authorisation, and random clients: the gateway answers as an executor that
//! has everything, in which a field that the client may not see fails before it is resolved.
//!
//! Which fields those are is decided here by what was drawn, not by reading the supergraph.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use apollo_compiler::{
    Name,
    ast::{Definition, Directive, DirectiveList, Document, FieldDefinition, Type},
};
use fastrand::Rng;
use gateway::authorization::Claims;
use serde_json::Value;

use super::{
    is_without_context,
    random::extended,
    simulated::{Simulated, UNAUTHORIZED},
    start,
};
use crate::{
    random_graphs::{number_from, operation, shrink, supergraph},
    support::{TestGraph, subgraph::Answers},
};

/// Operations compared over each supergraph.
const OPERATIONS_PER_SUPERGRAPH: u64 = 50;
/// Names of scopes, and of policies.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// What links need, with the directives in their own names and in others.
const DEFINITIONS: &str = "
    directive @link(url: String!, as: String, for: link__Purpose, import: [link__Import]) repeatable on SCHEMA
    scalar link__Import
    enum link__Purpose { SECURITY EXECUTION }
    scalar Right";

/// What the directives are called.
struct Words {
    authenticated: &'static str,
    scopes: &'static str,
    policy: &'static str,
    links: String,
}

impl Words {
    fn random(rng: &mut Rng) -> Self {
        let mut links = String::new();
        let mut name = |specification: &str,
                        imported: &'static str,
                        prefix: &'static str,
                        own: &'static str| {
            let (name, as_what) = match rng.u8(..4) {
                0 => (
                    imported,
                    format!(", import: [{{name: \"@{specification}\", as: \"@{imported}\"}}]"),
                ),
                1 => (prefix, format!(", as: \"{prefix}\"")),
                2 => (own, format!(", import: [\"@{specification}\"]")),
                _ => (own, String::new()),
            };
            links += &format!(
                " @link(url: \"https://specs.apollo.dev/{specification}/v0.1\", for: SECURITY{as_what})"
            );
            name
        };
        Self {
            authenticated: name("authenticated", "signedIn", "known", "authenticated"),
            scopes: name("requiresScopes", "needs", "rights", "requiresScopes"),
            policy: name("policy", "allowedBy", "rules", "policy"),
            links,
        }
    }

    fn definitions(&self) -> String {
        let Self {
            authenticated,
            scopes,
            policy,
            links,
        } = self;
        let places = "on FIELD_DEFINITION | OBJECT | INTERFACE | SCALAR | ENUM";
        format!(
            "{DEFINITIONS}
             schema @link(url: \"https://specs.apollo.dev/link/v1.0\") {links} {{ query: Query mutation: Mutation }}
             directive @{authenticated} {places}
             directive @{scopes}(scopes: [[Right!]!]!) {places}
             directive @{policy}(policies: [[Right!]!]!) {places}"
        )
    }
}

/// A requirement in disjunctive normal form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Need {
    Authenticated,
    Scopes(Vec<Vec<String>>),
    Policies(Vec<Vec<String>>),
}

impl Need {
    fn random(rng: &mut Rng) -> Self {
        let sets = |rng: &mut Rng| {
            let set = |rng: &mut Rng| {
                let names =
                    (0..rng.usize(1..3)).map(|_| NAMES[rng.usize(..NAMES.len())].to_owned());
                names.collect::<Vec<_>>()
            };
            // Nothing is enough for an empty list.
            let count = if rng.u8(..12) == 0 {
                0
            } else {
                rng.usize(1..3)
            };
            (0..count).map(|_| set(rng)).collect::<Vec<_>>()
        };
        match rng.u8(..3) {
            0 => Self::Authenticated,
            1 => Self::Scopes(sets(rng)),
            _ => Self::Policies(sets(rng)),
        }
    }

    fn text(&self, words: &Words) -> String {
        match self {
            Self::Authenticated => format!("@{}", words.authenticated),
            Self::Scopes(sets) => format!("@{}(scopes: {sets:?})", words.scopes),
            Self::Policies(sets) => format!("@{}(policies: {sets:?})", words.policy),
        }
    }

    fn is_met(&self, client: &Client) -> bool {
        let any = |sets: &[Vec<String>], has: &[String]| {
            let mut sets = sets.iter();
            sets.any(|set| set.iter().all(|name| has.contains(name)))
        };
        match self {
            Self::Authenticated => client.is_authenticated,
            Self::Scopes(sets) => any(sets, &client.scopes),
            Self::Policies(sets) => any(sets, &client.policies),
        }
    }

    /// Whether the two lists require the same of each kind: tried with all sets of names.
    fn are_same(one: &[Self], other: &[Self]) -> bool {
        let has_authenticated = |needs: &[Self]| needs.contains(&Self::Authenticated);
        let are_met = |needs: &[Self], of_scopes: bool, client: &Client| {
            let mut needs = needs.iter().filter(|need| match need {
                Self::Authenticated => false,
                Self::Scopes(_) => of_scopes,
                Self::Policies(_) => !of_scopes,
            });
            needs.all(|need| need.is_met(client))
        };
        let all_names = (0..1_usize << NAMES.len()).map(|bits| {
            let names = NAMES.iter().enumerate();
            let names = names.filter(|(bit, _)| (bits >> bit) & 1 == 1);
            names
                .map(|(_, name)| (*name).to_owned())
                .collect::<Vec<_>>()
        });
        let mut clients = all_names.map(|names| Client {
            is_authenticated: false,
            scopes: names.clone(),
            policies: names,
        });
        has_authenticated(one) == has_authenticated(other)
            && clients.all(|client| {
                [true, false].iter().all(|of_scopes| {
                    are_met(one, *of_scopes, &client) == are_met(other, *of_scopes, &client)
                })
            })
    }

    /// What a composer makes of several: both, multiplied out.
    fn and(&self, other: &Self) -> Option<Self> {
        let product = |one: &[Vec<String>], other: &[Vec<String>]| {
            let pairs = one
                .iter()
                .flat_map(|one| other.iter().map(move |other| [&**one, &**other].concat()));
            pairs.collect()
        };
        match (self, other) {
            (Self::Authenticated, Self::Authenticated) => Some(Self::Authenticated),
            (Self::Scopes(one), Self::Scopes(other)) => Some(Self::Scopes(product(one, other))),
            (Self::Policies(one), Self::Policies(other)) => {
                Some(Self::Policies(product(one, other)))
            }
            _ => None,
        }
    }
}

/// What is known of a client.
#[derive(Debug)]
struct Client {
    is_authenticated: bool,
    scopes: Vec<String>,
    policies: Vec<String>,
}

impl Client {
    fn random(rng: &mut Rng) -> Self {
        let some = |rng: &mut Rng| {
            let names = NAMES.iter().filter(|_| rng.bool());
            names.map(|name| (*name).to_owned()).collect()
        };
        Self {
            is_authenticated: rng.bool(),
            scopes: some(rng),
            policies: some(rng),
        }
    }
}

/// Where which directives stand: at types by their name, at fields by both.
#[derive(Default)]
struct Drawn {
    types: BTreeMap<Name, Vec<Need>>,
    fields: BTreeMap<(Name, Name), Vec<Need>>,
    /// The requirements of interfaces that are not those of the implementations together: they bind these.
    bound_types: BTreeMap<Name, Vec<Need>>,
    bound_fields: BTreeMap<(Name, Name), Vec<Need>>,
}

impl Drawn {
    fn random(document: &Document, rng: &mut Rng) -> Self {
        let mut drawn = Self::default();
        let few = rng.u8(5..30);
        let needs = |percent: u8, rng: &mut Rng| {
            let mut needs: Vec<Need> = Vec::new();
            while rng.u8(..100) < percent {
                let need = Need::random(rng);
                let is_same_kind =
                    |it: &Need| std::mem::discriminant(it) == std::mem::discriminant(&need);
                if !needs.iter().any(is_same_kind) {
                    needs.push(need);
                }
            }
            needs
        };
        for definition in &document.definitions {
            let Some(name) = definition.name().filter(|it| !it.starts_with("join__")) else {
                continue;
            };
            let fields = match definition {
                Definition::ObjectTypeDefinition(it) => &it.fields,
                Definition::ScalarTypeDefinition(_) | Definition::EnumTypeDefinition(_) => {
                    drawn.types.insert(name.clone(), needs(few / 3, rng));
                    continue;
                }
                _ => continue,
            };
            let is_root = ["Query", "Mutation"].contains(&name.as_str());
            let percent = if is_root { few / 8 } else { few / 2 };
            drawn.types.insert(name.clone(), needs(percent, rng));
            for field in fields {
                let key = (name.clone(), field.name.clone());
                drawn.fields.insert(key, needs(few, rng));
            }
        }
        for definition in &document.definitions {
            let Definition::InterfaceTypeDefinition(interface) = definition else {
                continue;
            };
            let name = &interface.name;
            let objects = implementations(document, name);
            let of = objects.iter().map(|it| drawn.types.get(*it));
            let of: Vec<Vec<Need>> = of.flatten().cloned().collect();
            let at = at_interface(&of, few, rng);
            if !Need::are_same(&at, &of.concat()) {
                for object in &objects {
                    let bound = drawn.bound_types.entry((*object).clone());
                    bound.or_default().extend(at.iter().cloned());
                }
            }
            drawn.types.insert(name.clone(), at);
            for field in &interface.fields {
                let of = objects.iter().map(|object| {
                    let key = ((*object).clone(), field.name.clone());
                    drawn.fields.get(&key)
                });
                let of: Vec<Vec<Need>> = of.flatten().cloned().collect();
                let at = at_interface(&of, few, rng);
                if !Need::are_same(&at, &of.concat()) {
                    for object in &objects {
                        let key = ((*object).clone(), field.name.clone());
                        let bound = drawn.bound_fields.entry(key);
                        bound.or_default().extend(at.iter().cloned());
                    }
                }
                drawn.fields.insert((name.clone(), field.name.clone()), at);
            }
        }
        drawn
    }

    /// The supergraph with the directives.
    fn added(&self, document: &Document, words: &Words) -> String {
        let mut document = document.clone();
        for definition in &mut document.definitions {
            let Some(name) = definition.name().cloned() else {
                continue;
            };
            let of_type = self.types.get(&name).cloned().unwrap_or_default();
            let add = |directives: &mut DirectiveList, fields: &mut Vec<_>| {
                directives.0.extend(directives_of(&of_type, words));
                self.add_to_fields(&name, fields, words);
            };
            match definition {
                Definition::ObjectTypeDefinition(it) => {
                    let it = it.make_mut();
                    add(&mut it.directives, &mut it.fields);
                }
                Definition::InterfaceTypeDefinition(it) => {
                    let it = it.make_mut();
                    add(&mut it.directives, &mut it.fields);
                }
                Definition::ScalarTypeDefinition(it) => {
                    add(&mut it.make_mut().directives, &mut Vec::new());
                }
                Definition::EnumTypeDefinition(it) => {
                    add(&mut it.make_mut().directives, &mut Vec::new());
                }
                _ => {}
            }
        }
        format!("{document}{}", words.definitions())
    }

    fn add_to_fields(
        &self,
        ty: &Name,
        fields: &mut [apollo_compiler::Node<FieldDefinition>],
        words: &Words,
    ) {
        for field in fields {
            let key = (ty.clone(), field.name.clone());
            let needs = self.fields.get(&key).cloned().unwrap_or_default();
            let field = field.make_mut();
            field.directives.0.extend(directives_of(&needs, words));
        }
    }

    /// The fields of objects that a client may not see.
    fn unseen(&self, document: &Document, client: &Client) -> BTreeSet<(Name, Name)> {
        let mut unseen = BTreeSet::new();
        for definition in &document.definitions {
            let Definition::ObjectTypeDefinition(object) = definition else {
                continue;
            };
            let ty = &object.name;
            for field in &object.fields {
                let key = (ty.clone(), field.name.clone());
                let inner: &Type = &field.ty;
                let inner = inner.inner_named_type();
                let needs = [
                    self.types.get(ty),
                    self.bound_types.get(ty),
                    self.fields.get(&key),
                    self.bound_fields.get(&key),
                    self.types.get(inner),
                    self.bound_types.get(inner),
                ];
                let mut needs = needs.into_iter().flatten().flatten();
                if needs.any(|need| !need.is_met(client)) {
                    unseen.insert(key);
                }
            }
        }
        unseen
    }
}

/// What stands at a place of an interface: nothing, what a composer generates from the implementations, a part of it,
/// and perhaps an author's own requirement, which may be one that an implementation has, too.
fn at_interface(of_objects: &[Vec<Need>], percent: u8, rng: &mut Rng) -> Vec<Need> {
    let mut at = match rng.u8(..6) {
        0 | 1 => Vec::new(),
        _ => all_of(of_objects.iter()),
    };
    if rng.u8(..6) == 0 && !at.is_empty() {
        at.remove(rng.usize(..at.len()));
    }
    if rng.u8(..100) < percent {
        let all = of_objects.concat();
        let need = match rng.bool() && !all.is_empty() {
            true => all[rng.usize(..all.len())].clone(),
            false => Need::random(rng),
        };
        // A directive stands there once.
        let kind = std::mem::discriminant(&need);
        at.retain(|it| std::mem::discriminant(it) != kind);
        at.push(need);
    }
    at
}

/// The conjunction of all, one requirement of each kind.
fn all_of<'n>(all: impl Iterator<Item = &'n Vec<Need>>) -> Vec<Need> {
    let mut merged: Vec<Need> = Vec::new();
    for need in all.flatten() {
        match merged.iter_mut().find_map(|it| Some((it.and(need)?, it))) {
            Some((both, it)) => *it = both,
            None => merged.push(need.clone()),
        }
    }
    // What is too long would not be recognised as generated.
    merged.retain(|need| match need {
        Need::Scopes(sets) | Need::Policies(sets) => sets.len() < 100,
        Need::Authenticated => true,
    });
    merged
}

fn implementations<'d>(document: &'d Document, interface: &Name) -> Vec<&'d Name> {
    let objects = document.definitions.iter().filter_map(|it| match it {
        Definition::ObjectTypeDefinition(it) => Some(it),
        _ => None,
    });
    let implementing = objects.filter(|it| it.implements_interfaces.contains(interface));
    implementing.map(|it| &it.name).collect()
}

fn directives_of(needs: &[Need], words: &Words) -> Vec<apollo_compiler::Node<Directive>> {
    let texts = needs.iter().map(|need| need.text(words));
    let text = format!("scalar S {}", texts.collect::<Vec<_>>().join(" "));
    let document = Document::parse(text, "directives").expect("directives");
    document.definitions[0].directives().0.clone()
}

/// The longer run, with its count at the end:
/// `DIFFERENTIAL_OPERATIONS=10000 cargo test -p gateway --test it any_supergraph::protected -- --nocapture`
#[tokio::test]
async fn random_clients_of_protected_graphs_see_what_they_may_and_nothing_else() {
    let wanted = number_from("DIFFERENTIAL_OPERATIONS", 200);
    let mut seed = number_from("DIFFERENTIAL_SEED", 1);
    let (mut compared, mut with_cuts, mut cut_paths, mut hidden) = (0, 0, 0, 0);
    while compared < wanted {
        let mut rng = Rng::with_seed(seed);
        let plain = supergraph(&mut rng);
        let plain = extended(&plain, &mut rng);
        let document = Document::parse(plain, "supergraph").expect("SDL");
        let words = Words::random(&mut rng);
        let drawn = Drawn::random(&document, &mut rng);
        let sdl = drawn.added(&document, &words);
        let started = start(&sdl, seed).await;
        seed += 1;
        let (graph, mut whole) = match started {
            Ok(started) => started,
            Err(why) => {
                println!("seed {}: left out: {why}", seed - 1);
                continue;
            }
        };
        let api = graph.inner().api_sdl();
        let api = apollo_compiler::Schema::parse_and_validate(api, "api").expect("an API schema");
        let (mut of_this, mut tries) = (0, 0);
        while of_this < OPERATIONS_PER_SUPERGRAPH.min(wanted) && tries < 1_000 {
            tries += 1;
            let client = Client::random(&mut rng);
            whole.unseen = drawn.unseen(&document, &client);
            let operation = operation::operation(&api, &mut rng);
            match compare(&graph, &whole, &client, &operation).await {
                Outcome::Left => {}
                Outcome::Same { cuts, values } => {
                    of_this += 1;
                    cut_paths += cuts;
                    hidden += values as u64;
                    with_cuts += u64::from(cuts > 0);
                }
                Outcome::Different(_) => {
                    report(seed - 1, &sdl, &graph, &whole, &client, operation).await;
                }
            }
        }
        compared += of_this;
    }
    println!(
        "{compared} operations compared, {with_cuts} of them with fields that the client may not see, at {cut_paths} paths; 0 differences; none of {hidden} hidden values in the texts of errors"
    );
    assert!(with_cuts * 10 > compared, "{with_cuts} of {compared}");
    assert!(hidden * 2 > with_cuts, "{hidden} at {with_cuts}");
}

enum Outcome {
    /// Not valid, or nothing above sets a context.
    Left,
    /// And at how many paths something was cut, and how many values these have that occur in no error.
    Same {
        cuts: usize,
        values: usize,
    },
    Different(Value),
}

async fn compare(
    graph: &TestGraph,
    whole: &Simulated,
    client: &Client,
    operation: &str,
) -> Outcome {
    let variables = operation::variables();
    let expected = whole.execute(operation, &variables);
    if expected.get("data").is_none() {
        return Outcome::Left;
    }
    let claims = Claims {
        is_authenticated: client.is_authenticated,
        scopes: &client.scopes,
        policies: &client.policies,
    };
    let answer = graph.ask_as(operation, Some(variables), claims).await;
    graph.requests();
    if is_without_context(whole, operation, &expected, &answer) {
        return Outcome::Left;
    }
    // As text, so that the order of keys counts.
    let text = |response: &Value| response["data"].to_string();
    let (wanted, cut) = (cut_paths(&expected, true), cut_paths(&answer, false));
    let others = |response: &Value, cut: &BTreeSet<String>| {
        let all = response["errors"].as_array().map_or(0, Vec::len);
        all > cut.len()
    };
    let is_same = text(&answer) == text(&expected)
        && wanted == cut
        && others(&expected, &wanted) == others(&answer, &cut);
    let values = hidden_values(whole, operation, &expected, &cut);
    let is_told = |value: &String| tells(&answer["errors"], value);
    match is_same && !values.iter().any(is_told) {
        true => Outcome::Same {
            cuts: cut.len(),
            values: values.len(),
        },
        false => Outcome::Different(answer),
    }
}

/// What a client that may see all would read at these paths and that the response has nowhere else: values that
/// are too long to be in an error by chance.
fn hidden_values(
    whole: &Simulated,
    operation: &str,
    shown: &Value,
    cut: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut hidden = BTreeSet::new();
    if cut.is_empty() {
        return hidden;
    }
    let open = Simulated {
        universe: Arc::clone(&whole.universe),
        schema: whole.schema.clone(),
        graph: None,
        unseen: BTreeSet::new(),
    };
    let all = open.execute(operation, &operation::variables());
    for path in cut {
        let path: Vec<Value> = serde_json::from_str(path).expect("a path");
        let at = path
            .iter()
            .try_fold(&all["data"], |value, step| match step {
                Value::String(name) => value.get(name),
                step => value.get(usize::try_from(step.as_u64()?).ok()?),
            });
        if let Some(value) = at {
            leaves(value, &mut hidden);
        }
    }
    let mut elsewhere = BTreeSet::new();
    leaves(&shown["data"], &mut elsewhere);
    &hidden - &elsewhere
}

fn leaves(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|it| leaves(it, found)),
        Value::Array(items) => items.iter().for_each(|it| leaves(it, found)),
        Value::String(text) if text.len() > 5 => {
            found.insert(text.clone());
        }
        Value::Number(number) if number.to_string().len() > 5 => {
            found.insert(number.to_string());
        }
        _ => {}
    }
}

/// Whether a text somewhere in this has the value, as it is or as JSON writes it.
fn tells(errors: &Value, value: &str) -> bool {
    let quoted = Value::from(value).to_string();
    let escaped = &quoted[1..quoted.len() - 1];
    match errors {
        Value::Object(fields) => fields.values().any(|it| tells(it, value)),
        Value::Array(items) => items.iter().any(|it| tells(it, value)),
        Value::String(text) => text.contains(value) || text.contains(escaped),
        Value::Number(number) => number.to_string() == value,
        _ => false,
    }
}

/// The paths of the errors at what the client may not see.
fn cut_paths(response: &Value, is_expected: bool) -> BTreeSet<String> {
    let errors = response["errors"].as_array().into_iter().flatten();
    let cut = errors.filter(|error| match is_expected {
        true => error["message"]
            .as_str()
            .is_some_and(|it| it.ends_with(UNAUTHORIZED)),
        false => error["extensions"]["code"] == "UNAUTHORIZED_FIELD_OR_TYPE",
    });
    cut.map(|error| error["path"].to_string()).collect()
}

async fn report(
    seed: u64,
    sdl: &str,
    graph: &TestGraph,
    whole: &Simulated,
    client: &Client,
    mut operation: String,
) {
    let mut answer = Value::Null;
    'smaller: loop {
        for candidate in std::iter::once(operation.clone()).chain(shrink::smaller(&operation)) {
            if let Outcome::Different(different) = compare(graph, whole, client, &candidate).await {
                answer = different;
                if candidate != operation {
                    operation = candidate;
                    continue 'smaller;
                }
            }
        }
        break;
    }
    let expected = whole.execute(&operation, &operation::variables());
    eprintln!(
        "{sdl}\nseed {seed}, {client:?}: {operation}\nexpected {expected}\ngot      {answer}\nunseen {:?}",
        whole.unseen
    );
    panic!(
        "two answers to one operation; the plan of a client that may see all:\n{}",
        graph.plan(&operation)
    );
}
