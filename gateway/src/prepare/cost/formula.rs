//! The cost of an operation: a number, or a formula for what depends on variables.

use std::mem::size_of;

use apollo_compiler::Name;

use super::{
    inputs,
    size::{Lengths, VariableListSize},
};
use crate::{
    coerce::Variables,
    error::{Code, RequestError},
    graph::Graph,
    prepare::plan::Condition,
};

/// The largest estimate, 2^53 - 1: JSON numbers up to this are exact in all languages.
const COST_MAX: f64 = 9_007_199_254_740_991.0;

/// The estimated cost of an operation.
#[derive(Debug)]
pub struct OperationCost {
    nodes: Box<[Node]>,
    root: Term,
    /// An error that no variable can correct.
    fault: Option<SlicingFault>,
}

/// What an operation costs with given variables.
#[derive(Debug, PartialEq)]
pub struct Estimate {
    /// The cost. A list that lacks its slicing argument counts with its assumed length, one with several with the
    /// largest.
    pub cost: u64,
    /// The first such list.
    pub fault: Option<SlicingFault>,
}

/// A number, or a node of a formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// A number that does not depend on variables.
    Constant(f64),
    /// A node, by its index.
    Node(u32),
}

/// A node of a formula that depends on variables.
#[derive(Debug)]
pub enum Node {
    /// A number and the terms added to it.
    Sum(f64, Box<[Term]>),
    /// The product of both terms.
    Product(Term, Term),
    /// The largest of the terms, and at least 0.
    Max(Box<[Term]>),
    /// The term if any of these sets of conditions holds completely; otherwise 0.
    When(Box<[Vec<Condition>]>, Term),
    /// The length of a list.
    Size(VariableListSize),
    /// The cost of a variable's value as an argument.
    Input(Input),
}

/// An argument, or a part of one, whose value is a variable.
#[derive(Debug)]
pub struct Input {
    /// The variable's index among the operation's.
    pub variable: usize,
    /// The type of the value, inside its lists.
    pub type_name: Name,
    /// The argument's own `@cost`, if it has one.
    pub weight: Option<f64>,
    /// The cost if the client gives no value.
    pub default: Term,
}

/// A field that needs exactly one of its slicing arguments, and has none or several.
#[derive(Clone, Debug, PartialEq)]
pub struct SlicingFault {
    /// The name of the field.
    pub field: Box<str>,
    /// The names of its slicing arguments, separated by commas.
    pub arguments: Box<str>,
    /// The number of slicing arguments that are given.
    pub given: usize,
}

impl From<SlicingFault> for RequestError {
    fn from(fault: SlicingFault) -> Self {
        let SlicingFault {
            field,
            arguments,
            given,
        } = fault;
        let message = format!(
            "field \"{field}\" needs exactly one of the arguments {arguments}, but {given} are given"
        );
        RequestError::new(Code::InvalidSlicingArguments, message)
    }
}

impl OperationCost {
    /// A formula with this root, and perhaps an error that no variable can correct.
    pub fn new(nodes: Vec<Node>, root: Term, fault: Option<SlicingFault>) -> Self {
        let needs_nodes = matches!(root, Term::Node(_));
        Self {
            nodes: if needs_nodes {
                nodes.into()
            } else {
                Box::default()
            },
            root,
            fault,
        }
    }

    /// A cost that does not depend on variables.
    pub fn constant(cost: f64) -> Self {
        Self::new(Vec::new(), Term::Constant(cost), None)
    }

    /// The estimate for these variables.
    pub fn estimate(&self, graph: &Graph, variables: &Variables) -> Estimate {
        let (cost, fault) = match self.root {
            Term::Constant(cost) => (cost, None),
            root => {
                let mut evaluation = Evaluation::new(&self.nodes, graph, variables);
                (evaluation.value(root), evaluation.fault)
            }
        };
        Estimate {
            cost: whole(cost),
            fault: self.fault.clone().or(fault),
        }
    }

    /// Whether the cost is above `max`, or an error, whatever the variables are.
    pub fn is_always_above(&self, max: u64) -> bool {
        match self.root {
            _ if self.fault.is_some() => true,
            Term::Constant(cost) => whole(cost) > max,
            Term::Node(_) => false,
        }
    }

    /// An estimate of its bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let of_node = |node: &Node| match node {
            Node::Sum(_, terms) | Node::Max(terms) => terms.len() * size_of::<Term>(),
            Node::When(any, _) => any.iter().map(|all| 40 + all.len() * 16).sum(),
            Node::Size(size) => size.heap_bytes(),
            Node::Product(..) | Node::Input(_) => 0,
        };
        self.nodes.len() * size_of::<Node>() + self.nodes.iter().map(of_node).sum::<usize>()
    }
}

/// The product of two costs. It may be infinite for long nested lists; an empty list costs nothing
/// even then.
pub(super) fn times(one: f64, other: f64) -> f64 {
    match one == 0.0 || other == 0.0 {
        true => 0.0,
        false => one * other,
    }
}

/// Rounds a cost to a whole number. NaN results from infinite costs, and counts as the largest.
fn whole(cost: f64) -> u64 {
    match cost.is_nan() {
        true => COST_MAX as u64,
        false => cost.clamp(0.0, COST_MAX).round() as u64,
    }
}

/// Evaluates a formula for given variables. Each node and each variable is evaluated once, however
/// many fields refer to it.
pub struct Evaluation<'a> {
    nodes: &'a [Node],
    graph: &'a Graph,
    variables: &'a Variables,
    known: Vec<Option<f64>>,
    lengths: Lengths<'a>,
    /// The first list that lacks its slicing argument, or has several.
    fault: Option<SlicingFault>,
}

impl<'a> Evaluation<'a> {
    /// An evaluation of the nodes of one formula.
    pub fn new(nodes: &'a [Node], graph: &'a Graph, variables: &'a Variables) -> Self {
        Self {
            nodes,
            graph,
            variables,
            known: vec![None; nodes.len()],
            lengths: Lengths::default(),
            fault: None,
        }
    }

    /// The value of a term.
    pub fn value(&mut self, term: Term) -> f64 {
        let index = match term {
            Term::Constant(number) => return number,
            Term::Node(index) => index as usize,
        };
        if let Some(number) = self.known[index] {
            return number;
        }
        let number = self.node(&self.nodes[index]);
        self.known[index] = Some(number);
        number
    }

    fn node(&mut self, node: &'a Node) -> f64 {
        let variables = self.variables;
        match node {
            Node::Sum(number, parts) => {
                let mut sum = *number;
                for part in parts {
                    sum += self.value(*part);
                }
                sum
            }
            Node::Product(one, other) => match self.value(*one) {
                0.0 => 0.0,
                number => times(number, self.value(*other)),
            },
            Node::Max(parts) => {
                let mut max: f64 = 0.0;
                for part in parts {
                    max = max.max(self.value(*part));
                }
                max
            }
            Node::When(any, inner) => {
                let holds = |all: &Vec<Condition>| all.iter().all(|it| it.holds(variables));
                match any.iter().any(holds) {
                    true => self.value(*inner),
                    false => 0.0,
                }
            }
            Node::Size(size) => {
                let (length, fault) = size.length(variables, &mut self.lengths);
                if self.fault.is_none() {
                    self.fault = fault;
                }
                length
            }
            Node::Input(input) => match variables.get(input.variable) {
                Some(json) => {
                    let Input {
                        type_name, weight, ..
                    } = input;
                    inputs::of_json(self.graph, json, type_name, *weight)
                }
                None => self.value(input.default),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{
        config::Limits,
        graph::Settings,
        prepare::{self, Serving},
        test_supergraph::supergraph,
    };

    const TYPES: &str = "
        input Filter @join__type(graph: A) { and: [Filter!] }
        type Item @join__type(graph: A) { id: ID }
        type Query @join__type(graph: A) {
          items(ids: [ID!], n: Int, filter: Filter): [Item] @listSize(slicingArguments: [\"ids\", \"n\"], requireOneSlicingArgument: false)
          tree: Tree
        }
        type Tree @join__type(graph: A) {
          trees(n: Int): [Tree] @listSize(slicingArguments: [\"n\"], requireOneSlicingArgument: false)
          id: ID
        }";

    fn serving(settings: Settings) -> Arc<Serving> {
        let graph =
            Graph::load(&supergraph(&["a"], TYPES), settings).expect("the supergraph loads");
        Arc::new(Serving::new(graph))
    }

    #[tokio::test]
    async fn without_variables_that_matter_the_cost_is_a_number() {
        let query = "query($id: ID!) { items(n: 3, filter: {and: [{}]}) { id } b: items(ids: [$id]) { id } }";
        let variables = Bytes::from_static(br#"{"id": "1"}"#);
        let serving = serving(Settings::default());
        let prepared = prepare::with_variables(&serving, query, None, Some(&variables)).await;
        let (prepared, _) = prepared.expect("prepared");
        assert_eq!(prepared.cost.root, Term::Constant(3.0 + 2.0 + 1.0));
        assert!(prepared.cost.nodes.is_empty());
    }

    #[tokio::test]
    async fn lists_in_lists_without_end_cost_more_than_any_limit_and_an_empty_one_nothing() {
        const LEVELS: usize = 40;
        let settings = Settings {
            limits: Limits {
                depth_max: 2 * LEVELS,
                cost_max: u64::MAX,
                ..Limits::default()
            },
            ..Settings::default()
        };
        let serving = serving(settings);
        let (open, close) = (
            "trees(n: 2147483647) { ".repeat(LEVELS),
            "} ".repeat(LEVELS),
        );
        let endless = format!("{open} id {close}");
        for (selection, expected) in [
            (format!("trees(n: 0) {{ {endless} }}"), 1),
            (format!("trees(n: $none) {{ {endless} }}"), 1),
            (
                format!("trees(n: 0) {{ {endless} }} {endless}"),
                COST_MAX as u64,
            ),
            (
                format!("trees(n: $none) {{ {endless} }} b: {endless}"),
                COST_MAX as u64,
            ),
        ] {
            let query = format!(
                "query($none: Int) {{ tree {{ z: trees(n: $none) {{ id }} a: {selection} }} }}"
            );
            let variables = Bytes::from_static(br#"{"none": 0}"#);
            let prepared = prepare::with_variables(&serving, &query, None, Some(&variables)).await;
            let (prepared, variables) = prepared.expect("prepared");
            let estimate = prepared.cost.estimate(&serving.graph, &variables);
            assert_eq!(estimate.cost, expected, "{}", &query[..60]);
        }
    }

    #[tokio::test]
    async fn a_variable_is_looked_at_once_however_many_fields_take_it() {
        const FIELDS: usize = 50;
        let serving = serving(Settings::default());
        let fields: String = (0..FIELDS)
            .map(|n| format!("a{n}: items(ids: $ids, n: {n}, filter: $filter) {{ id }} "))
            .collect();
        let query = format!("query($ids: [ID!], $filter: Filter) {{ {fields} }}");
        let ids = vec!["1"; 100];
        let variables = serde_json::json!({"ids": ids, "filter": {"and": [{}, {}]}});
        let variables = Bytes::from(variables.to_string());
        let prepared = prepare::with_variables(&serving, &query, None, Some(&variables)).await;
        let (prepared, variables) = prepared.expect("prepared");
        let cost = &prepared.cost;
        let inputs = cost.nodes.iter().filter(|it| matches!(it, Node::Input(_)));
        assert_eq!(inputs.count(), 1);
        let mut evaluation = Evaluation::new(&cost.nodes, &serving.graph, &variables);
        let expected = FIELDS * (ids.len() + 3);
        assert_eq!(evaluation.value(cost.root), expected as f64);
        assert_eq!(evaluation.lengths.count(), 1);
    }
}
