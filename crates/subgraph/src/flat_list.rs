//! Lists of objects whose fields are all loaded, resolved without a future for each field.
//!
//! async-graphql resolves every field of every object as a task of its own. For objects that are
//! embedded in their parent's document there is nothing to wait for, and with hundreds of them in one
//! answer the tasks are most of its cost.

use std::borrow::Cow;

use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::resolver_utils::resolve_list;
use async_graphql::{ContextSelectionSet, Name, OutputType, Positioned, ServerResult, Value};

use crate::json::JsonText;
use crate::limits::answer::Counter;

/// What an object takes as JSON, more or less.
const OBJECT_BYTES: usize = 192;

/// An object whose fields are leaves that take no arguments and look nothing up.
pub trait FlatObject: OutputType {
    /// Adds the value of a field; false when the type has no field of this name.
    fn write_leaf(&self, field: &str, json: &mut JsonText) -> bool;
}

/// A list of such objects, written as JSON at once. Selections that need more than
/// [`FlatObject::write_leaf`] (named fragments, or directives on a field) are resolved in
/// async-graphql's own way.
#[derive(Clone, Debug)]
pub struct FlatList<T>(pub Vec<T>);

impl<T: FlatObject> OutputType for FlatList<T> {
    fn type_name() -> Cow<'static, str> {
        Vec::<T>::type_name()
    }

    fn qualified_type_name() -> String {
        Vec::<T>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Vec::<T>::create_type_info(registry)
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        let mut columns = Vec::new();
        if collect(
            &field.node.selection_set.node,
            &T::type_name(),
            &mut columns,
        ) {
            let mut json = JsonText::with_capacity(self.0.len() * OBJECT_BYTES);
            let (counter, mut counted) = (Counter::of(ctx), Ok(()));
            json.list(&self.0, |json, object| {
                if counted.is_ok() {
                    let before = json.len();
                    row(object, &columns, json);
                    counted = counter.count(json.len() - before);
                }
            });
            counted.map_err(|error| error.into_server_error(field.pos))?;
            return Ok(json.into_value());
        }
        resolve_list(ctx, field, &self.0, Some(self.0.len())).await
    }
}

/// A response key and the field that answers it.
type Column<'q> = (&'q Name, &'q str);

/// Collects what is selected; false when it is more than leaves.
fn collect<'q>(set: &'q SelectionSet, type_name: &str, columns: &mut Vec<Column<'q>>) -> bool {
    set.items.iter().all(|selection| match &selection.node {
        Selection::Field(field) => {
            columns.push((&field.node.response_key().node, &field.node.name.node));
            field.node.directives.is_empty()
        }
        Selection::InlineFragment(fragment) => {
            let condition = fragment.node.type_condition.as_ref();
            let applies = condition.is_none_or(|condition| condition.node.on.node == type_name);
            applies
                && fragment.node.directives.is_empty()
                && collect(&fragment.node.selection_set.node, type_name, columns)
        }
        Selection::FragmentSpread(_) => false,
    })
}

fn row<T: FlatObject>(object: &T, columns: &[Column<'_>], json: &mut JsonText) {
    json.object(columns, |json, (key, field)| {
        json.key(key);
        if *field == "__typename" {
            json.string(&object.introspection_type_name());
        } else if !object.write_leaf(field, json) {
            json.null();
        }
    });
}

#[cfg(test)]
mod tests {
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Schema, SimpleObject};

    use super::*;

    #[derive(Clone, SimpleObject)]
    struct Star {
        name: String,
        magnitude: f64,
    }

    impl FlatObject for Star {
        fn write_leaf(&self, field: &str, json: &mut JsonText) -> bool {
            match field {
                "name" => json.string(&self.name),
                "magnitude" => json.value(&Value::from(self.magnitude)),
                _ => return false,
            }
            true
        }
    }

    struct Sky(Vec<Star>);

    #[Object]
    impl Sky {
        async fn flat(&self) -> FlatList<Star> {
            FlatList(self.0.clone())
        }

        async fn plain(&self) -> &[Star] {
            &self.0
        }
    }

    #[tokio::test]
    async fn every_selection_is_answered_as_by_the_plain_list() {
        let star = |name: &str, magnitude| Star {
            name: name.to_owned(),
            magnitude,
        };
        let sky = Sky(vec![star("Vega", 0.03), star("Deneb", 1.25)]);
        let schema = Schema::new(sky, EmptyMutation, EmptySubscription);
        for selection in [
            "{ name }",
            "{ magnitude n: name name __typename t: __typename }",
            "{ ... { name } ... on Star { magnitude name } }",
            "{ ...named }",
            "{ name @include(if: true) magnitude @skip(if: true) }",
            "{ ... @include(if: false) { name } magnitude }",
            "{ name name ... on Star { name } }",
        ] {
            let named = match selection.contains("...named") {
                true => "fragment named on Star { name magnitude }",
                false => "",
            };
            let query = format!("{{ flat {selection} plain {selection} }} {named}");
            let answer = schema.execute(query).await;
            assert!(answer.errors.is_empty(), "{selection}: {:?}", answer.errors);
            let text = serde_json::to_string(&answer.data).expect("JSON");
            let data: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(data["flat"], data["plain"], "{selection}");
            assert_eq!(data["flat"].as_array().map(Vec::len), Some(2));
        }
    }
}
