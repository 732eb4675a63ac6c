//! The places of a response where objects are, and by which requests each can be seen.

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use apollo_compiler::{Name, Node, ast::Directive};

use super::{
    fetches::{FetchId, SetId},
    selection::{Field, Selection},
};
use crate::{SubgraphIndex, types::TypeId};

/// A place, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlaceId(pub usize);

/// The root of the response.
pub const ROOT: PlaceId = PlaceId(0);

/// Objects of one type at one path, under the same conditions.
pub struct Place<'a> {
    /// The place above, and how this one is reached from it; none for the root.
    pub parent: Option<(PlaceId, Step<'a>)>,
    /// The type over all subgraphs.
    pub ty: TypeId,
    /// The requests that have its objects.
    pub cursors: Vec<Cursor<'a>>,
    /// The leaves that are asked for, by their keys, and who brings them.
    pub leaves: HashMap<&'a Name, BTreeSet<FetchId>>,
    fields: HashMap<&'a Name, PlaceId>,
    narrowed: Vec<(TypeId, &'a [Node<Directive>], PlaceId)>,
}

/// From a place to another below.
#[derive(Clone, Copy)]
pub enum Step<'a> {
    /// Into a field.
    Field(&'a Field),
    /// To those objects that are of the place's type, under conditions.
    On(&'a [Node<Directive>]),
}

/// What fields provide of an object, though its subgraph has them as external.
pub type Provided<'a> = Rc<[&'a [Selection]]>;

/// A request that has a place's objects.
#[derive(Clone)]
pub struct Cursor<'a> {
    /// Of whom it asks.
    pub subgraph: SubgraphIndex,
    /// As which type it has the objects.
    pub view: TypeId,
    /// Which it is.
    pub fetch: FetchId,
    /// What it asks of them.
    pub set: SetId,
    /// What is provided.
    pub provided: Provided<'a>,
}

/// All places of a plan.
pub struct Places<'a>(Vec<Place<'a>>);

impl<'a> Places<'a> {
    /// With the root alone, which is of type `ty`.
    pub fn new(ty: TypeId) -> Self {
        let mut places = Self(Vec::new());
        places.add(None, ty);
        places
    }

    fn add(&mut self, parent: Option<(PlaceId, Step<'a>)>, ty: TypeId) -> PlaceId {
        self.0.push(Place {
            parent,
            ty,
            cursors: Vec::new(),
            leaves: HashMap::new(),
            fields: HashMap::new(),
            narrowed: Vec::new(),
        });
        PlaceId(self.0.len() - 1)
    }

    /// A place.
    pub fn get(&self, id: PlaceId) -> &Place<'a> {
        &self.0[id.0]
    }

    /// The same to be changed.
    pub fn get_mut(&mut self, id: PlaceId) -> &mut Place<'a> {
        &mut self.0[id.0]
    }

    /// All of them, those below a place before it.
    pub fn from_below(&self) -> impl Iterator<Item = &Place<'a>> {
        self.0.iter().rev()
    }

    /// How many there are, the root among them.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of the objects that a field holds.
    pub fn below(&mut self, place: PlaceId, field: &'a Field, ty: TypeId) -> PlaceId {
        if let Some(known) = self.0[place.0].fields.get(&field.key) {
            return *known;
        }
        let below = self.add(Some((place, Step::Field(field))), ty);
        self.0[place.0].fields.insert(&field.key, below);
        below
    }

    /// The place of those objects that are of type `ty`, under conditions.
    pub fn narrowed(&mut self, place: PlaceId, ty: TypeId, when: &'a [Node<Directive>]) -> PlaceId {
        if self.0[place.0].ty == ty && when.is_empty() {
            return place;
        }
        let known = &self.0[place.0].narrowed;
        if let Some((_, _, known)) = known.iter().find(|it| it.0 == ty && it.1 == when) {
            return *known;
        }
        let narrowed = self.add(Some((place, Step::On(when))), ty);
        self.0[place.0].narrowed.push((ty, when, narrowed));
        narrowed
    }

    /// The place with the same objects and others: none where there is no such place.
    pub fn wider(&self, place: PlaceId) -> Option<PlaceId> {
        match self.0[place.0].parent {
            Some((parent, Step::On(_))) => Some(parent),
            _ => None,
        }
    }

    /// The place with the same objects and all others.
    pub fn widest(&self, place: PlaceId) -> PlaceId {
        let mut widest = place;
        while let Some(wider) = self.wider(widest) {
            widest = wider;
        }
        widest
    }

    /// The steps from the root to the place, each with the type that it leads to.
    pub fn path(&self, place: PlaceId) -> Vec<(Step<'a>, TypeId)> {
        let mut path = Vec::new();
        let mut next = place;
        while let Some((parent, step)) = self.0[next.0].parent {
            path.push((step, self.0[next.0].ty));
            next = parent;
        }
        path.reverse();
        path
    }
}
