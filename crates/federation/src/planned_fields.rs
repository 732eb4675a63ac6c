//! The fields that plans add to what a client asks for: those of keys, requirements and contexts.

use apollo_compiler::{Name, Schema, schema::ExtendedType};
use rustc_hash::FxHashSet;

/// Their names. A client's alias must not be one of them: what is added would meet what is asked
/// for under one response key.
pub struct PlannedFields(FxHashSet<Name>);

impl PlannedFields {
    /// Reads the field sets of the supergraph's join directives. Names of types and arguments
    /// inside them count too, which does no harm.
    pub fn of(supergraph: &Schema) -> Self {
        let mut names = FxHashSet::default();
        let mut add = |field_set: Option<&str>| {
            let words = field_set
                .unwrap_or_default()
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            names.extend(words.filter_map(|word| Name::new(word).ok()));
        };
        for definition in supergraph.types.values() {
            for join in definition.directives().get_all("join__type") {
                add(join
                    .specified_argument_by_name("key")
                    .and_then(|it| it.as_str()));
            }
            let fields = match definition {
                ExtendedType::Object(object) => &object.fields,
                ExtendedType::Interface(interface) => &interface.fields,
                _ => continue,
            };
            for field in fields.values() {
                for join in field.directives.get_all("join__field") {
                    add(join
                        .specified_argument_by_name("requires")
                        .and_then(|it| it.as_str()));
                    let contexts = join
                        .specified_argument_by_name("contextArguments")
                        .and_then(|it| it.as_list());
                    for argument in contexts.unwrap_or_default() {
                        let fields = argument.as_object().unwrap_or_default();
                        let selection = fields.iter().find(|(name, _)| name == "selection");
                        add(selection.and_then(|(_, text)| text.as_str()));
                    }
                }
            }
        }
        Self(names)
    }

    /// Whether a plan may add a field of that name.
    pub fn contains(&self, name: &Name) -> bool {
        name.starts_with("__") || self.0.contains(name)
    }
}
