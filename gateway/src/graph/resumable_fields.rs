//! The subscription fields that can resume after a cursor: those with an `after` argument whose
//! events have a `cursor`.

use std::collections::HashMap;

use apollo_compiler::{
    Name, Node, Schema,
    ast::Type,
    executable::OperationType,
    schema::{ExtendedType, FieldDefinition},
};
use federation::{
    Join, SubgraphIndex, Supergraph, TypeId, internal_names::RESUME_CURSOR as CURSOR_KEY,
};

/// The argument that takes a cursor.
pub const AFTER: &str = "after";
/// The field of an event that is its cursor.
pub const CURSOR: &str = "cursor";

/// The subscription fields of a supergraph that can be resumed, by the subgraphs that have them.
#[derive(Default)]
pub struct ResumableFields(HashMap<(Name, SubgraphIndex), ResumableField>);

/// A subscription field that can be resumed in one subgraph.
pub struct ResumableField {
    /// The type of the argument `after`.
    pub after: Node<Type>,
    /// The types of events that have a cursor in this subgraph, each with the response key for its
    /// cursor.
    pub events: Vec<(Name, Name)>,
    /// Whether the field's own type has the cursor, so that no type condition is needed.
    pub is_plain: bool,
}

impl ResumableFields {
    /// Finds them among the fields of the subscription type.
    pub fn of(supergraph: &Supergraph, schema: &Schema) -> Self {
        let mut all = HashMap::new();
        let name = schema.schema_definition.subscription.as_ref();
        let root = name.and_then(|name| schema.get_object(&name.name));
        let id = supergraph.root(OperationType::Subscription);
        for (name, field) in root.into_iter().flat_map(|root| &root.fields) {
            let info = id.and_then(|root| supergraph.field(root, name));
            let Some((info, after)) = info.zip(after_argument(field)) else {
                continue;
            };
            for join in &info.joins {
                if let Some((events, is_plain)) = events(supergraph, schema, join) {
                    let resumable = ResumableField {
                        after: after.clone(),
                        events,
                        is_plain,
                    };
                    all.insert((name.clone(), join.subgraph), resumable);
                }
            }
        }
        Self(all)
    }

    /// The field in a subgraph, if it can be resumed there.
    pub fn field(&self, name: &Name, subgraph: SubgraphIndex) -> Option<&ResumableField> {
        self.0.get(&(name.clone(), subgraph))
    }
}

impl ResumableField {
    /// The response keys under which a cursor may be found.
    pub fn cursor_keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for (_, key) in &self.events {
            if !keys.iter().any(|known| *known == key.as_str()) {
                keys.push(key.to_string());
            }
        }
        keys
    }
}

/// The type of the argument that takes a cursor.
fn after_argument(field: &FieldDefinition) -> Option<&Node<Type>> {
    let mut arguments = field.arguments.iter();
    let after = arguments.find(|argument| argument.name == AFTER)?;
    (is_text(&after.ty) && !field.ty.is_list()).then_some(&after.ty)
}

fn is_text(ty: &Type) -> bool {
    matches!(ty.inner_named_type().as_str(), "String" | "ID") && !ty.is_list()
}

/// The types of a subscription field's events that have a cursor in its subgraph, each with the
/// response key of the cursor: values of different types cannot have one key.
fn events(
    supergraph: &Supergraph,
    schema: &Schema,
    subscription: &Join,
) -> Option<(Vec<(Name, Name)>, bool)> {
    let declared = subscription.inner?;
    let is_union = matches!(
        schema.types.get(supergraph.name(declared)),
        Some(ExtendedType::Union(_))
    );
    let types: Vec<TypeId> = match is_union {
        true => {
            let members = &supergraph.view(subscription.subgraph, declared)?.objects;
            members.iter().collect()
        }
        false => vec![declared],
    };
    let mut cursor_types: Vec<&Type> = Vec::new();
    let mut events = Vec::new();
    for id in types {
        let Some(ty) = cursor_type(supergraph, schema, subscription.subgraph, id) else {
            continue;
        };
        let number = cursor_types.iter().position(|known| *known == ty);
        let number = number.unwrap_or_else(|| {
            cursor_types.push(ty);
            cursor_types.len() - 1
        });
        let key = match number {
            0 => CURSOR_KEY.to_owned(),
            _ => format!("{CURSOR_KEY}{number}"),
        };
        events.push((supergraph.name(id).clone(), Name::new(&key).ok()?));
    }
    (!events.is_empty()).then_some((events, !is_union))
}

/// The type of an event's cursor in a subgraph, if it can always be selected there.
fn cursor_type<'s>(
    supergraph: &'s Supergraph,
    schema: &Schema,
    subgraph: SubgraphIndex,
    ty: TypeId,
) -> Option<&'s Type> {
    let join = supergraph.join(subgraph, ty, CURSOR)?;
    let definition = schema.type_field(supergraph.name(ty), CURSOR).ok()?;
    let is_always_there = join.is_always_available();
    let is_plain = definition.arguments.is_empty() && join.requires.is_empty();
    (!join.is_external && is_always_there && is_plain && is_text(&join.ty)).then_some(&join.ty)
}
