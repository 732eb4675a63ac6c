//! Tests of the limits, by what they check: [`cost`], [`expansion`] and [`outline`] against documents made at
//! random ([`random`]), and the [`edges`] of each limit.

mod cost;
mod edges;
mod expansion;
mod outline;
mod random;

use async_graphql::{EmptyMutation, EmptySubscription, Schema};

use super::{FieldCost, FieldCosts, Limits, TypeNames};

const FIELDS: FieldCosts = &[
    ("_entities", FieldCost::Entities { item: 2 }),
    ("items", crate::page::page_cost(3)),
    ("text", FieldCost::Leaf(5)),
];

fn limits() -> Limits {
    Limits {
        fields: FIELDS,
        ..Limits::default()
    }
}

fn many(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().join(" ")
}

/// Limits of a schema whose one field is `a`.
fn limits_of_a_schema() -> Limits {
    struct Query;

    #[async_graphql::Object]
    impl Query {
        async fn a(&self) -> i32 {
            1
        }
    }

    let builder = Schema::build(Query, EmptyMutation, EmptySubscription);
    let schema = crate::endpoint::federated(builder).finish();
    Limits {
        types: TypeNames::of(&schema),
        ..Limits::default()
    }
}
