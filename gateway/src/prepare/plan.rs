//! A query plan ready to run: subgraph requests with their bytes prepared, what each waits for,
//! what its answer looks like, and where that goes.

use bytes::Bytes;
use federation::{ClientAliases, SubgraphIndex, TypeSet};

use crate::coerce::Variables;

/// A response key (or a requirement's field name), by its place in [`Plan::keys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseKey(pub u32);

impl ResponseKey {
    /// `__typename`, in every plan.
    pub const TYPENAME: Self = Self(0);
}

/// All subgraph requests that answer an operation.
#[derive(Debug, Default)]
pub struct Plan {
    /// None before one that it waits for.
    pub steps: Vec<FetchStep>,
    /// Response keys by [`ResponseKey`], as subgraphs know them.
    pub keys: Vec<Box<str>>,
    /// The same as the client knows them.
    pub client_keys: Vec<Box<str>>,
    /// Expected objects by [`ShapeId`].
    pub shapes: Vec<Shape>,
    /// Whether the only step's answer can be the client's as it is.
    pub forwards: bool,
}

impl Plan {
    /// Fills in the client's keys.
    pub fn name_aliases(&mut self, aliases: &ClientAliases) {
        self.client_keys.clone_from(&self.keys);
        for (alias, key) in aliases.pairs() {
            for name in self
                .client_keys
                .iter_mut()
                .filter(|name| ***name == *alias.as_str())
            {
                *name = key.as_str().into();
            }
        }
    }
}

/// One subgraph request.
#[derive(Debug)]
pub struct FetchStep {
    /// Who is asked.
    pub subgraph: SubgraphIndex,
    /// Whether it changes anything: then it is never sent twice.
    pub is_mutation: bool,
    /// Variables that must all have these values, else the step counts as done at once.
    pub conditions: Vec<Condition>,
    /// The step that this one stands in for: it is for the objects that lack what that one requires
    /// beyond their key, and asks for what requires nothing.
    pub fallback_of: Option<usize>,
    /// How many steps must be done before this one can start.
    pub waits_for: usize,
    /// Steps that wait for this one, by their place in [`Plan::steps`].
    pub wakes: Vec<usize>,
    /// The request's bytes.
    pub request: RequestTemplate,
    /// The `data` of the answer.
    pub shape: ShapeId,
    /// The response keys directly under `data`: where a failure of the whole request shows.
    pub root_keys: Vec<ResponseKey>,
    /// Where the answer goes.
    pub merge: Merge,
}

/// Where a step's answer goes, and what its request takes from the answers before.
#[derive(Debug)]
pub enum Merge {
    /// Into the root of the response.
    Root {
        /// Internal aliases to undo.
        renames: Vec<Rename>,
    },
    /// Into every object at a path: a query that begins again inside the response.
    Reentry {
        /// Where.
        path: Vec<PathSegment>,
        /// Internal aliases to undo.
        renames: Vec<Rename>,
    },
    /// Entities into the objects that they were fetched for.
    Entities(Vec<EntityFetch>),
}

/// One `_entities` field of a request.
#[derive(Debug)]
pub struct EntityFetch {
    /// Its response key (`_entities`, or an alias in a batch).
    pub key: ResponseKey,
    /// `"name":[`, the start of its variable.
    pub variable: Box<[u8]>,
    /// Whose objects are completed.
    pub targets: Vec<Target>,
    /// Whether objects of different targets may hold one and the same entity.
    pub shares_across_targets: bool,
    /// What a representation holds.
    pub requires: Vec<Requirement>,
    /// `__typename` in representations, where it is not the object's own: the first that applies.
    pub typename_overrides: Vec<TypenameOverride>,
    /// Internal aliases to undo, relative to an entity.
    pub renames: Vec<Rename>,
}

/// Objects of some types, and the type's name as JSON that a representation says they have.
pub type TypenameOverride = (TypeSet, Box<[u8]>);

/// Objects to complete.
#[derive(Debug)]
pub struct Target {
    /// From the root of the response.
    pub path: Vec<PathSegment>,
    /// Whether objects of this path may hold one and the same entity: false where a later step
    /// could give two of them different values for one key.
    pub may_share: bool,
}

/// A step on the way from an object to others below it. Lists are passed through silently.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathSegment {
    /// Into the value of a response key.
    Key(ResponseKey),
    /// On only where the object is of one of these types.
    Type(TypeSet),
}

/// A part of a representation.
#[derive(Debug, PartialEq)]
pub enum Requirement {
    /// A field of the entity.
    Field {
        /// Where the object has it.
        source: ResponseKey,
        /// `"name":`, as the subgraph calls it.
        name: Box<[u8]>,
        /// Of the field's own fields; empty for a leaf.
        requires: Vec<Requirement>,
    },
    /// Only for some types.
    Fragment {
        /// Which.
        types: TypeSet,
        /// The condition's name as JSON, for an object that does not tell its type.
        type_name: Box<[u8]>,
        /// Of them.
        requires: Vec<Requirement>,
    },
}

/// An internal alias, undone.
#[derive(Debug, PartialEq)]
pub struct Rename {
    /// To the objects that have it.
    pub path: Vec<PathSegment>,
    /// The alias.
    pub from: ResponseKey,
    /// The key that was meant.
    pub to: ResponseKey,
}

/// A variable that decides on a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Among the operation's variables.
    pub variable: usize,
    /// `@include` wants true, `@skip` false.
    pub expected: bool,
}

impl Condition {
    /// Whether it holds for these variables.
    pub fn holds(self, variables: &Variables) -> bool {
        variables.is(self.variable, self.expected)
    }
}

/// A subgraph request's body.
#[derive(Debug)]
pub struct RequestTemplate {
    /// The operation's text.
    pub operation: Box<str>,
    /// `{"query":"..."`: complete but for `,"variables":{...}` and the closing brace.
    pub head: Bytes,
    /// The whole body where the request has no variables.
    pub constant: Option<Bytes>,
    /// The client's variables that it uses: `"name":` and their place among the operation's.
    pub variables: Vec<(Box<[u8]>, usize)>,
    /// Where arguments come from objects above: a request with as many lists of entities as they have
    /// values. Then `head` is empty, and `operation` has one list of each.
    pub by_context: Option<Box<ContextTemplate>>,
}

/// A request whose entities are in several lists, one for each distinct set of values that their
/// contexts have.
#[derive(Debug)]
pub struct ContextTemplate {
    /// `{"query":"query(`.
    pub start: Box<[u8]>,
    /// After the definitions of the lists' variables: the client's, and directives.
    pub middle: Box<[u8]>,
    /// After the lists.
    pub end: Box<[u8]>,
    /// One for each of the step's [`EntityFetch`]es.
    pub lists: Vec<ListTemplate>,
}

/// A list of entities of a [`ContextTemplate`].
#[derive(Debug)]
pub struct ListTemplate {
    /// The response keys of the first list, the second and so on: a request has no more.
    pub keys: Vec<ResponseKey>,
    /// The definitions of its variables, the list's number left out between the parts.
    pub definitions: Vec<Box<[u8]>>,
    /// `key: _entities(...){...}`, the list's number left out between the parts.
    pub selection: Vec<Box<[u8]>>,
    /// `"name`: the start of the variable of its representations, without its number.
    pub variable: Box<[u8]>,
    /// The values that tell it from other lists, from the root of the response down.
    pub contexts: Vec<ContextValue>,
}

/// An argument's value from an object above.
#[derive(Debug)]
pub struct ContextValue {
    /// `"name`: the start of its variable, without the list's number.
    pub variable: Box<[u8]>,
    /// How many segments of the target's path lead to the object.
    pub depth: usize,
    /// What of the object it is: the first that applies.
    pub selection: Vec<Requirement>,
}

/// An expected object, by its place in [`Plan::shapes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShapeId(pub u32);

/// An object of a subgraph's answer, as the request asks for it.
#[derive(Debug, Default)]
pub struct Shape {
    /// In the order asked for, which is the order that subgraphs answer in.
    pub fields: Vec<ShapeField>,
    /// Whether objects with the same bytes can be one object: true where objects are completed by
    /// later steps in ways that depend on nothing but those bytes.
    pub intern: bool,
}

/// A field of a [`Shape`].
#[derive(Debug)]
pub struct ShapeField {
    /// Its response key.
    pub key: ResponseKey,
    /// As answers have it: with quotes and colon.
    pub token: Box<[u8]>,
    /// Whether it is `__typename`, by whatever key.
    pub is_typename: bool,
    /// Of the objects it holds, in lists or not; none for a leaf.
    pub shape: Option<ShapeId>,
}

impl ShapeField {
    /// The response key as text.
    pub fn name(&self) -> &[u8] {
        &self.token[1..self.token.len() - 2]
    }
}
