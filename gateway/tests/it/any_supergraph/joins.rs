//! Reads what a supergraph's join directives say about each subgraph, independently of the gateway.

use std::collections::HashMap;

use apollo_compiler::{
    Name, Node, Schema,
    ast::{Directive, Type, Value},
    executable::{FieldSet, SelectionSet},
    schema::{ExtendedType, FieldDefinition},
    validation::Valid,
};

/// The join directives of a supergraph, read by the test itself.
pub struct Joins {
    pub schema: Valid<Schema>,
    /// What directives call each subgraph, and its own name.
    pub graphs: Vec<(Name, String)>,
    fields: HashMap<(Name, Name), Vec<FieldJoin>>,
}

/// A field as one subgraph has it.
#[derive(Clone)]
pub struct FieldJoin {
    pub graph: usize,
    pub ty: Type,
    /// It is there for others, or others have taken it over.
    pub is_external: bool,
    pub requires: Option<SelectionSet>,
    pub provides: Option<SelectionSet>,
    pub contexts: Vec<ContextJoin>,
}

/// An argument that comes from an object above.
#[derive(Clone)]
pub struct ContextJoin {
    pub name: String,
    pub ty: String,
    /// What of objects of each type that sets the context is the value.
    pub selections: Vec<(Name, SelectionSet)>,
}

impl Joins {
    /// Nothing for what is no valid schema.
    pub fn read(sdl: &str) -> Option<Self> {
        let schema = Schema::parse_and_validate(sdl, "supergraph.graphql").ok()?;
        let mut joins = Self {
            graphs: Vec::new(),
            fields: HashMap::new(),
            schema,
        };
        for value in joins.schema.get_enum("join__Graph")?.values.values() {
            let name = text(value.directives.get("join__graph")?, "name")?.to_owned();
            joins.graphs.push((value.value.clone(), name));
        }
        for (name, ty) in &joins.schema.types {
            for field in fields_of(ty) {
                let key = (name.clone(), field.name.clone());
                let found = joins.of_field(name, ty, field)?;
                joins.fields.insert(key, found);
            }
        }
        Some(joins)
    }

    /// A type's `@join__type`s in a subgraph.
    pub fn types(&self, name: &str, graph: usize) -> impl Iterator<Item = &Directive> {
        let ty = self.schema.types.get(name);
        let all = ty.into_iter().flat_map(|ty| &ty.directives().0);
        let all = all.map(|it| -> &Directive { it });
        all.filter(move |it| it.name == "join__type" && self.graph(it) == Some(graph))
    }

    pub fn is_interface_object(&self, name: &str, graph: usize) -> bool {
        self.types(name, graph)
            .any(|it| flag(it, "isInterfaceObject"))
    }

    /// The keys by which a subgraph finds entities of a type.
    pub fn keys(&self, name: &str, graph: usize) -> Vec<SelectionSet> {
        let is_resolvable = |join: &&Directive| {
            let argument = join.specified_argument_by_name("resolvable");
            argument.and_then(|it| it.to_bool()) != Some(false)
        };
        let joins = self.types(name, graph).filter(is_resolvable);
        joins
            .filter_map(|join| self.field_set(name, text(join, "key")?))
            .collect()
    }

    /// Whether any argument comes from a context.
    pub fn has_contexts(&self) -> bool {
        let mut joins = self.fields.values().flatten();
        joins.any(|join| !join.contexts.is_empty())
    }

    /// A field of a type as each subgraph has it.
    pub fn fields(&self, ty: &str, field: &str) -> &[FieldJoin] {
        let key = (Name::new(ty), Name::new(field));
        let (Ok(ty), Ok(field)) = key else { return &[] };
        self.fields.get(&(ty, field)).map_or(&[], |all| all)
    }

    /// The objects that a type can be of in a subgraph.
    pub fn objects(&self, name: &str, graph: usize) -> Vec<Name> {
        let all = |is_one: &dyn Fn(&Name, &ExtendedType) -> bool| {
            let types = self.schema.types.iter();
            let objects = types.filter(|(name, ty)| ty.is_object() && is_one(name, ty));
            objects.map(|(name, _)| name.clone()).collect()
        };
        if self.is_interface_object(name, graph) {
            return all(&|object, _| self.schema.is_subtype(name, object));
        }
        let is_here = |join: &Directive| self.graph(join) == Some(graph);
        match self.schema.types.get(name) {
            Some(ExtendedType::Union(union)) => all(&|object, _| {
                let mut joins = union.directives.get_all("join__unionMember").peekable();
                match joins.peek() {
                    None => union.members.contains(object),
                    Some(_) => {
                        joins.any(|join| is_here(join) && text(join, "member") == Some(object))
                    }
                }
            }),
            Some(ExtendedType::Interface(_)) => all(&|_, ty| {
                let mut joins = ty.directives().get_all("join__implements");
                joins.any(|join| is_here(join) && text(join, "interface") == Some(name))
            }),
            _ => all(&|object, _| object == name),
        }
    }

    /// The subgraph that a directive speaks of.
    pub fn graph(&self, join: &Directive) -> Option<usize> {
        let name = join.specified_argument_by_name("graph")?.as_enum()?;
        self.graphs.iter().position(|(graph, _)| graph == name)
    }

    fn of_field(
        &self,
        name: &Name,
        ty: &ExtendedType,
        field: &FieldDefinition,
    ) -> Option<Vec<FieldJoin>> {
        let all: Vec<&Node<Directive>> = field.directives.get_all("join__field").collect();
        let mut found = Vec::new();
        for (graph, (_, own_name)) in self.graphs.iter().enumerate() {
            let own = all.iter().find(|it| self.graph(it) == Some(graph));
            let is_here = self.types(name, graph).next().is_some();
            if !is_here || (own.is_none() && !all.is_empty()) {
                continue;
            }
            let of_own = |argument| own.and_then(|join| text(join, argument));
            let field_type = match of_own("type") {
                Some(ty) => Type::parse(ty, "type").ok()?,
                None => field.ty.clone(),
            };
            let is_taken_over = all.iter().any(|it| {
                text(it, "override") == Some(own_name) && text(it, "overrideLabel").is_none()
            });
            let said = |argument| own.is_some_and(|join| flag(join, argument));
            let inner = field_type.inner_named_type().clone();
            found.push(FieldJoin {
                graph,
                ty: field_type,
                is_external: said("external")
                    || (said("usedOverridden") && of_own("overrideLabel").is_none())
                    || is_taken_over,
                requires: of_own("requires").and_then(|set| self.field_set(ty.name(), set)),
                provides: of_own("provides").and_then(|set| self.field_set(&inner, set)),
                contexts: own.map_or(Vec::new(), |join| self.contexts(join)),
            });
        }
        Some(found)
    }

    fn contexts(&self, join: &Directive) -> Vec<ContextJoin> {
        let all = join.specified_argument_by_name("contextArguments");
        let all = all.and_then(|it| it.as_list()).unwrap_or_default();
        let contexts = all.iter().filter_map(|argument| {
            let text = |name: &str| {
                let mut fields = argument.as_object()?.iter();
                fields.find(|(key, _)| key == name)?.1.as_str()
            };
            let selection = text("selection")?.trim();
            let inner = selection.strip_prefix('{');
            let inner = inner.and_then(|rest| rest.strip_suffix('}'));
            let context = text("context")?;
            let sets = |ty: &ExtendedType| {
                let mut all = ty.directives().get_all("context");
                all.any(|it| self::text(it, "name") == Some(context))
            };
            let types = self.schema.types.iter().filter(|(_, ty)| sets(ty));
            let selections = types.filter_map(|(name, _)| {
                let set = self.field_set(name, inner.unwrap_or(selection))?;
                Some((name.clone(), set))
            });
            Some(ContextJoin {
                name: text("name")?.to_owned(),
                ty: text("type")?.to_owned(),
                selections: selections.collect(),
            })
        });
        contexts.collect()
    }

    fn field_set(&self, ty: &str, set: &str) -> Option<SelectionSet> {
        let ty = Name::new(ty).ok()?;
        let set = FieldSet::parse(&self.schema, ty, set, "set").ok()?;
        Some(set.selection_set)
    }
}

/// The fields of an object or interface.
pub fn fields_of(ty: &ExtendedType) -> Vec<&FieldDefinition> {
    match ty {
        ExtendedType::Object(it) => it.fields.values().map(|it| &***it).collect(),
        ExtendedType::Interface(it) => it.fields.values().map(|it| &***it).collect(),
        _ => Vec::new(),
    }
}

/// A directive's text argument.
pub fn text<'d>(directive: &'d Directive, name: &str) -> Option<&'d str> {
    directive.specified_argument_by_name(name)?.as_str()
}

fn flag(directive: &Directive, name: &str) -> bool {
    let argument = directive.specified_argument_by_name(name);
    argument.is_some_and(|it| matches!(&**it, Value::Boolean(true)))
}
