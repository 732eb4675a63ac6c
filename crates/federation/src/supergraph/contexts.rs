//! Reads contexts: what objects set for the fields below them, and the arguments that take it.
//!
//! <https://specs.apollo.dev/context/v0.1>, and `contextArguments` of `@join__field` in
//! <https://specs.apollo.dev/join/v0.5>.

use std::collections::HashMap;

use apollo_compiler::{
    Name, Schema,
    ast::{Directive, Type, Value},
};

use super::{ContextArgument, read::JoinReader};
use crate::{
    specifications,
    types::{TypeId, TypeSet, TypeTable},
};

/// The types that set a context, by its name: the first of them, and all objects that are of any.
pub type Contexts<'s> = HashMap<&'s str, (TypeId, TypeSet)>;

/// Finds the types that set contexts. What changes something or brings events is not asked for a value.
pub fn contexts<'s>(schema: &'s Schema, types: &TypeTable) -> Contexts<'s> {
    let directive = specifications::local_name(schema, "context");
    let mut contexts: Contexts<'s> = HashMap::new();
    let definition = &schema.schema_definition;
    let acting = [&definition.mutation, &definition.subscription];
    for (name, definition) in &schema.types {
        let Some(id) = types.id(name) else { continue };
        let mut acting = acting.iter().copied().flatten();
        let is_acting = acting.any(|root| root.name == *name);
        for set in definition.directives().get_all(&directive) {
            let name = set.specified_argument_by_name("name");
            if let Some(name) = name.and_then(|name| name.as_str()) {
                let (_, all) = contexts
                    .entry(name)
                    .or_insert_with(|| (id, TypeSet::default()));
                if !is_acting {
                    all.extend(&types.satisfied_by(id));
                }
            }
        }
    }
    contexts
}

impl JoinReader<'_> {
    /// The arguments of a field that a `@join__field` says come from contexts.
    pub(super) fn context_arguments(
        &self,
        join: &Directive,
        holder: &str,
    ) -> Result<Vec<ContextArgument>, String> {
        let arguments = join.specified_argument_by_name("contextArguments");
        let arguments = arguments.and_then(|it| it.as_list()).unwrap_or_default();
        let arguments = arguments.iter().map(|it| self.context_argument(it, holder));
        arguments.collect()
    }

    fn context_argument(&self, argument: &Value, holder: &str) -> Result<ContextArgument, String> {
        let text = |name: &str| {
            let fields = argument.as_object().unwrap_or_default();
            let value = fields.iter().find(|(key, _)| key == name);
            value
                .and_then(|(_, value)| value.as_str())
                .ok_or_else(|| format!("{holder} has a context argument without its {name}"))
        };
        let context = text("context")?;
        let (ty, types) = self
            .contexts
            .get(context)
            .ok_or_else(|| format!("{holder} takes a context that no type sets: {context}"))?;
        // With braces around it, or a list of fragments without them.
        let selection = text("selection")?.trim();
        let inner = selection
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        Ok(ContextArgument {
            name: Name::new(text("name")?)
                .map_err(|_| format!("{holder} has a context argument without a valid name"))?,
            ty: Type::parse(text("type")?, "type").map_err(|error| {
                format!("{holder} has a context argument of an odd type: {error}")
            })?,
            types: types.clone(),
            selection: self.field_set(inner.unwrap_or(selection), *ty, holder)?,
        })
    }
}
