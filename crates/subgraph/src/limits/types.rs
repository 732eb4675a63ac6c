//! The names of the schema's types. async-graphql panics where a variable is a list of an unknown type and
//! has a default.

use std::collections::HashSet;
use std::sync::Arc;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{BaseType, Type, TypeSystemDefinition, VariableDefinition};
use async_graphql::{Name, ObjectType, Positioned, Schema, SubscriptionType};

use super::LimitError;

/// Types that a schema has without a definition in its SDL.
const BUILT_IN: [&str; 6] = ["Int", "Float", "String", "Boolean", "ID", "_Any"];

/// The types of a schema, by their names. Clones share them.
#[derive(Clone, Debug)]
pub struct TypeNames(Arc<HashSet<Name>>);

impl TypeNames {
    /// The types of `schema`; none when its SDL cannot be parsed.
    pub fn of<Q, M, S>(schema: &Schema<Q, M, S>) -> Option<Self>
    where
        Q: ObjectType + 'static,
        M: ObjectType + 'static,
        S: SubscriptionType + 'static,
    {
        let document = parse_schema(schema.sdl()).ok()?;
        let defined = document.definitions.into_iter().filter_map(|it| match it {
            TypeSystemDefinition::Type(definition) => Some(definition.node.name.node),
            _ => None,
        });
        let names = BUILT_IN.map(Name::new).into_iter().chain(defined).collect();
        Some(Self(Arc::new(names)))
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
        if self.0.contains(name) {
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
