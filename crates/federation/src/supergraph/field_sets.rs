//! Reads the field sets of keys, requirements and provisions.

use apollo_compiler::{Name, ast};

use super::read::JoinReader;
use crate::{
    internal_names,
    selection::{self, Selection},
    types::TypeId,
};

impl JoinReader<'_> {
    pub(super) fn field_set(
        &self,
        set: &str,
        ty: TypeId,
        holder: &str,
    ) -> Result<Vec<Selection>, String> {
        let field = |ty: TypeId, field: &ast::Field| self.field_of_set(ty, field);
        selection::of_field_set(set, ty, &field, self.types)
            .ok_or_else(|| format!("{holder} has a field set that is none: {set}"))
    }

    /// The response key of a field in a field set, and the type that it leads to. A field that may
    /// have arguments has a key that no client's selection of it has.
    fn field_of_set(&self, ty: TypeId, field: &ast::Field) -> (Name, TypeId) {
        let definition = self.schema.type_field(self.types.name(ty), &field.name);
        let Ok(definition) = definition else {
            return (field.name.clone(), TypeId::UNKNOWN);
        };
        let inner = self.types.id(definition.ty.inner_named_type());
        let key = if definition.arguments.is_empty() {
            field.name.clone()
        } else {
            self.key_with_arguments(field)
        };
        (key, inner.unwrap_or(TypeId::UNKNOWN))
    }

    /// One for each field and its arguments, unlike any other.
    fn key_with_arguments(&self, field: &ast::Field) -> Name {
        let arguments = field.arguments.iter();
        let arguments: Vec<String> = arguments
            .map(|it| format!("{}: {}", it.name, it.value))
            .collect();
        let meaning = format!("{}({})", field.name, arguments.join(", "));
        let mut known = self.with_arguments.borrow_mut();
        if let Some(key) = known.get(&meaning) {
            return key.clone();
        }
        loop {
            let number = self.keys_given.replace(self.keys_given.get() + 1);
            let key = internal_names::of_requirement(number, &field.name);
            let key = key.unwrap_or_else(|| field.name.clone());
            if !self.taken_keys.contains(&key) {
                known.insert(meaning, key.clone());
                return key;
            }
        }
    }
}
