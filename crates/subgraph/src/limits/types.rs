//! The names of the schema's types and fields. async-graphql panics where a variable is a list of an unknown
//! type and has a default.

use std::collections::HashSet;
use std::sync::Arc;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, Type, TypeKind, TypeSystemDefinition, VariableDefinition,
};
use async_graphql::{Name, ObjectType, Positioned, Schema, SubscriptionType};

use rustc_hash::FxHashSet;

use super::LimitError;

/// Types that a schema has without a definition in its SDL.
const BUILT_IN: [&str; 6] = ["Int", "Float", "String", "Boolean", "ID", "_Any"];

/// Fields that a schema has without a definition in its SDL: those of introspection and federation.
const BUILT_IN_FIELDS: [&str; 33] = [
    "__schema",
    "__type",
    "__typename",
    "_entities",
    "_service",
    "args",
    "defaultValue",
    "deprecationReason",
    "description",
    "directives",
    "enumValues",
    "fields",
    "inputFields",
    "interfaces",
    "isDeprecated",
    "isOneOf",
    "isRepeatable",
    "kind",
    "locations",
    "mutationType",
    "name",
    "ofType",
    "oneOf",
    "onField",
    "onFragment",
    "onOperation",
    "possibleTypes",
    "queryType",
    "sdl",
    "specifiedByURL",
    "subscriptionType",
    "type",
    "types",
];

/// The names of a schema's types and of all their fields. Clones share them.
#[derive(Clone, Debug)]
pub struct TypeNames(Arc<Names>);

#[derive(Debug)]
struct Names {
    types: HashSet<Name>,
    fields: FxHashSet<Name>,
}

impl TypeNames {
    /// The types of `schema`; none when its SDL cannot be parsed.
    pub fn of<Q, M, S>(schema: &Schema<Q, M, S>) -> Option<Self>
    where
        Q: ObjectType + 'static,
        M: ObjectType + 'static,
        S: SubscriptionType + 'static,
    {
        let document = parse_schema(schema.sdl()).ok()?;
        let mut names = Names {
            types: BUILT_IN.map(Name::new).into(),
            fields: BUILT_IN_FIELDS.map(Name::new).into_iter().collect(),
        };
        for definition in document.definitions {
            let TypeSystemDefinition::Type(definition) = definition else {
                continue;
            };
            names.types.insert(definition.node.name.node);
            let fields = match definition.node.kind {
                TypeKind::Object(object) => object.fields,
                TypeKind::Interface(interface) => interface.fields,
                _ => continue,
            };
            let fields = fields.into_iter().map(|field| field.node.name.node);
            names.fields.extend(fields);
        }
        Some(Self(Arc::new(names)))
    }

    /// Whether any type has a field of this name.
    pub(super) fn has_field(&self, name: &str) -> bool {
        self.0.fields.contains(name)
    }

    /// Checks the type of a variable.
    ///
    /// # Errors
    /// When the schema has no type of this name.
    pub(super) fn check(
        &self,
        definition: &Positioned<VariableDefinition>,
    ) -> Result<(), LimitError> {
        let name = innermost(&definition.node.var_type.node);
        if self.0.types.contains(name) {
            return Ok(());
        }
        Err(LimitError::UnknownType {
            name: name.to_string(),
            position: definition.pos,
        })
    }
}

fn innermost(of: &Type) -> &Name {
    match &of.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => innermost(item),
    }
}
