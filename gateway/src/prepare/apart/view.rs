//! The supergraph with one subgraph more, which has every entity by its keys and with whatever other
//! fields require of it.

use std::collections::{BTreeMap, BTreeSet};

use apollo_compiler::{
    Name, Node, Schema,
    ast::{
        Argument, Definition, Directive, DirectiveList, Document, EnumValueDefinition,
        FieldDefinition, Selection, Type, Value,
    },
    name,
};

/// The additional subgraph's name.
pub const SUBGRAPH: &str = "_here";
/// The same in `join__Graph`.
const GRAPH: Name = name!("_HERE");
/// A root type's usual name, for operations that nobody but the planner reads.
pub const QUERY: Name = name!("Query");

/// The root field that leads to an entity of that type.
pub fn root_field(ty: &Name) -> Name {
    // A name with a prefix is still a name.
    Name::new(&format!("_here_{ty}")).unwrap_or(QUERY)
}

/// Whether an object of that type can be found by a key.
pub fn is_entity(schema: &Schema, ty: &Name) -> bool {
    schema.get_object(ty).is_some_and(|object| {
        let mut joins = object.directives.get_all("join__type");
        joins.any(|join| join.specified_argument_by_name("key").is_some())
    })
}

/// Whether the field needs others of its entity.
pub fn requires(schema: &Schema, ty: &Name, field: &Name) -> bool {
    let field = schema.get_object(ty).and_then(|it| it.fields.get(field));
    field.is_some_and(|field| {
        let mut joins = field.directives.get_all("join__field");
        joins.any(|join| join.specified_argument_by_name("requires").is_some())
    })
}

/// Whether some subgraph knows the interface without its implementations.
pub fn is_interface_object(schema: &Schema, ty: &Name) -> bool {
    schema.get_interface(ty).is_some_and(|interface| {
        let mut joins = interface.directives.get_all("join__type");
        joins.any(|join| is_of_interface_object(join))
    })
}

fn has_interface_object(directives: &DirectiveList) -> bool {
    let mut joins = directives.get_all("join__type");
    joins.any(|join| is_of_interface_object(join))
}

fn is_of_interface_object(join: &Directive) -> bool {
    let flag = join.specified_argument_by_name("isInterfaceObject");
    flag.and_then(|it| it.to_bool()) == Some(true)
}

/// The view as SDL; none where the supergraph has no entities.
pub fn with_entities_at_hand(mut document: Document) -> Option<String> {
    let mut fields = Fields::default();
    for definition in &document.definitions {
        match definition {
            Definition::ObjectTypeDefinition(it) => {
                let keys = fields.add_entity(&it.name, &it.directives, &it.fields, &document);
                fields.keys.extend(keys.map(|keys| (it.name.clone(), keys)));
            }
            Definition::InterfaceTypeDefinition(it) if has_interface_object(&it.directives) => {
                let keys = fields.add_entity(&it.name, &it.directives, &it.fields, &document);
                let interfaces = &mut fields.interface_objects;
                interfaces.extend(keys.map(|keys| (it.name.clone(), keys)));
            }
            _ => {}
        }
    }
    if fields.keys.is_empty() {
        return None;
    }
    let root = root_type(&document);
    for definition in &mut document.definitions {
        match definition {
            Definition::EnumTypeDefinition(it) if it.name == "join__Graph" => {
                it.make_mut().values.push(Node::new(graph_value()));
            }
            Definition::EnumTypeDefinition(it) => {
                let it = it.make_mut();
                join_leaf(&mut it.directives);
                for value in &mut it.values {
                    let directives = &mut value.make_mut().directives;
                    if directives.has("join__enumValue") {
                        directives.push(join("join__enumValue", &[]));
                    }
                }
            }
            Definition::ScalarTypeDefinition(it) => join_leaf(&mut it.make_mut().directives),
            Definition::ObjectTypeDefinition(it) if it.name == root => {
                let it = it.make_mut();
                keep_apart(&it.directives, &mut it.fields, &BTreeSet::new());
                join_leaf(&mut it.directives);
                let entities = fields.keys.keys().map(|ty| Node::new(way_to(ty)));
                it.fields.extend(entities);
            }
            Definition::ObjectTypeDefinition(it) => {
                let Some(wanted) = fields.wanted.get(&it.name) else {
                    continue;
                };
                let it = it.make_mut();
                keep_apart(&it.directives, &mut it.fields, wanted);
                join_type(&mut it.directives, fields.keys.get(&it.name));
                let known = it.implements_interfaces.iter();
                for interface in known.filter(|it| fields.interface_objects.contains_key(*it)) {
                    let interface = Value::String(interface.to_string());
                    let implements = join("join__implements", &[(name!("interface"), interface)]);
                    it.directives.push(implements);
                }
            }
            Definition::InterfaceTypeDefinition(it) => {
                let Some(keys) = fields.interface_objects.get(&it.name) else {
                    continue;
                };
                let it = it.make_mut();
                let wanted = fields.wanted.get(&it.name).cloned().unwrap_or_default();
                keep_apart(&it.directives, &mut it.fields, &wanted);
                join_type(&mut it.directives, Some(keys));
            }
            _ => {}
        }
    }
    Some(document.to_string())
}

/// What the additional subgraph has.
#[derive(Default)]
struct Fields {
    /// The keys of each entity type.
    keys: BTreeMap<Name, BTreeSet<String>>,
    /// The keys of each interface that some subgraph knows without its implementations.
    interface_objects: BTreeMap<Name, BTreeSet<String>>,
    /// The fields of each type.
    wanted: BTreeMap<Name, BTreeSet<Name>>,
}

impl Fields {
    /// Adds a type's keys and requirements; its keys, if it has any.
    fn add_entity(
        &mut self,
        ty: &Name,
        directives: &DirectiveList,
        fields: &[Node<FieldDefinition>],
        document: &Document,
    ) -> Option<BTreeSet<String>> {
        let text = |directive: &Directive, argument: &str| {
            let value = directive.specified_argument_by_name(argument);
            value.and_then(|it| it.as_str()).map(str::to_owned)
        };
        let keys: BTreeSet<String> = directives
            .get_all("join__type")
            .filter_map(|join| text(join, "key"))
            .collect();
        if keys.is_empty() {
            return None;
        }
        let required = fields
            .iter()
            .flat_map(|field| field.directives.get_all("join__field"))
            .filter_map(|join| text(join, "requires"));
        for set in keys.iter().cloned().chain(required) {
            let set = Document::parse(format!("{{ {set} }}"), "fields").ok();
            let selections = set.as_ref().and_then(|set| match set.definitions.first() {
                Some(Definition::OperationDefinition(it)) => Some(&it.selection_set),
                _ => None,
            });
            self.add(ty, selections.map_or(&[], |it| it), document);
        }
        Some(keys)
    }

    fn add(&mut self, ty: &Name, selections: &[Selection], document: &Document) {
        let mut definitions = document.definitions.iter();
        let fields = definitions.find_map(|definition| match definition {
            Definition::ObjectTypeDefinition(it) if it.name == *ty => Some(&it.fields),
            Definition::InterfaceTypeDefinition(it)
                if it.name == *ty && has_interface_object(&it.directives) =>
            {
                Some(&it.fields)
            }
            _ => None,
        });
        // Other interfaces and unions inside of requirements would need all their members.
        let Some(fields) = fields else { return };
        for selection in selections {
            let Selection::Field(field) = selection else {
                continue;
            };
            let Some(definition) = fields.iter().find(|it| it.name == field.name) else {
                continue;
            };
            if is_external_everywhere(&definition.directives) {
                // An interface object has it, and the planner finds it there.
                continue;
            }
            let wanted = self.wanted.entry(ty.clone()).or_default();
            wanted.insert(field.name.clone());
            self.add(
                definition.ty.inner_named_type(),
                &field.selection_set,
                document,
            );
        }
    }
}

fn is_external_everywhere(directives: &DirectiveList) -> bool {
    let is_external = |join: &Node<Directive>| {
        let flag = join.specified_argument_by_name("external");
        flag.and_then(|it| it.to_bool()) == Some(true)
    };
    let mut joins = directives.get_all("join__field").peekable();
    joins.peek().is_some() && joins.all(is_external)
}

fn root_type(document: &Document) -> Name {
    let mut definitions = document.definitions.iter();
    let stated = definitions.find_map(|definition| match definition {
        Definition::SchemaDefinition(schema) => {
            let mut roots = schema.root_operations.iter();
            let root = roots.find(|root| root.0.name() == "query")?;
            Some(root.1.clone())
        }
        _ => None,
    });
    stated.unwrap_or(QUERY)
}

/// Joins `wanted` fields to the additional subgraph, and no others: a field that names no subgraph
/// would be in all that have its type.
fn keep_apart(
    of_type: &DirectiveList,
    fields: &mut [Node<FieldDefinition>],
    wanted: &BTreeSet<Name>,
) {
    let graphs: BTreeSet<Name> = of_type
        .get_all("join__type")
        .filter_map(|join| match &**join.specified_argument_by_name("graph")? {
            Value::Enum(graph) => Some(graph.clone()),
            _ => None,
        })
        .collect();
    for field in fields {
        let field = field.make_mut();
        let is_everywhere = !field.directives.has("join__field");
        if wanted.contains(&field.name) {
            if !is_everywhere {
                field.directives.push(join("join__field", &[]));
            }
        } else if is_everywhere {
            let own = graphs.iter().map(|graph| joined("join__field", graph, &[]));
            field.directives.extend(own.map(Node::new));
        }
    }
}

/// The additional subgraph has the type, with keys that lead from it and not to it.
fn join_type(directives: &mut DirectiveList, keys: Option<&BTreeSet<String>>) {
    let Some(keys) = keys else {
        directives.push(join("join__type", &[]));
        return;
    };
    for key in keys {
        let key = (name!("key"), Value::String(key.clone()));
        let resolvable = (name!("resolvable"), Value::Boolean(false));
        directives.push(join("join__type", &[key, resolvable]));
    }
}

/// The additional subgraph has every leaf type.
fn join_leaf(directives: &mut DirectiveList) {
    if directives.has("join__type") {
        directives.push(join("join__type", &[]));
    }
}

fn way_to(ty: &Name) -> FieldDefinition {
    let mut directives = DirectiveList::new();
    directives.push(join("join__field", &[]));
    FieldDefinition {
        description: None,
        name: root_field(ty),
        arguments: Vec::new(),
        ty: Type::Named(ty.clone()),
        directives,
    }
}

fn graph_value() -> EnumValueDefinition {
    let argument = |name: Name, value: &str| {
        let value = Node::new(Value::String(value.to_owned()));
        Node::new(Argument { name, value })
    };
    let mut directives = DirectiveList::new();
    directives.push(Directive {
        name: name!("join__graph"),
        arguments: vec![
            argument(name!("name"), SUBGRAPH),
            argument(name!("url"), ""),
        ],
    });
    EnumValueDefinition {
        description: None,
        value: GRAPH,
        directives,
    }
}

/// A directive that names the additional subgraph.
fn join(directive: &str, arguments: &[(Name, Value)]) -> Directive {
    joined(directive, &GRAPH, arguments)
}

fn joined(directive: &str, graph: &Name, arguments: &[(Name, Value)]) -> Directive {
    let graph = (name!("graph"), Value::Enum(graph.clone()));
    let arguments = [graph].into_iter().chain(arguments.iter().cloned());
    Directive {
        name: Name::new(directive).unwrap_or(QUERY),
        arguments: arguments
            .map(|(name, value)| {
                let value = Node::new(value);
                Node::new(Argument { name, value })
            })
            .collect(),
    }
}
