//! A plan for people: its requests in the order in which they start.

use std::fmt::Write as _;

use federation::TypeSet;

use super::{
    build,
    plan::{EntityFetch, Merge, PathSegment, Plan, Requirement},
    serving::Serving,
};
use crate::{error::RequestError, graph::Graph};

/// The plan of an operation, printed: one paragraph for each request, with those that it waits for,
/// the objects that it completes, and what their representations hold.
///
/// # Errors
/// When the operation is refused, or has no plan.
pub fn explain(
    serving: &Serving,
    query: &str,
    operation_name: Option<&str>,
) -> Result<String, RequestError> {
    let plan = build::plan_of(serving, query, operation_name)?;
    let printer = Printer {
        graph: &serving.graph,
        plan: &plan,
    };
    Ok(printer.print())
}

struct Printer<'p> {
    graph: &'p Graph,
    plan: &'p Plan,
}

impl Printer<'_> {
    fn print(&self) -> String {
        let mut text = String::new();
        for (number, step) in self.plan.steps.iter().enumerate() {
            let subgraph = self.graph.subgraph(step.subgraph).name;
            let _ = write!(text, "{}. {subgraph}", number + 1);
            let others = self.plan.steps.iter().enumerate();
            let after: Vec<String> = others
                .filter(|(_, other)| other.wakes.contains(&number))
                .map(|(other, _)| (other + 1).to_string())
                .collect();
            if !after.is_empty() {
                let _ = write!(text, ", after {}", after.join(" and "));
            }
            if let Some(other) = step.fallback_of {
                let _ = write!(text, ", for what {} leaves out", other + 1);
            }
            let _ = writeln!(text, ": {}", step.request.operation);
            match &step.merge {
                Merge::Root { .. } => {}
                Merge::Reentry { path, .. } => {
                    let _ = writeln!(text, "   at {}", self.path(path));
                }
                Merge::Entities(fetches) => {
                    for fetch in fetches {
                        self.entities(fetch, &mut text);
                    }
                }
            }
        }
        text
    }

    fn entities(&self, fetch: &EntityFetch, text: &mut String) {
        let paths = fetch.targets.iter().map(|target| self.path(&target.path));
        let paths: Vec<String> = paths.collect();
        let requires: Vec<String> = fetch
            .requires
            .iter()
            .map(|it| self.requirement(it))
            .collect();
        let _ = writeln!(
            text,
            "   for {} by {}",
            paths.join(" and "),
            requires.join(" ")
        );
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
