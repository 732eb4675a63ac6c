//! The workloads: the operations that the gateways execute.

use bytes::Bytes;
use serde_json::json;

use crate::load::graphql_body;
use crate::services::{LIST, LIST_WITH_COMMENTS};

/// One row of the table.
pub struct Workload {
    /// Its name, as `--only` takes it.
    pub name: &'static str,
    /// Request bodies: one, or for `cold` each seen once.
    pub bodies: Vec<Bytes>,
    /// Connections that are kept busy.
    pub connections: usize,
    /// Our CPU time over that of the other one should be no more than this.
    pub goal: f64,
    /// Whether our p99 should be no worse than the other one's.
    pub compares_p99: bool,
    /// Whether our memory should peak below the other one's.
    pub compares_memory: bool,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            name: "",
            bodies: Vec::new(),
            connections: 16,
            goal: 0.6,
            compares_p99: true,
            compares_memory: false,
        }
    }
}

const HEAVY: &str = "
fragment UserFields on User { id username name }
fragment ReviewFields on Review { id body }
fragment ProductFields on Product { inStock name price shippingEstimate upc weight }
query Heavy {
  users {
    ...UserFields
    reviews { ...ReviewFields product { ...ProductFields
      reviews { ...ReviewFields author { ...UserFields
        reviews { ...ReviewFields product { ...ProductFields } } } } } }
  }
  topProducts(first: 5) {
    ...ProductFields
    reviews { ...ReviewFields author { ...UserFields
      reviews { ...ReviewFields product { ...ProductFields } } } }
  }
}";

const SMALL: &str = "query Small { topProducts(first: 14) { upc name price weight } }";
const LARGE: &str =
    "query Large { topProducts(first: 22000) { upc name price weight description } }";
const ENTITIES: &str = "query Entities { topProducts(first: 2000) { upc inStock } }";

/// Distinct operations of the cold workload.
const COLD_OPERATIONS: usize = 1_000;

/// The workloads on the benchmark's own subgraphs.
pub fn general() -> Vec<Workload> {
    vec![
        Workload {
            name: "heavy",
            bodies: one(HEAVY),
            goal: 0.5,
            compares_memory: true,
            ..Workload::default()
        },
        small(),
        Workload {
            name: "large",
            bodies: one(LARGE),
            connections: 2,
            ..Workload::default()
        },
        Workload {
            name: "entities",
            bodies: one(ENTITIES),
            connections: 8,
            ..Workload::default()
        },
        Workload {
            name: "cold",
            bodies: (0..COLD_OPERATIONS).map(cold).collect(),
            connections: 8,
            goal: 1.0,
            ..Workload::default()
        },
    ]
}

/// One fetch, 1 KB.
pub fn small() -> Workload {
    Workload {
        name: "small",
        bodies: one(SMALL),
        goal: 0.7,
        ..Workload::default()
    }
}

/// What it is compared with the bare proxy by.
pub fn limit() -> Workload {
    Workload {
        name: "limit",
        goal: 1.3,
        compares_p99: false,
        ..small()
    }
}

/// The workloads on the real posts and comments subgraphs.
pub fn ours() -> Vec<Workload> {
    let workload = |name, query| Workload {
        name,
        bodies: one(query),
        ..Workload::default()
    };
    vec![
        workload("latest-comments", LIST),
        workload("comments", LIST_WITH_COMMENTS),
    ]
}

fn one(query: &str) -> Vec<Bytes> {
    vec![graphql_body(query, json!({}))]
}

/// An operation that differs from every other one in its aliases and in which fields it takes.
fn cold(index: usize) -> Bytes {
    let weight = if index.is_multiple_of(2) {
        "weight"
    } else {
        "price"
    };
    let stock = if index.is_multiple_of(3) {
        "inStock"
    } else {
        "shippingEstimate"
    };
    let query = format!(
        "query Cold{index} {{ topProducts(first: {first}) {{ upc a{index}: name {weight} {stock} \
         reviews {{ id b{index}: body author {{ id name c{index}: username }} }} }} }}",
        first = index % 5 + 1,
    );
    graphql_body(&query, json!({}))
}
