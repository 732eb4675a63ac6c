//! All mistakes in a supergraph, with their places.
//!
//! [`crate::Supergraph::read`] ends at the first one, and reads what is not quite GraphQL. This goes on, and reports that,
//! too. What follows from a mistake may be reported as another one.

use std::fmt;

use apollo_compiler::{
    Schema,
    parser::{SourceMap, SourceSpan},
    validation::DiagnosticList,
};

use crate::{
    SubgraphInfo, api_schema, authorization::Authorization, specifications, supergraph,
    types::TypeTable,
};

/// A mistake in the text of a supergraph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Line and column, from 1; `None` for what is missing altogether.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(formatter, "{line}:{column}: ")?;
        }
        formatter.write_str(&self.message)
    }
}

/// What [`check`] has found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// In the order of their places. Those without a place come first.
    pub mistakes: Vec<Mistake>,
    /// The subgraphs, with the line and the column where each is named.
    pub subgraphs: Vec<(SubgraphInfo, Option<(usize, usize)>)>,
    /// The number of types that clients see, without those of GraphQL itself.
    pub types: usize,
}

/// A mistake at a place that is not looked up yet.
pub(crate) type Located = (Option<SourceSpan>, String);

/// Checks a supergraph's SDL.
pub fn check(sdl: &str) -> Checked {
    let mut found = Found::default();
    let schema = match Schema::parse(sdl, "supergraph.graphql") {
        Ok(schema) => schema,
        Err(invalid) => {
            found.diagnostics(&invalid.errors);
            invalid.partial
        }
    };
    found.located(&schema.sources, specifications::unknown(&schema));
    let (subgraphs, wrong) = supergraph::subgraphs_and_mistakes(&schema);
    found.located(&schema.sources, wrong);
    // Some composers leave out the definitions of what they use.
    if schema.directive_definitions.contains_key("join__type")
        && let Err(invalid) = schema.clone().validate()
    {
        found.diagnostics(&invalid.errors);
    }
    let api = api_schema::api_schema(&schema);
    let api = match api.validate() {
        Ok(api) => api.into_inner(),
        Err(invalid) => {
            found.diagnostics(&invalid.errors);
            invalid.partial
        }
    };
    let types = TypeTable::new(&schema, &api);
    let wrong = supergraph::join_mistakes(&schema, &types, &subgraphs);
    found.located(&schema.sources, wrong);
    let wrong = Authorization::mistakes(&schema, &types);
    found.located(&schema.sources, wrong);
    let own = api.types.values().filter(|it| !it.is_built_in());
    Checked {
        mistakes: found.sorted(),
        types: own.count(),
        subgraphs: subgraphs
            .into_iter()
            .map(|(key, info)| (info, place_of(key.location(), &schema.sources)))
            .collect(),
    }
}

fn place_of(span: Option<SourceSpan>, sources: &SourceMap) -> Option<(usize, usize)> {
    let at = span?.line_column(sources)?;
    Some((at.line, at.column))
}

#[derive(Default)]
struct Found(Vec<Mistake>);

impl Found {
    fn diagnostics(&mut self, list: &DiagnosticList) {
        let all = list.iter().map(|diagnostic| Mistake {
            place: diagnostic
                .line_column_range()
                .map(|range| (range.start.line, range.start.column)),
            message: diagnostic.error.to_string(),
        });
        self.0.extend(all);
    }

    fn located(&mut self, sources: &SourceMap, located: impl IntoIterator<Item = Located>) {
        let all = located.into_iter().map(|(span, message)| Mistake {
            place: place_of(span, sources),
            message,
        });
        self.0.extend(all);
    }

    fn sorted(mut self) -> Vec<Mistake> {
        self.0.sort();
        self.0.dedup();
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = include_str!("../examples/shop/supergraph.graphql");

    fn places(sdl: &str) -> Vec<String> {
        let mistakes = check(sdl).mistakes;
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sound_supergraph_has_none() {
        assert_eq!(places(SOUND), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_supergraph_is_said_to_be_none() {
        let all = places("type Query { a: Missing }");
        let starts = ["it has no enum join__Graph", "1:17: "];
        assert_eq!(all.len(), starts.len(), "{all:?}");
        for (mistake, start) in all.iter().zip(starts) {
            assert!(mistake.starts_with(start), "{mistake}");
        }
    }
}
