//! What clients see of a supergraph: no federation machinery, nothing `@inaccessible`.

use std::collections::HashSet;

use apollo_compiler::{
    Name, Node, Schema,
    ast::{DirectiveDefinition, DirectiveLocation},
    name,
    schema::{Component, DirectiveList, ExtendedType, FieldDefinition, InputValueDefinition, Type},
};

use rustc_hash::FxHashMap;

/// Directives whose applications are part of what clients see.
const VISIBLE_APPLICATIONS: [&str; 3] = ["deprecated", "specifiedBy", "oneOf"];

/// Takes everything out of `supergraph` that clients must not see.
pub fn api_schema(supergraph: &Schema) -> Schema {
    let machinery = Machinery::of(supergraph);
    let hidden_types: HashSet<Name> = supergraph
        .types
        .iter()
        .filter(|(name, definition)| {
            machinery.owns_type(name) || machinery.hides(definition.directives())
        })
        .map(|(name, _)| name.clone())
        .collect();
    let view = View {
        machinery,
        hidden_types,
    };

    let mut api = supergraph.clone();
    api.types
        .retain(|name, _| !view.hidden_types.contains(name));
    for definition in api.types.values_mut() {
        view.prune(definition);
    }
    api.directive_definitions.retain(|name, definition| {
        definition.is_built_in()
            || VISIBLE_APPLICATIONS.contains(&definition.name.as_str())
            || (!view.machinery.owns_directive(name)
                && definition
                    .locations
                    .iter()
                    .any(|location| is_executable(*location)))
    });
    for definition in api.directive_definitions.values_mut() {
        if definition.is_built_in() || VISIBLE_APPLICATIONS.contains(&definition.name.as_str()) {
            continue;
        }
        let definition = definition.make_mut();
        definition
            .locations
            .retain(|location| is_executable(*location));
        view.prune_arguments(&mut definition.arguments);
    }
    let root = api.schema_definition.make_mut();
    root.directives.0.clear();
    for operation in [&mut root.query, &mut root.mutation, &mut root.subscription] {
        if operation
            .as_ref()
            .is_some_and(|name| view.hidden_types.contains(&name.name))
        {
            *operation = None;
        }
    }
    declare_is_one_of(&mut api);
    declare_one_of(&mut api);
    require_what_has_a_default(&mut api);
    api
}

/// An executable directive of the subgraphs.
pub struct OwnDirective {
    /// Where it may stand.
    pub locations: Vec<DirectiveLocation>,
    /// Whether it may stand there more than once.
    pub repeatable: bool,
}

/// The executable directives of the subgraphs.
pub fn own_directives(api: &Schema) -> FxHashMap<Name, OwnDirective> {
    let definitions = api.directive_definitions.iter();
    let own = definitions.filter(|(name, definition)| {
        !definition.is_built_in() && !VISIBLE_APPLICATIONS.contains(&name.as_str())
    });
    own.map(|(name, definition)| {
        let own = OwnDirective {
            locations: definition.locations.clone(),
            repeatable: definition.repeatable,
        };
        (name.clone(), own)
    })
    .collect()
}

/// Adds `__Type.isOneOf` of the September 2025 edition, which apollo-compiler does not have yet.
fn declare_is_one_of(schema: &mut Schema) {
    let Some(ExtendedType::Object(object)) = schema.types.get_mut("__Type") else {
        return;
    };
    let field = FieldDefinition {
        description: None,
        name: name!("isOneOf"),
        arguments: Vec::new(),
        ty: Type::Named(name!("Boolean")),
        directives: Default::default(),
    };
    let fields = &mut object.make_mut().fields;
    fields.insert(field.name.clone(), Component::new(field));
}

/// Adds `@oneOf` where no subgraph declares it: its input objects are served all the same.
fn declare_one_of(schema: &mut Schema) {
    let one_of = DirectiveDefinition {
        description: Some(
            "Requires that exactly one field must be supplied and that field must not be `null`."
                .into(),
        ),
        name: name!("oneOf"),
        arguments: Vec::new(),
        repeatable: false,
        locations: vec![DirectiveLocation::InputObject],
    };
    let definitions = &mut schema.directive_definitions;
    definitions
        .entry(one_of.name.clone())
        .or_insert_with(|| Node::new(one_of));
}

/// The arguments that may not be null in the September 2025 edition, which apollo-compiler leaves nullable:
/// `includeDeprecated` of introspection, and the reason of `@deprecated`.
fn require_what_has_a_default(schema: &mut Schema) {
    for (ty, field) in [
        ("__Type", "fields"),
        ("__Type", "enumValues"),
        ("__Type", "inputFields"),
        ("__Field", "args"),
        ("__Directive", "args"),
    ] {
        if let Some(ExtendedType::Object(object)) = schema.types.get_mut(ty)
            && let Some(field) = object.make_mut().fields.get_mut(field)
        {
            require(&mut field.make_mut().arguments, "includeDeprecated");
        }
    }
    if let Some(deprecated) = schema.directive_definitions.get_mut("deprecated") {
        require(&mut deprecated.make_mut().arguments, "reason");
    }
}

fn require(arguments: &mut [Node<InputValueDefinition>], name: &str) {
    for argument in arguments.iter_mut().filter(|it| it.name == name) {
        let argument = argument.make_mut();
        let ty = (*argument.ty).clone();
        argument.ty = ty.non_null().into();
    }
}

/// The specifications that the supergraph links, and the names they brought.
struct Machinery {
    /// `join`, `link`, ...: each owns the directive of its name, and what begins with its name and
    /// two underscores.
    features: Vec<String>,
    /// Directives with their `@`, types without.
    imported: HashSet<String>,
    inaccessible: String,
}

impl Machinery {
    fn of(supergraph: &Schema) -> Self {
        let mut machinery = Self {
            features: ["join", "link", "core", "federation", "connect"]
                .map(String::from)
                .into(),
            imported: ["@tag", "@inaccessible"].map(String::from).into(),
            inaccessible: "inaccessible".into(),
        };
        for link in &supergraph.schema_definition.directives.0 {
            if link.name != "link" && link.name != "core" {
                continue;
            }
            let argument = |name: &str| {
                link.specified_argument_by_name(name)
                    .and_then(|value| value.as_str())
            };
            let Some(url) = argument("url").or_else(|| argument("feature")) else {
                continue;
            };
            // https://specs.apollo.dev/NAME/vX.Y
            let name = url.rsplit('/').nth(1).unwrap_or_default();
            let local = argument("as").unwrap_or(name).to_owned();
            if name == "inaccessible" {
                machinery.inaccessible.clone_from(&local);
            }
            machinery.features.push(local);
            let imports = link
                .specified_argument_by_name("import")
                .and_then(|value| value.as_list());
            for import in imports.unwrap_or_default() {
                if let Some(name) = import.as_str() {
                    machinery.imported.insert(name.to_owned());
                } else if let Some(fields) = import.as_object() {
                    let renamed = fields
                        .iter()
                        .find(|(key, _)| key == "as")
                        .or(fields.first());
                    if let Some(name) = renamed.and_then(|(_, value)| value.as_str()) {
                        machinery.imported.insert(name.to_owned());
                    }
                }
            }
        }
        machinery
    }

    fn owns_type(&self, name: &str) -> bool {
        self.imported.contains(name) || self.has_prefix(name)
    }

    fn owns_directive(&self, name: &str) -> bool {
        self.imported.contains(&format!("@{name}"))
            || self.features.iter().any(|feature| feature == name)
            || self.has_prefix(name)
    }

    fn has_prefix(&self, name: &str) -> bool {
        let mut features = self.features.iter();
        features.any(|feature| {
            let rest = name.strip_prefix(feature.as_str());
            rest.is_some_and(|rest| rest.starts_with("__"))
        })
    }

    fn hides(&self, directives: &DirectiveList) -> bool {
        directives.has(&self.inaccessible)
    }
}

struct View {
    machinery: Machinery,
    hidden_types: HashSet<Name>,
}

impl View {
    fn prune(&self, definition: &mut ExtendedType) {
        match definition {
            ExtendedType::Scalar(scalar) => visible_only(&mut scalar.make_mut().directives),
            ExtendedType::Object(object) => {
                let object = object.make_mut();
                visible_only(&mut object.directives);
                object
                    .implements_interfaces
                    .retain(|interface| !self.hidden_types.contains(&interface.name));
                self.prune_fields(&mut object.fields);
            }
            ExtendedType::Interface(interface) => {
                let interface = interface.make_mut();
                visible_only(&mut interface.directives);
                interface
                    .implements_interfaces
                    .retain(|parent| !self.hidden_types.contains(&parent.name));
                self.prune_fields(&mut interface.fields);
            }
            ExtendedType::Union(union) => {
                let union = union.make_mut();
                visible_only(&mut union.directives);
                union
                    .members
                    .retain(|member| !self.hidden_types.contains(&member.name));
            }
            ExtendedType::Enum(enumeration) => {
                let enumeration = enumeration.make_mut();
                visible_only(&mut enumeration.directives);
                enumeration
                    .values
                    .retain(|_, value| !self.hides_list(&value.directives));
                for value in enumeration.values.values_mut() {
                    visible_applications_only(&mut value.make_mut().directives);
                }
            }
            ExtendedType::InputObject(input) => {
                let input = input.make_mut();
                visible_only(&mut input.directives);
                input.fields.retain(|_, field| {
                    !self.hides_list(&field.directives) && !self.is_hidden(&field.ty)
                });
                for field in input.fields.values_mut() {
                    visible_applications_only(&mut field.make_mut().directives);
                }
            }
        }
    }

    fn prune_fields(
        &self,
        fields: &mut apollo_compiler::collections::IndexMap<
            Name,
            Component<apollo_compiler::schema::FieldDefinition>,
        >,
    ) {
        fields.retain(|_, field| !self.hides_list(&field.directives) && !self.is_hidden(&field.ty));
        for field in fields.values_mut() {
            let field = field.make_mut();
            visible_applications_only(&mut field.directives);
            self.prune_arguments(&mut field.arguments);
        }
    }

    fn prune_arguments(&self, arguments: &mut Vec<Node<InputValueDefinition>>) {
        arguments.retain(|argument| {
            !self.hides_list(&argument.directives) && !self.is_hidden(&argument.ty)
        });
        for argument in arguments {
            visible_applications_only(&mut argument.make_mut().directives);
        }
    }

    fn hides_list(&self, directives: &apollo_compiler::ast::DirectiveList) -> bool {
        directives.has(&self.machinery.inaccessible)
    }

    fn is_hidden(&self, ty: &Type) -> bool {
        self.hidden_types.contains(ty.inner_named_type())
    }
}

fn visible_only(directives: &mut DirectiveList) {
    directives
        .0
        .retain(|directive| VISIBLE_APPLICATIONS.contains(&directive.name.as_str()));
}

fn visible_applications_only(directives: &mut apollo_compiler::ast::DirectiveList) {
    directives
        .0
        .retain(|directive| VISIBLE_APPLICATIONS.contains(&directive.name.as_str()));
}

fn is_executable(location: apollo_compiler::schema::DirectiveLocation) -> bool {
    use apollo_compiler::schema::DirectiveLocation as At;
    matches!(
        location,
        At::Query
            | At::Mutation
            | At::Subscription
            | At::Field
            | At::FragmentDefinition
            | At::FragmentSpread
            | At::InlineFragment
            | At::VariableDefinition
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_may_be_called_like_a_specification_or_its_directive() {
        let sdl = "schema
              @link(url: \"https://specs.apollo.dev/link/v1.0\")
              @link(url: \"https://specs.apollo.dev/join/v0.3\", for: EXECUTION)
              @link(url: \"https://specs.apollo.dev/requiresScopes/v0.1\", import: [\"@requiresScopes\", {name: \"Scope\", as: \"Right\"}])
            { query: Query }
            directive @tag(name: String) on FIELD | OBJECT
            directive @link(url: String) on SCHEMA
            directive @own on FIELD
            scalar link__Import
            scalar Right
            enum join__Graph { A }
            type Query { tags: [tag] join: join link: link federation: federation inaccessible: inaccessible requiresScopes: requiresScopes }
            type tag { a: Int } type join { a: Int } type link { a: Int } type federation { a: Int }
            type inaccessible { a: Int } type requiresScopes { a: Int }";
        let api = api_schema(&Schema::parse(sdl, "supergraph.graphql").expect("SDL"));
        let types: Vec<&str> = api.types.keys().map(|name| name.as_str()).collect();
        for name in [
            "tag",
            "join",
            "link",
            "federation",
            "inaccessible",
            "requiresScopes",
        ] {
            assert!(types.contains(&name), "{name}");
            assert!(!api.directive_definitions.contains_key(name), "@{name}");
        }
        for name in ["link__Import", "join__Graph", "Right"] {
            assert!(!types.contains(&name), "{name}");
        }
        assert!(api.directive_definitions.contains_key("own"));
    }
}
