//! The requests of a plan while they are gathered: what each asks for, and what has to come before.

use std::collections::{BTreeSet, HashSet};

use apollo_compiler::{Node, ast::Directive};

use super::{
    places::PlaceId,
    selection::{Field, Selection},
};
use crate::{SubgraphIndex, types::TypeId};

/// A request, by its place in [`Fetches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FetchId(pub usize);

/// A selection of a request, by its place in [`Fetches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId(pub usize);

/// One request, or one `_entities` of it.
pub struct Fetch<'a> {
    /// Who is asked.
    pub subgraph: SubgraphIndex,
    /// Where it begins.
    pub from: From<'a>,
    /// What it asks for.
    pub set: SetId,
    /// The requests that it needs something of.
    pub after: BTreeSet<FetchId>,
    /// Which of a mutation's requests led to it, in their order; 0 for anything else.
    pub turn: usize,
}

/// Where a request begins.
pub enum From<'a> {
    /// At the root of the operation.
    Root,
    /// At the root type, somewhere inside the response.
    Reentry(PlaceId),
    /// At entities.
    Entities {
        /// Where they are.
        place: PlaceId,
        /// The type that the subgraph has them as.
        view: TypeId,
        /// What their representations hold.
        requires: Vec<&'a [Selection]>,
    },
}

/// What is asked of an object.
pub struct Set<'a> {
    /// The type that the subgraph has it as.
    pub ty: TypeId,
    /// In the order asked.
    pub items: Vec<Item<'a>>,
}

/// A part of a [`Set`].
pub enum Item<'a> {
    /// A field, with what is asked of the objects that it holds.
    Field(&'a Field, Option<SetId>),
    /// Of objects of the set's type, under conditions.
    On(&'a [Node<Directive>], SetId),
}

/// All requests of a plan.
#[derive(Default)]
pub struct Fetches<'a> {
    fetches: Vec<Fetch<'a>>,
    sets: Vec<Set<'a>>,
    /// Selections of which nothing came, of objects that others are asked about.
    spared: HashSet<SetId>,
}

impl<'a> Fetches<'a> {
    /// Adds a request.
    pub fn add(&mut self, subgraph: SubgraphIndex, from: From<'a>, ty: TypeId) -> FetchId {
        let set = self.add_set(ty);
        self.fetches.push(Fetch {
            subgraph,
            from,
            set,
            after: BTreeSet::new(),
            turn: 0,
        });
        FetchId(self.fetches.len() - 1)
    }

    fn add_set(&mut self, ty: TypeId) -> SetId {
        let items = Vec::new();
        self.sets.push(Set { ty, items });
        SetId(self.sets.len() - 1)
    }

    /// A request.
    pub fn get(&self, id: FetchId) -> &Fetch<'a> {
        &self.fetches[id.0]
    }

    /// The same to be changed.
    pub fn get_mut(&mut self, id: FetchId) -> &mut Fetch<'a> {
        &mut self.fetches[id.0]
    }

    /// All of them in the order in which they were added: none comes before what it needs.
    pub fn iter(&self) -> impl Iterator<Item = (FetchId, &Fetch<'a>)> {
        let ids = (0..).map(FetchId);
        ids.zip(&self.fetches)
    }

    /// A selection.
    pub fn set(&self, id: SetId) -> &Set<'a> {
        &self.sets[id.0]
    }

    /// Asks for a field. `inner` is the type that the subgraph has its objects as.
    pub fn add_field(
        &mut self,
        set: SetId,
        field: &'a Field,
        inner: Option<TypeId>,
    ) -> Option<SetId> {
        for item in &self.sets[set.0].items {
            if let Item::Field(other, below) = item
                && other.key == field.key
                && other.name == field.name
            {
                return *below;
            }
        }
        let below = inner.map(|ty| self.add_set(ty));
        self.sets[set.0].items.push(Item::Field(field, below));
        below
    }

    /// Asks for `__typename`, before all else.
    pub fn add_typename(&mut self, set: SetId, typename: &'a Field) {
        let items = &mut self.sets[set.0].items;
        let is_same =
            |item: &Item<'_>| matches!(item, Item::Field(field, _) if field.key == typename.key);
        if !items.iter().any(is_same) {
            items.insert(0, Item::Field(typename, None));
        }
    }

    /// The selection for those of a set's objects that the subgraph has as `ty`, under conditions.
    pub fn add_on(&mut self, set: SetId, ty: TypeId, when: &'a [Node<Directive>]) -> SetId {
        for item in &self.sets[set.0].items {
            if let Item::On(other, below) = item
                && *other == when
                && self.sets[below.0].ty == ty
            {
                return *below;
            }
        }
        let below = self.add_set(ty);
        self.sets[set.0].items.push(Item::On(when, below));
        below
    }

    /// Lets objects that these selections are of be asked about only by those of which something is
    /// asked, if there are any.
    pub fn spare(&mut self, sets: &[SetId]) {
        let (idle, busy): (Vec<SetId>, Vec<SetId>) =
            sets.iter().copied().partition(|set| self.is_idle(*set));
        if !busy.is_empty() {
            self.spared.extend(idle);
        }
    }

    /// Whether nothing is asked by a selection.
    pub fn is_idle(&self, set: SetId) -> bool {
        self.sets[set.0].items.iter().all(|item| match item {
            Item::Field(_, below) => below.is_some_and(|below| self.is_spared(below)),
            Item::On(_, below) => self.is_idle(*below),
        })
    }

    /// Whether the field that a selection is of need not be asked for.
    pub fn is_spared(&self, set: SetId) -> bool {
        self.spared.contains(&set)
    }

    /// Whether `one` needs something of `other`, itself or by others.
    pub fn comes_after(&self, one: FetchId, other: FetchId) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![one];
        while let Some(next) = open.pop() {
            for before in &self.fetches[next.0].after {
                if *before == other {
                    return true;
                }
                if seen.insert(*before) {
                    open.push(*before);
                }
            }
        }
        false
    }
}
