//! Counts and costs against a naive expansion that writes every fragment out.

use std::collections::HashMap;

use async_graphql::Variables;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

use super::random::Dice;
use super::{FIELDS, limits};
use crate::limits::{cost, selections};

/// Writes everything out: selections, root fields, aliases and depth of a set, and its cost.
fn expand(document: &ExecutableDocument, set: &SelectionSet) -> ([u64; 4], u64) {
    let (mut counts, mut cost) = ([0; 4], 0);
    for selection in &set.items {
        counts[0] += 1;
        let (inner, is_field) = match &selection.node {
            Selection::Field(field) => (&field.node.selection_set.node, true),
            Selection::InlineFragment(fragment) => (&fragment.node.selection_set.node, false),
            Selection::FragmentSpread(spread) => {
                let fragment = &document.fragments[&spread.node.fragment_name.node];
                (&fragment.node.selection_set.node, false)
            }
        };
        let (below, mut below_cost) = expand(document, inner);
        counts[0] += below[0];
        counts[1] += if is_field { 1 } else { below[1] };
        counts[2] += below[2];
        if !inner.items.is_empty() {
            counts[3] = counts[3].max(below[3] + 1);
        }
        if let Selection::Field(field) = &selection.node {
            counts[2] += u64::from(field.node.alias.is_some());
            below_cost = match field.node.name.node.as_str() {
                "items" => 1 + 2 * (3 + below_cost),
                "_entities" => 1 + 3 * (2 + below_cost),
                "text" => 1 + 5,
                _ => 1 + below_cost,
            };
        }
        cost += below_cost;
    }
    (counts, cost)
}

#[test]
fn counts_and_costs_are_those_of_the_document_written_out() {
    let mut refused = HashMap::new();
    let mut compared = 0;
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let mut text = String::new();
        let fragments = dice.below(5);
        dice.set(&mut text, 0, 0..fragments);
        for fragment in 0..fragments {
            text.push_str(&format!("fragment F{fragment} on T "));
            dice.set(&mut text, 2, fragment + 1..fragments);
        }
        let document = parse_query(&text).expect("well-formed");
        let (_, operation) = document.operations.iter().next().expect("an operation");
        let (counts, expected) = expand(&document, &operation.node.selection_set.node);
        assert_eq!(
            selections::counted(&document).expect("small"),
            counts,
            "{text}"
        );
        let [operation] = &cost::of_operations(&document, FIELDS).expect("defined")[..] else {
            panic!("one operation");
        };
        assert_eq!(
            operation.total(&Variables::default()).cost,
            expected,
            "{text}"
        );
        match limits().admit(&text) {
            Ok(_) => compared += 1,
            Err(error) => *refused.entry(error.code().as_str()).or_insert(0) += 1,
        }
    }
    assert!(compared > 200, "{compared}, {refused:?}");
}
