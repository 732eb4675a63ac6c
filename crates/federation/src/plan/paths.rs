//! The tree of paths: where a response has objects, and which fetches select of them.
//!
//! The tree has two parts. Its nodes are names: a node for a path that no fetch has come to yet
//! changes nothing, so whoever looks for routes may make one. The fetches at a path are the plan, and
//! only `PlanBuilder` adds them.

use std::{cell::RefCell, collections::HashMap, ops::Deref, rc::Rc};

use apollo_compiler::{Name, Node, ast::Directive};

use super::fetches::{FetchId, SelectionSetId};
use crate::{
    SubgraphIndex,
    selection::{Field, Selection},
    types::TypeId,
};

/// A path, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(pub usize);

/// The root of the response.
pub const ROOT: PathId = PathId(0);

/// Paths beyond so many are refused: each implementation of an interface is one, at each place of it.
pub(crate) const PATHS_MAX: usize = 20_000;

/// From a path to another below.
#[derive(Clone, Copy)]
pub enum PathStep<'a> {
    /// To the objects that the field holds.
    Field(&'a Field),
    /// To those objects that are of the path's type, under conditions.
    On(&'a [Node<Directive>]),
}

/// What `@provides` above a path lets a subgraph resolve there, though the fields are external in it.
#[derive(Clone, Default)]
pub struct Provided<'a>(Option<Rc<[&'a [Selection]]>>);

impl<'a> Deref for Provided<'a> {
    type Target = [&'a [Selection]];

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'a> From<Vec<&'a [Selection]>> for Provided<'a> {
    fn from(sets: Vec<&'a [Selection]>) -> Self {
        Self((!sets.is_empty()).then(|| sets.into()))
    }
}

/// A fetch that selects of a path's objects.
#[derive(Clone)]
pub struct PathFetch<'a> {
    pub subgraph: SubgraphIndex,
    /// The type that the subgraph has the objects as.
    pub view: TypeId,
    pub fetch: FetchId,
    /// What it selects of the objects.
    pub set: SelectionSetId,
    /// What is provided there.
    pub provided: Provided<'a>,
}

/// All paths of a plan.
pub struct Paths<'a> {
    nodes: RefCell<Vec<PathNode<'a>>>,
    /// By [`PathId`]; the last paths may be missing.
    fetches: Vec<Vec<PathFetch<'a>>>,
    version: usize,
}

/// Objects of one type at one place of the response, under the same conditions.
struct PathNode<'a> {
    /// None for the root.
    parent: Option<(PathId, PathStep<'a>)>,
    ty: TypeId,
    fields: HashMap<&'a Name, PathId>,
    narrowed: Vec<(TypeId, &'a [Node<Directive>], PathId)>,
}

impl<'a> Paths<'a> {
    /// With the root alone, which is of type `ty`.
    pub(crate) fn new(ty: TypeId) -> Self {
        let paths = Self {
            nodes: RefCell::default(),
            fetches: Vec::new(),
            version: 0,
        };
        paths.add(None, ty);
        paths
    }

    fn add(&self, parent: Option<(PathId, PathStep<'a>)>, ty: TypeId) -> PathId {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(PathNode {
            parent,
            ty,
            fields: HashMap::new(),
            narrowed: Vec::new(),
        });
        PathId(nodes.len() - 1)
    }

    /// The type of a path's objects over all subgraphs.
    pub fn ty(&self, path: PathId) -> TypeId {
        self.nodes.borrow()[path.0].ty
    }

    /// The path above, and the step that leads from there; none for the root.
    pub fn parent(&self, path: PathId) -> Option<(PathId, PathStep<'a>)> {
        self.nodes.borrow()[path.0].parent
    }

    /// The fetches that select of a path's objects, in the order in which they came.
    pub fn fetches(&self, path: PathId) -> &[PathFetch<'a>] {
        self.fetches.get(path.0).map_or(&[], Vec::as_slice)
    }

    /// Adds a fetch to a path.
    pub(crate) fn add_fetch(&mut self, path: PathId, fetch: PathFetch<'a>) {
        self.at(path).push(fetch);
        self.version += 1;
    }

    /// Leaves a path to the fetches that come after this.
    pub(crate) fn clear_fetches(&mut self, path: PathId) {
        self.at(path).clear();
        self.version += 1;
    }

    fn at(&mut self, path: PathId) -> &mut Vec<PathFetch<'a>> {
        if self.fetches.len() <= path.0 {
            self.fetches.resize_with(path.0 + 1, Vec::new);
        }
        &mut self.fetches[path.0]
    }

    /// Changes whenever the fetches of a path do.
    pub(crate) fn version(&self) -> usize {
        self.version
    }

    /// How many there are, the root among them.
    pub(crate) fn len(&self) -> usize {
        self.nodes.borrow().len()
    }

    /// All paths that have fetches, those below a path before it.
    pub(crate) fn bottom_up(&self) -> impl Iterator<Item = PathId> + use<> {
        (0..self.fetches.len()).rev().map(PathId)
    }

    /// The path of the objects that a field holds.
    pub(crate) fn below(&self, path: PathId, field: &'a Field, ty: TypeId) -> PathId {
        if let Some(known) = self.nodes.borrow()[path.0].fields.get(&field.key) {
            return *known;
        }
        let below = self.add(Some((path, PathStep::Field(field))), ty);
        let mut nodes = self.nodes.borrow_mut();
        nodes[path.0].fields.insert(&field.key, below);
        below
    }

    /// The path of those objects that are of type `ty`, under conditions.
    pub(crate) fn narrowed(&self, path: PathId, ty: TypeId, when: &'a [Node<Directive>]) -> PathId {
        if self.ty(path) == ty && when.is_empty() {
            return path;
        }
        let known = self.nodes.borrow();
        let mut known_here = known[path.0].narrowed.iter();
        if let Some((_, _, known)) = known_here.find(|it| it.0 == ty && it.1 == when) {
            return *known;
        }
        drop(known);
        let narrowed = self.add(Some((path, PathStep::On(when))), ty);
        let mut nodes = self.nodes.borrow_mut();
        nodes[path.0].narrowed.push((ty, when, narrowed));
        narrowed
    }

    /// The path with the same objects and others: none where there is no such path.
    pub fn wider(&self, path: PathId) -> Option<PathId> {
        match self.parent(path) {
            Some((parent, PathStep::On(_))) => Some(parent),
            _ => None,
        }
    }

    /// The path itself and its wider ones, from the narrowest.
    pub(crate) fn with_wider(&self, path: PathId) -> impl Iterator<Item = PathId> + '_ {
        std::iter::successors(Some(path), move |path| self.wider(*path))
    }

    /// The path with the same objects and all others.
    pub fn widest(&self, path: PathId) -> PathId {
        self.with_wider(path).last().unwrap_or(path)
    }

    /// The steps from the root to the path, each with the type that it leads to.
    pub fn steps(&self, path: PathId) -> Vec<(PathStep<'a>, TypeId)> {
        let mut steps = Vec::new();
        let mut next = path;
        while let Some((parent, step)) = self.parent(next) {
            steps.push((step, self.ty(next)));
            next = parent;
        }
        steps.reverse();
        steps
    }
}
