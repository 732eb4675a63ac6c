//! The fetches of a plan: what each selects, and which have to come before it.

use apollo_compiler::{Name, Node, ast::Directive};

use rustc_hash::FxHashSet;

use super::paths::PathId;
use crate::{
    ContextArgument, SubgraphIndex,
    selection::{Field, Selection},
    types::TypeId,
};

/// A fetch, by its place in [`Fetches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FetchId(pub usize);

/// Some of a plan's fetches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchSet {
    /// A bit for each of the first ones: nearly all plans have no more.
    first: u64,
    /// The others, in their order.
    others: Vec<FetchId>,
}

impl FetchSet {
    /// Adds one; false if it is among them.
    pub fn insert(&mut self, id: FetchId) -> bool {
        if id.0 < u64::BITS as usize {
            let is_new = self.first >> id.0 & 1 == 0;
            self.first |= 1 << id.0;
            return is_new;
        }
        match self.others.binary_search(&id) {
            Ok(_) => false,
            Err(place) => {
                self.others.insert(place, id);
                true
            }
        }
    }

    /// Adds all of others.
    pub fn extend(&mut self, ids: impl IntoIterator<Item = FetchId>) {
        for id in ids {
            self.insert(id);
        }
    }

    /// Adds all of another set.
    pub fn add_all(&mut self, other: &Self) {
        self.first |= other.first;
        self.extend(other.others.iter().copied());
    }

    /// In the order in which they were added to the plan.
    pub fn iter(&self) -> impl Iterator<Item = FetchId> + '_ {
        let first = (0..u64::BITS as usize).filter(|bit| self.first >> bit & 1 == 1);
        first.map(FetchId).chain(self.others.iter().copied())
    }
}

impl From<FetchId> for FetchSet {
    fn from(id: FetchId) -> Self {
        let mut set = Self::default();
        set.insert(id);
        set
    }
}

/// A selection set of a fetch, by its place in [`Fetches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SelectionSetId(pub usize);

/// What a subgraph is asked for at the root, or of the entities of one path.
pub struct Fetch<'a> {
    /// The subgraph that the request is sent to.
    pub subgraph: SubgraphIndex,
    /// At the root or at entities: decides which request is sent.
    pub begin: Begin<'a>,
    /// What it selects there.
    pub set: SelectionSetId,
    /// The fetches whose answers it needs.
    pub after: FetchSet,
    /// Which of a mutation's fetches led to it, in their order; 0 for anything else.
    pub turn: usize,
}

/// Where a fetch begins.
pub enum Begin<'a> {
    /// At the root of the operation.
    Root,
    /// At the query type, somewhere inside the response.
    Reentry(PathId),
    /// At entities that earlier fetches have found, by the subgraph's field `_entities(representations:)`.
    Entities {
        /// The path of the objects that it completes.
        path: PathId,
        /// The type that the subgraph has them as.
        view: TypeId,
        /// What their representations hold: the key, then what fields require.
        requires: Vec<&'a [Selection]>,
        /// The arguments that come from objects above.
        contexts: Vec<FetchContext<'a>>,
    },
}

/// An argument of a fetch's field whose value comes from an object above.
#[derive(Clone, Copy)]
pub struct FetchContext<'a> {
    /// The field, directly of the entities.
    pub field: &'a Name,
    /// The argument that gets the value.
    pub argument: &'a ContextArgument,
    /// The path of the objects that have the value: one on the way to the entities.
    pub path: PathId,
}

/// What a fetch selects of an object.
pub struct SelectionSet<'a> {
    /// The type that the subgraph has it as.
    pub ty: TypeId,
    /// In the order selected.
    pub items: Vec<Item<'a>>,
}

/// A part of a [`SelectionSet`].
pub enum Item<'a> {
    /// A field, with what is selected of the objects that it holds.
    Field(&'a Field, Option<SelectionSetId>),
    /// Of objects of the set's type, under conditions.
    On(&'a [Node<Directive>], SelectionSetId),
}

/// All fetches of a plan.
#[derive(Default)]
pub struct Fetches<'a> {
    fetches: Vec<Fetch<'a>>,
    sets: Vec<SelectionSet<'a>>,
    /// Empty sets of objects of which other fetches select something.
    unneeded: FxHashSet<SelectionSetId>,
}

impl<'a> Fetches<'a> {
    /// # Panics
    /// For a fetch of another plan.
    pub fn get(&self, id: FetchId) -> &Fetch<'a> {
        &self.fetches[id.0]
    }

    /// All of them in the order in which they were added: none comes before what it needs.
    pub fn iter(&self) -> impl Iterator<Item = (FetchId, &Fetch<'a>)> {
        let ids = (0..).map(FetchId);
        ids.zip(&self.fetches)
    }

    /// # Panics
    /// For a selection set of another plan.
    pub fn set(&self, id: SelectionSetId) -> &SelectionSet<'a> {
        &self.sets[id.0]
    }

    /// Whether nothing is selected by a set: a fetch with such a set is not sent.
    pub fn is_empty(&self, set: SelectionSetId) -> bool {
        self.sets[set.0].items.iter().all(|item| match item {
            Item::Field(_, below) => below.is_some_and(|below| self.is_unneeded(below)),
            Item::On(_, below) => self.is_empty(*below),
        })
    }

    /// Whether the field that a set is of need not be selected.
    pub fn is_unneeded(&self, set: SelectionSetId) -> bool {
        self.unneeded.contains(&set)
    }

    /// Whether `one` needs the answer of `other`, itself or by others.
    pub fn comes_after(&self, one: FetchId, other: FetchId) -> bool {
        let mut seen = FetchSet::default();
        let mut open = vec![one];
        while let Some(next) = open.pop() {
            for before in self.fetches[next.0].after.iter() {
                if before == other {
                    return true;
                }
                if seen.insert(before) {
                    open.push(before);
                }
            }
        }
        false
    }
}

// Only `PlanBuilder` calls these.
impl<'a> Fetches<'a> {
    pub(crate) fn add(&mut self, subgraph: SubgraphIndex, begin: Begin<'a>, ty: TypeId) -> FetchId {
        let set = self.add_set(ty);
        self.fetches.push(Fetch {
            subgraph,
            begin,
            set,
            after: FetchSet::default(),
            turn: 0,
        });
        FetchId(self.fetches.len() - 1)
    }

    pub(crate) fn get_mut(&mut self, id: FetchId) -> &mut Fetch<'a> {
        &mut self.fetches[id.0]
    }

    fn add_set(&mut self, ty: TypeId) -> SelectionSetId {
        let items = Vec::new();
        self.sets.push(SelectionSet { ty, items });
        SelectionSetId(self.sets.len() - 1)
    }

    /// Selects a field. `inner` is the type that the subgraph has its objects as.
    pub(crate) fn add_field(
        &mut self,
        set: SelectionSetId,
        field: &'a Field,
        inner: Option<TypeId>,
    ) -> Option<SelectionSetId> {
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

    /// Selects `__typename`, before all else.
    pub(crate) fn add_typename(&mut self, set: SelectionSetId, typename: &'a Field) {
        let items = &mut self.sets[set.0].items;
        let is_same =
            |item: &Item<'_>| matches!(item, Item::Field(field, _) if field.key == typename.key);
        if !items.iter().any(is_same) {
            items.insert(0, Item::Field(typename, None));
        }
    }

    /// The selection set for those of a set's objects that the subgraph has as `ty`, under conditions.
    pub(crate) fn add_on(
        &mut self,
        set: SelectionSetId,
        ty: TypeId,
        when: &'a [Node<Directive>],
    ) -> SelectionSetId {
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

    /// Of the sets of one path's objects, leaves out those that are empty, if others are not.
    pub(crate) fn leave_out_empty(&mut self, sets: &[SelectionSetId]) {
        let (empty, full): (Vec<SelectionSetId>, Vec<SelectionSetId>) =
            sets.iter().copied().partition(|set| self.is_empty(*set));
        if !full.is_empty() {
            self.unneeded.extend(empty);
        }
    }
}
