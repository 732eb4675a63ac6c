//! Who may see what: `@authenticated`, `@requiresScopes` and `@policy`.
//!
//! # What a field requires
//!
//! A client may see a field of an object if all of these requirements are met:
//!
//! 1. those at the field in the object's own type,
//! 2. those at the object's type,
//! 3. those at the type of the field's value: an object, an interface, a scalar or an enum,
//! 4. those at the same field of an interface that the object implements, and at that interface, unless a composer
//!    has generated them (see below).
//!
//! So it does not matter by which way a client reaches a field: by the object's type, by an interface or by a
//! union, in a fragment or not. `__typename` and introspection require nothing.
//!
//! A requirement of an interface is one of two things. Composers since November 2025 *generate* it: it is the
//! conjunction of what the implementations require, and adds nothing to that. Earlier composers kept what the author
//! of a subgraph wrote there. Such a requirement would be void if it did not hold for the implementations too
//! ([GHSA-mx7m-j9xf-62hw](https://github.com/advisories/GHSA-mx7m-j9xf-62hw)). The two are told apart by
//! equivalence: all requirements at one place of an interface were generated if they and those of the implementations
//! there follow from each other. Otherwise they all bind. An author who wrote exactly that conjunction cannot be told
//! from a composer: then each implementation requires its own.
//!
//! [`Authorization`] has the result for each field of each object type. [`cut()`] takes out of an operation what a
//! client may not see, before it is planned. What plans add on their own (keys, `@requires`, contexts) is not
//! subject to it: the subgraphs ask for that, not the client, and no client gets it.
//!
//! # Limits
//!
//! [`REQUIREMENTS_MAX`] distinct requirements in a supergraph. Combinations of requirements that implication has to
//! try: [`read`]'s `COMBINATIONS_MAX`; beyond it, a requirement counts as the author's own, which protects more.

mod cut;
mod read;

use apollo_compiler::{Name, Schema};
use rustc_hash::FxHashMap;

pub use cut::cut;

use crate::{
    SupergraphError,
    mistakes::Located,
    types::{TypeId, TypeTable},
};

/// The distinct requirements that a supergraph may have.
pub const REQUIREMENTS_MAX: usize = 10_000;

/// A requirement of a supergraph, by its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequirementId(pub u16);

/// What a client needs to see a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// `@authenticated`: that it is known who asks.
    Authenticated,
    /// `@requiresScopes`: scopes of the client's token.
    Scopes(AnyOf),
    /// `@policy`: policies that hold for the client.
    Policies(AnyOf),
}

/// Names of which all in one of the sets are needed.
///
/// Without a set, nothing is enough; an empty set is always met. No set has all names of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnyOf(Box<[Box<[Box<str>]>]>);

impl AnyOf {
    /// Sorts the sets and their names, and leaves out sets that have all names of another.
    pub fn new(sets: impl IntoIterator<Item = Vec<Box<str>>>) -> Self {
        let mut sets: Vec<Vec<Box<str>>> = sets.into_iter().collect();
        for set in &mut sets {
            set.sort_unstable();
            set.dedup();
        }
        sets.sort_unstable();
        sets.dedup();
        let is_needed = |set: &&Vec<Box<str>>| {
            let mut others = sets.iter();
            !others.any(|other| other != *set && other.iter().all(|name| set.contains(name)))
        };
        let needed = sets.iter().filter(is_needed);
        Self(needed.map(|set| set.clone().into()).collect())
    }

    /// Whether all names of one of the sets are there.
    pub fn is_met(&self, has: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|set| set.iter().all(|name| has(name)))
    }

    /// The sets, sorted, each with its names sorted.
    pub fn sets(&self) -> &[Box<[Box<str>]>] {
        &self.0
    }
}

/// What each field of a supergraph requires.
#[derive(Debug, Default)]
pub struct Authorization {
    /// Each distinct requirement once. A [`RequirementId`] is an index into this list.
    requirements: Vec<Requirement>,
    /// By object type or interface, and field: what is needed, sorted. Fields that need nothing are not here.
    fields: FxHashMap<TypeId, FxHashMap<Name, Box<[RequirementId]>>>,
}

impl Authorization {
    /// Reads the directives of a supergraph, by whatever names its links give to them.
    ///
    /// # Errors
    /// [`SupergraphError::Authorization`] for a directive without the arguments that it needs, and above
    /// [`REQUIREMENTS_MAX`].
    pub(crate) fn of(supergraph: &Schema, types: &TypeTable) -> Result<Self, SupergraphError> {
        let (authorization, mistakes) = read::read(supergraph, types);
        match mistakes.into_iter().next() {
            Some((_, mistake)) => Err(SupergraphError::Authorization(mistake)),
            None => Ok(authorization),
        }
    }

    /// What is wrong with the directives, each with its place.
    pub(crate) fn mistakes(supergraph: &Schema, types: &TypeTable) -> Vec<Located> {
        let (_, mistakes) = read::read(supergraph, types);
        mistakes
    }

    /// Whether the supergraph requires nothing anywhere.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// What a field of an object type requires, sorted. For an interface, what the field requires of any of its
    /// implementations: for an object whose type is not known.
    pub fn of_field(&self, ty: TypeId, field: &str) -> &[RequirementId] {
        let fields = self.fields.get(&ty);
        let known = fields.and_then(|fields| fields.get(field));
        known.map_or(&[], |all| all)
    }

    /// # Panics
    /// For a requirement of another supergraph.
    pub fn requirement(&self, id: RequirementId) -> &Requirement {
        &self.requirements[usize::from(id.0)]
    }

    /// The numbers of all requirements, sorted.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = RequirementId> + use<> {
        (0..self.requirements.len() as u16).map(RequirementId)
    }

    /// The fields that require something, of object types and of interfaces.
    pub fn protected_fields(&self) -> impl Iterator<Item = (TypeId, &Name)> {
        let types = self.fields.iter();
        types.flat_map(|(ty, fields)| fields.keys().map(|field| (*ty, field)))
    }
}

#[cfg(test)]
mod tests {
    use super::AnyOf;

    fn any_of(sets: &[&[&str]]) -> AnyOf {
        let set = |set: &&[&str]| set.iter().map(|name| Box::from(*name)).collect();
        AnyOf::new(sets.iter().map(set))
    }

    #[test]
    fn one_set_of_several_is_enough_and_all_its_names_are_needed() {
        let wanted = any_of(&[&["a", "b"], &["c"]]);
        let is_met = |has: &[&str]| wanted.is_met(|name| has.contains(&name));
        assert!(is_met(&["a", "b"]) && is_met(&["c"]) && is_met(&["d", "c"]));
        assert!(!is_met(&[]) && !is_met(&["a"]) && !is_met(&["b", "d"]));
        assert!(!any_of(&[]).is_met(|_| true));
        assert!(any_of(&[&[]]).is_met(|_| false));
    }

    #[test]
    fn sets_that_mean_the_same_are_equal() {
        let same = any_of(&[&["b", "a", "b"], &["c"], &["c", "a"], &["c"]]);
        assert_eq!(same, any_of(&[&["c"], &["a", "b"]]));
        assert_ne!(same, any_of(&[&["c"], &["a"]]));
    }
}
