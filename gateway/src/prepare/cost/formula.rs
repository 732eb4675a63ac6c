//! The cost of an operation as far as it is known without variables, and what depends on them.

use std::mem::size_of;

use apollo_compiler::Name;

use super::{inputs, size::Size};
use crate::{
    error::{Code, RequestError},
    graph::Graph,
    prepare::plan::Condition,
    variables::Variables,
};

/// The largest estimate: a JSON number of this size is still exact everywhere.
const COST_MAX: f64 = 9_007_199_254_740_991.0;

/// What an operation costs.
#[derive(Debug)]
pub struct OperationCost {
    nodes: Box<[Node]>,
    root: Result<Term, SlicingFault>,
}

/// A number, or a part of a formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// Known.
    Constant(f64),
    /// By its place among the nodes.
    Node(u32),
}

/// A part of a formula that depends on variables.
#[derive(Debug)]
pub enum Node {
    /// A number and the terms added to it.
    Sum(f64, Box<[Term]>),
    /// Of both.
    Product(Term, Term),
    /// The largest of them, and at least 0.
    Max(Box<[Term]>),
    /// Only where any of the conditions holds, each with all of its parts.
    When(Box<[Vec<Condition>]>, Term),
    /// A list's length.
    Size(Size),
    /// A variable's value as an argument.
    Input(Input),
}

/// An argument whose value is a variable.
#[derive(Debug)]
pub struct Input {
    /// Among the operation's variables.
    pub variable: usize,
    /// The value's type inside its lists.
    pub type_name: Name,
    /// The argument's own weight.
    pub weight: Option<f64>,
    /// What it costs where the client gives no value.
    pub default: Term,
}

/// A field that has not exactly one of its slicing arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct SlicingFault {
    /// The field's name.
    pub field: Box<str>,
    /// The arguments that it takes.
    pub arguments: Box<str>,
    /// How many of them are given.
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
            "field \"{field}\" needs exactly one of the arguments {arguments}, not {given}"
        );
        RequestError::new(Code::InvalidSlicingArguments, message)
    }
}

/// The value of each node that was looked at.
type Known = Vec<Option<f64>>;

impl OperationCost {
    /// A formula whose last step is `root`; a fault where no variable can mend it.
    pub fn new(nodes: Vec<Node>, root: Result<Term, SlicingFault>) -> Self {
        let needs_nodes = matches!(root, Ok(Term::Node(_)));
        Self {
            nodes: if needs_nodes {
                nodes.into()
            } else {
                Box::default()
            },
            root,
        }
    }

    /// A known number.
    pub fn constant(cost: f64) -> Self {
        Self::new(Vec::new(), Ok(Term::Constant(cost)))
    }

    /// The estimate for these variables.
    ///
    /// # Errors
    /// When a field lacks its slicing argument, or has several.
    pub fn estimate(&self, graph: &Graph, variables: &Variables) -> Result<u64, SlicingFault> {
        match &self.root {
            Ok(Term::Constant(cost)) => Ok(whole(*cost)),
            Ok(root) => {
                let mut known = vec![None; self.nodes.len()];
                let terms = (&*self.nodes, graph, variables);
                Ok(whole(value(terms, *root, &mut known)?))
            }
            Err(fault) => Err(fault.clone()),
        }
    }

    /// Bytes on the heap, more or less.
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

fn whole(cost: f64) -> u64 {
    cost.clamp(0.0, COST_MAX).round() as u64
}

/// The value of a term.
///
/// # Errors
/// As [`OperationCost::estimate`].
pub fn value(
    terms: (&[Node], &Graph, &Variables),
    term: Term,
    known: &mut Known,
) -> Result<f64, SlicingFault> {
    let index = match term {
        Term::Constant(number) => return Ok(number),
        Term::Node(index) => index as usize,
    };
    if let Some(number) = known[index] {
        return Ok(number);
    }
    let (nodes, graph, variables) = terms;
    let number = match &nodes[index] {
        Node::Sum(number, parts) => {
            let mut sum = *number;
            for part in parts {
                sum += value(terms, *part, known)?;
            }
            sum
        }
        Node::Product(one, other) => match value(terms, *one, known)? {
            0.0 => 0.0,
            number => number * value(terms, *other, known)?,
        },
        Node::Max(parts) => {
            let mut max: f64 = 0.0;
            for part in parts {
                max = max.max(value(terms, *part, known)?);
            }
            max
        }
        Node::When(any, inner) => {
            let holds = |all: &Vec<Condition>| all.iter().all(|it| variables.satisfies(*it));
            match any.iter().any(holds) {
                true => value(terms, *inner, known)?,
                false => 0.0,
            }
        }
        Node::Size(size) => size.length(variables)?,
        Node::Input(input) => match variables.get(input.variable) {
            Some(json) => inputs::of_json(graph, json, &input.type_name, input.weight),
            None => value(terms, input.default, known)?,
        },
    };
    known[index] = Some(number);
    Ok(number)
}
