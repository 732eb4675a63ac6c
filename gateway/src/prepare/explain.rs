//! Describes a plan for people: its fetches in the order in which they start.

use std::fmt::Write as _;

use federation::TypeSet;
use serde::Serialize;

use super::{
    build,
    plan::{EntityFetch, FetchStep, Merge, PathSegment, Plan, Requirement},
    serving::Serving,
};
use crate::{error::RequestError, graph::Graph};

/// One fetch of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedFetch {
    /// Its number, from 1.
    pub number: usize,
    /// The name of the subgraph that is asked.
    pub subgraph: String,
    /// The numbers of the fetches that it waits for.
    pub after: Vec<usize>,
    /// The number of the fetch whose objects it completes instead, if they lack what that fetch
    /// requires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out_by: Option<usize>,
    /// The GraphQL text that is sent to the subgraph.
    pub operation: String,
    /// The path at which its data goes, if the query type was found again below the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The objects that it completes; empty for a fetch at the root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<ExplainedEntities>,
}

/// Objects that a fetch completes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedEntities {
    /// Their paths in the response.
    pub paths: Vec<String>,
    /// The fields of their representations.
    pub by: String,
}

/// Prints the plan of an operation: one paragraph for each fetch, with those that it waits for, the
/// objects that it completes, and the fields of their representations.
///
/// # Errors
/// If the operation is refused, or has no plan.
pub fn explain(
    serving: &Serving,
    query: &str,
    operation_name: Option<&str>,
) -> Result<String, RequestError> {
    let plan = build::plan_of(serving, query, operation_name)?;
    Ok(printed(&fetches(&serving.graph, &plan)))
}

/// The fetches of a plan, in the order in which they start.
pub fn fetches(graph: &Graph, plan: &Plan) -> Vec<ExplainedFetch> {
    let explainer = Explainer { graph, plan };
    let steps = plan.steps.iter().enumerate();
    steps
        .map(|(place, step)| explainer.fetch(place, step))
        .collect()
}

fn printed(fetches: &[ExplainedFetch]) -> String {
    let mut text = String::new();
    for fetch in fetches {
        let _ = write!(text, "{}. {}", fetch.number, fetch.subgraph);
        if !fetch.after.is_empty() {
            let after: Vec<String> = fetch.after.iter().map(usize::to_string).collect();
            let _ = write!(text, ", after {}", after.join(" and "));
        }
        if let Some(other) = fetch.left_out_by {
            let _ = write!(text, ", for what {other} leaves out");
        }
        let _ = writeln!(text, ": {}", fetch.operation);
        if let Some(path) = &fetch.at {
            let _ = writeln!(text, "   at {path}");
        }
        for ExplainedEntities { paths, by } in &fetch.entities {
            let _ = writeln!(text, "   for {} by {by}", paths.join(" and "));
        }
    }
    text
}

struct Explainer<'p> {
    graph: &'p Graph,
    plan: &'p Plan,
}

impl Explainer<'_> {
    fn fetch(&self, place: usize, step: &FetchStep) -> ExplainedFetch {
        let others = self.plan.steps.iter().enumerate();
        let after = others.filter(|(_, other)| other.wakes.contains(&place));
        let (at, entities) = match &step.merge {
            Merge::Root { .. } => (None, Vec::new()),
            Merge::Reentry { path, .. } => (Some(self.path(path)), Vec::new()),
            Merge::Entities(fetches) => {
                (None, fetches.iter().map(|it| self.entities(it)).collect())
            }
        };
        ExplainedFetch {
            number: place + 1,
            subgraph: self.graph.subgraph(step.subgraph).name.to_owned(),
            after: after.map(|(other, _)| other + 1).collect(),
            left_out_by: step.fallback_of.map(|other| other + 1),
            operation: step.request.operation.to_string(),
            at,
            entities,
        }
    }

    fn entities(&self, fetch: &EntityFetch) -> ExplainedEntities {
        let paths = fetch.targets.iter().map(|target| self.path(&target.path));
        let requires = fetch.requires.iter().map(|it| self.requirement(it));
        ExplainedEntities {
            paths: paths.collect(),
            by: requires.collect::<Vec<_>>().join(" "),
        }
    }

    fn path(&self, path: &[PathSegment]) -> String {
        let mut text = String::new();
        for segment in path {
            match segment {
                PathSegment::Key(key) => {
                    let separator = if text.is_empty() { "" } else { "." };
                    let _ = write!(text, "{separator}{}", self.plan.keys[key.0 as usize]);
                }
                PathSegment::Type(types) => {
                    let _ = write!(text, "|{}", self.types(types));
                }
            }
        }
        text
    }

    fn types(&self, types: &TypeSet) -> String {
        let table = self.graph.types();
        let objects = types.iter().filter(|it| table.is_object(*it));
        objects
            .map(|it| table.name(it))
            .collect::<Vec<_>>()
            .join("|")
    }

    fn requirement(&self, requirement: &Requirement) -> String {
        let (name, below) = match requirement {
            Requirement::Field { name, requires, .. } => (
                String::from_utf8_lossy(name).replace(['"', ':'], ""),
                requires,
            ),
            Requirement::Fragment {
                type_name,
                requires,
                ..
            } => {
                let name = String::from_utf8_lossy(type_name).replace('"', "");
                (format!("...on {name}"), requires)
            }
        };
        if below.is_empty() {
            return name;
        }
        let below: Vec<String> = below.iter().map(|it| self.requirement(it)).collect();
        format!("{name}{{{}}}", below.join(" "))
    }
}
