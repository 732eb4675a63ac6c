//! Reads a supergraph's join directives.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashSet,
};

use apollo_compiler::{
    Name, Node, Schema,
    ast::{self, Directive, Type},
    collections::IndexMap,
    executable::OperationType,
    schema::{Component, EnumType, EnumValueDefinition, ExtendedType, FieldDefinition},
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Availability, CompositeType, FieldInfo, Join, SubgraphIndex, SubgraphInfo, View, Views,
    contexts::{Contexts, contexts},
    implied_externals,
};
use crate::{
    FLAGS_MAX, OverrideLabel, SupergraphError, internal_names,
    mistakes::Located,
    types::{TypeId, TypeSet, TypeTable},
};

/// What the join directives of a supergraph say, by the numbers that `types` gives.
pub struct Joins {
    pub types: Vec<CompositeType>,
    pub roots: FxHashMap<OperationType, TypeId>,
    pub percentages: Vec<u64>,
    pub flags: Vec<String>,
}

/// The subgraphs, by their numbers, and what the join directives call each.
pub fn subgraphs(schema: &Schema) -> Result<Vec<(&Name, SubgraphInfo)>, SupergraphError> {
    let graphs = graphs(schema).map_err(SupergraphError::NotASupergraph)?;
    let values = graphs.values.values();
    let values = values.map(|value| Ok((&value.value, subgraph(value)?)));
    let subgraphs: Result<_, &'static str> = values.collect();
    subgraphs.map_err(SupergraphError::NotASupergraph)
}

/// The subgraphs that can be read, and what is wrong with the others.
pub fn subgraphs_and_mistakes(schema: &Schema) -> (Vec<(&Name, SubgraphInfo)>, Vec<Located>) {
    let (mut known, mut mistakes) = (Vec::new(), Vec::new());
    match graphs(schema) {
        Ok(graphs) => {
            for value in graphs.values.values() {
                let key = &value.value;
                match subgraph(value) {
                    Ok(info) => known.push((key, info)),
                    Err(reason) => {
                        mistakes.push((key.location(), reason.to_owned()));
                        // It is not unknown where it is named.
                        let name = key.to_string();
                        known.push((key, SubgraphInfo { name, url: None }));
                    }
                }
            }
        }
        Err(reason) => mistakes.push((None, reason.to_owned())),
    }
    (known, mistakes)
}

fn graphs(schema: &Schema) -> Result<&EnumType, &'static str> {
    let graphs = schema.get_enum("join__Graph");
    let graphs = graphs.ok_or("it has no enum join__Graph")?;
    match graphs.values.len() > usize::from(u16::MAX) {
        true => Err("it has more subgraphs than can be numbered"),
        false => Ok(graphs),
    }
}

fn subgraph(value: &EnumValueDefinition) -> Result<SubgraphInfo, &'static str> {
    let join = value.directives.get("join__graph");
    let join = join.ok_or("a join__Graph value has no @join__graph")?;
    let name = text(join, "name").ok_or("a @join__graph has no name")?;
    Ok(SubgraphInfo {
        name: name.to_owned(),
        url: text(join, "url").map(str::to_owned),
    })
}

/// Reads the join directives.
///
/// # Errors
/// With the place of what does not hold together.
pub fn joins(
    schema: &Schema,
    types: &TypeTable,
    graphs: &[(&Name, SubgraphInfo)],
) -> Result<Joins, String> {
    let (joins, mistakes) = joins_and_mistakes(schema, types, graphs);
    match mistakes.into_iter().next() {
        Some((_, mistake)) => Err(mistake),
        None => Ok(joins),
    }
}

/// The join directives without those that do not hold together, and what is wrong with these.
pub fn joins_and_mistakes(
    schema: &Schema,
    types: &TypeTable,
    graphs: &[(&Name, SubgraphInfo)],
) -> (Joins, Vec<Located>) {
    let reader = JoinReader {
        schema,
        types,
        graphs: graphs.iter().map(|(_, graph)| Some(&*graph.name)).collect(),
        graphs_by_key: graphs
            .iter()
            .enumerate()
            .map(|(index, (key, _))| (*key, SubgraphIndex(index as u16)))
            .collect(),
        flags: flags(schema),
        with_arguments: RefCell::default(),
        keys_given: Cell::default(),
        taken_keys: taken_keys(schema),
        implementations: OnceCell::new(),
        contexts: contexts(schema, types),
        mistakes: RefCell::default(),
    };
    let joins = reader.joins();
    (joins, reader.mistakes.into_inner())
}

fn all_fields(schema: &Schema) -> impl Iterator<Item = &FieldDefinition> {
    let types = schema.types.values();
    types
        .filter_map(fields_of)
        .flat_map(|fields| fields.values().map(|field| &***field))
}

fn taken_keys(schema: &Schema) -> FxHashSet<&Name> {
    let names = all_fields(schema).map(|field| &field.name);
    names
        .filter(|name| internal_names::could_meet(name))
        .collect()
}

/// The labels of overrides that are flags, sorted, as many as can be told apart.
fn flags(schema: &Schema) -> Vec<String> {
    let labels = all_fields(schema).flat_map(|field| {
        let joins = field.directives.get_all("join__field");
        joins.filter_map(|join| text(join, "overrideLabel"))
    });
    let mut flags: Vec<String> = labels
        .filter(|label| OverrideLabel::read(label) == OverrideLabel::Flag)
        .map(str::to_owned)
        .collect();
    flags.sort_unstable();
    flags.dedup();
    flags.truncate(FLAGS_MAX);
    flags
}

pub(super) struct JoinReader<'s> {
    pub(super) schema: &'s Schema,
    pub(super) types: &'s TypeTable,
    /// The subgraphs' own names, by their numbers.
    graphs: Vec<Option<&'s str>>,
    graphs_by_key: FxHashMap<&'s Name, SubgraphIndex>,
    /// Labels of overrides that are flags, sorted.
    flags: Vec<String>,
    /// The response keys of fields of field sets that may have arguments, by the fields with their arguments.
    pub(super) with_arguments: RefCell<FxHashMap<String, Name>>,
    pub(super) keys_given: Cell<usize>,
    /// The fields of the supergraph that have the name of such a response key.
    pub(super) taken_keys: FxHashSet<&'s Name>,
    /// The objects that implement an interface in a subgraph, by both.
    implementations: OnceCell<FxHashMap<(SubgraphIndex, &'s str), TypeSet>>,
    pub(super) contexts: Contexts<'s>,
    mistakes: RefCell<Vec<Located>>,
}

impl<'s> JoinReader<'s> {
    fn joins(&self) -> Joins {
        let composite = self.schema.types.iter().filter_map(|(name, definition)| {
            let id = self.types.id(name)?;
            Some((id, name, definition))
        });
        let mut composite: Vec<_> = composite.collect();
        composite.sort_by_key(|(id, _, _)| *id);
        let mut types = Vec::new();
        for (id, name, definition) in &composite {
            types.push(self.composite_type(*id, name, definition));
        }
        implied_externals::mark(&mut types);
        self.share_interface_objects(&mut types);
        let definition = &self.schema.schema_definition;
        let roots = [
            (OperationType::Query, &definition.query),
            (OperationType::Mutation, &definition.mutation),
            (OperationType::Subscription, &definition.subscription),
        ];
        let roots = roots
            .into_iter()
            .filter_map(|(kind, name)| Some((kind, self.types.id(name.as_ref()?)?)));
        let labels = self.all_fields().flat_map(|field| {
            let joins = field.directives.get_all("join__field");
            joins.filter_map(|join| text(join, "overrideLabel"))
        });
        let percentages = labels.filter_map(|label| match OverrideLabel::read(label) {
            OverrideLabel::Percent(percentage) => Some(percentage),
            OverrideLabel::Flag => None,
        });
        Joins {
            types,
            roots: roots.collect(),
            percentages: percentages.collect(),
            flags: self.flags.clone(),
        }
    }

    /// What was read of a directive; nothing if it does not hold together, which is noted.
    fn noted<T: Default>(&self, read: Result<T, String>, directive: &Directive) -> T {
        read.unwrap_or_else(|mistake| {
            let place = directive.name.location();
            self.mistakes.borrow_mut().push((place, mistake));
            T::default()
        })
    }

    fn all_fields(&self) -> impl Iterator<Item = &'s FieldDefinition> + use<'s> {
        all_fields(self.schema)
    }

    fn composite_type(
        &self,
        id: TypeId,
        name: &'s Name,
        definition: &'s ExtendedType,
    ) -> CompositeType {
        let directives = definition.directives();
        let mut views = Views::default();
        for join in directives.get_all("join__type") {
            let Some(graph) = self.graph(join) else {
                let unknown = Err(format!("{name} is of a subgraph that there is not"));
                self.noted::<()>(unknown, join);
                continue;
            };
            let view = views.get_or_insert_with(graph, || View {
                keys: Vec::new(),
                is_interface_object: flag(join, "isInterfaceObject"),
                is_extension: flag(join, "extension"),
                objects: TypeSet::default(),
            });
            if let Some(key) = text(join, "key")
                && argument(join, "resolvable").and_then(|it| it.to_bool()) != Some(false)
            {
                view.keys
                    .push(self.noted(self.field_set(key, id, name), join));
            }
        }
        for (graph, view) in &mut views.0 {
            if !view.is_interface_object {
                view.objects = self.objects_in(*graph, id, name, definition);
            }
        }
        let mut fields = FxHashMap::default();
        for (field_name, field) in fields_of(definition).into_iter().flatten() {
            let info = self.field(id, name, field, &views);
            fields.insert(field_name.clone(), info);
        }
        let satisfied = self.types.satisfied_by(id);
        let mut objects = TypeSet::default();
        for object in satisfied.iter().filter(|it| self.types.is_object(*it)) {
            objects.insert(object);
        }
        CompositeType {
            name: name.clone(),
            is_object: definition.is_object(),
            objects,
            views,
            fields,
            entity_views: vec![id],
        }
    }

    fn objects_in(
        &self,
        graph: SubgraphIndex,
        id: TypeId,
        name: &Name,
        definition: &ExtendedType,
    ) -> TypeSet {
        let mut objects = TypeSet::default();
        let is_here = |join: &Directive| self.graph(join) == Some(graph);
        match definition {
            ExtendedType::Object(_) => objects.insert(id),
            ExtendedType::Union(union) => {
                let mut joins = union.directives.get_all("join__unionMember").peekable();
                if joins.peek().is_none() {
                    let members = union.members.iter();
                    members
                        .filter_map(|member| self.types.id(&member.name))
                        .for_each(|member| objects.insert(member));
                }
                joins
                    .filter(|join| is_here(join))
                    .filter_map(|join| self.types.id(text(join, "member")?))
                    .for_each(|member| objects.insert(member));
            }
            _ => {
                let key = (graph, name.as_str());
                if let Some(known) = self.implementations().get(&key) {
                    objects.extend(known);
                }
            }
        }
        objects
    }

    /// Read once: there may be thousands of objects, and interfaces of many subgraphs.
    fn implementations(&self) -> &FxHashMap<(SubgraphIndex, &'s str), TypeSet> {
        self.implementations.get_or_init(|| {
            let mut found: FxHashMap<(SubgraphIndex, &'s str), TypeSet> = FxHashMap::default();
            for (name, object) in &self.schema.types {
                let (ExtendedType::Object(object), Some(id)) = (object, self.types.id(name)) else {
                    continue;
                };
                for join in object.directives.get_all("join__implements") {
                    if let (Some(graph), Some(interface)) =
                        (self.graph(join), text(join, "interface"))
                    {
                        found.entry((graph, interface)).or_default().insert(id);
                    }
                }
            }
            found
        })
    }

    fn field(
        &self,
        id: TypeId,
        type_name: &Name,
        field: &FieldDefinition,
        views: &Views,
    ) -> FieldInfo {
        let inner = self.types.id(field.ty.inner_named_type());
        let mut joins = Vec::new();
        let directives: Vec<&Directive> = field
            .directives
            .get_all("join__field")
            .map(|join| &**join)
            .collect();
        let graphs: Vec<_> = directives.iter().map(|join| self.graph(join)).collect();
        for (subgraph, _) in views.iter() {
            let own = graphs.iter().position(|of| *of == Some(subgraph));
            let own = own.map(|own| &directives[own]);
            if own.is_none() && !directives.is_empty() {
                continue;
            }
            let set = |name: &str, ty: Option<TypeId>| {
                let Some((join, set)) = own.and_then(|join| Some((join, text(join, name)?))) else {
                    return Vec::new();
                };
                let holder = format!("{type_name}.{}", field.name);
                let set = self.field_set(set, ty.unwrap_or(TypeId::UNKNOWN), &holder);
                self.noted(set, join)
            };
            let ty = own
                .and_then(|join| text(join, "type"))
                .and_then(|text| Type::parse(text, "type").ok())
                .unwrap_or_else(|| field.ty.clone());
            let inner = self.types.id(ty.inner_named_type());
            joins.push(Join {
                subgraph,
                view: id,
                is_external: own.is_some_and(|join| flag(join, "external")),
                is_implied: directives.is_empty(),
                provides: set("provides", inner),
                requires: set("requires", Some(id)),
                contexts: match own {
                    Some(own) => {
                        let holder = format!("{type_name}.{}", field.name);
                        self.noted(self.context_arguments(own, &holder), own)
                    }
                    None => Vec::new(),
                },
                inner,
                ty,
                availability: self.availability(subgraph, own.copied(), &directives),
            });
        }
        joins.retain(|join| join.availability != Availability::Never);
        FieldInfo { inner, joins }
    }

    /// For which requests a subgraph has a field that others may have taken over.
    fn availability(
        &self,
        subgraph: SubgraphIndex,
        own: Option<&Directive>,
        all: &[&Directive],
    ) -> Availability {
        let taken_over = |by: &Directive| {
            let from = text(by, "override");
            from.is_some() && from == self.graphs[usize::from(subgraph.0)]
        };
        let label = |join: &Directive| {
            let label = text(join, "overrideLabel")?;
            Some((OverrideLabel::read(label), self.flag_bit(label)))
        };
        if let Some(by) = all.iter().find(|join| taken_over(join)) {
            return match label(by) {
                None => Availability::Never,
                Some((OverrideLabel::Percent(percentage), _)) => Availability::From(percentage),
                Some((OverrideLabel::Flag, bit)) => Availability::Without(bit),
            };
        }
        match own {
            Some(own) if flag(own, "usedOverridden") => Availability::Never,
            Some(own) if text(own, "override").is_some() => match label(own) {
                None => Availability::Always,
                Some((OverrideLabel::Percent(percentage), _)) => Availability::Below(percentage),
                Some((OverrideLabel::Flag, bit)) => Availability::With(bit),
            },
            _ => Availability::Always,
        }
    }

    /// The bit of a flag in [`crate::Overrides::flags`]; none where it has no place there.
    fn flag_bit(&self, label: &str) -> u64 {
        let place = self.flags.iter().position(|flag| flag == label);
        place.map_or(0, |place| 1 << place)
    }

    /// Gives implementations the fields that subgraphs add to their interfaces, and the keys.
    fn share_interface_objects(&self, types: &mut [CompositeType]) {
        for index in 0..types.len() {
            let id = TypeId(index as u32);
            let views = types[index].views.iter();
            let interface_objects = views.filter(|(_, view)| view.is_interface_object);
            let interface_objects: HashSet<SubgraphIndex> =
                interface_objects.map(|(subgraph, _)| subgraph).collect();
            if interface_objects.is_empty() {
                continue;
            }
            let names: Vec<Name> = types[index].fields.keys().cloned().collect();
            let satisfied = self.types.satisfied_by(id);
            for other in satisfied.iter().filter(|other| *other != id) {
                types[other.0 as usize].entity_views.push(id);
                for name in &names {
                    let info = &types[index].fields[name];
                    let is_shared = |join: &&Join| {
                        join.view == id && interface_objects.contains(&join.subgraph)
                    };
                    let shared: Vec<Join> = info.joins.iter().filter(is_shared).cloned().collect();
                    let inner = info.inner;
                    let fields = &mut types[other.0 as usize].fields;
                    let info = fields.entry(name.clone()).or_insert_with(|| FieldInfo {
                        inner,
                        joins: Vec::new(),
                    });
                    info.joins.extend(shared);
                }
            }
        }
    }

    fn graph(&self, join: &Directive) -> Option<SubgraphIndex> {
        let graph = argument(join, "graph")?.as_enum()?;
        self.graphs_by_key.get(graph).copied()
    }
}

fn fields_of(definition: &ExtendedType) -> Option<&IndexMap<Name, Component<FieldDefinition>>> {
    match definition {
        ExtendedType::Object(object) => Some(&object.fields),
        ExtendedType::Interface(interface) => Some(&interface.fields),
        _ => None,
    }
}

fn argument<'d>(join: &'d Directive, name: &str) -> Option<&'d Node<ast::Value>> {
    join.specified_argument_by_name(name)
}

fn text<'d>(join: &'d Directive, name: &str) -> Option<&'d str> {
    argument(join, name)?.as_str()
}

fn flag(join: &Directive, name: &str) -> bool {
    argument(join, name).and_then(|it| it.to_bool()) == Some(true)
}
