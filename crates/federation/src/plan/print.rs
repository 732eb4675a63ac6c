//! A plan as text, for people.

use std::fmt::{self, Display, Formatter, Write as _};

use apollo_compiler::{
    Node,
    ast::{Argument, Directive},
};

use super::{Begin, FetchId, Item, PathId, PathStep, Plan, SelectionSetId};
use crate::selection::Selection;

/// One paragraph for each fetch that is sent: its number, its subgraph, the fetches that it waits for,
/// and what it selects; for entities also their paths, and what their representations hold.
impl Display for Plan<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let sent: Vec<FetchId> = self.sent().map(|(id, _)| id).collect();
        let number = |id: &FetchId| Some(sent.iter().position(|it| it == id)? + 1);
        for (index, id) in sent.iter().enumerate() {
            let fetch = self.fetches.get(*id);
            let subgraph = &self.supergraph.subgraph(fetch.subgraph).name;
            write!(out, "{}. {subgraph}", index + 1)?;
            let after: Vec<String> = fetch
                .after
                .iter()
                .filter_map(|id| number(&id))
                .map(|it| it.to_string())
                .collect();
            if !after.is_empty() {
                write!(out, ", after {}", after.join(" and "))?;
            }
            out.write_str(": ")?;
            self.write_set(fetch.set, out)?;
            out.write_char('\n')?;
            match &fetch.begin {
                Begin::Root => {}
                Begin::Reentry(path) => writeln!(out, "   at {}", self.path(*path))?,
                Begin::Entities {
                    path,
                    view,
                    requires,
                    contexts,
                } => {
                    let view = self.supergraph.name(*view);
                    write!(out, "   for {} as {view} by ", self.path(*path))?;
                    let requires: Vec<&Selection> = requires.iter().copied().flatten().collect();
                    self.write_selections(&requires, out)?;
                    out.write_char('\n')?;
                    for context in contexts {
                        let (field, argument) = (context.field, &context.argument.name);
                        write!(out, "   with {field}({argument}:) from ")?;
                        match self.path(context.path) {
                            path if path.is_empty() => out.write_str("the root")?,
                            path => out.write_str(&path)?,
                        }
                        let selection: Vec<&Selection> =
                            context.argument.selection.iter().collect();
                        out.write_str(" by ")?;
                        self.write_selections(&selection, out)?;
                        out.write_char('\n')?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Plan<'_> {
    fn path(&self, path: PathId) -> String {
        let mut text = String::new();
        let mut last = None;
        for (step, ty) in self.paths.steps(path) {
            match step {
                PathStep::Field(field) => {
                    let separator = if text.is_empty() { "" } else { "." };
                    text.extend([separator, &field.key]);
                }
                PathStep::On(_) if last == Some(ty) => {}
                PathStep::On(_) => text.extend(["|", self.supergraph.name(ty)]),
            }
            last = Some(ty);
        }
        text
    }

    fn write_set(&self, set: SelectionSetId, out: &mut Formatter<'_>) -> fmt::Result {
        let here = self.fetches.set(set);
        out.write_char('{')?;
        for item in &here.items {
            match item {
                Item::Field(_, Some(below)) if self.fetches.is_unneeded(*below) => {}
                Item::Field(field, below) => {
                    out.write_char(' ')?;
                    if field.key != field.name {
                        write!(out, "{}: ", field.key)?;
                    }
                    out.write_str(&field.name)?;
                    write_arguments(&field.arguments, out)?;
                    write_directives(&field.directives, out)?;
                    if let Some(below) = below {
                        out.write_char(' ')?;
                        self.write_set(*below, out)?;
                    }
                }
                Item::On(_, below) if self.fetches.is_empty(*below) => {}
                Item::On(when, below) => {
                    let ty = self.fetches.set(*below).ty;
                    write!(out, " ... on {}", self.supergraph.name(ty))?;
                    write_directives(when, out)?;
                    out.write_char(' ')?;
                    self.write_set(*below, out)?;
                }
            }
        }
        out.write_str(" }")
    }

    fn write_selections(&self, set: &[&Selection], out: &mut Formatter<'_>) -> fmt::Result {
        out.write_char('{')?;
        for selection in set {
            let below = match selection {
                Selection::Field(field) => {
                    write!(out, " {}", field.name)?;
                    write_arguments(&field.arguments, out)?;
                    &field.set
                }
                Selection::On(on) => {
                    write!(out, " ... on {}", self.supergraph.name(on.ty))?;
                    write_directives(&on.when, out)?;
                    &on.set
                }
            };
            if !below.is_empty() {
                out.write_char(' ')?;
                self.write_selections(&below.iter().collect::<Vec<_>>(), out)?;
            }
        }
        out.write_str(" }")
    }
}

fn write_directives(directives: &[Node<Directive>], out: &mut Formatter<'_>) -> fmt::Result {
    for directive in directives {
        write!(out, " @{}", directive.name)?;
        write_arguments(&directive.arguments, out)?;
    }
    Ok(())
}

fn write_arguments(arguments: &[Node<Argument>], out: &mut Formatter<'_>) -> fmt::Result {
    for (index, argument) in arguments.iter().enumerate() {
        out.write_str(if index == 0 { "(" } else { ", " })?;
        let value = argument.value.serialize().no_indent();
        write!(out, "{}: {value}", argument.name)?;
    }
    if !arguments.is_empty() {
        out.write_char(')')?;
    }
    Ok(())
}
