//! The fields whose values depend on who asks, as subgraphs say it: `@tag(name: "viewer")`.
//!
//! A tag says nothing about fields that have none: a subgraph that knows nothing of this convention has no tags
//! either. So it holds only for the subgraphs that the setting `VIEWER_TAGS` lists. Whatever another subgraph sends may
//! depend on who asks.

use std::collections::HashSet;

use apollo_compiler::{Name, Schema};
use federation::{
    SubgraphIndex, Supergraph, TypeId, TypeTable,
    plan::{Fetches, Item, SelectionSetId},
    tagged_fields,
};

/// The tag of a field whose value depends on who asks.
const VIEWER: &str = "viewer";

/// What depends on who asks.
#[derive(Debug, Default)]
pub struct ViewerFields {
    /// By [`SubgraphIndex`]: whether the subgraph tags all of them.
    tagging: Vec<bool>,
    fields: HashSet<(TypeId, Name)>,
}

impl ViewerFields {
    /// Reads the tags of a supergraph. `tagging` are the names of the subgraphs that use them.
    pub fn of(supergraph: &Supergraph, schema: &Schema, tagging: &[String]) -> Self {
        let names: Vec<&str> = supergraph
            .subgraphs()
            .map(|index| supergraph.subgraph(index).name.as_str())
            .collect();
        for name in tagging
            .iter()
            .filter(|name| !names.contains(&name.as_str()))
        {
            tracing::warn!(
                subgraph = name,
                "VIEWER_TAGS lists a subgraph that the supergraph does not have"
            );
        }
        Self {
            tagging: names
                .iter()
                .map(|name| tagging.iter().any(|it| it == name))
                .collect(),
            fields: with_overlapping_types(supergraph.types(), &tagged_fields(schema, VIEWER)),
        }
    }

    /// Whether anything that these fetches ask for may depend on who asks.
    pub fn are_asked_by(&self, fetches: &Fetches<'_>) -> bool {
        let mut sent = fetches
            .iter()
            .filter(|(_, fetch)| !fetches.is_empty(fetch.set));
        sent.any(|(_, fetch)| !self.tags(fetch.subgraph) || self.are_in(fetches, fetch.set))
    }

    fn tags(&self, subgraph: SubgraphIndex) -> bool {
        let place = usize::from(subgraph.0);
        self.tagging.get(place).copied().unwrap_or_default()
    }

    fn are_in(&self, fetches: &Fetches<'_>, set: SelectionSetId) -> bool {
        let mut open = vec![set];
        while let Some(set) = open.pop() {
            let set = fetches.set(set);
            for item in &set.items {
                match item {
                    Item::Field(field, below) => {
                        if self.fields.contains(&(set.ty, field.name.clone())) {
                            return true;
                        }
                        open.extend(*below);
                    }
                    Item::On(_, below) => open.push(*below),
                }
            }
        }
        false
    }
}

/// A field may be selected of an object by each type that the object may have: the tag of one counts for all.
fn with_overlapping_types(
    types: &TypeTable,
    tagged: &HashSet<(Name, Name)>,
) -> HashSet<(TypeId, Name)> {
    let mut fields = HashSet::new();
    for (ty, field) in tagged {
        let Some(id) = types.id(ty) else { continue };
        for object in types.satisfied_by(id).iter() {
            for other in types.satisfied_in_reverse(object).iter() {
                fields.insert((other, field.clone()));
            }
        }
        fields.insert((id, field.clone()));
    }
    fields
}
