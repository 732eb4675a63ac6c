//! Random operations, answered by the gateway over three subgraphs and by one executor that has all
//! the data: the answers must be the same.
//!
//! `GATEWAY_DIFFERENTIAL_OPERATIONS` sets how many operations are compared (200 by default),
//! `GATEWAY_DIFFERENTIAL_SEED` where the random numbers begin.

use std::collections::HashMap;

use apollo_compiler::{
    Schema,
    schema::{ExtendedType, FieldDefinition, Type},
    validation::Valid,
};
use serde_json::{Value, json};

use crate::support::{
    Subgraph, TestGraph, data::Data, graph, subgraph::Answers, subgraph::executable_schema,
};

#[tokio::test]
async fn random_operations_answer_as_one_graph_would() {
    let wanted = number_from("GATEWAY_DIFFERENTIAL_OPERATIONS", 200);
    let mut random = Random(number_from("GATEWAY_DIFFERENTIAL_SEED", 7) | 1);
    let world = World::new(&mut random);
    let graph = world.federated().await;
    let whole = world.whole(&graph);
    let mut compared = 0;
    while compared < wanted {
        let operation = Generator::new(&whole.schema, &mut random).operation();
        let variables = json!({"t": true, "f": false, "n": 2, "c": "USD", "id": "2"});
        let expected = whole.execute(&operation, &variables);
        if expected.get("data").is_none() {
            // Not a valid operation: the generator does not know every rule.
            continue;
        }
        let answer = graph.ask(&operation, Some(variables)).await;
        let plan = || graph.plan(&operation);
        assert_eq!(answer["data"], expected["data"], "{operation}\n{}", plan());
        // The messages are each executor's own.
        assert_eq!(
            answer.get("errors").is_some(),
            expected.get("errors").is_some(),
            "{operation}\n{answer}"
        );
        compared += 1;
    }
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next(100) < percent
    }
}

const USERS: &str = "
type Query { me: User users: [User!]! user(id: ID!): User nodes: [Node]! found: [Found!]! }
interface Node { id: ID! }
interface Named { name: String }
union Found = User | Product
type User implements Node & Named @key(fields: \"id\") {
  id: ID! name: String @shareable email: String! friend: User address: Address tags: [String!]! }
type Address @shareable { city: String zip: Int }
type Product implements Node @key(fields: \"id\") { id: ID! }
";

const PRODUCTS: &str = "
type Query { products(first: Int): [Product!]! named: [Named!]! }
interface Node { id: ID! }
interface Named { name: String }
enum Currency { EUR USD }
type Product implements Node & Named @key(fields: \"id\") @key(fields: \"sku\") {
  id: ID! sku: String! name: String price(currency: Currency = EUR): Int weight: Int! similar: [Product] maker: Maker }
type Maker implements Named { name: String country: String home: Address }
type Address @shareable { city: String zip: Int }
";

const REVIEWS: &str = "
type Query { review: Review reviews: [Review!]! }
interface Node { id: ID! }
type Review implements Node @key(fields: \"id\") {
  id: ID! body: String! stars: Int author: User @provides(fields: \"name\") product: Product! }
type User @key(fields: \"id\") { id: ID! name: String @external reviews: [Review!]! favourites: [Product!] }
type Product @key(fields: \"sku\") {
  sku: String! weight: Int! @external reviews(first: Int): [Review!]! shipping: Int @requires(fields: \"weight\") }
";

/// The data of all subgraphs.
struct World {
    users: Vec<Value>,
    products: Vec<Value>,
    reviews: Vec<Value>,
}

impl World {
    fn new(random: &mut Random) -> Self {
        const EACH: u64 = 6;
        let mut world = Self {
            users: Vec::new(),
            products: Vec::new(),
            reviews: Vec::new(),
        };
        let user = |random: &mut Random| json!({"__typename": "User", "id": random.next(EACH).to_string()});
        let product =
            |n: u64| json!({"__typename": "Product", "id": n.to_string(), "sku": format!("s{n}")});
        let review = |random: &mut Random| json!({"__typename": "Review", "id": random.next(EACH).to_string()});
        for n in 0..EACH {
            let mut maybe = |value: Value| {
                if random.chance(80) {
                    value
                } else {
                    Value::Null
                }
            };
            let name = maybe(json!(format!("user \"{n}\" \u{e9}\n")));
            let city = maybe(json!("Oslo"));
            let address = maybe(json!({"city": city, "zip": n}));
            let friend = user(random);
            let favourites: Vec<Value> = (0..random.next(3))
                .map(|_| product(random.next(EACH)))
                .collect();
            let reviews: Vec<Value> = (0..random.next(4)).map(|_| review(random)).collect();
            world.users.push(json!({
                "__typename": "User", "id": n.to_string(), "name": name, "email": format!("{n}@x"),
                "friend": friend, "address": address, "tags": ["a", "b"],
                "reviews": reviews, "favourites": favourites,
            }));
            let similar: Vec<Value> = (0..random.next(3))
                .map(|_| product(random.next(EACH)))
                .collect();
            let reviews: Vec<Value> = (0..random.next(4)).map(|_| review(random)).collect();
            world.products.push(json!({
                "__typename": "Product", "id": n.to_string(), "sku": format!("s{n}"),
                "name": if random.chance(80) { json!(format!("product {n}")) } else { Value::Null },
                "cents": n * 100, "weight": n, "similar": similar, "reviews": reviews,
                "maker": {"__typename": "Maker", "name": "Acme", "country": null, "home": {"city": "Bergen", "zip": null}},
            }));
            world.reviews.push(json!({
                "__typename": "Review", "id": n.to_string(), "body": format!("body {n}"),
                "stars": if random.chance(70) { json!(n) } else { Value::Null },
                "author": user(random), "product": product(random.next(EACH)),
            }));
        }
        // What a subgraph provides with a user is the user's own name.
        for review in &mut world.reviews {
            let id = review["author"]["id"]
                .as_str()
                .and_then(|id| id.parse::<usize>().ok());
            review["author"]["name"] = world.users[id.expect("a user's id")]["name"].clone();
        }
        world
    }

    fn roots(&self) -> Value {
        let some = |all: &[Value], count: usize| Value::Array(all[..count].to_vec());
        json!({"Query": {
            "me": self.users[0], "users": self.users, "review": self.reviews[1],
            "reviews": some(&self.reviews, 4), "products": self.products,
            "nodes": [self.users[1], null, self.products[2], self.users[1]],
            "found": [self.products[3], self.users[3]],
            "named": [self.products[0], {"__typename": "Maker", "name": "Acme", "country": "NO"}],
        }})
    }

    fn entities(&self) -> Value {
        [&*self.users, &*self.products, &*self.reviews]
            .concat()
            .into()
    }

    /// Each subgraph with only what its schema has; the rest of the data is never asked of it.
    async fn federated(&self) -> TestGraph {
        let subgraph = |name: &str, sdl: &str| {
            let roots = self.roots();
            let mut subgraph = Subgraph::new(name, sdl)
                .query(roots["Query"].clone())
                .entities(self.entities());
            for ((type_name, field), resolver) in resolvers() {
                subgraph = subgraph.field(&type_name, &field, resolver);
            }
            subgraph
        };
        graph(vec![
            subgraph("users", USERS),
            subgraph("products", PRODUCTS),
            subgraph("reviews", REVIEWS),
        ])
        .await
    }

    fn whole(&self, graph: &TestGraph) -> Data {
        Data {
            schema: executable_schema(&graph.inner().api_sdl()),
            roots: self.roots(),
            entities: self.entities().as_array().cloned().unwrap_or_default(),
            resolvers: resolvers(),
        }
    }
}

fn resolvers() -> HashMap<(String, String), crate::support::data::Resolver> {
    let mut all: HashMap<(String, String), crate::support::data::Resolver> = HashMap::new();
    let mut add = |type_name: &str, field: &str, resolver: crate::support::data::Resolver| {
        all.insert((type_name.to_owned(), field.to_owned()), resolver);
    };
    let first = |list: &Value, arguments: &Value| {
        let list = list.as_array().cloned().unwrap_or_default();
        let count = arguments["first"].as_u64().unwrap_or(100) as usize;
        Ok(Value::Array(list.into_iter().take(count).collect()))
    };
    add(
        "Query",
        "user",
        Box::new(|_, arguments| Ok(json!({"__typename": "User", "id": arguments["id"]}))),
    );
    add(
        "Query",
        "products",
        Box::new(move |query, arguments| first(&query["products"], arguments)),
    );
    add(
        "Product",
        "reviews",
        Box::new(move |product, arguments| first(&product["reviews"], arguments)),
    );
    add(
        "Product",
        "price",
        Box::new(|product, arguments| {
            let cents = product["cents"].as_i64().ok_or("no price")?;
            Ok(json!(if arguments["currency"] == "USD" {
                cents * 2
            } else {
                cents
            }))
        }),
    );
    add(
        "Product",
        "shipping",
        Box::new(|product, _| Ok(json!(product["weight"].as_i64().ok_or("no weight")? * 3))),
    );
    all
}

/// Writes random operations over a schema.
struct Generator<'a> {
    schema: &'a Valid<Schema>,
    random: &'a mut Random,
    fragments: Vec<String>,
}

impl<'a> Generator<'a> {
    fn new(schema: &'a Valid<Schema>, random: &'a mut Random) -> Self {
        Self {
            schema,
            random,
            fragments: Vec::new(),
        }
    }

    fn operation(mut self) -> String {
        let selections = self.selections("Query", 4);
        let mut text = String::from("query(");
        let all = [
            ("$t", "Boolean!"),
            ("$f", "Boolean = true"),
            ("$n", "Int"),
            ("$c", "Currency"),
            ("$id", "ID!"),
        ];
        let bodies = format!("{selections}{}", self.fragments.concat());
        let used: Vec<String> = all
            .iter()
            .filter(|(name, _)| bodies.contains(&format!(": {name}")))
            .map(|(name, ty)| format!("{name}: {ty}"))
            .collect();
        text.push_str(&used.join(", "));
        text = if used.is_empty() {
            "query".to_owned()
        } else {
            text + ")"
        };
        format!("{text} {bodies}")
    }

    fn selections(&mut self, type_name: &str, depth: u64) -> String {
        let fields: Vec<FieldDefinition> = match self.schema.types.get(type_name) {
            Some(ExtendedType::Object(it)) => {
                it.fields.values().map(|it| (***it).clone()).collect()
            }
            Some(ExtendedType::Interface(it)) => {
                it.fields.values().map(|it| (***it).clone()).collect()
            }
            _ => Vec::new(),
        };
        let mut parts = Vec::new();
        for _ in 0..=self.random.next(4) {
            if self.random.chance(12) {
                let alias = if self.random.chance(50) { "kind: " } else { "" };
                parts.push(format!("{alias}__typename{}", self.condition()));
            } else if self.random.chance(20) || fields.is_empty() {
                if let Some(fragment) = self.fragment(type_name, depth) {
                    parts.push(fragment);
                }
            } else {
                let field = &fields[self.random.next(fields.len() as u64) as usize];
                if let Some(field) = self.field(field, depth) {
                    parts.push(field);
                }
            }
        }
        if parts.is_empty() {
            parts.push("__typename".to_owned());
        }
        format!("{{ {} }}", parts.join(" "))
    }

    fn field(&mut self, field: &FieldDefinition, depth: u64) -> Option<String> {
        let inner = field.ty.inner_named_type();
        let is_leaf = self.schema.types.get(inner)?.is_leaf();
        if !is_leaf && depth == 0 {
            return None;
        }
        let mut arguments = Vec::new();
        for argument in &field.arguments {
            if argument.ty.is_non_null() || self.random.chance(60) {
                arguments.push(format!("{}: {}", argument.name, self.value(&argument.ty)));
            }
        }
        let alias = match self.random.next(10) {
            0 => format!("x{}: ", self.random.next(3)),
            1 => format!("{}_{}: ", field.name, self.random.next(3)),
            _ => String::new(),
        };
        let arguments = if arguments.is_empty() {
            String::new()
        } else {
            format!("({})", arguments.join(", "))
        };
        let condition = self.condition();
        let below = if is_leaf {
            String::new()
        } else {
            self.selections(inner, depth - 1)
        };
        Some(format!(
            "{alias}{}{arguments}{condition} {below}",
            field.name
        ))
    }

    fn value(&mut self, ty: &Type) -> String {
        let choices: &[&str] = match ty.inner_named_type().as_str() {
            "Int" => &["1", "3", "$n"],
            "ID" => &["\"1\"", "\"4\"", "$id"],
            "Currency" => &["EUR", "USD", "$c"],
            other => panic!("no values for {other}"),
        };
        choices[self.random.next(choices.len() as u64) as usize].to_owned()
    }

    fn condition(&mut self) -> &'static str {
        match self.random.next(24) {
            0 => " @include(if: $t)",
            1 => " @include(if: $f)",
            2 => " @skip(if: $t)",
            3 => " @skip(if: $f)",
            4 => " @skip(if: $f) @include(if: $t)",
            5 => " @include(if: false)",
            _ => "",
        }
    }

    fn fragment(&mut self, type_name: &str, depth: u64) -> Option<String> {
        let mut conditions: Vec<String> = vec![type_name.to_owned()];
        for (name, definition) in &self.schema.types {
            let overlaps = definition.is_object() && self.schema.is_subtype(type_name, name)
                || self.schema.is_subtype(name, type_name);
            if overlaps {
                conditions.push(name.to_string());
            }
        }
        let condition = conditions[self.random.next(conditions.len() as u64) as usize].clone();
        let directive = self.condition();
        let below = self.selections(&condition, depth.saturating_sub(1));
        if self.random.chance(40) {
            let name = format!("F{}", self.fragments.len());
            self.fragments
                .push(format!(" fragment {name} on {condition} {below}"));
            return Some(format!("...{name}{directive}"));
        }
        Some(format!("... on {condition}{directive} {below}"))
    }
}
