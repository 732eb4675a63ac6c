//! Reactions to comments: which there are, and how many people chose each.

use async_graphql::{Enum, SimpleObject};
use bson::{RawBsonRef, RawDocument};
use subgraph::FieldCost;
use subgraph::readable::{Kind, Shape};

/// What somebody feels about a comment.
#[derive(Clone, Copy, Debug, Enum, Eq, Hash, PartialEq)]
pub enum Reaction {
    /// Thumbs up.
    Like,
    /// A heart.
    Love,
    /// It is funny.
    Laugh,
    /// It is astonishing.
    Surprised,
    /// It is sad.
    Sad,
}

/// How many reactions there are.
const KINDS: usize = 5;
/// How many items the list of counts has at most, for its `@listSize`.
pub const KINDS_MAX: i32 = KINDS as i32;
/// What the list of counts costs.
pub const COUNTS_COST: FieldCost = FieldCost::List {
    sizes: &[],
    default: KINDS,
    max: KINDS,
    item: 0,
};
/// The field of a comment's document with the counts: `{ LIKE: 3 }`.
pub const FIELD: &str = "reactions";

impl Reaction {
    /// All of them, in the order in which clients get them.
    pub const ALL: [Self; KINDS] = [
        Self::Like,
        Self::Love,
        Self::Laugh,
        Self::Surprised,
        Self::Sad,
    ];

    /// Its name in documents.
    pub fn stored(self) -> &'static str {
        match self {
            Self::Like => "LIKE",
            Self::Love => "LOVE",
            Self::Laugh => "LAUGH",
            Self::Surprised => "SURPRISED",
            Self::Sad => "SAD",
        }
    }

    /// The reaction with this name.
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.stored() == name)
    }
}

/// How many people chose a reaction.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub struct ReactionCount {
    /// The reaction.
    pub reaction: Reaction,
    /// How many people have chosen it: 1 or more.
    pub count: u32,
}

/// How many people chose each reaction to a comment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Reactions([u32; KINDS]);

impl Reactions {
    /// The counts in a comment's document. What is no number above 0 counts as none.
    pub fn of(comment: &RawDocument) -> Self {
        let field = Shape([(FIELD, Kind::Document)]).read(comment);
        let counts = field.ok().and_then(|[counts]| counts.document());
        let count = |reaction: Reaction| match counts?.get(reaction.stored()).ok()?? {
            RawBsonRef::Int32(count) => u32::try_from(count).ok(),
            RawBsonRef::Int64(count) => Some(u32::try_from(count.max(0)).unwrap_or(u32::MAX)),
            // As the shell writes numbers. The conversion saturates.
            RawBsonRef::Double(count) => Some(count as u32),
            _ => None,
        };
        Self(Reaction::ALL.map(|reaction| count(reaction).unwrap_or_default()))
    }

    /// How many people chose this one.
    pub fn count(&self, reaction: Reaction) -> u32 {
        self.0[reaction as usize]
    }

    /// The same after somebody has changed their mind.
    #[must_use]
    pub fn after(mut self, before: Option<Reaction>, now: Option<Reaction>) -> Self {
        if let Some(before) = before {
            // Another program may have written too small a number.
            let count = &mut self.0[before as usize];
            *count = count.saturating_sub(1);
        }
        if let Some(now) = now {
            let count = &mut self.0[now as usize];
            *count = count.saturating_add(1);
        }
        self
    }

    /// Whether nobody has reacted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those that somebody chose.
    pub fn counts(&self) -> Vec<ReactionCount> {
        let counts = Reaction::ALL.into_iter().zip(self.0);
        let chosen = counts.filter(|(_, count)| *count > 0);
        chosen
            .map(|(reaction, count)| ReactionCount { reaction, count })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn every_reaction_has_its_place_and_its_name() {
        for (place, reaction) in Reaction::ALL.into_iter().enumerate() {
            assert_eq!(reaction as usize, place);
            assert_eq!(Reaction::read(reaction.stored()), Some(reaction));
        }
        assert_eq!(Reaction::read("like"), None);
    }

    #[test]
    fn whatever_a_document_has_is_read_as_counts() {
        let counts = rawdoc! { "reactions": {
            "LIKE": 3, "LOVE": 4_i64, "LAUGH": 2.0, "SURPRISED": -1, "SAD": "5", "WOW": 6,
        } };
        assert_eq!(Reactions::of(&counts).0, [3, 4, 2, 0, 0]);
        for odd in [
            rawdoc! {},
            rawdoc! { "reactions": 5 },
            rawdoc! { "reactions": [{ "LIKE": 1 }] },
            rawdoc! { "reactions": { "LIKE": f64::NAN, "LOVE": -1.0, "SAD": i64::MIN } },
        ] {
            assert!(Reactions::of(&odd).is_empty(), "{odd:?}");
        }
        let large = rawdoc! { "reactions": { "LIKE": i64::MAX, "SAD": f64::INFINITY } };
        assert_eq!(Reactions::of(&large).count(Reaction::Like), u32::MAX);
        assert_eq!(Reactions::of(&large).count(Reaction::Sad), u32::MAX);
    }

    #[test]
    fn a_count_never_falls_below_none() {
        let none = Reactions::default();
        let changed = none.after(Some(Reaction::Like), Some(Reaction::Sad));
        assert_eq!(changed.0, [0, 0, 0, 0, 1]);
        assert!(changed.after(Some(Reaction::Sad), None).is_empty());
    }
}
