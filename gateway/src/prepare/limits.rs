//! Checks an operation against the limits on its size, before anything expands its fragments.

use std::collections::HashMap;

use apollo_compiler::{
    Node,
    ast::{Definition, Directive, Document, FragmentDefinition, Selection},
};

use crate::{
    config::Limits,
    error::{Code, RequestError},
};

/// Checks the parsed document against the limits on depth, aliases, root fields, directives and
/// expanded selections. A fragment is counted once, and its counts are added wherever it is spread,
/// so the time is linear in the length of the text.
///
/// # Errors
/// `MAX_DEPTH_EXCEEDED` and the like, by the limit that is exceeded.
pub fn check(document: &Document, limits: &Limits) -> Result<(), RequestError> {
    let mut counter = SelectionCounter {
        fragments: HashMap::new(),
        counts: HashMap::new(),
        directives_max: 0,
    };
    for definition in &document.definitions {
        if let Definition::FragmentDefinition(fragment) = definition {
            counter.fragments.insert(fragment.name.as_str(), fragment);
        }
    }
    for definition in &document.definitions {
        match definition {
            Definition::OperationDefinition(operation) => {
                counter.directives(&operation.directives);
                for variable in &operation.variables {
                    counter.directives(&variable.directives);
                }
                let counts = counter.selections(&operation.selection_set);
                compare(&counts, limits)?;
            }
            Definition::FragmentDefinition(fragment) => {
                counter.directives(&fragment.directives);
                counter.fragment(&fragment.name);
            }
            _ => {}
        }
    }
    if counter.directives_max > limits.directives_max {
        return Err(refusal(
            Code::MaxDirectives,
            "directives on one element",
            limits.directives_max,
        ));
    }
    Ok(())
}

/// The counts of an expanded selection set. They saturate instead of overflowing.
#[derive(Clone, Copy, Default)]
struct SelectionCounts {
    selections: usize,
    aliases: usize,
    /// The nesting of selection sets, this one included.
    depth: usize,
    /// The fields at this level, with fragments expanded.
    fields_here: usize,
}

fn compare(counts: &SelectionCounts, limits: &Limits) -> Result<(), RequestError> {
    let checks = [
        (
            counts.depth,
            limits.depth_max,
            Code::MaxDepth,
            "levels of selections",
        ),
        (
            counts.fields_here,
            limits.root_fields_max,
            Code::MaxRootFields,
            "root fields",
        ),
        (
            counts.aliases,
            limits.aliases_max,
            Code::MaxAliases,
            "aliases",
        ),
        (
            counts.selections,
            limits.selections_max,
            Code::MaxSelections,
            "selections",
        ),
    ];
    for (count, max, code, what) in checks {
        if count > max {
            return Err(refusal(code, what, max));
        }
    }
    Ok(())
}

fn refusal(code: Code, what: &str, max: usize) -> RequestError {
    RequestError::new(code, format!("the operation has more than {max} {what}"))
}

struct SelectionCounter<'d> {
    fragments: HashMap<&'d str, &'d FragmentDefinition>,
    /// `None` while a fragment is being counted: a fragment that spreads itself counts as empty,
    /// because validation refuses it.
    counts: HashMap<&'d str, Option<SelectionCounts>>,
    directives_max: usize,
}

impl<'d> SelectionCounter<'d> {
    fn directives(&mut self, directives: &[Node<Directive>]) {
        self.directives_max = self.directives_max.max(directives.len());
    }

    fn fragment(&mut self, name: &str) -> SelectionCounts {
        if let Some(counts) = self.counts.get(name) {
            return counts.unwrap_or_default();
        }
        let Some(fragment) = self.fragments.get(name).copied() else {
            return SelectionCounts::default();
        };
        self.counts.insert(&fragment.name, None);
        let counts = self.selections(&fragment.selection_set);
        self.counts.insert(&fragment.name, Some(counts));
        counts
    }

    fn selections(&mut self, selections: &'d [Selection]) -> SelectionCounts {
        let mut total = SelectionCounts {
            depth: 1,
            ..SelectionCounts::default()
        };
        for selection in selections {
            total.selections = total.selections.saturating_add(1);
            let inner = match selection {
                Selection::Field(field) => {
                    self.directives(&field.directives);
                    total.fields_here = total.fields_here.saturating_add(1);
                    total.aliases = total
                        .aliases
                        .saturating_add(usize::from(field.alias.is_some()));
                    let mut inner = self.selections(&field.selection_set);
                    inner.fields_here = 0;
                    inner.depth = if field.selection_set.is_empty() {
                        0
                    } else {
                        inner.depth + 1
                    };
                    inner
                }
                Selection::InlineFragment(fragment) => {
                    self.directives(&fragment.directives);
                    self.selections(&fragment.selection_set)
                }
                Selection::FragmentSpread(spread) => {
                    self.directives(&spread.directives);
                    self.fragment(&spread.fragment_name)
                }
            };
            total.selections = total.selections.saturating_add(inner.selections);
            total.aliases = total.aliases.saturating_add(inner.aliases);
            total.fields_here = total.fields_here.saturating_add(inner.fields_here);
            total.depth = total.depth.max(inner.depth);
        }
        total
    }
}
