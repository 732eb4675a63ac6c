//! A query plan that is ready to run: subgraph requests with their bytes prepared, what each waits
//! for, the shape of its response, and where the response goes.

use bytes::Bytes;
use federation::{ClientAliases, SubgraphIndex, TypeSet};

use crate::coerce::Variables;

/// A response key (or the name of a required field), by its index in [`Plan::keys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseKey(pub u32);

impl ResponseKey {
    /// `__typename`, which has the same number in every plan.
    pub const TYPENAME: Self = Self(0);
}

/// All subgraph requests that answer an operation.
#[derive(Debug, Default)]
pub struct Plan {
    /// In an order in which no step comes before one that it waits for.
    pub steps: Vec<FetchStep>,
    /// Response keys by [`ResponseKey`], as in requests to subgraphs.
    pub keys: Vec<Box<str>>,
    /// The same keys as the client knows them.
    pub client_keys: Vec<Box<str>>,
    /// The shapes of expected objects, by [`ShapeId`].
    pub shapes: Vec<Shape>,
    /// Whether the response to the only step may be forwarded to the client unchanged.
    pub forwards: bool,
    /// Of a subscription: whether what it sends may depend on who asks.
    pub depends_on_viewer: bool,
}

impl Plan {
    /// Sets [`Self::client_keys`] by undoing internal aliases.
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

/// One fetch of the plan: a request to one subgraph, which with contexts may become several.
#[derive(Debug)]
pub struct FetchStep {
    /// The subgraph that the request is sent to.
    pub subgraph: SubgraphIndex,
    /// Whether it has root fields of a mutation. Then it is never sent twice.
    pub is_mutation: bool,
    /// Conditions that must all hold; otherwise the step is done without a request.
    pub conditions: Vec<Condition>,
    /// The index of the step that this one is a fallback of: it fetches, for objects that lack what
    /// that step requires beyond their key, the fields that require nothing.
    pub fallback_of: Option<usize>,
    /// The number of steps that must be done before this one can start.
    pub waits_for: usize,
    /// The steps that wait for this one, by their index in [`Plan::steps`].
    pub wakes: Vec<usize>,
    /// The body of the request, as far as it is known at planning time.
    pub request: RequestTemplate,
    /// The shape of the response's `data`.
    pub shape: ShapeId,
    /// The response keys directly under `data`, where a failure of the whole request is reported.
    pub root_keys: Vec<ResponseKey>,
    /// Where the response's data goes.
    pub merge: Merge,
}

/// Where a step's data goes, and what its request takes from earlier responses.
#[derive(Debug)]
pub enum Merge {
    /// Into the root object of the response.
    Root {
        /// Internal aliases to undo.
        renames: Vec<Rename>,
    },
    /// Into every object at a path: the query type was found again inside the response.
    Reentry {
        /// The path from the root of the response.
        path: Vec<PathSegment>,
        /// Internal aliases to undo.
        renames: Vec<Rename>,
    },
    /// Entities, each into the objects for which it was fetched.
    Entities(Vec<EntityFetch>),
}

/// One `_entities` field of a step's request.
#[derive(Debug)]
pub struct EntityFetch {
    /// Its response key (`_entities`, or an alias in a batch).
    pub key: ResponseKey,
    /// The start of its variable's value in JSON: `"name":[`.
    pub variable: Box<[u8]>,
    /// The objects that it completes.
    pub targets: Vec<Target>,
    /// Whether objects of different targets may share one entity.
    pub shares_across_targets: bool,
    /// The content of a representation.
    pub requires: Vec<Requirement>,
    /// The `__typename` in representations of objects that need another one than their own: the
    /// first that applies.
    pub typename_overrides: Vec<TypenameOverride>,
    /// Internal aliases to undo, relative to an entity.
    pub renames: Vec<Rename>,
}

/// Types of objects, and the type name, as JSON, that their representations have instead.
pub type TypenameOverride = (TypeSet, Box<[u8]>);

/// A set of objects to complete, by their path.
#[derive(Debug)]
pub struct Target {
    /// The path from the root of the response.
    pub path: Vec<PathSegment>,
    /// Whether objects at this path may share one entity: false if a later step could give two of
    /// them different values for one key.
    pub may_share: bool,
}

/// A segment of the path from an object to objects below it. Lists have no segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathSegment {
    /// The value of a response key.
    Key(ResponseKey),
    /// Only objects of one of these types.
    Type(TypeSet),
}

/// A part of a representation, or of a context's value.
#[derive(Debug, PartialEq)]
pub enum Requirement {
    /// A field of the entity.
    Field {
        /// The key under which the object has it.
        source: ResponseKey,
        /// Its name in the subgraph, as `"name":`.
        name: Box<[u8]>,
        /// The required fields of its objects; empty for a leaf.
        requires: Vec<Requirement>,
    },
    /// Requirements for some types only.
    Fragment {
        /// The types of objects to which it applies.
        types: TypeSet,
        /// The type's name as JSON, for an object of unknown type.
        type_name: Box<[u8]>,
        /// What is required of them.
        requires: Vec<Requirement>,
    },
}

/// Undoes an internal alias in a response.
#[derive(Debug, PartialEq)]
pub struct Rename {
    /// The path to the objects that have it.
    pub path: Vec<PathSegment>,
    /// The internal alias in the request.
    pub from: ResponseKey,
    /// The response key that it stands for.
    pub to: ResponseKey,
}

/// A condition on a Boolean variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The index of the variable among the operation's.
    pub variable: usize,
    /// The value that it must have: true for `@include`, false for `@skip`.
    pub expected: bool,
}

impl Condition {
    /// Whether the condition holds for these variables.
    pub fn holds(self, variables: &Variables) -> bool {
        variables.is(self.variable, self.expected)
    }
}

/// The body of a subgraph request.
#[derive(Debug)]
pub struct RequestTemplate {
    /// The GraphQL text of the operation.
    pub operation: Box<str>,
    /// The body without `,"variables":{...}` and the closing brace: `{"query":"..."`.
    pub head: Bytes,
    /// The whole body, if the request has no variables.
    pub constant: Option<Bytes>,
    /// The client's variables that it uses: `"name":` and the index among the operation's.
    pub variables: Vec<(Box<[u8]>, usize)>,
    /// For arguments that come from contexts: a template with one list of entities for each set of
    /// their values. Then `head` is empty, and `operation` has one list of each kind.
    pub by_context: Option<Box<ContextTemplate>>,
}

/// The template of a request whose entities are in several lists, one for each distinct set of
/// context values.
#[derive(Debug)]
pub struct ContextTemplate {
    /// The start of the body: `{"query":"query(`.
    pub start: Box<[u8]>,
    /// The definitions of the client's variables, each with the lists that use it: a request has only
    /// those that are used in it.
    pub clients: Vec<(Box<[u8]>, Vec<usize>)>,
    /// After the definitions of all variables: directives.
    pub middle: Box<[u8]>,
    /// One template for each [`EntityFetch`] of the step.
    pub lists: Vec<ListTemplate>,
}

/// The template of a list of entities in a [`ContextTemplate`].
#[derive(Debug)]
pub struct ListTemplate {
    /// The response keys of the first list, the second and so on. A request has no more lists than
    /// keys.
    pub keys: Vec<ResponseKey>,
    /// The definitions of its variables, in parts between which the list's number belongs.
    pub definitions: Vec<Box<[u8]>>,
    /// `key: _entities(...){...}`, in parts between which the list's number belongs.
    pub selection: Vec<Box<[u8]>>,
    /// The definitions of the fragments that the list spreads, each after a space, in parts like the selection.
    pub fragments: Vec<Box<[u8]>>,
    /// The name of the variable for its representations, without its number: `"name`.
    pub variable: Box<[u8]>,
    /// The context values that distinguish it from other lists, those nearest to the root first.
    pub contexts: Vec<ContextValue>,
}

/// An argument's value that comes from an object above.
#[derive(Debug)]
pub struct ContextValue {
    /// The name of its variable, without the list's number: `"name`.
    pub variable: Box<[u8]>,
    /// The number of segments of the target's path that lead to the object.
    pub depth: usize,
    /// What it selects from the object: the first selection that applies.
    pub selection: Vec<Requirement>,
}

/// The shape of an expected object, by its index in [`Plan::shapes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShapeId(pub u32);

/// The fields that an object of a subgraph's response should have.
#[derive(Debug, Default)]
pub struct Shape {
    /// The fields in the requested order, which is also the order of responses.
    pub fields: Vec<ShapeField>,
    /// Whether objects with equal bytes may be one object in the store: true if later steps
    /// complete them in a way that depends only on those bytes.
    pub intern: bool,
}

/// A field of a [`Shape`].
#[derive(Debug)]
pub struct ShapeField {
    /// The response key of the field.
    pub key: ResponseKey,
    /// The key as in responses, with quotes and colon.
    pub token: Box<[u8]>,
    /// Whether it is `__typename`, under any key.
    pub is_typename: bool,
    /// The shape of its objects, in lists or not; `None` for a leaf.
    pub shape: Option<ShapeId>,
}

impl ShapeField {
    /// The response key as text.
    pub fn name(&self) -> &[u8] {
        &self.token[1..self.token.len() - 2]
    }
}
