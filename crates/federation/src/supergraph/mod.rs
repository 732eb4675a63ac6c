//! Types, keys and fields by subgraph, from the join directives of a supergraph. <https://specs.apollo.dev/join/v0.5/>

mod contexts;
mod field_sets;
mod implied_externals;
mod read;

use apollo_compiler::{
    Name, Schema,
    ast::{DirectiveLocation, Type},
    executable::OperationType,
    validation::Valid,
};

use rustc_hash::FxHashMap;

use crate::{
    Overrides, SupergraphError,
    api_schema::{self, OwnDirective},
    authorization::Authorization,
    mistakes::Located,
    planned_fields::PlannedFields,
    selection::{Field, Selection},
    specifications,
    types::{TypeId, TypeSet, TypeTable},
};

pub(crate) use read::subgraphs_and_mistakes;

/// What is wrong with the join directives.
pub(crate) fn join_mistakes(
    schema: &Schema,
    types: &TypeTable,
    subgraphs: &[(&Name, SubgraphInfo)],
) -> Vec<Located> {
    read::joins_and_mistakes(schema, types, subgraphs).1
}

/// A supergraph in the planner's terms.
pub struct Supergraph {
    /// The index is a [`TypeId`].
    composite: Vec<CompositeType>,
    subgraphs: Vec<SubgraphInfo>,
    roots: FxHashMap<OperationType, TypeId>,
    percentages: Vec<u64>,
    flags: Vec<String>,
    typename: Field,
    types: TypeTable,
    api: Valid<Schema>,
    planned_fields: PlannedFields,
    directives: FxHashMap<Name, OwnDirective>,
    has_contexts: bool,
    authorization: Authorization,
}

/// A subgraph's place in its supergraph: 0 is the first value of `join__Graph`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubgraphIndex(pub u16);

/// What a supergraph says of a subgraph as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubgraphInfo {
    /// As in `@join__graph(name: "posts")`.
    pub name: String,
    /// Its GraphQL endpoint, if the supergraph names one.
    pub url: Option<String>,
}

/// An object type, interface or union.
struct CompositeType {
    name: Name,
    is_object: bool,
    /// The objects that satisfy it, anywhere.
    objects: TypeSet,
    views: Views,
    fields: FxHashMap<Name, FieldInfo>,
    /// Itself and the interfaces by which a subgraph may have its entities.
    entity_views: Vec<TypeId>,
}

/// A type as each subgraph has it that has it at all, in the subgraphs' order.
#[derive(Default)]
struct Views(Vec<(SubgraphIndex, View)>);

impl Views {
    fn place(&self, subgraph: SubgraphIndex) -> Result<usize, usize> {
        self.0.binary_search_by_key(&subgraph, |(it, _)| *it)
    }

    fn get(&self, subgraph: SubgraphIndex) -> Option<&View> {
        let place = self.place(subgraph).ok()?;
        Some(&self.0[place].1)
    }

    fn get_or_insert_with(
        &mut self,
        subgraph: SubgraphIndex,
        view: impl FnOnce() -> View,
    ) -> &mut View {
        let place = self.place(subgraph).unwrap_or_else(|place| {
            self.0.insert(place, (subgraph, view()));
            place
        });
        &mut self.0[place].1
    }

    fn iter(&self) -> impl Iterator<Item = (SubgraphIndex, &View)> {
        self.0.iter().map(|(subgraph, view)| (*subgraph, view))
    }
}

/// A type as one subgraph has it.
pub struct View {
    /// The keys by which its entities can be fetched.
    pub keys: Vec<Vec<Selection>>,
    /// Whether it is an interface elsewhere, of which the subgraph knows no implementation.
    pub is_interface_object: bool,
    /// Whether the subgraph extends what others define.
    is_extension: bool,
    /// The objects that can be where the subgraph has this type; none for an interface object.
    pub objects: TypeSet,
}

/// A field of a type.
pub struct FieldInfo {
    /// Of the objects that it holds.
    pub inner: Option<TypeId>,
    /// The subgraphs that have it.
    pub joins: Vec<Join>,
}

/// A field as one subgraph has it.
#[derive(Clone)]
pub struct Join {
    pub subgraph: SubgraphIndex,
    /// The type that the subgraph has it in: an interface, where that is an object there.
    pub view: TypeId,
    /// Whether it is there for keys, requirements and `@provides` alone.
    pub is_external: bool,
    /// Whether the supergraph does not say who resolves it: all have it.
    is_implied: bool,
    /// What of the objects it holds is there too, though it is external.
    pub provides: Vec<Selection>,
    /// What it is computed from.
    pub requires: Vec<Selection>,
    /// The arguments that come from objects above.
    pub contexts: Vec<ContextArgument>,
    /// The type of its values there: it may be another interface, or less nullable, than elsewhere.
    pub ty: Type,
    /// Of the objects that it holds.
    pub inner: Option<TypeId>,
    /// For which requests, in a progressive override.
    availability: Availability,
}

/// An argument whose value comes from an object above: `@fromContext`.
#[derive(Clone)]
pub struct ContextArgument {
    /// What the subgraph calls it.
    pub name: Name,
    /// The type that the subgraph declares for it.
    pub ty: Type,
    /// The types of the objects that set the context: the nearest above gives the value.
    pub types: TypeSet,
    /// What of such an object is the value.
    pub selection: Vec<Selection>,
}

/// Which requests can have a field from a subgraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Availability {
    Always,
    /// Those below a position (see [`crate::OverrideLabel`]).
    Below(u64),
    /// Those at a position or above.
    From(u64),
    /// Those with the flag of this bit.
    With(u64),
    /// Those without the flag of this bit.
    Without(u64),
    Never,
}

impl Join {
    /// Whether it needs nothing but its object.
    pub fn is_plain(&self) -> bool {
        self.requires.is_empty() && self.contexts.is_empty()
    }

    /// Whether requests for which these overrides hold can have it.
    pub fn is_available(&self, overrides: Overrides) -> bool {
        let Overrides { position, flags } = overrides;
        match self.availability {
            Availability::Always => true,
            Availability::Below(percentage) => position < percentage,
            Availability::From(percentage) => position >= percentage,
            Availability::With(flag) => flags & flag != 0,
            Availability::Without(flag) => flags & flag == 0,
            Availability::Never => false,
        }
    }

    /// Whether all requests can have it.
    pub fn is_always_available(&self) -> bool {
        matches!(
            self.availability,
            Availability::Always | Availability::From(0) | Availability::Without(0)
        )
    }
}

impl Supergraph {
    /// Reads a standard supergraph SDL (join specification v0.1 to v0.5).
    ///
    /// # Errors
    /// When the SDL is not a supergraph that can be planned for.
    pub fn parse(sdl: &str) -> Result<Self, SupergraphError> {
        let schema = Schema::parse(sdl, "supergraph.graphql")
            .map_err(|invalid| SupergraphError::Invalid(invalid.errors.to_string()))?;
        Self::read(&schema)
    }

    /// The same for SDL that is parsed already; it need not be validated.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read(schema: &Schema) -> Result<Self, SupergraphError> {
        specifications::check(schema)?;
        let subgraphs = read::subgraphs(schema)?;
        let api = api_schema::api_schema(schema)
            .validate()
            .map_err(|invalid| SupergraphError::Invalid(invalid.errors.to_string()))?;
        let types = TypeTable::new(schema, &api);
        let joins = read::joins(schema, &types, &subgraphs).map_err(SupergraphError::Joins)?;
        let fields = joins.types.iter().flat_map(|ty| ty.fields.values());
        let mut all = fields.flat_map(|field| &field.joins);
        Ok(Self {
            has_contexts: all.any(|join| !join.contexts.is_empty()),
            composite: joins.types,
            subgraphs: subgraphs.into_iter().map(|(_, info)| info).collect(),
            roots: joins.roots,
            percentages: joins.percentages,
            flags: joins.flags,
            typename: Field::typename(),
            planned_fields: PlannedFields::of(schema),
            authorization: Authorization::of(schema, &types)?,
            directives: api_schema::own_directives(&api),
            types,
            api,
        })
    }

    /// What clients see of it: no federation machinery, nothing `@inaccessible`.
    pub fn api_schema(&self) -> &Valid<Schema> {
        &self.api
    }

    /// Its composite types by number.
    pub fn types(&self) -> &TypeTable {
        &self.types
    }

    /// What it says of a subgraph.
    pub fn subgraph(&self, index: SubgraphIndex) -> &SubgraphInfo {
        &self.subgraphs[usize::from(index.0)]
    }

    /// The same of all, by [`SubgraphIndex`].
    pub fn subgraph_infos(&self) -> &[SubgraphInfo] {
        &self.subgraphs
    }

    /// Whether a directive of an operation is one of the subgraphs' own, which they know at such a
    /// place: a composer keeps those that all subgraphs define.
    pub fn passes_on(&self, directive: &str, location: DirectiveLocation) -> bool {
        let own = self.directives.get(directive);
        own.is_some_and(|own| own.locations.contains(&location))
    }

    /// Whether one of the subgraphs' own directives may stand at a place more than once.
    pub(crate) fn may_be_repeated(&self, directive: &str) -> bool {
        self.directives
            .get(directive)
            .is_some_and(|own| own.repeatable)
    }

    /// What its fields require of clients.
    pub fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// Whether any argument comes from a context.
    pub fn has_contexts(&self) -> bool {
        self.has_contexts
    }

    pub(crate) fn planned_fields(&self) -> &PlannedFields {
        &self.planned_fields
    }

    /// The subgraphs in the order of `join__Graph`.
    pub fn subgraphs(&self) -> impl ExactSizeIterator<Item = SubgraphIndex> + use<> {
        (0..self.subgraphs.len()).map(|index| SubgraphIndex(index as u16))
    }

    /// The root type of an operation.
    pub fn root(&self, kind: OperationType) -> Option<TypeId> {
        self.roots.get(&kind).copied()
    }

    /// The percentages of progressive overrides, in [`crate::PARTS_PER_PERCENT`].
    pub fn percentages(&self) -> Vec<u64> {
        self.percentages.clone()
    }

    /// The flags of progressive overrides, by name, at most [`crate::FLAGS_MAX`].
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// `__typename`, as requests add it to a selection.
    pub fn typename(&self) -> &Field {
        &self.typename
    }

    /// # Panics
    /// For a type of another supergraph, as all that takes a type.
    pub fn name(&self, ty: TypeId) -> &Name {
        &self.composite[ty.0 as usize].name
    }

    /// Whether it is an object type, seen over all subgraphs.
    pub fn is_object(&self, ty: TypeId) -> bool {
        self.composite[ty.0 as usize].is_object
    }

    /// The objects that satisfy a type, seen over all subgraphs.
    pub fn objects(&self, ty: TypeId) -> &TypeSet {
        &self.composite[ty.0 as usize].objects
    }

    /// The type as a subgraph has it.
    pub fn view(&self, subgraph: SubgraphIndex, ty: TypeId) -> Option<&View> {
        self.composite[ty.0 as usize].views.get(subgraph)
    }

    /// Whether a subgraph that has objects as `view` knows of which type each is.
    pub fn knows_types(&self, subgraph: SubgraphIndex, view: TypeId) -> bool {
        let view = self.view(subgraph, view);
        view.is_some_and(|view| !view.is_interface_object)
    }

    /// As which type a subgraph has those objects of its `view` that are of type `ty`.
    pub fn narrow_view(&self, subgraph: SubgraphIndex, view: TypeId, ty: TypeId) -> Option<TypeId> {
        if view == ty {
            return Some(view);
        }
        let here = self.view(subgraph, view)?;
        if here.is_interface_object {
            return None;
        }
        if self.is_object(view) {
            return self.types.satisfies(view, ty).then_some(view);
        }
        let narrow = self.view(subgraph, ty)?;
        let common = narrow.objects.intersection(&here.objects);
        (!narrow.is_interface_object && !common.is_empty()).then_some(ty)
    }

    /// The types by which a subgraph may have the entities of this one, the first the type itself.
    pub fn entity_views(&self, ty: TypeId) -> &[TypeId] {
        &self.composite[ty.0 as usize].entity_views
    }

    /// A field of a type, or of one of the interfaces by which a subgraph has the type.
    pub fn field(&self, ty: TypeId, name: &str) -> Option<&FieldInfo> {
        self.composite[ty.0 as usize].fields.get(name)
    }

    /// A field as a subgraph has it in this very type.
    pub fn join(&self, subgraph: SubgraphIndex, view: TypeId, name: &str) -> Option<&Join> {
        let joins = &self.field(view, name)?.joins;
        let mut joins = joins.iter();
        joins.find(|join| join.subgraph == subgraph && join.view == view)
    }
}
